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

impl Profile {
    /// The folder of its builds in that of a target.
    fn folder(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
        }
    }
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
        Self::in_folder_of(folder, env::consts::EXE_SUFFIX)
    }

    /// The programs of a platform whose programs have this suffix.
    fn in_folder_of(folder: &Path, suffix: &str) -> Result<Self> {
        let found = Self {
            memnode: folder.join(format!("memnode{suffix}")),
            memcli: folder.join(format!("memcli{suffix}")),
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
    Ok(target_dir().join(profile.folder()))
}

/// Which implementation of the ciphers between nodes a build has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ciphers {
    /// That of the crate `ring`, which needs a C compiler and knows the processor.
    Ring,
    /// One in Rust alone.
    Portable,
}

/// Builds both programs as they ship, for a platform or for this one: from a release build the debug information is left out, and the
/// names of functions stay, so that a reported backtrace says something.
///
/// # Errors
/// When they do not build.
pub fn shipped(target: Option<&str>, profile: Profile, ciphers: Ciphers) -> Result<Programs> {
    for package in ["memnode", "memcli"] {
        let mut command = cargo(["rustc", "--package", package, "--bin", package]);
        command.args(target.iter().flat_map(|target| ["--target", target]));
        // Only memnode speaks to other nodes.
        if ciphers == Ciphers::Portable && package == "memnode" {
            command.args(["--no-default-features", "--features", "portable-cipher"]);
        }
        if profile == Profile::Release {
            command.args(["--release", "--", "-C", "strip=debuginfo"]);
        }
        let status = command.status().context("cannot run cargo")?;
        ensure!(status.success(), "{package} does not build");
    }
    let folder = target.map_or_else(target_dir, |target| target_dir().join(target));
    let is_windows = target.map_or(cfg!(windows), |target| target.contains("-windows-"));
    let suffix = if is_windows { ".exe" } else { "" };
    Programs::in_folder_of(&folder.join(profile.folder()), suffix)
}

/// The platform on which this chore runs, as rustc names it.
///
/// # Errors
/// When rustc does not tell.
pub fn host_triple() -> Result<String> {
    let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program)
        .arg("-vV")
        .output()
        .context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not tell its host")
}
