//! Sizes and rates in words, in the units of the rest of MemCloud (1 GiB = 1024^3 bytes).

const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];

/// `1536 MiB` and the like: a whole number of the largest unit that leaves at least two digits, for columns.
pub fn human(bytes: u64) -> String {
    let mut value = bytes;
    let mut unit = 0;
    while value >= 10_240 && unit + 1 < UNITS.len() {
        value = (value + 512) / 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

/// `4 GiB` and the like: a whole number of the largest unit that gives one, for sizes that somebody chose.
pub fn exact(bytes: u64) -> String {
    let unit = match bytes.trailing_zeros() / 10 {
        _ if bytes == 0 => 0,
        unit => (unit as usize).min(UNITS.len() - 1),
    };
    format!("{} {}", bytes >> (10 * unit), UNITS[unit])
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

    #[test]
    fn exact_sizes_lose_nothing() {
        assert_eq!(exact(0), "0 B");
        assert_eq!(exact(64), "64 B");
        assert_eq!(exact(MIB), "1 MiB");
        assert_eq!(exact(MIB + 1), "1048577 B");
        assert_eq!(exact(GIB / 2), "512 MiB");
        assert_eq!(exact(4096 * GIB), "4096 GiB");
    }
}
