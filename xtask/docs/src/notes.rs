//! What stands behind the options of a command, taken apart: paragraphs, and lines to be typed.

/// A part of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Prose, on one line.
    Paragraph(String),
    /// Lines that stand as they are: those that were indented.
    Code(Vec<String>),
}

/// By how many spaces lines are indented that stand as they are.
const CODE_INDENT: &str = "    ";

/// Takes a text apart. Empty lines part paragraphs.
pub(crate) fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut is_new = true;
    for line in text.lines() {
        if line.trim().is_empty() {
            is_new = true;
            continue;
        }
        match (line.strip_prefix(CODE_INDENT), parts.last_mut()) {
            (Some(code), Some(Part::Code(lines))) => lines.push(code.to_owned()),
            (Some(code), _) => parts.push(Part::Code(vec![code.to_owned()])),
            (None, Some(Part::Paragraph(prose))) if !is_new => {
                prose.push(' ');
                prose.push_str(line.trim());
            }
            (None, _) => parts.push(Part::Paragraph(line.trim().to_owned())),
        }
        is_new = false;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_joined_and_what_is_indented_stays_as_it_is() {
        let paragraph = |text: &str| Part::Paragraph(text.to_owned());
        assert_eq!(
            parts("One\ntwo.\n\nThree:\n\n    a  b\n    c\nfour"),
            [
                paragraph("One two."),
                paragraph("Three:"),
                Part::Code(vec!["a  b".to_owned(), "c".to_owned()]),
                paragraph("four"),
            ]
        );
        assert!(parts("").is_empty());
    }
}
