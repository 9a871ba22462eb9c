//! What can be typed behind `completions`, and what its scripts type themselves.

use std::ffi::OsString;

use clap::Args;

use crate::completion::Shell;

/// What stands at the end of `completions --help`.
const COMPLETIONS_HELP: &str = "\
Where MemCloud was installed by a package or by install.sh, the scripts are in place already.

bash, with the package bash-completion:

    mkdir -p ~/.local/share/bash-completion/completions
    memcli completions bash > ~/.local/share/bash-completion/completions/memcli

zsh, where ~/.zshrc has fpath+=~/.zfunc in front of compinit:

    mkdir -p ~/.zfunc
    memcli completions zsh > ~/.zfunc/_memcli

fish:

    memcli completions fish > ~/.config/fish/completions/memcli.fish

PowerShell:

    memcli completions powershell >> $PROFILE

It works in shells that are started from then on. Names come from the running node, and where it does
not answer at once there are none.";

/// `completions`
#[derive(Args, Debug)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// `__complete`
#[derive(Args, Debug)]
pub(crate) struct CompleteArgs {
    /// The shell that asks
    pub(crate) shell: Shell,

    /// What it tells of the line
    #[arg(last = true)]
    pub(crate) told: Vec<OsString>,
}
