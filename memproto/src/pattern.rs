//! Patterns of `keys`: globs as Redis has them.
//!
//! A pattern is compiled once for a listing and then compared with each key by simulating all of its ways to match at the
//! same time, a bit for each (the bit-parallel automaton of Baeza-Yates and Gonnet, "A new approach to text searching",
//! 1992, with `*` as a state that may stay). So there is nothing to go back to, and no pattern is slow.

use std::ops::RangeInclusive;

use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::limits::{PATTERN_LEN_MAX, PATTERNS_LEN_MAX, PATTERNS_MAX};

/// Words of bits for the states of the longest pattern: one before each of its characters, and one behind the last.
const STATE_WORDS_MAX: usize = PATTERN_LEN_MAX / 64 + 1;

/// Checks that a listing can have these patterns: 1 to [`PATTERNS_MAX`], each of at most [`PATTERN_LEN_MAX`] bytes, and
/// [`PATTERNS_LEN_MAX`] together.
///
/// # Errors
/// `InvalidArgument` for none, `TooLarge` for too many or too long ones.
pub fn check_patterns<P: AsRef<str>>(patterns: &[P]) -> ApiResult<()> {
    let too_large = |message: String| Err(ApiError::new(ErrorCode::TooLarge, message));
    if patterns.is_empty() {
        return Err(ApiError::invalid(
            "a listing has one pattern or more, such as '*'",
        ));
    }
    check_count(patterns.len())?;
    let lens = || patterns.iter().map(|pattern| pattern.as_ref().len());
    if let Some(len) = lens().find(|&len| len > PATTERN_LEN_MAX) {
        return too_large(format!(
            "a pattern of {len} bytes, at most {PATTERN_LEN_MAX} are allowed"
        ));
    }
    let len = lens().sum::<usize>();
    if len > PATTERNS_LEN_MAX {
        return too_large(format!(
            "patterns of {len} bytes together, at most {PATTERNS_LEN_MAX} are allowed: list in several steps"
        ));
    }
    Ok(())
}

/// Checks a number of patterns, before there is memory for them.
pub(crate) fn check_count(count: usize) -> ApiResult<()> {
    if count <= PATTERNS_MAX {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::TooLarge,
        format!("{count} patterns at once, at most {PATTERNS_MAX} are allowed"),
    ))
}

/// The patterns of a listing, compiled.
#[derive(Clone, Debug)]
pub struct Globs(Vec<Glob>);

impl Globs {
    /// Compiles patterns.
    ///
    /// # Errors
    /// As [`check_patterns`].
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> ApiResult<Self> {
        check_patterns(patterns)?;
        Ok(Self(
            patterns
                .iter()
                .map(|pattern| Glob::compile(pattern.as_ref()))
                .collect(),
        ))
    }

    /// Whether a key matches any of the patterns.
    pub fn match_key(&self, key: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(key))
    }
}

