//! Where the workspace lies, and building it with the cargo that runs this chore.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder of the workspace's Cargo.toml.
pub fn workspace_dir() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies in a folder of the workspace")
        .to_owned()
}

/// The folder into which cargo builds: `target`, unless CARGO_TARGET_DIR names another.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_dir().join("target"), |dir| workspace_dir().join(dir))
}

/// A `cargo` command in the workspace, with the cargo that runs this program.
pub fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(workspace_dir()).args(args);
    command
}

/// The optimisation under which the daemon and the command line are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Quick to build; the tests' profile.
    Debug,
    /// As it ships.
    Release,
}

/// The real programs that demo, lab and multi-host tests run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub memnode: PathBuf,
    /// The command line.
    pub memcli: PathBuf,
}

impl Programs {
    /// Builds both programs, showing cargo's own progress, and says where they lie.
    ///
    /// # Errors
    /// When they do not build.
    pub fn build(profile: Profile) -> Result<Self> {
        Self::in_folder(&build(&["memnode", "memcli"], profile)?)
    }

    /// The programs that were built beside this one: `target/debug` for a test, whose own file lies in `target/debug/deps`.
    ///
    /// # Errors
    /// When they were not built.
    pub fn beside_this_one() -> Result<Self> {
        let this = env::current_exe().context("cannot tell where this program lies")?;
        let mut folder = this.parent().context("this program lies in no folder")?;
        if folder.ends_with("deps") {
            folder = folder.parent().context("deps lies in no folder")?;
        }
        Self::in_folder(folder)
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let found = Self {
            memnode: folder.join("memnode"),
            memcli: folder.join("memcli"),
        };
        for program in [&found.memnode, &found.memcli] {
            ensure!(
                program.is_file(),
                "{} is missing: `cargo xtask test` builds it, or `cargo build --workspace`",
                program.display()
            );
        }
        Ok(found)
    }
}

/// Builds the daemon alone, and says where it lies.
///
/// # Errors
/// When it does not build.
pub fn memnode(profile: Profile) -> Result<PathBuf> {
    Ok(build(&["memnode"], profile)?.join("memnode"))
}

/// Builds the programs of some packages, showing cargo's own progress, and says in which folder they lie.
fn build(packages: &[&str], profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(["build", "--bins"]);
    for package in packages {
        command.args(["--package", package]);
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "{} does not build", packages.join(" and "));
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    };
    Ok(target_dir().join(folder))
}
