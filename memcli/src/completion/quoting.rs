//! How shells quote: what a word means that may not be finished, and how to write one.

/// Whose rules hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rules {
    /// Those of bash: a backslash between single quotes is one (Bash Reference Manual, 3.1.2).
    Bash,
    /// Those of fish: it takes the next character as it is there too.
    Fish,
}

/// In which quotes the end of a text stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Quotes {
    /// In none.
    #[default]
    None,
    /// Between `'`.
    Single,
    /// Between `"`.
    Double,
}

/// What a word means, and in which quotes its end stands.
pub(super) fn unquoted(word: &str, rules: Rules) -> (String, Quotes) {
    let mut reader = Reader::new(word, rules);
    let mut meaning = String::new();
    while let Some(read) = reader.next() {
        match read {
            Read::Plain(c) | Read::Quoted(c) => meaning.push(c),
            Read::Quote => {}
        }
    }
    (meaning, reader.quotes)
}

/// The words of a line of bash up to its end, as they were typed. A line that ends with a space ends with an empty word.
pub(super) fn words(line: &str) -> Vec<&str> {
    let mut reader = Reader::new(line, Rules::Bash);
    let mut words = Vec::new();
    let mut start = 0;
    loop {
        let at = reader.at();
        match reader.next() {
            Some(Read::Plain(c)) if c.is_ascii_whitespace() => {
                if start < at {
                    words.push(&line[start..at]);
                }
                start = reader.at();
            }
            Some(_) => {}
            None => {
                words.push(&line[start..]);
                return words;
            }
        }
    }
}

/// Writes a text so that bash takes it as it is, where these quotes are open in front of it. They stay open.
pub(super) fn quoted(text: &str, quotes: Quotes) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match quotes {
            Quotes::None if c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-./:=@%+,".contains(c) => {
                out.push('\\');
                out.push(c);
            }
            // The quotes are closed and opened again around it: between them nothing escapes.
            Quotes::Single if c == '\'' => out.push_str("'\\''"),
            // The `!` would call for history there, and a backslash before it would stay.
            Quotes::Double if c == '!' => out.push_str("\"\\!\""),
            Quotes::Double if "\"\\$`".contains(c) => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// What stands at a place of a line.
enum Read {
    /// A character that is not quoted.
    Plain(char),
    /// A character that is.
    Quoted(char),
    /// A quote or backslash that is no part of the meaning.
    Quote,
}

/// Reads a line a character at a time.
struct Reader<'a> {
    line: &'a str,
    rest: std::str::Chars<'a>,
    quotes: Quotes,
    rules: Rules,
}

impl<'a> Reader<'a> {
    fn new(line: &'a str, rules: Rules) -> Self {
        Self {
            line,
            rest: line.chars(),
            quotes: Quotes::None,
            rules,
        }
    }

    /// How many bytes were read.
    fn at(&self) -> usize {
        self.line.len() - self.rest.as_str().len()
    }

    fn next(&mut self) -> Option<Read> {
        let c = self.rest.next()?;
        Some(match (self.quotes, c) {
            (Quotes::None, '\'') => self.enter(Quotes::Single),
            (Quotes::None, '"') => self.enter(Quotes::Double),
            (Quotes::Single, '\'') | (Quotes::Double, '"') => self.enter(Quotes::None),
            (Quotes::None, '\\') => self.escaped(|_| true),
            (Quotes::Double, '\\') => self.escaped(|c| "\"\\$`".contains(c)),
            (Quotes::Single, '\\') if self.rules == Rules::Fish => self.escaped(|c| "'\\".contains(c)),
            (Quotes::None, c) => Read::Plain(c),
            (_, c) => Read::Quoted(c),
        })
    }

    fn enter(&mut self, quotes: Quotes) -> Read {
        self.quotes = quotes;
        Read::Quote
    }

    /// Behind a backslash: the character that it quotes, else the backslash itself. At the end of the line there is nothing to quote yet.
    fn escaped(&mut self, is_quoted: impl Fn(char) -> bool) -> Read {
        match self.rest.clone().next() {
            None => Read::Quote,
            Some(c) if is_quoted(c) => {
                self.rest.next();
                Read::Quoted(c)
            }
            Some(_) => Read::Quoted('\\'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_as_bash_does() {
        assert_eq!(words("memcli get build:4"), ["memcli", "get", "build:4"]);
        assert_eq!(words("memcli  get "), ["memcli", "get", ""]);
        assert_eq!(words("a 'b c' \"d e"), ["a", "'b c'", "\"d e"]);
        assert_eq!(words("a b\\ c d"), ["a", "b\\ c", "d"]);
        assert_eq!(words(""), [""]);
    }

    #[test]
    fn a_word_means_what_its_quotes_say_also_where_they_are_open() {
        let bash = |word: &str| unquoted(word, Rules::Bash);
        assert_eq!(bash("a\\ b"), ("a b".to_owned(), Quotes::None));
        assert_eq!(bash("a\"b c"), ("ab c".to_owned(), Quotes::Double));
        assert_eq!(bash("'it\\"), ("it\\".to_owned(), Quotes::Single));
        assert_eq!(bash("'it'\\''s'"), ("it's".to_owned(), Quotes::None));
        assert_eq!(bash("\"a\\$\\b\""), ("a$\\b".to_owned(), Quotes::None));
        assert_eq!(bash("a\\"), ("a".to_owned(), Quotes::None));
        assert_eq!(
            unquoted("'it\\'s", Rules::Fish),
            ("it's".to_owned(), Quotes::Single)
        );
    }

    #[test]
    fn what_is_quoted_means_the_same_in_all_quotes() {
        let nasty = "a b:c'd\"e$f`g\\h*i!j~k(l)ü#&;<>|{}[]?^";
        for (quotes, quote) in [(Quotes::None, ""), (Quotes::Single, "'"), (Quotes::Double, "\"")] {
            let word = format!("{quote}{}{quote}", quoted(nasty, quotes));
            assert_eq!(
                unquoted(&word, Rules::Bash),
                (nasty.to_owned(), Quotes::None),
                "{word}"
            );
            assert_eq!(words(&word).len(), 1, "{word}");
        }
        assert_eq!(quoted("build:42", Quotes::None), "build:42");
    }
}
