//! `cargo xtask test`: all that must hold before a change lands. `.ci/run` is nothing else.
//!
//! A new kind of check is a line in `STEPS` and a function in `steps.rs`, or in a file of its own where it is more than a command. Steps share the dev profile's build; nothing is
//! built in release mode.

mod checkers;
mod count;
mod js;
mod scripts;
mod steps;
mod workflows;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use count::Counts;

/// The arguments of `cargo xtask test`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run only the steps of these names
    #[arg(value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
    /// Leave out the step of this name; may be repeated
    #[arg(long, value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    skip: Vec<String>,
}

impl Args {
    fn choose(&self, step: &Step) -> bool {
        let is_in = |names: &[String]| names.iter().any(|name| name == step.name);
        (self.steps.is_empty() || is_in(&self.steps)) && !is_in(&self.skip)
    }
}

/// One thing that is checked.
#[derive(Debug)]
struct Step {
    /// As it is typed.
    name: &'static str,
    /// As it is announced.
    what: &'static str,
    check: fn(&Setting) -> Result<Outcome>,
}

/// All steps in the order in which they run: what is quick or breaks often comes first.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        what: "formatting (rustfmt)",
        check: steps::format,
    },
    Step {
        name: "lint",
        what: "lints (clippy)",
        check: steps::lint,
    },
    Step {
        name: "workflows",
        what: "workflows and forms of GitHub",
        check: |_| workflows::check(),
    },
    Step {
        name: "docs",
        what: "documentation (rustdoc)",
        check: steps::docs,
    },
    Step {
        name: "build",
        what: "programs and tests build",
        check: steps::build,
    },
    Step {
        name: "rust",
        what: "Rust tests",
        check: steps::rust,
    },
    Step {
        name: "doctests",
        what: "examples in the documentation",
        check: steps::doctests,
    },
    Step {
        name: "scripts",
        what: "scripts, and the installer",
        check: scripts::scripts,
    },
    Step {
        name: "js",
        what: "the npm package and its examples",
        check: js::check,
    },
    Step {
        name: "hosts",
        what: "tests with several hosts",
        check: steps::hosts,
    },
];

/// How a step ended that did not fail.
#[derive(Debug)]
enum Outcome {
    Done,
    /// A test runner ran, and how its tests ended; with failures among them the step failed.
    Ran(Counts),
    /// It could not run here, and why.
    Skipped(String),
}

/// Where the checks run.
#[derive(Debug)]
struct Setting {
    /// On a machine that decides whether a change lands: what cannot be checked there has failed.
    is_ci: bool,
    has_nextest: bool,
}

impl Setting {
    fn find() -> Self {
        let is_ci = std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
        Self {
            is_ci,
            has_nextest: steps::has_nextest(),
        }
    }
}

/// Runs the steps. The last line that it prints is `N passed, N failed`.
///
/// # Errors
/// At the first step that fails.
pub fn run(args: &Args) -> Result<()> {
    let setting = Setting::find();
    let chosen: Vec<_> = STEPS.iter().filter(|step| args.choose(step)).collect();
    let start = Instant::now();
    let mut total = Counts::default();
    let mut skipped = Vec::new();
    let result = chosen.iter().enumerate().try_for_each(|(index, step)| {
        println!("\n[{}/{}] {}", index + 1, chosen.len(), step.what);
        let start = Instant::now();
        let outcome = (step.check)(&setting).and_then(|outcome| settle(outcome, &setting, &mut total));
        let took = seconds(start.elapsed());
        match outcome.with_context(|| format!("{} failed (`cargo xtask test {}`)", step.what, step.name)) {
            Ok(None) => println!("[{}/{}] {}: ok, {took}", index + 1, chosen.len(), step.what),
            Ok(Some(why)) => {
                println!("[{}/{}] {}: SKIPPED, {why}", index + 1, chosen.len(), step.what);
                skipped.push(step.what);
            }
            Err(error) => {
                println!("[{}/{}] {}: FAILED, {took}", index + 1, chosen.len(), step.what);
                return Err(error);
            }
        }
        Ok(())
    });
    println!("\nall in {}", seconds(start.elapsed()));
    if !skipped.is_empty() {
        println!("not checked here: {}", skipped.join(", "));
    }
    // The error goes to stderr behind this line; a machine that reads stdout has its own line to read.
    println!("{total}");
    result
}

/// Adds up the tests of a step; a reason to skip comes back unless this machine may not skip.
fn settle(outcome: Outcome, setting: &Setting, total: &mut Counts) -> Result<Option<String>> {
    match outcome {
        Outcome::Done => Ok(None),
        Outcome::Ran(counts) => {
            *total += counts;
            ensure!(
                counts.failed == 0,
                "{} of {} tests failed",
                counts.failed,
                counts.passed + counts.failed
            );
            Ok(None)
        }
        Outcome::Skipped(why) if setting.is_ci => bail!("{why}, and with CI=true nothing may be left out"),
        Outcome::Skipped(why) => Ok(Some(why)),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
