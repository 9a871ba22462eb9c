//! `cargo xtask package`: the packages of Debian and of Fedora and its like, and what becomes of a machine on which they are installed.
//!
//! What is in a package stands in the Cargo.toml of `memnode` and `memcli`, under `package.metadata`, and its data in `installers/`.
//! `cargo deb -p memnode` and `cargo generate-rpm -p memnode` make them, too, once `cargo xtask assets` has made man pages and completions;
//! this chore also has them looked over by `lintian` and `rpmlint`.

mod deb;
mod lint;
mod root;
mod rpm;
mod tool;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::build::{self, Profile, Programs, cargo};
use crate::dist;
use crate::size;

/// The crates that are packages of a distribution.
const PACKAGES: [&str; 2] = ["memnode", "memcli"];

/// The arguments of `cargo xtask package`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to make; `root` installs, uses, upgrades, removes and purges the packages in a clean Debian, `install` does that with the archive and
    /// install.sh (both: root, Debian) [default: deb rpm]
    #[arg(value_enum)]
    kinds: Vec<Kind>,
}

/// What can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    /// Packages of Debian
    Deb,
    /// Packages of Fedora and its like
    Rpm,
    /// What becomes of a machine with the packages of Debian
    Root,
    /// What becomes of a machine on which install.sh puts the archive of a release
    Install,
}

/// Makes packages into `target/dist`.
///
/// # Errors
/// When something does not build, a package has a fault, or a machine with them is not as it should be.
pub fn run(args: &Args) -> Result<()> {
    let wanted = |kind| {
        let is_default = matches!(kind, Kind::Deb | Kind::Rpm);
        args.kinds.is_empty() && is_default || args.kinds.contains(&kind)
    };
    if wanted(Kind::Install) {
        root::try_archive(&dist::for_this_machine()?)?;
    }
    if !(wanted(Kind::Deb) || wanted(Kind::Rpm) || wanted(Kind::Root)) {
        return Ok(());
    }
    let programs = Programs::build(Profile::Release)?;
    write_assets()?;
    let mut made = Vec::new();
    if wanted(Kind::Deb) || wanted(Kind::Root) {
        let packages = deb::make()?;
        if wanted(Kind::Root) {
            root::try_packages(&packages)?;
        }
        made.extend(packages);
    }
    if wanted(Kind::Rpm) {
        made.extend(rpm::make(&programs)?);
    }
    for file in made {
        println!("{} ({})", file.display(), size::human(fs::metadata(&file)?.len()));
    }
    Ok(())
}

/// The folder in which packages end.
fn dist_dir() -> Result<PathBuf> {
    let folder = build::target_dir().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Writes the man pages and completions that packages take from `target/assets`, whose place in the workspace they name.
fn write_assets() -> Result<()> {
    let folder = build::workspace_dir().join("target/assets");
    let mut command = cargo(["xtask".as_ref(), "assets".as_ref(), folder.as_os_str()] as [&OsStr; 3]);
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "man pages and completions cannot be written");
    Ok(())
}
