//! Patterns of `keys`: globs as Redis has them.

/// Tells whether a key matches a pattern.
///
/// `*` stands for any number of characters, `?` for one, `[a-z]` for one of a set or range, `[^a-z]` for one outside
/// it, and `\` takes the next character as it is. A `[` without `]` runs to the end of the pattern. Matching is by
/// Unicode scalar value and case matters. Time is at most the product of the two lengths.
pub fn matches(pattern: &str, key: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let key: Vec<char> = key.chars().collect();
    let (mut p, mut k) = (0, 0);
    // Where to go on when a comparison fails: just behind the last `*`, which then takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while k < key.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            retry = Some((p, k));
        } else if let Some(next) = match_one(&pattern, p, key[k]) {
            p = next;
            k += 1;
        } else if let Some((after_star, taken)) = retry {
            p = after_star;
            k = taken + 1;
            retry = Some((after_star, k));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// The place in the pattern behind the element at `p`, where that element matches `c`.
fn match_one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match_set(pattern, p + 1, c),
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        literal => (literal == c).then_some(p + 1),
    }
}

/// Matches the set that begins at `p`, just behind its `[`.
fn match_set(pattern: &[char], mut p: usize, c: char) -> Option<usize> {
    let negated = pattern.get(p) == Some(&'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    while p < pattern.len() && pattern[p] != ']' {
        if pattern[p] == '\\' && p + 1 < pattern.len() {
            p += 1;
        }
        let low = pattern[p];
        let is_range = pattern.get(p + 1) == Some(&'-') && pattern.get(p + 2).is_some_and(|&end| end != ']');
        if is_range {
            let high = pattern[p + 2];
            found |= (low.min(high)..=low.max(high)).contains(&c);
            p += 3;
        } else {
            found |= low == c;
            p += 1;
        }
    }
    (found != negated).then_some((p + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::matches;

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
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("user:*:name", "user:12:name", true),
            ("user:*:name", "user:12:names", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("gr?n", "grün", true),
            ("[", "[", false),
            ("[abc", "b", true),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(matches(pattern, key), expected, "{pattern:?} against {key:?}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
        assert!(!matches(&format!("{}b", "*a".repeat(200)), &"a".repeat(1_000)));
    }
}
