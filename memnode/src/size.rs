//! Sizes as people write and read them: `4gb`, `512 MiB`, `1.5GiB`.
//!
//! Units are binary whatever their spelling, as in Redis: `1gb` and `1GiB` are both 1,024^3 bytes, for RAM is sold so.

use std::fmt;
use std::str::FromStr;

/// A size in bytes. Its text is in the largest unit that gives at least 1, with one decimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit is a step of ten bits; the highest bit that is set names the step.
        let step = (self.0.checked_ilog2().unwrap_or(0) / 10) as usize;
        if step == 0 {
            return write!(f, "{} bytes", self.0);
        }
        write!(
            f,
            "{:.1} {}",
            self.0 as f64 / (1_u64 << (10 * step)) as f64,
            UNITS[step]
        )
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_size::Config::new().with_binary().parse_size(text).map(Self).map_err(|error| {
            format!("'{text}' is no size ({error}): write bytes, or a number with kb, mb, gb or tb, such as 512mb")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_in_every_spelling() {
        for (text, bytes) in [
            ("0", 0),
            ("4gb", 4 << 30),
            ("4GiB", 4 << 30),
            ("4g", 4 << 30),
            ("1.5 MiB", 3 << 19),
            ("512kb", 512 << 10),
            ("17", 17),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "gb", "-1", "5 apples", "1e99", "99999999999gb"] {
            assert!(text.parse::<ByteSize>().unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1 << 10, "1.0 KiB"),
            (3 << 19, "1.5 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
