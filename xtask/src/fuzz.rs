//! `cargo xtask fuzz`: feeds everything that reads foreign bytes with bytes that nobody would think of.
//!
//! The targets lie in `fuzz/`, what they check in the modules `fuzzing` of `memproto` and `memnode`. cargo-fuzz builds and runs
//! them. What a run finds new stays in `fuzz/target/found`, so that the next one goes on from there; `fuzz/corpus` is chosen by
//! hand and small, because every `cargo xtask test` replays it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{cargo, workspace_dir};

/// The longest that one input may take in seconds. Each is a few KiB, and the slowest honest one takes some milliseconds; but the
/// clock goes on where a busy machine lets the target wait, and 5 s were too few then.
const INPUT_SECONDS_MAX: u32 = 25;

/// The most MiB that one allocation may have: far more than any limit of the protocols, far less than what a length that lies
/// asks for.
const ALLOCATION_MIB_MAX: u32 = 64;

/// The arguments of `cargo xtask fuzz`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The targets, as the files in fuzz/fuzz_targets; all of them, one after the other, where none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Instead of running: choose the smallest set of inputs that reaches all that was reached, and put it into fuzz/corpus
    #[arg(long, conflicts_with = "seconds")]
    minimise: bool,
}

/// Runs the targets.
///
/// # Errors
/// When cargo-fuzz is missing, a target is not known or does not build, or one has found something: the input lies in
/// `fuzz/artifacts` then, and the output above says how to run it again.
pub fn run(args: &Args) -> Result<()> {
    let folder = workspace_dir().join("fuzz");
    let all = targets(&folder)?;
    if let Some(unknown) = args.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target '{unknown}', but {}", all.join(", "));
    }
    ensure!(
        is_installed(),
        "cargo-fuzz is missing. Install it with: cargo install cargo-fuzz"
    );
    let chosen = if args.targets.is_empty() {
        &all
    } else {
        &args.targets
    };
    for target in chosen {
        let found = folder.join("target/found").join(target);
        let corpus = folder.join("corpus").join(target);
        for folder in [&found, &corpus] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if args.minimise {
            minimise(target, &found, &corpus)?;
        } else {
            println!("\n{target}, {} s", args.seconds);
            feed(target, args.seconds, &found, &corpus)?;
        }
    }
    Ok(())
}

/// The names of the targets, sorted.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    let stems = paths.iter().filter_map(|path| path.file_stem()?.to_str());
    let mut names: Vec<String> = stems.map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

fn is_installed() -> bool {
    let mut command = cargo(["fuzz", "--version"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a target. New inputs go into the first of the two folders.
fn feed(target: &str, seconds: u32, found: &Path, corpus: &Path) -> Result<()> {
    let mut command = cargo_fuzz("run", target);
    command.args([found, corpus]).arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}"),
    ]);
    let status = command.status().context("cannot run cargo-fuzz")?;
    ensure!(
        status.success(),
        "{target} does not build, or has found something: see above, and fuzz/artifacts/{target}"
    );
    Ok(())
}

/// Puts what runs have found and the corpus together, and leaves in the corpus what it takes to reach all of it.
fn minimise(target: &str, found: &Path, corpus: &Path) -> Result<()> {
    for entry in fs::read_dir(found)? {
        let entry = entry?;
        fs::copy(entry.path(), corpus.join(entry.file_name()))?;
    }
    let mut command = cargo_fuzz("cmin", target);
    let status = command.arg(corpus).status().context("cannot run cargo-fuzz")?;
    ensure!(
        status.success(),
        "the corpus of {target} was not minimised: see above"
    );
    Ok(())
}

/// A `cargo fuzz` command. The sanitizer is a matter of nightly compilers, but every stable one has it as well, and this is
/// how a stable one is asked for it: so the targets are built by the compiler that builds the rest.
fn cargo_fuzz(what: &str, target: &str) -> Command {
    let mut command = cargo(["fuzz", what, target]);
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_corpus_and_a_place_in_the_manifest() {
        let folder = workspace_dir().join("fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let names = targets(&folder).unwrap();
        assert!(names.len() > 1);
        for name in names {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
                "{name}"
            );
            let corpus = folder.join("corpus").join(&name);
            assert!(fs::read_dir(corpus).unwrap().next().is_some(), "{name}");
        }
    }
}
