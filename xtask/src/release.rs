//! `cargo xtask release TAG`: whether everything that names a version names that of the tag, and what the release says of itself.
//!
//! The release workflow runs it before it builds anything. It changes and publishes nothing.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::build::{cargo, workspace_dir};

/// The heading of what is not released yet.
const UNRELEASED: &str = "[Unreleased]";

/// The arguments of `cargo xtask release`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The tag of the release: v and its version, such as v0.2.0
    tag: String,
}

/// Checks the versions and prints the notes of the release, which are its section of CHANGELOG.md.
///
/// # Errors
/// When the tag is none of a release, something has another version, or the changelog has no section for it.
pub fn run(args: &Args) -> Result<()> {
    let version = version_of(&args.tag)?;
    agree(&all_versions()?, version)?;
    print!(
        "{}",
        notes(&read(&workspace_dir().join("CHANGELOG.md"))?, version)?
    );
    Ok(())
}

/// Every version that a release has.
fn all_versions() -> Result<Vec<Named>> {
    let mut named = crates()?;
    named.extend(npm_package(&workspace_dir().join("js-sdk"))?);
    named.push(debian_changelog()?);
    Ok(named)
}

/// A place that names a version.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Named {
    place: String,
    version: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} says {}", self.place, self.version)
    }
}

/// The version in a tag: `v` and three numbers, with or without the name of a pre-release behind them.
fn version_of(tag: &str) -> Result<&str> {
    let wrong = || format!("'{tag}' is no tag of a release: write it like v0.2.0 or v0.2.0-rc.1");
    let version = tag.strip_prefix('v').with_context(wrong)?;
    let (numbers, pre) = version.split_once('-').unwrap_or((version, "pre"));
    let are_numbers =
        numbers.split('.').count() == 3 && numbers.split('.').all(|part| part.parse::<u32>().is_ok());
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    ensure!(are_numbers && pre.split('.').all(is_name), wrong());
    Ok(version)
}

