//! The manual pages: one for `memnode`, one for `memcli` and for each of its commands.
//!
//! The order of the sections and how they look is that of man-pages(7). Exit codes, environment and files, which the definitions of the
//! command lines do not know, come from [`memcli::manual`], [`memnode::config`] and [`crate::files`].

use clap::Command;
use roff::{Inline, Roff, bold, italic, roman};

use crate::entries::{self, Entry};
use crate::files::{FILES, HOME, SOCKET};
use crate::notes::{self, Part};

/// Where the rest of the documentation is.
const DOCUMENTATION: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/docs");

/// A manual page of section 1.
pub(crate) struct Page {
    /// Its name, such as `memcli-node-start`.
    pub(crate) name: String,
    /// The page, in roff.
    pub(crate) text: String,
}

impl Page {
    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.1", self.name)
    }
}

/// Whether a file of this name is a page that was written here.
pub(crate) fn is_page_of_ours(file_name: &str) -> bool {
    let name = file_name.strip_suffix(".1");
    name.is_some_and(|name| ["memcli", "memnode"].contains(&name) || name.starts_with("memcli-"))
}

/// All pages.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    let mut memcli = memcli::command();
    memcli.build();
    collect(&memcli, &[], &mut pages);
    let mut memnode = memnode::config::command();
    memnode.build();
    pages.push(page(&memnode, &Rest::of_memnode()));
    pages
}

/// Writes the page of a command, and those of the commands under it. `above` are the pages of the commands over it.
fn collect(command: &Command, above: &[String], pages: &mut Vec<Page>) {
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .collect();
    let see_also = above.iter().cloned().chain(below.iter().map(|below| name(below)));
    pages.push(page(
        command,
        &Rest::of_memcli(command, above.is_empty(), see_also),
    ));
    let above: Vec<String> = above.iter().cloned().chain([name(command)]).collect();
    for command in below {
        collect(command, &above, pages);
    }
}

