//! The folder of what is installed beside the programs.
//!
//! ```text
//! man/man1/memcli.1, memcli-set.1, ..., memnode.1
//! completions/bash/memcli   completions/zsh/_memcli   completions/fish/memcli.fish   completions/powershell/memcli.ps1
//! ```
//! and the same completions for `memnode`. The names are those under which each shell looks for them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{completions, man};

/// Writes all of it. Pages of commands that are no more are removed; other files are left alone.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let pages = folder.join("man/man1");
    make(&pages)?;
    remove_old_pages(&pages)?;
    for page in man::pages() {
        put(&pages.join(page.file_name()), &page.text)?;
    }
    for script in completions::scripts() {
        let place = folder.join("completions").join(script.shell).join(script.file);
        make(place.parent().context("a script lies in a folder")?)?;
        put(&place, &script.text)?;
    }
    println!("man pages and completions: {}", folder.display());
    Ok(())
}

fn remove_old_pages(folder: &Path) -> Result<()> {
    let listed = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in listed {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if man::is_page_of_ours(&name) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

fn put(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_installers_take_is_written_and_pages_of_no_command_go() {
        let folder = tempfile::tempdir().unwrap();
        let page = |name: &str| folder.path().join("man/man1").join(name);
        make(&page("")).unwrap();
        for name in ["memcli-gone.1", "other.1", "memcli-notes.txt"] {
            put(&page(name), "old").unwrap();
        }
        write(folder.path()).unwrap();
        for name in [
            "man/man1/memcli.1",
            "man/man1/memcli-node-start.1",
            "man/man1/memnode.1",
            "man/man1/other.1",
            "man/man1/memcli-notes.txt",
            "completions/bash/memcli",
            "completions/zsh/_memcli",
            "completions/fish/memcli.fish",
            "completions/powershell/memcli.ps1",
            "completions/bash/memnode",
            "completions/zsh/_memnode",
            "completions/fish/memnode.fish",
            "completions/powershell/memnode.ps1",
        ] {
            assert!(folder.path().join(name).is_file(), "{name}");
        }
        assert!(!page("memcli-gone.1").exists());
    }
}
