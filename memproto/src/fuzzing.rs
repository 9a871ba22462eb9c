//! What the fuzz targets of this crate do with their input.
//!
//! Compiled for fuzzing (`--cfg fuzzing`, which cargo-fuzz sets) and for tests alone: no program has any of it. Each public
//! function is the body of the target of its name in `fuzz/fuzz_targets`. It takes any bytes, and panics where something that is
//! promised does not hold. The tests below run the same functions over `fuzz/corpus`.
//!
//! The bodies lie beside what they try: [`crate::local`], [`crate::peer`] and [`crate::tree`] have a module of this name each.

pub use crate::local::fuzzing::{local_batches, local_frames};
pub use crate::peer::fuzzing::{peer_handshake, peer_link, peer_messages, peer_pairing, peer_records};
pub use crate::tree::fuzzing::tree_index;

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/script.rs"]
pub(crate) mod script;

use crate::pattern::Glob;

/// The most characters of a key and of a pattern together that are compared: the naive matcher takes their product.
const GLOB_CHARS_MAX: usize = 512;

/// Matches a key against a glob, and again as plainly as the rules can be written down. The input is the pattern, a zero
/// byte, and the key.
///
/// That matching ends soon is for the fuzzer's own deadline to see.
pub fn glob(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, key) = text.split_once('\0').unwrap_or((text, text));
    let Ok(glob) = Glob::new(pattern) else {
        return;
    };
    let found = glob.matches(key);
    let (pattern, key): (Vec<char>, Vec<char>) = (pattern.chars().collect(), key.chars().collect());
    if pattern.len() + key.len() <= GLOB_CHARS_MAX {
        assert_eq!(found, matches_plainly(&elements(&pattern), &key), "{text:?}");
    }
}

/// One element of a glob.
enum Element {
    /// `*`
    Any,
    /// `?`
    One,
    /// A character that stands for itself.
    Literal(char),
    /// `[...]`: the ranges, and whether it is a character outside of them that is meant.
    Set(Vec<(char, char)>, bool),
}

/// A glob, taken apart.
fn elements(pattern: &[char]) -> Vec<Element> {
    let (mut elements, mut rest) = (Vec::new(), pattern);
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        elements.push(match (first, rest) {
            ('*', _) => Element::Any,
            ('?', _) => Element::One,
            ('\\', &[escaped, ref behind @ ..]) => {
                rest = behind;
                Element::Literal(escaped)
            }
            ('[', inside) => {
                let (set, behind) = set(inside);
                rest = behind;
                set
            }
            (literal, _) => Element::Literal(literal),
        });
    }
    elements
}

/// The set that begins behind a `[`, and what stands behind its `]`.
fn set(mut rest: &[char]) -> (Element, &[char]) {
    let is_negated = rest.first() == Some(&'^');
    rest = &rest[usize::from(is_negated)..];
    let mut ranges = Vec::new();
    while let Some((low, behind)) = taken(rest).filter(|_| rest[0] != ']') {
        let high = match behind {
            ['-', upper @ ..] => taken(upper).filter(|_| upper[0] != ']'),
            _ => None,
        };
        let (high, behind) = high.unwrap_or((low, behind));
        ranges.push((low.min(high), low.max(high)));
        rest = behind;
    }
    // Its end, unless that is the end of the pattern.
    rest = rest.get(1..).unwrap_or_default();
    (Element::Set(ranges, is_negated), rest)
}

/// The character that is meant at the beginning, be it one behind a `\`, and what stands behind it.
fn taken(rest: &[char]) -> Option<(char, &[char])> {
    match rest {
        [] => None,
        ['\\', escaped, behind @ ..] => Some((*escaped, behind)),
        [first, behind @ ..] => Some((*first, behind)),
    }
}

/// Fills the table of which beginning of the pattern matches which beginning of the key.
fn matches_plainly(pattern: &[Element], key: &[char]) -> bool {
    // `row[k]`: whether what came of the pattern so far matches the first `k` characters.
    let mut row: Vec<bool> = (0..=key.len()).map(|taken| taken == 0).collect();
    for element in pattern {
        let mut next = vec![false; row.len()];
        for taken in 0..=key.len() {
            let before = taken.checked_sub(1);
            next[taken] = match element {
                Element::Any => row[taken] || before.is_some_and(|before| next[before]),
                one => before.is_some_and(|before| row[before] && is_one(one, key[before])),
            };
        }
        row = next;
    }
    row[key.len()]
}

/// Whether an element that stands for one character stands for this one.
fn is_one(element: &Element, c: char) -> bool {
    match element {
        Element::Any | Element::One => true,
        Element::Literal(literal) => *literal == c,
        Element::Set(ranges, is_negated) => {
            ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != *is_negated
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::replay::replay;
    use super::*;

    #[test]
    fn the_corpus_of_local_frames_passes() {
        replay("local_frames", local_frames);
    }

    #[test]
    fn the_corpus_of_local_batches_passes() {
        replay("local_batches", local_batches);
    }

    #[test]
    fn the_corpus_of_peer_messages_passes() {
        replay("peer_messages", peer_messages);
    }

    #[test]
    fn the_corpus_of_peer_handshake_passes() {
        replay("peer_handshake", peer_handshake);
    }

    #[test]
    fn the_corpus_of_peer_records_passes() {
        replay("peer_records", peer_records);
    }

    #[test]
    fn the_corpus_of_peer_pairing_passes() {
        replay("peer_pairing", peer_pairing);
    }

    #[test]
    fn the_corpus_of_peer_link_passes() {
        replay("peer_link", peer_link);
    }

    proptest! {
        /// Where a fuzzer has not been for long. The first byte chooses the way, so that each has its share.
        #[test]
        fn any_records_and_pairings_pass(way in 0_u8..4, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let input = [&[way], &bytes[..]].concat();
            peer_records(&input);
            peer_pairing(&input);
        }
    }

    #[test]
    fn the_corpus_of_tree_index_passes() {
        replay("tree_index", tree_index);
    }

    #[test]
    fn both_ends_of_a_range_may_be_escaped() {
        for (pattern, key) in [
            (r"[\[-\]]", r"\"),
            (r"[Z-\]]", "["),
            (r"[Z-\\]", "["),
            (r"[\]-a]", "_"),
            (r"[a-\", r"^"),
        ] {
            let pattern: Vec<char> = pattern.chars().collect();
            let key: Vec<char> = key.chars().collect();
            assert!(matches_plainly(&elements(&pattern), &key), "{pattern:?} {key:?}");
            glob(
                &[
                    String::from_iter(pattern).as_bytes(),
                    b"\0",
                    String::from_iter(key).as_bytes(),
                ]
                .concat(),
            );
        }
    }

    #[test]
    fn the_corpus_of_glob_passes() {
        replay("glob", glob);
    }
}
