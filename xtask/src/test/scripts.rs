//! What shells run: linters, and the tests of the installer.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::steps::run_tests;
use super::{Outcome, Setting};
use crate::build::{cargo, workspace_dir};
use crate::tools::{self, Tool};
use crate::units;

/// What looks at scripts.
const LINTERS: [Tool; 2] = [("shellcheck", "shellcheck"), ("shfmt", "shfmt")];

/// What tests of the installer would do without, but test less: another shell, and another user.
const TEST_TOOLS: [Tool; 3] = [
    ("busybox", "busybox"),
    ("setpriv", "util-linux"),
    ("wget", "wget"),
];

/// How scripts are laid out: four spaces, and branches of `case` indented.
const SHFMT_STYLE: [&str; 3] = ["-i", "4", "-ci"];

/// Linters have nothing to say, and what the installer promises holds.
pub(super) fn scripts(setting: &Setting) -> Result<Outcome> {
    if let Err(error) = tools::install(&[&LINTERS[..], &units::TOOLS, &TEST_TOOLS].concat()) {
        eprintln!("{error:#}");
    }
    match tools::missing(&LINTERS) {
        None => lint()?,
        Some(why) => {
            ensure!(!setting.is_ci, "{why}, and with CI=true nothing may be left out");
            println!("scripts are not linted: {why}");
        }
    }
    match tools::missing(&units::TOOLS) {
        None => units::check()?,
        Some(why) => {
            ensure!(!setting.is_ci, "{why}, and with CI=true nothing may be left out");
            println!("units are not checked: {why}");
        }
    }
    // One process, in which the release that they install is packed once. Of the whole workspace, so that nothing is built anew with
    // other features.
    let mut tests = cargo([
        "test",
        "--workspace",
        "--test",
        "install",
        "--",
        "--include-ignored",
    ]);
    run_tests(tests.env("RUST_LIB_BACKTRACE", "0"))
}

fn lint() -> Result<()> {
    let scripts = shell_scripts()?;
    ensure!(!scripts.is_empty(), "there are no scripts to look at");
    println!("{} scripts", scripts.len());
    for (linter, args) in [
        ("shellcheck", &[][..]),
        ("shfmt", &[&["-d"], &SHFMT_STYLE[..]].concat()),
    ] {
        let mut command = Command::new(linter);
        let status = command
            .current_dir(workspace_dir())
            .args(args)
            .args(&scripts)
            .status()
            .with_context(|| format!("cannot run {linter}"))?;
        ensure!(
            status.success(),
            "{linter} objects; `shfmt -w {}` lays scripts out",
            SHFMT_STYLE.join(" ")
        );
    }
    Ok(())
}

/// All scripts for a shell that git knows or would add, relative to the workspace.
fn shell_scripts() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(workspace_dir());
    let output = git.output().context("cannot run git")?;
    ensure!(
        output.status.success(),
        "git cannot list the files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).context("names of files are UTF-8")?;
    Ok(names
        .split_terminator('\0')
        .map(PathBuf::from)
        .filter(|name| is_shell_script(&workspace_dir().join(name)))
        .collect())
}

/// Whether a file is one by its name or its first line.
fn is_shell_script(path: &Path) -> bool {
    if path
        .extension()
        .is_some_and(|extension| extension == "sh" || extension == "bash")
    {
        return path.is_file();
    }
    let mut line = Vec::new();
    // What cannot be opened was deleted and not committed yet.
    let Ok(file) = File::open(path) else { return false };
    if BufReader::new(file).read_until(b'\n', &mut line).is_err() {
        return false;
    }
    let line = String::from_utf8_lossy(&line);
    line.strip_prefix("#!")
        .and_then(|interpreter| interpreter.split(['/', ' ']).map(str::trim).next_back())
        .is_some_and(|shell| matches!(shell, "sh" | "bash" | "dash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_known_by_their_names_and_first_lines() {
        let scripts = shell_scripts().unwrap();
        for (name, expected) in [
            ("install.sh", true),
            ("xtask/src/lab/reaper.sh", true),
            (".ci/run", true),
            ("README.md", false),
            ("xtask/src/main.rs", false),
        ] {
            assert_eq!(scripts.contains(&PathBuf::from(name)), expected, "{name}");
        }
    }
}
