//! What each step does.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::count::Counts;
use super::{Outcome, Setting};
use crate::build::cargo;
use crate::{lab, process, tools};

/// Chooses the tests with several hosts: `tests/hosts` of this crate, all of which are ignored unless asked for.
const HOSTS_TESTS: &str = "hosts";

/// The shells in which completions are tested.
const SHELLS: [tools::Tool; 3] = [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")];

/// Formatting is what rustfmt makes of it.
pub(super) fn format(_: &Setting) -> Result<Outcome> {
    succeed(&mut cargo(["fmt", "--all", "--", "--check"])).context("`cargo fmt` mends it")
}

/// Clippy has nothing to say.
pub(super) fn lint(_: &Setting) -> Result<Outcome> {
    succeed(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Rustdoc has nothing to say, of private items either.
pub(super) fn docs(_: &Setting) -> Result<Outcome> {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Builds what all later steps run, once, so that their own times are those of the tests.
pub(super) fn build(_: &Setting) -> Result<Outcome> {
    succeed(&mut cargo(["build", "--workspace", "--all-targets"]))
}

/// Every Rust test that needs nothing special of the machine. Those of completions are skipped for shells that are not there.
pub(super) fn rust(setting: &Setting) -> Result<Outcome> {
    if let Err(error) = tools::install(&SHELLS) {
        eprintln!("{error:#}");
    }
    let mut command = test_runner(setting);
    if !setting.has_nextest {
        // Not the examples in the documentation: they are a step of their own.
        command.args(["--lib", "--bins", "--tests"]);
    }
    run_tests(&mut command)
}

/// The examples in the documentation, which nextest does not run.
pub(super) fn doctests(_: &Setting) -> Result<Outcome> {
    run_tests(&mut cargo(["test", "--workspace", "--doc"]))
}

/// The tests with several hosts, one at a time.
pub(super) fn hosts(setting: &Setting) -> Result<Outcome> {
    if let Err(error) = tools::install(&[&lab::TOOLS[..], &lab::TEST_TOOLS].concat()) {
        eprintln!("{error:#}");
    }
    if let Some(why) = lab::missing() {
        return Ok(Outcome::Skipped(why));
    }
    let mut command = test_runner(setting);
    if setting.has_nextest {
        let filter = format!("package(xtask) & binary({HOSTS_TESTS})");
        command.args(["--run-ignored", "only", "--filterset", &filter]);
    } else {
        command.args(["--test", HOSTS_TESTS, "--", "--ignored", "--test-threads", "1"]);
    }
    run_tests(&mut command)
}

/// Whether `cargo nextest` is installed.
pub(super) fn has_nextest() -> bool {
    let mut command = cargo(["nextest", "--version"]);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command that runs the tests of the whole workspace: choosing packages would make cargo build their dependencies
/// anew, with other features. Which tests run is for filters to say.
fn test_runner(setting: &Setting) -> Command {
    let mut command = if setting.has_nextest {
        let mut command = cargo(["nextest", "run", "--workspace"]);
        if setting.is_ci {
            command.args(["--profile", "ci"]);
        }
        command
    } else {
        cargo(["test", "--workspace", "--no-fail-fast"])
    };
    // Errors that tests return are told by their words; panics keep their backtraces where RUST_BACKTRACE asks for them.
    command.env("RUST_LIB_BACKTRACE", "0");
    command
}

/// Runs a command that says for itself what is wrong.
pub(super) fn succeed(command: &mut Command) -> Result<Outcome> {
    let shown = process::show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(Outcome::Done)
}

/// Runs a test runner of cargo.
pub(super) fn run_tests(command: &mut Command) -> Result<Outcome> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    Ok(Outcome::Ran(count_tests(command)?))
}

/// Runs a test runner, shows all that it says and counts its tests.
///
/// # Errors
/// When it cannot be run, or fails without a test that did.
pub(super) fn count_tests(command: &mut Command) -> Result<Counts> {
    let shown = process::show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    // libtest closes on stdout, nextest on stderr.
    let counts = thread::scope(|scope| -> Result<Counts> {
        let other = scope.spawn(|| pass_on(stderr, std::io::stderr()));
        let mut counts = pass_on(stdout, std::io::stdout())?;
        counts += other.join().expect("passing on output does not panic")?;
        Ok(counts)
    })?;
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("{shown} ended with {status}");
    }
    Ok(counts)
}

fn pass_on(from: impl Read, mut to: impl Write) -> Result<Counts> {
    let mut from = BufReader::new(from);
    let mut counts = Counts::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? != 0 {
        to.write_all(&line)?;
        to.flush()?;
        counts += Counts::of_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(counts)
}
