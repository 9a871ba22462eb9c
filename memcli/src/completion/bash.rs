//! What bash tells of a line, and what it wants to hear.
//!
//! Bash ends words at `:` and `=` too (COMP_WORDBREAKS), and replaces only what stands behind the last of these, and behind an open quote: of `build:4` the
//! `4`. So it tells the line and that part, and gets for each name what has to stand in the place of the part.

use super::quoting::{Quotes, Rules, quoted, unquoted, words};

/// A line up to the cursor.
pub(super) struct Line<'a> {
    words: Vec<&'a str>,
    /// What the last word means up to the part that is replaced.
    kept: String,
    /// The quotes in which that part stands.
    quotes: Quotes,
}

impl<'a> Line<'a> {
    /// From what the script told: the line, and the part that is replaced. `None` where it told something else.
    pub(super) fn new(told: &'a [String]) -> Option<Self> {
        let [line, replaced] = told else { return None };
        let words = words(line);
        let (kept, quotes) = unquoted(words.last()?.strip_suffix(replaced.as_str())?, Rules::Bash);
        Some(Self { words, kept, quotes })
    }

    /// Whether the last word names the file of a redirection, which bash leaves to the completion of the command.
    pub(super) fn is_redirection(&self) -> bool {
        let operator = |word: &str| word.ends_with(['<', '>']);
        let before = self
            .words
            .len()
            .checked_sub(2)
            .and_then(|index| self.words.get(index));
        operator(&self.kept) || before.is_some_and(|word| operator(word))
    }

    /// What the words mean.
    pub(super) fn words(&self) -> Vec<String> {
        self.words
            .iter()
            .map(|word| unquoted(word, Rules::Bash).0)
            .collect()
    }

    /// What is to be inserted for each name. Bash shows no help.
    pub(super) fn quote(&self, names: &[(String, String)]) -> Vec<(String, String)> {
        let inserted = |name: &str| Some(quoted(name.strip_prefix(&self.kept)?, self.quotes));
        names
            .iter()
            .filter_map(|(name, _)| Some((inserted(name)?, String::new())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(line: &str, replaced: &str, name: &str) -> Vec<String> {
        let told = [line, replaced].map(str::to_owned);
        let names = Line::new(&told)
            .unwrap()
            .quote(&[(name.to_owned(), "help".to_owned())]);
        assert!(names.iter().all(|(_, help)| help.is_empty()));
        names.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn only_what_bash_replaces_is_inserted() {
        assert_eq!(inserted("memcli get build:4", "4", "build:42"), ["42"]);
        assert_eq!(
            inserted("memcli get build\\:4", "build\\:4", "build:42"),
            ["build:42"]
        );
        assert_eq!(
            inserted("memcli get --peer=Wo", "Wo", "--peer=Workshop"),
            ["Workshop"]
        );
        assert_eq!(inserted("memcli get ", "", "a"), ["a"]);
    }

    #[test]
    fn the_file_of_a_redirection_is_none_of_the_commands_words() {
        let is_redirection = |line: &str, replaced: &str| {
            Line::new(&[line, replaced].map(str::to_owned))
                .unwrap()
                .is_redirection()
        };
        assert!(is_redirection("memcli set k - < fi", "fi"));
        assert!(is_redirection("memcli get k 2>>fi", "fi"));
        assert!(!is_redirection("memcli get k", "k"));
        assert!(!is_redirection("memcli get k > file --str", "--str"));
    }

    #[test]
    fn it_is_quoted_as_the_word_began() {
        assert_eq!(inserted("memcli get my", "my", "my key"), ["my\\ key"]);
        assert_eq!(inserted("memcli get 'my", "my", "my key"), ["my key"]);
        assert_eq!(inserted("memcli get \"my", "my", "my $key"), ["my \\$key"]);
        assert_eq!(inserted("memcli get a\"b c", "b c", "ab cd"), ["b cd"]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert!(inserted("memcli get build:4", "4", "other:42").is_empty());
        assert!(Line::new(&["memcli".to_owned()]).is_none());
        assert!(Line::new(&["memcli get a".to_owned(), "b".to_owned()]).is_none());
    }
}
