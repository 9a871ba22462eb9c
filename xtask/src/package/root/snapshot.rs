//! What is on a machine, to see what packages leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Folders that are no part of what a package brings: the kernel's, the records of dpkg, of systemd and of what ran, and what is gone at the next
/// start.
const LEFT_OUT: [&str; 10] = [
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "opt/packages",
    "var/cache",
    "var/lib/dpkg",
    "var/lib/systemd",
    "var/log",
];

/// Files in which users and groups are.
const ACCOUNTS: [&str; 4] = ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"];

/// All files and folders of a machine, and its users and groups.
#[derive(Debug)]
pub(super) struct Snapshot {
    paths: BTreeSet<String>,
    accounts: BTreeSet<String>,
}

impl Snapshot {
    /// As it is now.
    pub(super) fn take(root: &Path) -> Result<Self> {
        let mut paths = BTreeSet::new();
        walk(root, "", &mut paths)?;
        let mut accounts = BTreeSet::new();
        for file in ACCOUNTS {
            let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
            accounts.extend(text.lines().map(|line| format!("{file}: {line}")));
        }
        Ok(Self { paths, accounts })
    }

    /// Whether nothing is here that was not there before.
    ///
    /// # Errors
    /// With all that is.
    pub(super) fn ensure_nothing_beyond(&self, before: &Self) -> Result<()> {
        let new: Vec<&str> = self
            .paths
            .difference(&before.paths)
            .chain(self.accounts.difference(&before.accounts))
            .map(String::as_str)
            .collect();
        ensure!(new.is_empty(), "this is left:\n  {}", new.join("\n  "));
        Ok(())
    }
}

/// Notes what lies in a folder, by its path from the root.
fn walk(folder: &Path, path: &str, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        // The tools of accounts keep the last version of a file with a '-' behind its name.
        let is_backup = ACCOUNTS.iter().any(|file| path.strip_suffix('-') == Some(file));
        if LEFT_OUT.contains(&path.as_str()) || is_backup {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &path, found)?;
        }
        found.insert(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for file in ACCOUNTS {
            write(file, "root\n");
        }
        write("var/lib/known", "a");
        let before = Snapshot::take(root.path()).unwrap();
        write("var/log/dpkg.log", "a");
        write("etc/group-", "root\n");
        Snapshot::take(root.path())
            .unwrap()
            .ensure_nothing_beyond(&before)
            .unwrap();
        write("var/lib/memcloud/token", "a");
        write("etc/group", "root\nmemcloud\n");
        let error = Snapshot::take(root.path())
            .unwrap()
            .ensure_nothing_beyond(&before)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is left:\n  var/lib/memcloud\n  var/lib/memcloud/token\n  etc/group: memcloud"
        );
    }
}
