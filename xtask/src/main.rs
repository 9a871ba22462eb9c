//! `cargo xtask`: see the library.

use std::process::ExitCode;

use clap::Parser;
use xtask::{bench, demo, dist, docs, fuzz, lab, package, release, sim, test};

/// The chores of MemCloud
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Show what MemCloud does: two nodes on this machine, a gigabyte there and back
    Demo(demo::Args),
    /// Check everything that must hold before a change lands
    Test(test::Args),
    /// Measure MemCloud: `local` beside other stores, `cache`, `memory`
    #[command(disable_help_flag = true)]
    Bench(bench::Args),
    /// Run many nodes in one process under virtual time, with faults drawn from seeds
    #[command(disable_help_flag = true)]
    Sim(sim::Args),
    /// Run the fuzz targets with cargo-fuzz
    Fuzz(fuzz::Args),
    /// Check that all versions are those of a release's tag, and print what is new in it
    Release(release::Args),
    /// Write man pages and completions into target/assets, for installers
    Assets(docs::AssetsArgs),
    /// Build the programs and pack the archive of a release for a platform
    Dist(dist::Args),
    /// Make packages of Debian and Fedora in target/dist, and try them on a clean Debian
    Package(package::Args),
    /// Write docs/cli.md and the settings in docs/configuration.md, from the definitions of the command lines
    Docs,
    /// Open several hosts with running nodes on this machine, to try things by hand
    Lab(lab::open::Args),
}

fn main() -> ExitCode {
    let result = match Chore::parse() {
        Chore::Demo(args) => demo::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Bench(args) => bench::run(&args).map(|never| match never {}),
        Chore::Sim(args) => sim::run(&args).map(|never| match never {}),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Release(args) => release::run(&args),
        Chore::Assets(args) => docs::assets(&args).map(|never| match never {}),
        Chore::Dist(args) => dist::run(&args),
        Chore::Package(args) => package::run(&args),
        Chore::Docs => docs::docs().map(|never| match never {}),
        Chore::Lab(args) => lab::open::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
