//! The scripts that make shells complete what is typed.

use clap_complete::{Shell, generate};
use memcli::completion::script;

/// A script for one program and one shell.
pub(crate) struct Script {
    /// The shell, as its folder is called.
    pub(crate) shell: &'static str,
    /// Under which name the shell looks for it.
    pub(crate) file: String,
    /// The script.
    pub(crate) text: String,
}

/// The scripts of both programs for all shells. That of `memcli` is what `memcli completions` prints, and asks the running node; that of `memnode`
/// knows its options.
pub(crate) fn scripts() -> Vec<Script> {
    use memcli::completion::Shell as Memcli;
    [
        ("bash", Memcli::Bash, Shell::Bash),
        ("zsh", Memcli::Zsh, Shell::Zsh),
        ("fish", Memcli::Fish, Shell::Fish),
        ("powershell", Memcli::Powershell, Shell::PowerShell),
    ]
    .into_iter()
    .flat_map(|(name, memcli, memnode)| {
        [
            ("memcli", script(memcli).to_owned()),
            ("memnode", of_memnode(memnode)),
        ]
        .map(|(program, text)| Script {
            shell: name,
            file: file_name(name, program),
            text,
        })
    })
    .collect()
}

/// Under which name a shell looks for the script of a program.
fn file_name(shell: &str, program: &str) -> String {
    match shell {
        "zsh" => format!("_{program}"),
        "fish" => format!("{program}.fish"),
        "powershell" => format!("{program}.ps1"),
        _ => program.to_owned(),
    }
}

fn of_memnode(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut memnode::config::command(), "memnode", &mut text);
    String::from_utf8(text).expect("scripts are made of the names and help texts, which are UTF-8")
}
