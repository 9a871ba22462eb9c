//! Sizes and rates in words, in the units of the rest of MemCloud (1 GiB = 1024^3 bytes).

/// `1536 MiB` and the like: a whole number of the largest unit that leaves at least two digits, for columns.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 10_240 && unit + 1 < UNITS.len() {
        value = (value + 512) / 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

/// Bytes in a time as MiB/s; 0 where no time has passed.
pub fn rate_mib(bytes: u64, secs: f64) -> f64 {
    if secs <= 0.0 {
        0.0
    } else {
        bytes as f64 / (1024.0 * 1024.0) / secs
    }
}

/// One MiB.
pub const MIB: u64 = 1024 * 1024;

/// One GiB.
pub const GIB: u64 = 1024 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_two_digits_remain() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(10_239), "10239 B");
        assert_eq!(human(10_240), "10 KiB");
        assert_eq!(human(GIB), "1024 MiB");
        assert_eq!(human(10 * GIB), "10 GiB");
    }
}
