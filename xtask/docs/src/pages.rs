//! The pages of `docs/` that are made from the definitions, wholly or in part. They are committed, so that they can be read on the web.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{configuration, reference};

/// Each page, with how it is made anew from how it is.
type Page = (&'static str, fn(&str) -> Result<String>);

const PAGES: [Page; 2] = [
    ("docs/cli.md", |_| Ok(reference::page())),
    ("docs/configuration.md", configuration::renewed),
];

/// The file of a page. Not by the library of the other chores: it would have to be compiled first, for this alone.
fn path(file: &str) -> PathBuf {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    PathBuf::from(workspace).join(file)
}

/// Writes the pages that are not as the definitions are.
///
/// # Errors
/// When a page cannot be read or written, or is not one that can be renewed.
pub(crate) fn write() -> Result<()> {
    for page in PAGES {
        let file = page.0;
        let (old, new) = renewed(page)?;
        if old == new {
            println!("{file}: as it was");
        } else {
            fs::write(path(file), new).with_context(|| format!("cannot write {file}"))?;
            println!("{file}: written");
        }
    }
    Ok(())
}

/// A page as it is, and as it should be. One that is missing counts as empty.
fn renewed((file, renew): Page) -> Result<(String, String)> {
    let path = path(file);
    let old = if path.exists() {
        fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?
    } else {
        String::new()
    };
    let new = renew(&old).with_context(|| format!("cannot renew {file}"))?;
    Ok((old, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_as_the_definitions_are() {
        for page in PAGES {
            let (old, new) = renewed(page).unwrap();
            assert!(
                old == new,
                "{} is not as the definitions are: run `cargo xtask docs`",
                page.0
            );
        }
    }
}
