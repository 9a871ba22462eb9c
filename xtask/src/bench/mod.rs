//! `cargo xtask bench`: MemCloud beside what people use today, on this machine, in one run.
//!
//! - [`local`]: a node on its own host beside Redis and memcached, over Unix sockets.
//! - `echo`: the servers that do nothing but answer, which is what a round trip costs at the least.
//! - `servers`: installs, starts and ends all of them.
//! - `client`: one blocking client for all protocols, so that the servers are compared and not their clients.
//! - `load`: what is asked of a server, and how long the answers take.
//! - `table`: the results beside the marks.

mod client;
mod echo;
mod load;
pub mod local;
mod servers;
mod table;

use anyhow::Result;

/// The arguments of `cargo xtask bench`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// A node beside Redis, memcached and bare echo servers, all on Unix sockets of this machine
    Local(local::Args),
    /// Serve as a bare echo server until killed: a part of `local`
    #[command(hide = true)]
    Echo(echo::Args),
}

/// Runs a measurement.
///
/// # Errors
/// When a server cannot be installed, built or started, answers what it was not asked, or the chore is interrupted.
pub fn run(args: &Args) -> Result<()> {
    match args {
        Args::Local(args) => local::run(args),
        Args::Echo(args) => echo::run(args),
    }
}
