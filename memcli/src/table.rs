//! Tables and lists of fields that fit the terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// The width where there is no terminal to ask, and the least one that tables are laid out for.
const WIDTH_DEFAULT: u16 = 80;

/// Blanks between two columns.
const GAP: u16 = 2;

/// The width to fill: that of the terminal on stdout, else 80 columns.
pub(crate) fn width() -> u16 {
    Table::new().width().unwrap_or(WIDTH_DEFAULT)
}

/// A table without lines: header in capitals, columns as wide as their content; where that is wider than `width`,
/// the widest cells are broken into several lines.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    if let Some(last) = table.column_mut(N - 1) {
        last.set_padding((0, 0));
    }
    table.trim_fmt()
}

/// The widest line that `rows` take when nothing is broken.
pub(crate) fn natural_width<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> usize {
    let mut table = Table::new();
    table.set_header(header).add_rows(rows.to_vec());
    let columns: u16 = table.column_max_content_widths().iter().sum();
    usize::from(columns) + usize::from(GAP) * (N - 1)
}

/// Names and values below each other, the values aligned.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("  {name:width$}  {value}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let rows = vec![
            ["a".to_owned(), "long".to_owned()],
            ["bcd".to_owned(), "x".to_owned()],
        ];
        assert_eq!(natural_width(["N", "V"], &rows), 9);
        assert_eq!(table(["N", "V"], rows, 80), "N    V\na    long\nbcd  x");
    }

    #[test]
    fn fields_are_aligned() {
        assert_eq!(
            fields([("id", "1".to_owned()), ("name", "b".to_owned())]),
            "  id    1\n  name  b"
        );
    }
}
