//! Sizes as people type and read them. Always binary: 4gb are 4 * 1024^3 bytes, as in Redis.

/// The bytes of a text such as `4gb`, `512 MiB`, `1.5g` or `1048576`.
///
/// # Errors
/// A sentence that shows what is understood.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|_| "a size is a number with a unit, such as 512mb or 4gb".to_owned())
}

/// Checks a size or a share of the RAM such as `25%`, and returns it as `memnode` takes it: sizes in bytes.
///
/// # Errors
/// A sentence that shows what is understood.
pub(crate) fn parse_share(text: &str) -> Result<String, String> {
    match text.strip_suffix('%') {
        None => parse_size(text).map(|bytes| bytes.to_string()),
        Some(percent) => match percent.parse() {
            Ok(0..=100_u8) => Ok(text.to_owned()),
            _ => Err("a share is a whole number from 0 to 100 with a percent sign, such as 25%".to_owned()),
        },
    }
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size with one decimal, such as `2.0 GiB`; below 1 KiB the exact number of bytes.
pub(crate) fn show_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = unit_of(bytes);
    format!("{} {}", one_decimal(bytes, unit), UNITS[unit])
}

/// How much is used of a quota in one unit, that of the quota and without empty decimals: `1.5/2 GiB`.
pub(crate) fn show_use(used_bytes: u64, quota_bytes: u64) -> String {
    let unit = unit_of(quota_bytes);
    let short = |bytes| match one_decimal(bytes, unit) {
        // A little is not nothing: whoever looks for the last bytes must not read 0.
        text if text == "0.0" && bytes > 0 => "<0.1".to_owned(),
        text => text.strip_suffix(".0").map(str::to_owned).unwrap_or(text),
    };
    format!("{}/{} {}", short(used_bytes), short(quota_bytes), UNITS[unit])
}

/// Bytes per second, such as `1.2 GiB/s`.
pub(crate) fn show_rate(bytes: u64, elapsed: std::time::Duration) -> String {
    let per_second = bytes as f64 / elapsed.as_secs_f64().max(1e-9);
    format!("{}/s", show_size(per_second as u64))
}

/// The largest unit in which the size, rounded to one decimal, is at least 1.
fn unit_of(bytes: u64) -> usize {
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes as f64 / f64::powi(1024.0, unit as i32) >= 1023.95 {
        unit += 1;
    }
    unit
}

fn one_decimal(bytes: u64, unit: usize) -> String {
    if unit == 0 {
        return bytes.to_string();
    }
    format!("{:.1}", bytes as f64 / f64::powi(1024.0, unit as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_however_they_are_written() {
        for (text, bytes) in [
            ("4gb", 4 << 30),
            ("4GiB", 4 << 30),
            ("4g", 4 << 30),
            ("512 mb", 512 << 20),
            ("1.5k", 1536),
            ("7", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "gb", "-1", "4 bananas", "99999999999gb"] {
            assert!(parse_size(text).unwrap_err().contains("4gb"), "{text}");
        }
    }

    #[test]
    fn shares_are_passed_on_as_they_are() {
        assert_eq!(parse_share("25%").as_deref(), Ok("25%"));
        assert_eq!(parse_share("4gb").as_deref(), Ok("4294967296"));
        for text in ["101%", "-1%", "%", "1.5%", "lots"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_reads_best() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1536 << 20, "1.5 GiB"),
            (2 << 30, "2.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn use_of_a_quota_has_one_unit() {
        assert_eq!(show_use(0, 0), "0/0 B");
        assert_eq!(show_use(1536 << 20, 2 << 30), "1.5/2 GiB");
        assert_eq!(show_use(11, 2 << 30), "<0.1/2 GiB");
        assert_eq!(show_use(0, 2 << 30), "0/2 GiB");
        assert_eq!(show_use(100, 0), "100/0 B");
    }
}
