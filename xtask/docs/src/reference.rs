//! `docs/cli.md`: everything that can be typed.

use std::fmt::Write as _;

use clap::Command;

use crate::entries::{Section, description, sections, summary};
use crate::files::{FILES, HOME, SOCKET};
use crate::markdown::{anchor, code, item, notes, prose};

/// What stands at the head of the page. The rest is made from the definitions.
const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from memcli/src/cli.rs and memnode/src/args.rs: change those. -->

# Command line reference

Everything that can be typed behind `memcli` and `memnode`. The same stands in the manual pages (`man memcli-set`) and, for each
command, in its `--help`. How things are done with them is shown in the [README](../README.md) and the [guides](guides/).

In what follows `<KEY>` is to be replaced, `[...]` may be left out, and `...` behind something means that it may be repeated. Options may
stand before or behind the arguments. A size is a number of bytes, or has a unit: `512kb`, `4gb`, `1.5tb`; all are binary, so `1gb` is
1024 * 1024 * 1024 bytes. A time has a unit: `500ms`, `30s`, `10m`, `2h`, `7days`.
";

/// The heading of the options that every command takes.
const COMMON: &str = "Options of every command";

/// The page.
pub(crate) fn page() -> String {
    let mut memcli = memcli::command();
    memcli.build();
    let mut commands = Vec::new();
    collect(&memcli, &mut commands);
    let mut page = HEAD.to_owned();
    contents(&mut page, &commands);
    of_memcli(&mut page, &memcli);
    for command in commands {
        of_command(&mut page, command);
    }
    of_memnode(&mut page);
    page
}

/// All commands below one, each before those below it.
fn collect<'a>(command: &'a Command, commands: &mut Vec<&'a Command>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        commands.push(below);
        collect(below, commands);
    }
}

/// How a command is typed, without what stands behind it.
fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

fn link(heading: &str) -> String {
    format!("[{}](#{})", code(heading), anchor(heading))
}

fn contents(page: &mut String, commands: &[&Command]) {
    page.push_str("\n## Contents\n\n| | |\n|---|---|\n");
    row(
        page,
        &link("memcli"),
        "what all of its commands have in common: options, exit codes, environment, files",
    );
    for command in commands {
        row(page, &link(name(command)), &prose(&summary(command)));
    }
    row(page, &link("memnode"), "the daemon, with all of its settings");
}

fn row(page: &mut String, left: &str, right: &str) {
    // A string takes all that is written.
    let _ = writeln!(page, "| {left} | {right} |");
}

fn of_memcli(page: &mut String, command: &Command) {
    heading(page, 2, "memcli");
    usage(page, command);
    page.push_str(&notes(memcli::manual::NOTES));
    for section in sections(command) {
        let common = section.heading == COMMON;
        subsection(
            page,
            &section,
            if common { COMMON } else { "Options of memcli alone" },
        );
    }
    heading(page, 3, "Exit codes");
    exit_codes(page, memcli::manual::exit_codes());
    heading(page, 3, "Environment");
    for (name, meaning) in memcli::manual::ENVIRONMENT {
        let _ = writeln!(page, "- {}: {}.", code(name), prose(&meaning.replace('\n', " ")));
    }
    heading(page, 3, "Files");
    files(
        page,
        [
            (
                HOME.to_owned(),
                "The folder of the node; what is in it stands [below](#files-of-memnode).",
            ),
            (SOCKET.0.to_owned(), SOCKET.1),
        ],
    );
}

fn of_command(page: &mut String, command: &Command) {
    heading(page, 2, name(command));
    usage(page, command);
    let _ = writeln!(page, "{}", prose(&description(command)));
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .collect();
    if !below.is_empty() {
        page.push('\n');
        for below in below {
            let _ = writeln!(page, "- {}: {}", link(name(below)), prose(&summary(below)));
        }
    }
    for section in sections(command) {
        if section.heading != COMMON {
            items(page, &section, Some(&section.heading));
        }
    }
    if let Some(text) = command.get_after_help() {
        let _ = write!(page, "\n{}", notes(&text.to_string()));
    }
}

fn of_memnode(page: &mut String) {
    let mut command = memnode::config::command();
    command.build();
    heading(page, 2, "memnode");
    usage(page, &command);
    let _ = writeln!(page, "{}\n", prose(&description(&command)));
    page.push_str(&notes(memnode::config::NOTES));
    page.push_str("\nWhich settings there are by their keys, and what to choose, is told in [configuration.md](configuration.md).\n");
    for section in sections(&command) {
        let title = if section.heading == "Options" {
            "Help"
        } else {
            &section.heading
        };
        subsection(page, &section, &format!("{title} of memnode"));
    }
    heading(page, 3, "Exit codes of memnode");
    exit_codes(page, memnode::config::EXIT_CODES.into_iter());
    heading(page, 3, "Files of memnode");
    let _ = writeln!(
        page,
        "In {HOME}, or the folder that `--home` names:\n",
        HOME = code(HOME)
    );
    files(page, FILES.map(|(name, meaning)| (name.to_owned(), meaning)));
    let _ = writeln!(page, "\nAnd the socket, {}: {}", code(SOCKET.0), prose(SOCKET.1));
}

fn heading(page: &mut String, level: usize, text: &str) {
    let _ = writeln!(page, "\n{} {text}\n", "#".repeat(level));
}

fn usage(page: &mut String, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(
        page,
        "```sh\n{}\n```\n",
        usage.trim_start_matches("Usage:").trim()
    );
}

fn subsection(page: &mut String, section: &Section, title: &str) {
    let _ = write!(page, "\n### {title}\n");
    items(page, section, None);
}

/// The entries of a section, without `--help`, which every command has, and what they are where no heading says it.
fn items(page: &mut String, section: &Section, label: Option<&str>) {
    let mut entries = section
        .entries
        .iter()
        .filter(|entry| !entry.flags.contains(&"--help".to_owned()))
        .peekable();
    match label {
        _ if entries.peek().is_none() => return,
        Some(label) => {
            let _ = writeln!(page, "\n{label}:\n");
        }
        None => page.push('\n'),
    }
    for entry in entries {
        page.push_str(&item(entry));
    }
}

fn exit_codes(page: &mut String, codes: impl Iterator<Item = (u8, &'static str)>) {
    page.push_str("| code | meaning |\n|---|---|\n");
    for (code, meaning) in codes {
        row(page, &code.to_string(), &prose(meaning));
    }
}

fn files(page: &mut String, files: impl IntoIterator<Item = (String, &'static str)>) {
    for (path, meaning) in files {
        let _ = writeln!(page, "- {}: {meaning}", code(&path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_there_and_what_is_hidden_is_not() {
        let page = page();
        for text in [
            "| [`memcli node start`](#memcli-node-start) | ",
            "\n## memcli node start\n\n```sh\nmemcli node start [OPTIONS] [-- <MEMNODE OPTIONS>...]\n```\n",
            "\n- `-o, --output <FILE>`: ",
            "\n| 130 | interrupted by Ctrl-C |\n",
            "Environment: `MEMCLOUD_DEFAULT_GRANT`.",
            "\n- `identity.key`: ",
        ] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
        assert!(!page.contains("__complete"));
    }
}