/// The versions of the workspace's crates, and those that they ask of each other.
fn crates() -> Result<Vec<Named>> {
    let output = cargo(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "`cargo metadata` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = serde_json::from_slice(&output.stdout).context("cannot understand `cargo metadata`")?;
    Ok(versions_in(&metadata))
}

fn versions_in(metadata: &Metadata) -> Vec<Named> {
    let mut named = Vec::new();
    for package in &metadata.packages {
        named.push(Named {
            place: format!("the crate {}", package.name),
            version: package.version.clone(),
        });
        let siblings = package.dependencies.iter().filter(|one| one.path.is_some());
        named.extend(siblings.map(|sibling| Named {
            place: format!("what {} asks of {}", package.name, sibling.name),
            version: sibling.req.trim_start_matches('^').to_owned(),
        }));
    }
    named
}

/// The versions in the files of the npm package.
fn npm_package(folder: &Path) -> Result<Vec<Named>> {
    let files = ["package.json", "package-lock.json"];
    let read_one = |name: &&str| {
        let path = folder.join(name);
        let file: NpmFile = serde_json::from_str(&read(&path)?)
            .with_context(|| format!("cannot understand {}", path.display()))?;
        Ok(Named {
            place: format!("js-sdk/{name}"),
            version: file.version,
        })
    };
    files.iter().map(read_one).collect()
}

/// The version on the first line of the changelog of the packages of Debian, without the number of the package (deb-changelog(5)).
fn debian_changelog() -> Result<Named> {
    let place = "installers/deb/changelog";
    let text = read(&workspace_dir().join(place))?;
    let version = text
        .split(['(', ')'])
        .nth(1)
        .and_then(|full| full.rsplit_once('-'));
    let (version, _) = version.with_context(|| format!("{place} does not begin with a version"))?;
    Ok(Named {
        place: place.to_owned(),
        // A pre-release comes before the release, which Debian writes with a tilde.
        version: version.replace('~', "-"),
    })
}

/// All that differ are named at once: whoever mends one wants to know of the others.
fn agree(named: &[Named], version: &str) -> Result<()> {
    let other: Vec<_> = named
        .iter()
        .filter(|named| named.version != version)
        .map(ToString::to_string)
        .collect();
    ensure!(
        other.is_empty(),
        "the tag says {version}, but {}",
        other.join(", ")
    );
    Ok(())
}

/// The section of the changelog that tells of this version, without its heading.
fn notes(changelog: &str, version: &str) -> Result<String> {
    let sections: Vec<_> = sections(changelog);
    if let Some((_, text)) = sections.iter().find(|(heading, _)| *heading == UNRELEASED) {
        ensure!(
            text.is_empty(),
            "CHANGELOG.md has something under {UNRELEASED}: move it below the heading of {version}"
        );
    }
    let name = format!("[{version}] - ");
    let Some((date, text)) = sections
        .iter()
        .find_map(|(heading, text)| Some((heading.strip_prefix(&name)?, text)))
    else {
        bail!("CHANGELOG.md has no section of {version}: its heading is `## {name}YYYY-MM-DD`");
    };
    let shape: String = date
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    ensure!(
        shape == "0000-00-00",
        "CHANGELOG.md: '{date}' is no date: write it like 2026-01-31"
    );
    ensure!(!text.is_empty(), "CHANGELOG.md says nothing of {version}");
    Ok(format!("{text}\n"))
}

/// The headings of the second level, each with the text below it.
fn sections(changelog: &str) -> Vec<(&str, &str)> {
    let parts = changelog.split("\n## ").skip(1);
    let sections = parts.map(|part| part.split_once('\n').unwrap_or((part, "")));
    sections
        .map(|(heading, text)| (heading.trim(), text.trim()))
        .collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What of `cargo metadata` is of interest here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

#[derive(Deserialize)]
struct NpmFile {
    version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "\
# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- A thing.

## [0.1.0] - 2026-11-01

- The first.
";

    #[test]
    fn a_tag_is_v_and_a_version() {
        assert_eq!(version_of("v0.2.0").unwrap(), "0.2.0");
        assert_eq!(version_of("v10.20.30-rc.1").unwrap(), "10.20.30-rc.1");
        for tag in [
            "0.2.0",
            "v0.2",
            "v0.2.0.1",
            "v0.2.x",
            "v0.2.0-",
            "v0.2.0-rc..1",
            "v0.2.0 ",
            "v",
            "",
        ] {
            let error = version_of(tag).unwrap_err().to_string();
            assert!(error.contains("write it like v0.2.0"), "{tag}: {error}");
        }
    }

    #[test]
    fn notes_are_the_section_of_the_version() {
        assert_eq!(notes(CHANGELOG, "0.2.0").unwrap(), "### Added\n\n- A thing.\n");
        assert_eq!(notes(CHANGELOG, "0.1.0").unwrap(), "- The first.\n");
    }

    #[test]
    fn a_changelog_that_is_not_ready_is_told() {
        for (from, to, version, expected) in [
            ("", "", "0.3.0", "no section of 0.3.0"),
            ("[0.2.0] - 2026-12-01", "[0.2.0]", "0.2.0", "no section of 0.2.0"),
            ("2026-12-01", "soon", "0.2.0", "'soon' is no date"),
            ("- The first.", "", "0.1.0", "says nothing of 0.1.0"),
            (
                "[Unreleased]\n",
                "[Unreleased]\n\n- Forgotten.\n",
                "0.2.0",
                "something under [Unreleased]",
            ),
        ] {
            let error = notes(&CHANGELOG.replace(from, to), version)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_place_with_another_version_is_named() {
        let metadata = serde_json::from_str(
            r#"{"packages": [
                {"name": "a", "version": "0.2.0", "dependencies": [
                    {"name": "b", "req": "^0.1.0", "path": "/b"}, {"name": "c", "req": "^9", "path": null}]},
                {"name": "b", "version": "0.1.9", "dependencies": []}]}"#,
        )
        .unwrap();
        let error = agree(&versions_in(&metadata), "0.2.0").unwrap_err().to_string();
        assert_eq!(
            error,
            "the tag says 0.2.0, but what a asks of b says 0.1.0, the crate b says 0.1.9"
        );
    }

    #[test]
    fn crates_and_npm_package_agree_all_the_time() {
        agree(&all_versions().unwrap(), env!("CARGO_PKG_VERSION")).unwrap();
    }
}
