//! What shells offer while a command is being typed: commands, options and their words, files, and the names of peers and keys that the
//! running node knows.
//!
//! `memcli completions SHELL` prints a script ([`script`]), which runs the hidden `memcli __complete SHELL` whenever Tab is pressed.
//! That takes what was typed so far and answers with lines (`answer`):
//!
//! ```text
//! names | files | folders      whether the shell is to offer files or folders of its own
//! VALUE TAB HELP               for bash VALUE alone, quoted as it is to be inserted
//! ```
//!
//! The engine of `clap_complete` walks through the definitions. The scripts that come with it are not used: theirs for bash takes `build:42` for three
//! words, as bash does, and none of them quotes what it inserts. Whatever goes wrong, nothing is printed: a person who is typing a command must not
//! be disturbed by errors.

mod bash;
mod names;
mod quoting;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};

use clap::builder::ValueHint;
use clap::{Arg, Command, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

pub(crate) use self::names::Names;
use self::names::Node;

/// The most bytes that a script tells: a command line is no longer.
const TYPED_LEN_MAX: u64 = 1024 * 1024;

/// The ids of the candidates that stand for files and folders.
const FILES: &str = "files";
const FOLDERS: &str = "folders";

/// How the engine marks candidates that are options.
const OPTION_ID_PREFIX: &str = "arg::";

/// A shell that can be told what to offer.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shell {
    /// GNU bash, 3.2 and later
    Bash,
    /// zsh, 5 and later
    Zsh,
    /// fish, 3 and later
    Fish,
    /// PowerShell, 5 and later
    Powershell,
}

/// The script that makes a shell complete what is typed behind `memcli`.
pub const fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("scripts/memcli.bash"),
        Shell::Zsh => include_str!("scripts/memcli.zsh"),
        Shell::Fish => include_str!("scripts/memcli.fish"),
        Shell::Powershell => include_str!("scripts/memcli.ps1"),
    }
}

/// Answers a script: prints what may be inserted at the cursor, or nothing.
///
/// `told` is for zsh the words up to the cursor, without their quotes; for fish too, but for the last word, which is as it was typed; for bash
/// the line up to the cursor, and what of it bash is going to replace. PowerShell, which passes no empty arguments, has the words on stdin, one a line.
pub(crate) fn answer(shell: Shell, told: &[OsString]) {
    let told: Vec<String> = told
        .iter()
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let offer = match shell {
        Shell::Bash => bash::Line::new(&told).and_then(|line| {
            if line.is_redirection() {
                return Some(Offer::files());
            }
            let mut offer = Offer::of(&line.words())?;
            offer.names = line.quote(&offer.names);
            Some(offer)
        }),
        Shell::Zsh => Offer::of(&told),
        Shell::Fish => told.split_last().and_then(|(last, before)| {
            let last = quoting::unquoted(last, quoting::Rules::Fish).0;
            Offer::of(&[before, &[last]].concat())
        }),
        Shell::Powershell => typed_on_stdin().and_then(|words| Offer::of(&words)),
    };
    if let Some(offer) = offer {
        // Where nobody reads, nobody waits either.
        let _ = io::stdout().write_all(offer.to_lines().as_bytes());
    }
}

