//! Texts of the definitions as Markdown.

use crate::entries::Entry;
use crate::notes::{self, Part};

/// Prose as Markdown: what is typed stands in code, and what Markdown would take for a mark is escaped.
///
/// In code stands what the text itself has between backticks, commands between double quotes, options and variables.
pub(crate) fn prose(text: &str) -> String {
    // Every other piece lies between backticks.
    let pieces = text.split('`').enumerate();
    let pieces = pieces.map(|(index, piece)| {
        if index % 2 == 1 {
            code(piece)
        } else {
            commands(piece)
        }
    });
    pieces.collect()
}

/// A text in code. One that has backticks itself stands between two of them (CommonMark 6.1).
pub(crate) fn code(text: &str) -> String {
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

/// Code in a cell of a table, where a bar would end it even there (GitHub Flavored Markdown 4.10).
pub(crate) fn code_in_cell(text: &str) -> String {
    code(&text.replace('|', "\\|"))
}

/// The anchor of a heading, as GitHub makes it.
pub(crate) fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// What stands behind the options of a command.
pub(crate) fn notes(text: &str) -> String {
    let parts = notes::parts(text).into_iter().map(|part| match part {
        Part::Paragraph(text) => format!("{}\n", prose(&text)),
        Part::Code(lines) => format!("```sh\n{}\n```\n", lines.join("\n")),
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// An argument or option as an item of a list, with the words that it takes as a list below.
pub(crate) fn item(entry: &Entry) -> String {
    let mut text = format!("- {}", code(&typed(entry)));
    if !entry.help.is_empty() {
        text += &format!(": {}", prose(&entry.help));
    }
    if let Some(default) = &entry.default {
        text += &format!(" Default: {}.", self::default(default));
    }
    if let Some(variable) = &entry.variable {
        text += &format!(" Environment: {}.", code(variable));
    }
    text.push('\n');
    for (word, meaning) in &entry.words {
        let meaning = if meaning.is_empty() {
            String::new()
        } else {
            format!(": {}", prose(meaning))
        };
        text += &format!("  - {}{meaning}\n", code(word));
    }
    text
}

/// How an argument or option is typed.
pub(crate) fn typed(entry: &Entry) -> String {
    let flags = entry.flags.join(", ");
    let is_apart = !flags.is_empty() && !entry.value.is_empty() && !entry.value.starts_with("[=");
    format!("{flags}{}{}", if is_apart { " " } else { "" }, entry.value)
}

/// A default: in code, or in words where it is told in words.
pub(crate) fn default(text: &str) -> String {
    if text.contains(' ') {
        prose(text)
    } else {
        code(text)
    }
}

/// Puts commands between double quotes into code, and options and variables.
fn commands(text: &str) -> String {
    let pieces = text.split('"').collect::<Vec<_>>();
    // A quote without an end is no command.
    if pieces.len() % 2 == 0 {
        return words(text);
    }
    let pieces = pieces.iter().enumerate().map(|(index, piece)| match index % 2 {
        1 if ["memcli ", "memnode "].iter().any(|name| piece.starts_with(name)) => code(piece),
        1 => format!("\"{}\"", words(piece)),
        _ => words(piece),
    });
    pieces.collect()
}

fn words(text: &str) -> String {
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let start = word.len() - word.trim_start_matches('(').len();
    let end = word.trim_end_matches([',', ';', '.', ':', ')']).len().max(start);
    let (before, core, behind) = (&word[..start], &word[start..end], &word[end..]);
    let is_option = core
        .strip_prefix("--")
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
    let is_variable = core.starts_with(['$', '~'])
        || ["MEMCLOUD_", "XDG_", "NO_COLOR"]
            .iter()
            .any(|start| core.starts_with(start));
    if is_option || is_variable {
        format!("{before}{}{behind}", code(core))
    } else {
        word_escaped(word)
    }
}

fn word_escaped(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if "*_<>[]|\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stands_in_code_and_marks_are_escaped() {
        for (text, markdown) in [
            ("see `memcli logs`", "see `memcli logs`"),
            (
                "from \"memcli peer list\", or \"x\"",
                "from `memcli peer list`, or \"x\"",
            ),
            (
                "as --home (or --a=b), $HOME.",
                "as `--home` (or `--a=b`), `$HOME`.",
            ),
            ("*, ? and [a-z]", "\\*, ? and \\[a-z\\]"),
            ("`a_b` a_b", "`a_b` a\\_b"),
            ("-- and - stay", "-- and - stay"),
            ("one \" alone", "one \" alone"),
        ] {
            assert_eq!(prose(text), markdown);
        }
    }

    #[test]
    fn an_option_is_an_item_with_all_that_is_known_of_it() {
        let entry = Entry {
            flags: vec!["-m".to_owned(), "--mode".to_owned()],
            value: "<MODE>".to_owned(),
            help: "How.".to_owned(),
            default: Some("a free one".to_owned()),
            variable: Some("MODE".to_owned()),
            words: vec![
                ("a".to_owned(), "One".to_owned()),
                ("b".to_owned(), String::new()),
            ],
        };
        assert_eq!(
            item(&entry),
            "- `-m, --mode <MODE>`: How. Default: a free one. Environment: `MODE`.\n  - `a`: One\n  - `b`\n"
        );
    }

    #[test]
    fn headings_lead_where_github_looks_for_them() {
        assert_eq!(anchor("memcli node start"), "memcli-node-start");
        assert_eq!(anchor("default_grant"), "default_grant");
        assert_eq!(anchor("What it's for, and how"), "what-its-for-and-how");
    }
}
