//! What is in an archive, and where it comes from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::build::{self, Programs};

/// Whether a file is a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Program,
    Text,
}

impl Kind {
    /// The permissions of such a file.
    pub(super) fn mode(self) -> u32 {
        match self {
            Kind::Program => 0o755,
            Kind::Text => 0o644,
        }
    }
}

/// A file of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Where it lies in the archive's folder, with `/` between the names.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// Files of the workspace, and where they lie in the archive of a Unix.
const UNIX_FILES: &[(&str, &str, Kind)] = &[
    ("uninstall.sh", "uninstall.sh", Kind::Program),
    (
        "installers/systemd/system/memnode.service",
        "share/systemd/system/memnode.service",
        Kind::Text,
    ),
    (
        "installers/systemd/user/memnode.service",
        "share/systemd/user/memnode.service",
        Kind::Text,
    ),
    (
        "installers/launchd/org.memcloud.memnode.plist",
        "share/launchd/org.memcloud.memnode.plist",
        Kind::Text,
    ),
];

/// Files of the workspace that every archive has.
const FILES: &[&str] = &["README.md", "LICENSE", "CHANGELOG.md"];

/// Folders of what `cargo xtask assets` writes, and where they lie in the archive.
const ASSETS: &[(&str, &str)] = &[
    ("man/man1", "share/man/man1"),
    ("completions/bash", "share/completions/bash"),
    ("completions/fish", "share/completions/fish"),
    ("completions/powershell", "share/completions/powershell"),
    ("completions/zsh", "share/completions/zsh"),
];

/// All files of the archive for a platform, sorted by path.
///
/// # Errors
/// When one is missing.
pub(super) fn collect(target: &str, programs: &Programs, assets: &Path) -> Result<Vec<Member>> {
    let workspace = build::workspace_dir();
    let mut members = Vec::new();
    for program in [&programs.memnode, &programs.memcli] {
        let name = program
            .file_name()
            .context("a program has a name")?
            .to_string_lossy();
        members.push(read(program, format!("bin/{name}"), Kind::Program)?);
    }
    for (from, to) in ASSETS {
        let folder = assets.join(from);
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            members.push(read(&entry.path(), format!("{to}/{name}"), Kind::Text)?);
        }
    }
    for name in FILES {
        members.push(read(&workspace.join(name), (*name).to_owned(), Kind::Text)?);
    }
    if !super::is_windows(target) {
        for (from, to, kind) in UNIX_FILES {
            members.push(read(&workspace.join(from), (*to).to_owned(), *kind)?);
        }
    }
    members.push(Member {
        path: "VERSION".to_owned(),
        kind: Kind::Text,
        bytes: concat!(env!("CARGO_PKG_VERSION"), "\n").into(),
    });
    members.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(members)
}

fn read(from: &Path, path: String, kind: Kind) -> Result<Member> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    Ok(Member { path, kind, bytes })
}
