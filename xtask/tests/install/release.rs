//! Folders as those of a release: archives, and `SHA256SUMS` beside them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xtask::build::{self, Programs};
use xtask::dist::{self, Effort};
use xtask::process;

use crate::machine::SOON;

/// The folder with the archive of this build's programs, packed once.
pub(crate) fn this_build() -> Result<&'static Path> {
    static RELEASE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&RELEASE, pack)
}

/// The name of the archive for this machine.
pub(crate) fn archive_name() -> Result<String> {
    Ok(format!("memcloud-{}.tar.gz", build::host_triple()?))
}

/// Packs the programs without their debug information, where there is a `strip` to take it out: less to copy in each test.
fn pack() -> Result<PathBuf> {
    let folder = own_folder();
    let (programs, release) = (folder.join("programs"), folder.join("release"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&programs)?;
    let built = Programs::beside_this_one()?;
    let copy = |program: &Path| -> Result<PathBuf> {
        let copy = programs.join(program.file_name().context("a program has a name")?);
        fs::copy(program, &copy)?;
        // One that it cannot strip is as good.
        let _ = Command::new("strip").arg("--strip-debug").arg(&copy).status();
        Ok(copy)
    };
    let programs = Programs {
        memnode: copy(&built.memnode)?,
        memcli: copy(&built.memcli)?,
    };
    let assets = folder.join("assets");
    let writer = built.memnode.with_file_name("xtask-docs");
    process::run(Command::new(writer).arg("assets").arg(&assets), SOON)?.ok()?;
    dist::pack(
        &build::host_triple()?,
        &programs,
        &assets,
        &release,
        Effort::Quick,
    )?;
    Ok(release)
}

/// A copy of the release to change, in a folder of its own.
pub(crate) fn copy() -> Result<TempDir> {
    let copy = tempfile::tempdir()?;
    copy_files(this_build()?, copy.path())?;
    Ok(copy)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A release whose archive for this machine has other contents: `change` gets the folder that it unpacks to.
pub(crate) fn changed(change: impl FnOnce(&Path) -> Result<()>) -> Result<TempDir> {
    let release = tempfile::tempdir()?;
    add(release.path(), &build::host_triple()?, change)?;
    Ok(release)
}

/// Adds an archive for a platform to a release: that of this build with other contents.
pub(crate) fn add(release: &Path, target: &str, change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unpacked = tempfile::tempdir()?;
    let tar = |args: &[&OsStr]| {
        let mut command = Command::new("tar");
        process::run(command.current_dir(unpacked.path()).args(args), SOON)?.ok()
    };
    let archive = this_build()?.join(archive_name()?);
    tar(&["-xzf".as_ref(), archive.as_os_str()])?;
    let name = format!("memcloud-{target}");
    let folder = unpacked.path().join(&name);
    let unpacked_as = archive_name()?.replace(".tar.gz", "");
    fs::rename(unpacked.path().join(unpacked_as), &folder)?;
    change(&folder)?;
    let file = release.join(format!("{name}.tar.gz"));
    // As quick as it can be: nobody keeps it.
    tar(&[
        "--use-compress-program=gzip -1".as_ref(),
        "-cf".as_ref(),
        file.as_os_str(),
        name.as_ref(),
    ])?;
    dist::write_sums(release)
}

/// A release that came after that of this build: it has a page more. Made once.
pub(crate) fn next() -> Result<&'static Path> {
    static NEXT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || -> Result<PathBuf> {
        let release = changed(|folder| {
            let page = folder.join("share/man/man1/memcli-new.1");
            Ok(fs::write(page, ".TH NEW 1\n")?)
        })?;
        let kept = own_folder().join("next");
        fs::create_dir(&kept)?;
        copy_files(release.path(), &kept)?;
        Ok(kept)
    };
    once(&NEXT, make)
}

/// What is made once, or why it could not be made.
fn once(
    cell: &'static OnceLock<Result<PathBuf, String>>,
    make: impl FnOnce() -> Result<PathBuf>,
) -> Result<&'static Path> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// Where this process keeps releases.
fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("install")
}

/// Cuts the archive of a release in the middle.
pub(crate) fn cut_archive(release: &Path) -> Result<()> {
    let archive = release.join(archive_name()?);
    let bytes = fs::read(&archive)?;
    ensure!(bytes.len() > 1000, "the archive is too small to be one");
    Ok(fs::write(archive, &bytes[..bytes.len() / 2])?)
}
