//! `cargo xtask dist`: the archive of a release, and `SHA256SUMS` beside it.
//!
//! The archive of one commit is the same byte for byte wherever it is packed, given the same programs: its files are sorted, belong to
//! nobody in particular, and have the time of the commit.

mod archive;
mod contents;
pub mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::build::{self, Ciphers, Profile, Programs};
use crate::docs;
use crate::size;

pub use archive::Effort;

/// The name of the file with the checksums of all archives of a release.
pub const SUMS: &str = "SHA256SUMS";

/// The arguments of `cargo xtask dist`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The platform, as rustup names it [default: this one]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    /// Pack quick builds with debug information, to try the installer with
    #[arg(long)]
    debug: bool,

    /// Take the cipher in Rust alone, for platforms for which `ring` does not build
    #[arg(long)]
    portable_cipher: bool,

    /// The folder of the archive [default: target/dist]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Builds the programs and packs them.
///
/// # Errors
/// When something does not build, or a file that belongs in the archive is missing.
pub fn run(args: &Args) -> Result<()> {
    let file = make(args)?;
    let bytes = fs::metadata(&file)?.len();
    println!("{} ({})", file.display(), size::human(bytes));
    Ok(())
}

/// Makes the archive of a release for this machine in `target/dist`, and says where it lies.
///
/// # Errors
/// As [`run`].
pub fn for_this_machine() -> Result<PathBuf> {
    make(&Args {
        target: None,
        debug: false,
        portable_cipher: false,
        out: None,
    })
}

fn make(args: &Args) -> Result<PathBuf> {
    let target = match &args.target {
        Some(target) => target.clone(),
        None => build::host_triple()?,
    };
    let profile = if args.debug {
        Profile::Debug
    } else {
        Profile::Release
    };
    let ciphers = if args.portable_cipher {
        Ciphers::Portable
    } else {
        Ciphers::Ring
    };
    let programs = build::shipped(args.target.as_deref(), profile, ciphers)?;
    let assets = docs::write_assets()?;
    let out = args
        .out
        .clone()
        .map_or_else(|| Ok(build::target_dir().join("dist")), std::path::absolute)?;
    pack(&target, &programs, &assets, &out, Effort::Best)
}

/// Packs programs with everything that ships with them, man pages and completions from the folder `assets`, into `memcloud-TARGET.tar.gz`, or `.zip` for Windows, and puts the checksums
/// of all archives of the folder into [`SUMS`]. Returns the archive.
///
/// # Errors
/// When a file that belongs in it is missing, or the folder cannot be written.
pub fn pack(target: &str, programs: &Programs, assets: &Path, out: &Path, effort: Effort) -> Result<PathBuf> {
    let name = format!("memcloud-{target}");
    let files = contents::collect(target, programs, assets)?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = if is_windows(target) {
        let file = out.join(format!("{name}.zip"));
        archive::write_zip(&file, &name, &files, effort)?;
        file
    } else {
        let file = out.join(format!("{name}.tar.gz"));
        archive::write_tar_gz(&file, &name, &files, changed_at()?, effort)?;
        file
    };
    write_sums(out)?;
    Ok(file)
}

fn is_windows(target: &str) -> bool {
    target.contains("-windows-")
}

/// Writes the checksums of all archives of a folder as `sha256sum` does.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn write_sums(folder: &Path) -> Result<()> {
    let mut names: Vec<String> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.retain(|name| {
        name.starts_with("memcloud-") && (name.ends_with(".tar.gz") || name.ends_with(".zip"))
    });
    names.sort();
    let mut sums = String::new();
    for name in names {
        sums += &format!("{}  {name}\n", sha256(&folder.join(&name))?);
    }
    fs::write(folder.join(SUMS), sums).with_context(|| format!("cannot write {SUMS}"))
}

/// The SHA-256 of a file in hexadecimal digits.
fn sha256(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// The time that all files of an archive have, in seconds since 1970: `SOURCE_DATE_EPOCH` (reproducible-builds.org), else that of the commit.
fn changed_at() -> Result<u64> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return time
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: '{time}'"));
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(build::workspace_dir());
    let output = git.output().context("cannot run git")?;
    ensure!(
        output.status.success(),
        "outside of a git checkout the archive needs a time: set SOURCE_DATE_EPOCH"
    );
    let time = String::from_utf8_lossy(&output.stdout);
    time.trim().parse().context("git tells no time of the commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_archives_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "memcloud-b.tar.gz",
            "memcloud-a.zip",
            "notes.txt",
            "memcloud-c.deb",
        ] {
            fs::write(folder.path().join(name), "abc").unwrap();
        }
        write_sums(folder.path()).unwrap();
        // FIPS 180-2, B.1: the digest of "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            fs::read_to_string(folder.path().join(SUMS)).unwrap(),
            format!("{abc}  memcloud-a.zip\n{abc}  memcloud-b.tar.gz\n")
        );
    }
}