/// A pattern, compiled.
///
/// `*` stands for any number of characters, `?` for one, `[a-z]` for one of a set or range, `[^a-z]` for one outside
/// it, and `\` takes the next character as it is, also in a set. A `[` without `]` runs to the end of the pattern. Every text
/// is a pattern. Matching is by Unicode scalar value, and case matters.
#[derive(Clone, Debug)]
pub struct Glob {
    /// What every match begins with: it settles most keys with one comparison.
    prefix: String,
    /// How many characters the rest of the pattern takes without its `*`. State `i` means that `i` of them were matched.
    len: usize,
    /// The states that may stay as they are, whatever comes: those in front of which a `*` stands.
    stay: Vec<u64>,
    /// Where the scalar values begin that no part of the pattern tells apart, ascending from 0.
    classes: Vec<u32>,
    /// For each class, [`words`](Self::words) words: the states from which its characters lead to the next one.
    advance: Vec<u64>,
}

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// `TooLarge` for more than [`PATTERN_LEN_MAX`] bytes.
    pub fn new(pattern: &str) -> ApiResult<Self> {
        check_patterns(&[pattern])?;
        Ok(Self::compile(pattern))
    }

    /// Whether a key matches. Each of its characters costs one step for every 64 characters of the pattern, so at most 17.
    pub fn matches(&self, key: &str) -> bool {
        let Some(rest) = key.strip_prefix(&*self.prefix) else {
            return false;
        };
        let words = self.words();
        let (last_word, last_bit) = (self.len / 64, 1 << (self.len % 64));
        let ends_with_star = self.stay[last_word] & last_bit != 0;
        let mut states = [0u64; STATE_WORDS_MAX];
        let states = &mut states[..words];
        states[0] = 1;
        for c in rest.chars() {
            if ends_with_star && states[last_word] & last_bit != 0 {
                return true;
            }
            let class = self.classes.partition_point(|&start| start <= u32::from(c)) - 1;
            let advance = &self.advance[class * words..][..words];
            let (mut carry, mut any) = (0, 0);
            for ((state, advance), stay) in states.iter_mut().zip(advance).zip(&self.stay) {
                let moved = *state & advance;
                *state = (moved << 1) | carry | (*state & stay);
                carry = moved >> 63;
                any |= *state;
            }
            if any == 0 {
                return false;
            }
        }
        states[last_word] & last_bit != 0
    }

    fn compile(pattern: &str) -> Self {
        let Parsed {
            prefix,
            elements,
            stars,
        } = parse(pattern);
        let words = elements.len() / 64 + 1;
        let mut stay = vec![0; words];
        for at in stars {
            stay[at / 64] |= 1 << (at % 64);
        }
        let mut classes = vec![0];
        for range in elements.iter().flat_map(|element| &element.ranges) {
            classes.push(u32::from(*range.start()));
            classes.push(u32::from(*range.end()) + 1);
        }
        classes.sort_unstable();
        classes.dedup();
        let mut advance = vec![0; classes.len() * words];
        for (class, &start) in classes.iter().enumerate() {
            for (at, element) in elements.iter().enumerate() {
                if element.takes(start) {
                    advance[class * words + at / 64] |= 1 << (at % 64);
                }
            }
        }
        Self {
            prefix,
            len: elements.len(),
            stay,
            classes,
            advance,
        }
    }

    fn words(&self) -> usize {
        self.stay.len()
    }
}

/// What stands for one character.
#[derive(Default)]
struct Element {
    ranges: Vec<RangeInclusive<char>>,
    /// It stands for what is in none of the ranges.
    is_negated: bool,
}

impl Element {
    fn literal(c: char) -> Self {
        Self {
            ranges: vec![c..=c],
            is_negated: false,
        }
    }

    fn any() -> Self {
        Self {
            ranges: Vec::new(),
            is_negated: true,
        }
    }

    fn takes(&self, scalar: u32) -> bool {
        let mut ranges = self.ranges.iter();
        let is_in =
            ranges.any(|range| (u32::from(*range.start())..=u32::from(*range.end())).contains(&scalar));
        is_in != self.is_negated
    }
}

struct Parsed {
    prefix: String,
    /// What follows the prefix.
    elements: Vec<Element>,
    /// In front of which of the elements a `*` stands; that of their number is behind the last.
    stars: Vec<usize>,
}

fn parse(pattern: &str) -> Parsed {
    let mut parsed = Parsed {
        prefix: String::new(),
        elements: Vec::new(),
        stars: Vec::new(),
    };
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let element = match c {
            '*' => {
                parsed.stars.push(parsed.elements.len());
                continue;
            }
            '?' => Element::any(),
            '[' => parse_set(&mut chars),
            c => {
                let literal = unescaped(c, &mut chars);
                if parsed.elements.is_empty() && parsed.stars.is_empty() {
                    parsed.prefix.push(literal);
                    continue;
                }
                Element::literal(literal)
            }
        };
        parsed.elements.push(element);
    }
    parsed
}

/// Reads a set, from behind its `[` to behind its `]`.
fn parse_set(chars: &mut std::str::Chars<'_>) -> Element {
    let mut set = Element::default();
    if chars.as_str().starts_with('^') {
        set.is_negated = true;
        chars.next();
    }
    while let Some(c) = chars.next().filter(|&c| c != ']') {
        let low = unescaped(c, chars);
        let mut ahead = chars.clone();
        // A `-` in front of the `]` is one of the set, not a range.
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(c)) if c != ']' => {
                *chars = ahead;
                unescaped(c, chars)
            }
            _ => low,
        };
        set.ranges.push(low.min(high)..=low.max(high));
    }
    set
}