fn typed_on_stdin() -> Option<Vec<String>> {
    let mut text = String::new();
    io::stdin().take(TYPED_LEN_MAX).read_to_string(&mut text).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// What is offered at the cursor.
#[derive(Default, Debug)]
struct Offer {
    /// What may stand there, with what it means.
    names: Vec<(String, String)>,
    /// [`FILES`] or [`FOLDERS`] where one of those may.
    files: Option<&'static str>,
}

impl Offer {
    /// What may stand in the place of the last word. `None` where nothing can be said.
    fn of(words: &[String]) -> Option<Self> {
        let (current, before) = words.split_last()?;
        let node = Node::named_in(before);
        let mut command = with_completers(crate::command(), &node);
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let last = words.len() - 1;
        let mut candidates = complete(&mut command, words, last, None).ok()?;
        if current.is_empty() && candidates.iter().any(|candidate| !is_option(candidate)) {
            candidates.retain(|candidate| !is_option(candidate));
        }
        let mut offer = Self::default();
        for candidate in candidates {
            match candidate.get_id().map(String::as_str) {
                Some(FILES) => offer.files = Some(FILES),
                Some(FOLDERS) => offer.files = Some(FOLDERS),
                _ => {
                    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
                    offer
                        .names
                        .push((candidate.get_value().to_string_lossy().into_owned(), help));
                }
            }
        }
        // What has control characters would break the lines, here and on the screen.
        offer.names.retain(|(name, _)| !name.contains(char::is_control));
        Some(offer)
    }

    /// Any file, and nothing else.
    fn files() -> Self {
        Self {
            names: Vec::new(),
            files: Some(FILES),
        }
    }

    fn to_lines(&self) -> String {
        let mut lines = format!("{}\n", self.files.unwrap_or("names"));
        for (name, help) in &self.names {
            lines += name;
            if let Some(help) = help.lines().next() {
                lines += &format!("\t{}", help.replace('\t', " "));
            }
            lines.push('\n');
        }
        lines
    }
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate
        .get_id()
        .is_some_and(|id| id.starts_with(OPTION_ID_PREFIX))
}

/// The definitions, each with what completes it.
fn with_completers(command: Command, node: &Node) -> Command {
    command
        .mut_args(|arg| with_completer(arg, node))
        .mut_subcommands(|command| with_completers(command, node))
}

fn with_completer(arg: Arg, node: &Node) -> Arg {
    if let Some(&names) = arg.get::<Names>() {
        let node = node.clone();
        return arg.add(ArgValueCompleter::new(move |current: &OsStr| {
            current
                .to_str()
                .map(|prefix| node.names(names, prefix))
                .unwrap_or_default()
        }));
    }
    let files = match arg.get_value_hint() {
        ValueHint::FilePath | ValueHint::AnyPath => FILES,
        ValueHint::DirPath => FOLDERS,
        _ => return arg,
    };
    // Shells know better how to complete these: their options, `~`, what they leave out.
    arg.add(ArgValueCompleter::new(move |current: &OsStr| {
        vec![CompletionCandidate::new(current).id(Some(files.to_owned()))]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is offered behind these words, where no node runs.
    fn offered(line: &str) -> Offer {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let elsewhere = ["memcli", "--socket", "/nonexistent/memnode.sock"].map(str::to_owned);
        Offer::of(&[&elsewhere, &words[1..]].concat()).unwrap()
    }

    fn names(line: &str) -> Vec<String> {
        offered(line).names.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn commands_options_and_words_are_offered() {
        assert_eq!(names("memcli conn"), ["connect"]);
        assert_eq!(names("memcli node s"), ["start", "stop", "status"]);
        assert_eq!(names("memcli get k --str"), ["--strict"]);
        assert_eq!(names("memcli set k v --mode "), ["pinned", "cache"]);
        assert_eq!(names("memcli set k v --mode=c"), ["--mode=cache"]);
        assert_eq!(
            names("memcli completions "),
            ["bash", "zsh", "fish", "powershell"]
        );
        let (_, help) = &offered("memcli conn").names[0];
        assert!(help.contains("consent"), "{help}");
    }

    #[test]
    fn options_come_first_only_where_there_is_nothing_else_or_a_dash() {
        assert!(names("memcli ").iter().all(|name| !name.starts_with('-')));
        assert!(names("memcli node status ").contains(&"--json".to_owned()));
        assert!(names("memcli -").contains(&"--json".to_owned()));
    }

    #[test]
    fn what_is_hidden_is_not_offered() {
        assert!(!names("memcli ").iter().any(|name| name.starts_with('_')));
    }

    #[test]
    fn files_and_folders_are_left_to_the_shell() {
        assert_eq!(offered("memcli get k -o a").files, Some(FILES));
        assert_eq!(offered("memcli stream a").files, Some(FILES));
        assert_eq!(offered("memcli push a").files, Some(FOLDERS));
        assert_eq!(offered("memcli get k --output=a").files, Some(FILES));
        assert_eq!(offered("memcli get a").files, None);
    }

    #[test]
    fn without_a_node_there_are_no_names() {
        for line in ["memcli get a", "memcli connect a", "memcli set k v --peer a"] {
            assert!(names(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn lines_have_a_kind_then_names_with_the_first_line_of_their_help() {
        let offer = Offer {
            names: vec![
                ("a".to_owned(), "x\ny".to_owned()),
                ("b".to_owned(), String::new()),
            ],
            files: None,
        };
        assert_eq!(offer.to_lines(), "names\na\tx\nb\n");
    }
}
