//! What can be typed behind a command, as the manual lists it: arguments, options, and what each of them takes.

use clap::{Arg, Command};

/// Arguments or options under one heading.
#[derive(Debug)]
pub(crate) struct Section {
    /// The heading, such as `Options`.
    pub(crate) heading: String,
    /// What stands under it.
    pub(crate) entries: Vec<Entry>,
}

/// An argument or an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// How it is typed: `-o`, `--output`; none for an argument.
    pub(crate) flags: Vec<String>,
    /// What it takes, such as `<FILE>`; empty where it takes nothing.
    pub(crate) value: String,
    /// What it does, in whole sentences.
    pub(crate) help: String,
    /// What holds without it, in figures or in words.
    pub(crate) default: Option<String>,
    /// The variable of the environment that stands for it.
    pub(crate) variable: Option<String>,
    /// The words that it takes, with what each means.
    pub(crate) words: Vec<(String, String)>,
}

/// The arguments of a command, then its options by their headings.
pub(crate) fn sections(command: &Command) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let (arguments, options): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .partition(|arg| arg.is_positional());
    for arg in arguments.into_iter().chain(options) {
        let heading = match arg.get_help_heading() {
            _ if arg.is_positional() => "Arguments",
            Some(heading) => heading,
            None => "Options",
        };
        let entry = entry(arg);
        match sections.iter_mut().find(|section| section.heading == heading) {
            Some(section) => section.entries.push(entry),
            None => sections.push(Section {
                heading: heading.to_owned(),
                entries: vec![entry],
            }),
        }
    }
    sections
}

/// The long help of a command, or the short one, in whole sentences.
pub(crate) fn description(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    about.split("\n\n").map(sentence).collect::<Vec<_>>().join("\n\n")
}

/// What a command does, in a few words without a full stop.
pub(crate) fn summary(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    about.trim_end_matches('.').to_owned()
}

/// An argument or option.
pub(crate) fn entry(arg: &Arg) -> Entry {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    // That of --help itself, which clap writes, is about the terminal.
    let long_help = arg.get_long_help().filter(|_| arg.get_id() != "help");
    let mut help = long_help
        .or_else(|| arg.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    // What the definitions say themselves, because clap cannot know it.
    let variable = take_bracketed(&mut help, "env");
    let default = take_bracketed(&mut help, "default");
    let takes_value = arg.get_num_args().is_some_and(|count| count.takes_values());
    let defaults = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy());
    let default = default.or_else(|| {
        let defaults: Vec<_> = defaults.collect();
        (takes_value && !defaults.is_empty()).then(|| defaults.join(","))
    });
    let words = if takes_value {
        arg.get_possible_values()
    } else {
        Vec::new()
    };
    Entry {
        flags: short.into_iter().chain(long).collect(),
        value: if takes_value { value(arg) } else { String::new() },
        help: sentence(&help),
        default,
        variable: variable.or_else(|| Some(arg.get_env()?.to_string_lossy().into_owned())),
        words: words
            .iter()
            .filter(|word| !word.is_hide_set())
            .map(|word| {
                let help = word.get_help().map(ToString::to_string).unwrap_or_default();
                (word.get_name().to_owned(), help)
            })
            .collect(),
    }
}

/// What an argument or option takes: `<KEY>`, `<KEY>...`, `[=<BOOL>]`.
fn value(arg: &Arg) -> String {
    let names: Vec<String> = match arg.get_value_names() {
        Some(names) => names.iter().map(|name| format!("<{name}>")).collect(),
        None => vec![format!("<{}>", arg.get_id().as_str().to_uppercase())],
    };
    let count = arg.get_num_args().unwrap_or_default();
    let many = if count.max_values() > names.len() {
        "..."
    } else {
        ""
    };
    let names = format!("{}{many}", names.join(" "));
    match (count.min_values(), arg.is_require_equals_set()) {
        (0, true) => format!("[={names}]"),
        (0, false) if !arg.is_positional() => format!("[{names}]"),
        _ => names,
    }
}

/// Takes `[name: value]` away from the end of a text.
fn take_bracketed(text: &mut String, name: &str) -> Option<String> {
    let (before, value) = text.strip_suffix(']')?.rsplit_once(&format!("[{name}: "))?;
    let value = value.to_owned();
    *text = before.trim_end().to_owned();
    Some(value)
}

/// A text of the definitions, which end without a full stop, as whole sentences.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?', ':']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    fn one(arg: Arg) -> Entry {
        let mut command = Command::new("c").disable_help_flag(true).arg(arg);
        command.build();
        let mut sections = sections(&command);
        assert_eq!(sections.len(), 1);
        sections.remove(0).entries.remove(0)
    }

    #[test]
    fn an_option_is_told_with_all_that_is_known_of_it() {
        let arg = Arg::new("mode")
            .short('m')
            .long("mode")
            .value_name("MODE")
            .help("How it is kept");
        assert_eq!(
            one(arg.value_parser(["pinned", "cache"]).default_value("pinned")),
            Entry {
                flags: vec!["-m".to_owned(), "--mode".to_owned()],
                value: "<MODE>".to_owned(),
                help: "How it is kept.".to_owned(),
                default: Some("pinned".to_owned()),
                variable: None,
                words: vec![
                    ("pinned".to_owned(), String::new()),
                    ("cache".to_owned(), String::new())
                ],
            }
        );
    }

    #[test]
    fn what_the_help_says_in_brackets_is_taken_out_of_it() {
        let arg = Arg::new("port").long("port").action(ArgAction::Set);
        let entry = one(arg.help("The port; see [this] [default: a free one] [env: PORT]"));
        assert_eq!(entry.help, "The port; see [this].");
        assert_eq!(entry.default.as_deref(), Some("a free one"));
        assert_eq!(entry.variable.as_deref(), Some("PORT"));
    }

    #[test]
    fn flags_have_no_values_and_lists_show_that_they_are() {
        let flag = one(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All"));
        assert_eq!(
            (flag.value.as_str(), flag.default, flag.words),
            ("", None, Vec::new())
        );
        assert_eq!(one(Arg::new("key").num_args(1..)).value, "<KEY>...");
        assert_eq!(
            one(Arg::new("pairs").value_names(["KEY", "VALUE"]).num_args(2..)).value,
            "<KEY> <VALUE>..."
        );
        let optional = Arg::new("b").long("b").value_name("BOOL").num_args(0..=1);
        assert_eq!(one(optional.clone().require_equals(true)).value, "[=<BOOL>]");
        assert_eq!(one(optional).value, "[<BOOL>]");
    }
}
