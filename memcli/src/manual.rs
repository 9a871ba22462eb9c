//! What every command has in common, as a manual tells it: exit codes and the environment. `memcli --help` ends with it; the reference and
//! the man pages have it as well.

use crate::exit::ExitStatus;

/// The variables of the environment, with what they do. A line break in the text is one in the help.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "MEMCLOUD_SOCKET",
        "as --socket; where neither is given,\n\
         memnode.sock in --home or MEMCLOUD_HOME, else in\n\
         $XDG_RUNTIME_DIR/memcloud, else in ~/.memcloud,\n\
         else that of the machine's own node,\n\
         /run/memcloud/memnode.sock",
    ),
    ("MEMCLOUD_HOME", "as --home"),
    (
        "MEMCLOUD_COMPLETION_TIMEOUT",
        "how long completions wait for the node,\nsuch as 1s; 300ms unless set",
    ),
    ("NO_COLOR", "no colours, unless --color says otherwise"),
];

/// What holds for all commands.
pub const NOTES: &str = "\
A value goes to stdout exactly as it was stored, so that it can be piped.
Sizes are binary: 4gb is 4 * 1024^3.";

/// The exit codes, with what they say.
pub fn exit_codes() -> impl Iterator<Item = (u8, &'static str)> {
    ExitStatus::ALL
        .map(|status| (status as u8, status.meaning()))
        .into_iter()
}

/// What stands at the end of `memcli --help`.
pub(crate) fn after_help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in exit_codes() {
        text += &format!("{code:>5}  {meaning}\n");
    }
    text += "\nEnvironment:\n";
    let width = ENVIRONMENT.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, meaning) in ENVIRONMENT {
        let meaning = meaning.replace('\n', &format!("\n  {:width$}  ", ""));
        text += &format!("  {name:width$}  {meaning}\n");
    }
    text + "\n" + NOTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_the_exit_codes_in_order_and_what_is_in_the_environment() {
        let codes: Vec<u8> = exit_codes().map(|(code, _)| code).collect();
        assert!(codes.is_sorted(), "{codes:?}");
        let help = after_help();
        for line in [
            "\n    4  no such key or block\n",
            "\n  130  interrupted by Ctrl-C\n",
            "\n  MEMCLOUD_HOME                as --home\n",
            "\n                               memnode.sock in --home or MEMCLOUD_HOME, else in\n",
        ] {
            assert!(help.contains(line), "{line:?} is not in {help}");
        }
        assert!(help.lines().all(|line| line.len() <= 80), "{help}");
    }
}