/// The character that is meant: behind a `\` the next one, else the one that was read.
fn unescaped(read: char, chars: &mut std::str::Chars<'_>) -> char {
    match read {
        '\\' => chars.next().unwrap_or(read),
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Glob::new(pattern).unwrap().matches(key)
    }

    #[test]
    fn globs_match_as_in_redis() {
        let cases = [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-]llo", "h-llo", true),
            ("h[a\\-c]llo", "hbllo", false),
            ("h[\\]-a]llo", "h_llo", true),
            ("h[Z-\\]]llo", "h[llo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("user:*:name", "user:12:name", true),
            ("user:*:name", "user:12:names", false),
            ("user:\\*", "user:12", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("a**", "a", true),
            ("gr?n", "grün", true),
            ("gr[^ü]n", "grün", false),
            ("[а-я]*", "ключ", true),
            ("[", "[", false),
            ("[abc", "b", true),
            ("[]", "", false),
            ("[^]", "x", true),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(matches(pattern, key), expected, "{pattern:?} against {key:?}");
        }
    }

    #[test]
    fn the_longest_patterns_and_keys_match() {
        let stars = "*a".repeat(PATTERN_LEN_MAX / 2);
        assert!(matches(&stars, &"a".repeat(1_024)));
        assert!(!matches(&stars, &"a".repeat(511)));
        let any = "?".repeat(PATTERN_LEN_MAX);
        assert!(matches(&any, &"x".repeat(1_024)));
        assert!(!matches(&any, &"x".repeat(1_023)));
        // What matchers that go back take the square of the lengths for.
        let almost = format!("*{}b", "a".repeat(500));
        assert!(!matches(&almost, &"a".repeat(1_024)));
        assert!(matches(&almost, &format!("{}b", "a".repeat(1_023))));
    }

    #[test]
    fn a_key_that_matches_any_of_several_patterns_matches() {
        let globs = Globs::new(&["user:*", "tmp:?"]).unwrap();
        for (key, expected) in [("user:1", true), ("tmp:1", true), ("tmp:12", false), ("", false)] {
            assert_eq!(globs.match_key(key), expected, "{key}");
        }
    }

    #[test]
    fn too_many_and_too_long_patterns_are_refused() {
        let code = |patterns: &[String]| Globs::new(patterns).map(drop).unwrap_err().code;
        let long = |len: usize, count: usize| vec!["p".repeat(len); count];
        assert_eq!(code(&[]), ErrorCode::InvalidArgument);
        assert_eq!(code(&long(1, PATTERNS_MAX + 1)), ErrorCode::TooLarge);
        assert_eq!(code(&long(PATTERN_LEN_MAX + 1, 1)), ErrorCode::TooLarge);
        assert_eq!(code(&long(PATTERN_LEN_MAX, 5)), ErrorCode::TooLarge);
        assert!(Globs::new(&long(PATTERN_LEN_MAX, 4)).is_ok());
        assert!(Globs::new(&long(PATTERNS_LEN_MAX / PATTERNS_MAX, PATTERNS_MAX)).is_ok());
    }

    /// All ways to match, one after the other: slow, and plainly right.
    fn matches_plainly(pattern: &str, key: &[char]) -> bool {
        let mut chars = pattern.chars();
        let Some(first) = chars.next() else {
            return key.is_empty();
        };
        if first == '*' {
            return (0..=key.len()).any(|taken| matches_plainly(chars.as_str(), &key[taken..]));
        }
        let element = match first {
            '?' => Element::any(),
            '[' => parse_set(&mut chars),
            c => Element::literal(unescaped(c, &mut chars)),
        };
        key.split_first()
            .is_some_and(|(&c, rest)| element.takes(c.into()) && matches_plainly(chars.as_str(), rest))
    }

    proptest! {
        #[test]
        fn all_ways_to_match_are_found(pattern in r"([ab*?\\ü]|\[\^?[ab-]{0,3}\]){0,9}", key in "[abcü-]{0,9}") {
            let chars: Vec<char> = key.chars().collect();
            prop_assert_eq!(matches(&pattern, &key), matches_plainly(&pattern, &chars));
        }

        #[test]
        fn every_text_is_a_pattern(pattern in ".{0,80}", key in ".{0,80}") {
            let _ = matches(&pattern, &key);
        }

        #[test]
        fn patterns_across_words_match_what_they_were_made_of(key in "[a-d]{0,300}", stars in any::<u64>()) {
            let mut pattern = String::new();
            for (at, c) in key.chars().enumerate() {
                if stars >> (at % 64) & 1 == 1 {
                    pattern.push('*');
                }
                pattern.push(c);
            }
            prop_assert!(matches(&pattern, &key));
            prop_assert!(!matches(&pattern, &(key + "e")));
        }
    }
}
