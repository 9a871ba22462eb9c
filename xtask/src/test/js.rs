//! The step `js`: the npm package and the examples that are written with it, checked, built and tested beside the node that was
//! built here.
//!
//! Node.js and npm come from the machine; what the packages need comes from the npm registry, as their lock files name it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::count::Counts;
use super::{Outcome, Setting, steps};
use crate::build::{Programs, workspace_dir};

/// What must be there before anything can be checked, with npm behind it.
const PROGRAMS: [&str; 2] = ["node", "npm"];

/// A package of this repository.
struct Package {
    /// Where it lies in the workspace.
    folder: &'static str,
    /// Its npm scripts that say for themselves what is wrong, in the order in which they run. Behind them comes `npm run test`, under
    /// Node.js' own runner.
    checks: &'static [&'static str],
}

/// The packages, each behind those that it depends on.
const PACKAGES: [Package; 2] = [
    Package {
        folder: "js-sdk",
        // Not `test:runtimes`, which installs nearly 1 GB: that runs at night.
        checks: &["check", "build", "lint:package", "test:adapters"],
    },
    // It takes the first one from its folder, as it was built just now.
    Package {
        folder: "examples/nodejs",
        checks: &[],
    },
];

/// Everything about the packages.
pub(super) fn check(setting: &Setting) -> Result<Outcome> {
    if let Some(program) = PROGRAMS.into_iter().find(|program| !runs(program)) {
        return Ok(Outcome::Skipped(format!(
            "{program} is missing (Node.js with npm must be installed: https://nodejs.org)"
        )));
    }
    // The tests run what is built here, also where no other step was asked for.
    steps::build(setting)?;
    let programs = Programs::beside_this_one()?;
    let mut counts = Counts::default();
    for package in &PACKAGES {
        counts += package
            .check(&programs)
            .with_context(|| format!("in {}", package.folder))?;
    }
    Ok(Outcome::Ran(counts))
}

impl Package {
    fn check(&self, programs: &Programs) -> Result<Counts> {
        // No scripts of packages: none needs one, and whoever takes over a package has no say here.
        steps::succeed(&mut self.npm(programs, ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
        for script in self.checks {
            steps::succeed(&mut self.npm(programs, ["run", script]))?;
        }
        let counts = steps::count_tests(&mut self.npm(programs, ["run", "test"]))?;
        ensure!(counts != Counts::default(), "`npm run test` ran no test");
        Ok(counts)
    }

    fn npm<const N: usize>(&self, programs: &Programs, args: [&str; N]) -> Command {
        let mut command = Command::new("npm");
        command
            .current_dir(workspace_dir().join(self.folder))
            .args(args)
            // What the tests run against.
            .env("MEMNODE", &programs.memnode)
            .env("MEMCLI", &programs.memcli)
            // Whether there is a newer npm is nothing that this asks.
            .env("NPM_CONFIG_UPDATE_NOTIFIER", "false");
        command
    }
}

/// Whether a program is there and says its version, which is shown: it tells why a check passes on one machine and not on another.
fn runs(program: &str) -> bool {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        return false;
    };
    println!("{program} {}", String::from_utf8_lossy(&output.stdout).trim());
    output.status.success()
}
