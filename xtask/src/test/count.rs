//! Counting tests by the closing lines of their runners.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Counts {
    /// What a line of a runner's output adds: `test result: ok. 5 passed; 1 failed; ...` of libtest, of which there is one
    /// for each test program, `Summary [ 3.2s] 6 tests run: 4 passed (1 slow), 1 failed, 1 timed out, 2 skipped` of
    /// nextest, or one of `# pass 5`, `# fail 1` and `# cancelled 1` of Node.js. Any other line adds nothing.
    pub(super) fn of_line(line: &str) -> Self {
        let line = without_colours(line);
        if let Some(counts) = Self::of_node_line(line.trim_end()) {
            return counts;
        }
        // Indented, libtest's line is a part of what nextest tells of a failed test, and counted by its summary.
        let results = if line.starts_with("test result: ") {
            line.split_once(". ")
        } else if line.trim_start().starts_with("Summary [") {
            line.split_once(" run: ")
        } else {
            None
        };
        let Some((_, results)) = results else {
            return Self::default();
        };
        let mut counts = Self::default();
        for part in results.split([',', ';']) {
            let mut words = part.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => counts.passed += number,
                Some("failed" | "timed" | "exec") => counts.failed += number,
                _ => {}
            }
        }
        counts
    }

    /// A closing line of Node.js' test runner, which begins with `#` in its reporter for programs and with the sign U+2139 in that for people.
    fn of_node_line(line: &str) -> Option<Self> {
        let closing = line
            .strip_prefix("# ")
            .or_else(|| line.strip_prefix("\u{2139} "))?;
        let (what, number) = closing.split_once(' ')?;
        let number = number.parse().ok()?;
        match what {
            "pass" => Some(Self {
                passed: number,
                failed: 0,
            }),
            // A test that was cancelled is one that did not end before its file did, or in time.
            "fail" | "cancelled" => Some(Self {
                passed: 0,
                failed: number,
            }),
            _ => None,
        }
    }
}

/// Without the escape sequences that set colours (ECMA-48, 8.3.117: CSI, parameters, `m`).
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.find('m').map_or("", |end| &after[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        for (line, passed, failed) in [
            (
                "test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                11,
                0,
            ),
            (
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                1,
                2,
            ),
            ("     Summary [   0.005s] 1 test run: 1 passed, 0 skipped", 1, 0),
            (
                "     Summary [  61.2s] 9 tests run: 6 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 3 skipped",
                6,
                3,
            ),
            (
                "\x1b[32;1m     Summary\x1b[0m [   1.0s] \x1b[1m2\x1b[0m tests run: \x1b[1m2\x1b[0m passed, 0 skipped",
                2,
                0,
            ),
            (
                "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 45 filtered out",
                0,
                0,
            ),
            ("# pass 12\n", 12, 0),
            ("# fail 2\n", 0, 2),
            ("# cancelled 1", 0, 1),
            ("\u{1b}[34m\u{2139} pass 7\u{1b}[39m", 7, 0),
            ("# skipped 3", 0, 0),
            ("# tests 15", 0, 0),
            ("    # pass 12", 0, 0),
            ("# pass the salt", 0, 0),
            ("test rust ... ok", 0, 0),
            ("4 passed, 4 failed", 0, 0),
        ] {
            assert_eq!(Counts::of_line(line), Counts { passed, failed }, "{line}");
        }
    }
}