fn name(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

/// What a page has behind the options.
struct Rest {
    notes: String,
    exit_codes: Vec<(u8, &'static str)>,
    environment: Vec<(&'static str, String)>,
    files: Vec<(String, &'static str)>,
    see_also: Vec<String>,
}

impl Rest {
    fn of_memcli(command: &Command, is_root: bool, see_also: impl Iterator<Item = String>) -> Self {
        // At the end of its help, memcli itself has what is a section of its own here.
        let notes = if is_root {
            memcli::manual::NOTES.to_owned()
        } else {
            command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        Self {
            notes,
            exit_codes: memcli::manual::exit_codes().collect(),
            environment: memcli::manual::ENVIRONMENT
                .map(|(name, meaning)| (name, meaning.replace('\n', " ")))
                .to_vec(),
            files: vec![
                (HOME.to_owned(), "The folder of the node, see memnode(1)."),
                (SOCKET.0.to_owned(), SOCKET.1),
            ],
            see_also: see_also.chain(["memnode".to_owned()]).collect(),
        }
    }

    fn of_memnode() -> Self {
        let files = FILES.map(|(name, meaning)| (format!("{HOME}/{name}"), meaning));
        Self {
            notes: memnode::config::NOTES.to_owned(),
            exit_codes: memnode::config::EXIT_CODES.to_vec(),
            environment: vec![(
                "MEMCLOUD_...",
                "Each setting has a variable of its own, which stands behind its option above.".to_owned(),
            )],
            files: files
                .into_iter()
                .chain([(SOCKET.0.to_owned(), SOCKET.1)])
                .collect(),
            see_also: vec!["memcli".to_owned(), "memcli-node-start".to_owned()],
        }
    }
}

fn page(command: &Command, rest: &Rest) -> Page {
    let mut roff = Roff::new();
    let name = name(command);
    let version = concat!("MemCloud ", env!("CARGO_PKG_VERSION"));
    // Without a date, which is an empty argument: a page is the same whenever it is made.
    roff.control(
        "TH",
        [&name.to_uppercase(), "1", "\"\"", version, "MemCloud Manual"],
    );
    roff.control("SH", ["NAME"])
        .text([roman(format!("{name} - {}", entries::summary(command)))]);
    synopsis(&mut roff, command);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in entries::description(command).split("\n\n") {
        roff.control("PP", []).text([roman(paragraph)]);
    }
    if command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            let tag = [bold(self::name(below)), roman("(1)")];
            roff.control("TP", [])
                .text(tag)
                .text([roman(entries::summary(below))]);
        }
    }
    for section in entries::sections(command) {
        roff.control("SH", [section.heading.to_uppercase().as_str()]);
        for entry in &section.entries {
            option(&mut roff, entry);
        }
    }
    write_rest(&mut roff, rest);
    Page {
        name,
        text: roff.render(),
    }
}

fn synopsis(roff: &mut Roff, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let behind = usage.strip_prefix(name).unwrap_or(usage);
    roff.control("SH", ["SYNOPSIS"]).text([bold(name), roman(behind)]);
}

/// An argument or option, with its default, its variable and the words that it takes.
fn option(roff: &mut Roff, entry: &Entry) {
    let mut tag = Vec::new();
    for flag in &entry.flags {
        if !tag.is_empty() {
            tag.push(roman(", "));
        }
        tag.push(bold(flag.clone()));
    }
    if !entry.value.is_empty() {
        let space = if entry.flags.is_empty() || entry.value.starts_with("[=") {
            ""
        } else {
            " "
        };
        tag.extend([roman(space), italic(entry.value.clone())]);
    }
    let mut text = entry.help.clone();
    if let Some(default) = &entry.default {
        text += &format!(" Default: {default}.");
    }
    if let Some(variable) = &entry.variable {
        text += &format!(" Environment: {variable}.");
    }
    roff.control("TP", []).text(tag).text([roman(text)]);
    for (word, meaning) in entry.words.iter().filter(|(_, meaning)| !meaning.is_empty()) {
        roff.control("RS", [])
            .control("TP", [])
            .text([bold(word.clone())])
            .text([roman(meaning.clone())])
            .control("RE", []);
    }
}

fn write_rest(roff: &mut Roff, rest: &Rest) {
    if !rest.notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for part in notes::parts(&rest.notes) {
            match part {
                Part::Paragraph(prose) => roff.control("PP", []).text([roman(prose)]),
                Part::Code(lines) => code(roff, &lines),
            };
        }
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in &rest.exit_codes {
        tagged(roff, bold(status.to_string()), meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in &rest.environment {
        tagged(roff, bold(*name), meaning);
    }
    roff.control("SH", ["FILES"]);
    for (path, meaning) in &rest.files {
        tagged(roff, italic(path.clone()), meaning);
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut references = Vec::new();
    for (index, name) in rest.see_also.iter().enumerate() {
        let comma = if index + 1 < rest.see_also.len() { ", " } else { "" };
        references.extend([bold(name.clone()), roman(format!("(1){comma}"))]);
    }
    roff.text(references);
    roff.control("PP", []).text([roman(DOCUMENTATION)]);
}

/// A paragraph with a word in front of it.
fn tagged(roff: &mut Roff, tag: Inline, text: &str) {
    roff.control("TP", []).text([tag]).text([roman(text)]);
}

/// Lines that stand as they are.
fn code<'a>(roff: &'a mut Roff, lines: &[String]) -> &'a mut Roff {
    roff.control("PP", []).control("RS", ["4"]).control("nf", []);
    for line in lines {
        roff.text([roman(line.clone())]);
    }
    roff.control("fi", []).control("RE", [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_all_sections_and_leads_to_its_neighbours() {
        let pages = pages();
        let page = |name: &str| &pages.iter().find(|page| page.name == name).unwrap().text;
        for section in [
            ".TH MEMCLI-STREAM 1 \"\" \"MemCloud ",
            ".SH NAME\nmemcli\\-stream \\- Store",
            ".SH SYNOPSIS\n\\fBmemcli stream\\fR [OPTIONS] [FILE]",
            ".SH ARGUMENTS\n.TP\n\\fI<FILE>\\fR",
            ".SH OPTIONS\n",
            ".SH \"OPTIONS OF EVERY COMMAND\"\n",
            ".SH NOTES\n",
            ".nf\ntail \\-f access.log | memcli stream\n",
            ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ndone",
            ".SH ENVIRONMENT\n",
            ".SH FILES\n",
            ".SH \"SEE ALSO\"\n\\fBmemcli\\fR(1), \\fBmemnode\\fR(1)",
        ] {
            assert!(
                page("memcli-stream").contains(section),
                "{section}\n{}",
                page("memcli-stream")
            );
        }
        assert!(page("memcli-peer").contains("\\fBmemcli\\-peer\\-update\\fR(1)"));
        assert!(page("memnode").contains("Environment: MEMCLOUD_DEFAULT_GRANT."));
        assert!(pages.iter().all(|page| is_page_of_ours(&page.file_name())));
    }
}
