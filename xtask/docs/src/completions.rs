//! The scripts that make shells complete what is typed.

use clap_complete::{Shell, generate};

/// A script for one program and one shell.
pub(crate) struct Script {
    /// The shell, as its folder is called.
    pub(crate) shell: &'static str,
    /// Under which name the shell looks for it.
    pub(crate) file: String,
    /// The script.
    pub(crate) text: String,
}

/// The scripts of both programs for all shells.
pub(crate) fn scripts() -> Vec<Script> {
    let shells = [
        ("bash", Shell::Bash),
        ("zsh", Shell::Zsh),
        ("fish", Shell::Fish),
        ("powershell", Shell::PowerShell),
    ];
    let script = |program: &str, command: clap::Command, (name, shell): (&'static str, Shell)| Script {
        shell: name,
        file: file_name(name, program),
        text: text(shell, command, program),
    };
    shells
        .into_iter()
        .flat_map(|shell| {
            [
                script("memcli", memcli::command(), shell),
                script("memnode", memnode::config::command(), shell),
            ]
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

fn text(shell: Shell, mut command: clap::Command, program: &str) -> String {
    let mut text = Vec::new();
    generate(shell, &mut command, program, &mut text);
    String::from_utf8(text).expect("scripts are made of the names and help texts, which are UTF-8")
}
