//! The settings in `docs/configuration.md`: all that stands there between the two marks. The text around them is written by hand.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use memnode::config::{Setting, settings};

use crate::entries::{Entry, entry};
use crate::markdown::{anchor, code, code_in_cell, default, prose, typed};

/// The line behind which the settings begin.
const BEGIN: &str =
    "<!-- From here on written by `cargo xtask docs` from memnode/src/args.rs: change that. -->";

/// The line before which they end.
const END: &str = "<!-- Up to here. -->";

/// What the values are that a flag names so, and their units. The text before the settings says more of sizes and times.
const KINDS: [(&str, &str); 12] = [
    ("BOOL", "`true` or `false`"),
    ("DIR", "a folder"),
    ("FILE", "a file"),
    ("GROUP", "a group of users"),
    ("HOST:PORT", "addresses, `HOST:PORT`"),
    ("IP", "an IP address"),
    ("LEVEL", "a level, or several"),
    ("N", "a number"),
    ("NAME", "a name"),
    ("PORT", "a port, 0 to 65535"),
    ("SIZE", "a size"),
    ("TIME", "a time"),
];

/// The page with the settings as they are now.
///
/// # Errors
/// When the page has not got both marks, or a setting takes what no word of [`KINDS`] is for.
pub(crate) fn renewed(page: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("it has no line {BEGIN}"))?;
    let (_, behind) = rest
        .split_once(END)
        .with_context(|| format!("it has no line {END}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{behind}", all(&settings())?))
}

fn all(settings: &[Setting]) -> Result<String> {
    let mut headings: Vec<&str> = Vec::new();
    for setting in settings {
        let heading = heading_of(setting);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut text = "## At a glance\n\n| setting | default | what it is |\n|---|---|---|\n".to_owned();
    for setting in headings.iter().flat_map(|heading| under(heading, settings)) {
        let (name, entry) = (name(setting), entry(&setting.flag));
        // A string takes all that is written.
        let _ = writeln!(
            text,
            "| [{}](#{}) | {} | {} |",
            code(name),
            anchor(name),
            default_of(&entry),
            prose(first_sentence(&entry.help))
        );
    }
    for heading in headings {
        // Not the heading alone: there is a setting `memory` as well, and a heading of each has an anchor of its own.
        let _ = write!(text, "\n## Settings: {heading}\n");
        for setting in under(heading, settings) {
            one(&mut text, setting)?;
        }
    }
    Ok(text)
}

fn under<'a>(heading: &'a str, settings: &'a [Setting]) -> impl Iterator<Item = &'a Setting> {
    settings
        .iter()
        .filter(move |setting| heading_of(setting) == heading)
}

fn one(text: &mut String, setting: &Setting) -> Result<()> {
    let entry = entry(&setting.flag);
    let key = setting
        .key
        .as_deref()
        .map_or_else(|| "none".to_owned(), code_in_cell);
    let _ = write!(
        text,
        "\n### {}\n\n{}\n\n| flag | variable | key | takes | default |\n|---|---|---|---|---|\n| {} | {} | {key} | {} | {} |\n",
        name(setting),
        prose(&entry.help),
        code_in_cell(&typed(&entry)),
        code_in_cell(&setting.variable),
        kind(setting)?,
        default_of(&entry),
    );
    Ok(())
}

/// What a setting is called: as its key is, or would be.
fn name(setting: &Setting) -> &str {
    setting.flag.get_id().as_str()
}

fn heading_of(setting: &Setting) -> &str {
    setting.flag.get_help_heading().unwrap_or("Other")
}

fn default_of(entry: &Entry) -> String {
    entry
        .default
        .as_deref()
        .map_or_else(|| "none".to_owned(), default)
}

fn kind(setting: &Setting) -> Result<String> {
    let value = setting.flag.get_value_names().and_then(|names| names.first());
    let value = value.with_context(|| format!("the setting {} does not say what it takes", name(setting)))?;
    let (_, kind) = KINDS.iter().find(|(name, _)| *name == value.as_str()).with_context(|| {
        format!("the setting {} takes {value}, of which KINDS in xtask/docs/src/configuration.rs does not say what it is", name(setting))
    })?;
    let is_list = setting.flag.get_value_delimiter().is_some();
    Ok(if is_list {
        format!(
            "a list of {}",
            kind.trim_start_matches("a ").trim_start_matches("addresses, ")
        )
    } else {
        (*kind).to_owned()
    })
}

fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |end| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_renewed_and_the_rest_is_kept() {
        let page = renewed(&format!("before\n{BEGIN}\nold\n{END}\nbehind\n")).unwrap();
        assert!(
            page.starts_with(&format!("before\n{BEGIN}\n\n## At a glance\n")),
            "{page}"
        );
        assert!(page.ends_with(&format!("\n{END}\nbehind\n")), "{page}");
        assert!(!page.contains("old\n"));
        assert_eq!(renewed(&page).unwrap(), page);
        for setting in [
            "\n| [`default_grant`](#default_grant) | `50%` | ",
            "\n### default_grant\n",
            "| `--default-grant <SIZE>` | `MEMCLOUD_DEFAULT_GRANT` | `default_grant` | a size | `50%` |\n",
            "| `--home <DIR>` | `MEMCLOUD_HOME` | none | a folder | `~/.memcloud` |\n",
            "| `--peers <HOST:PORT>` | `MEMCLOUD_PEERS` | `peers` | a list of `HOST:PORT` | none |\n",
        ] {
            assert!(page.contains(setting), "{setting} is not in {page}");
        }
    }

    #[test]
    fn a_page_without_marks_is_not_overwritten() {
        assert!(renewed("a page").unwrap_err().to_string().contains(BEGIN));
        assert!(renewed(BEGIN).unwrap_err().to_string().contains(END));
    }
}
