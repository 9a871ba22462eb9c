//! The binary `memnode`: settings, folder, log and signals around the node of the library. [`memnode::config::EXIT_CODES`] says how it ends.

use std::process::ExitCode;

use anyhow::Context as _;
use memnode::config::{ConfigError, Settings};
use memnode::home::Home;
use memnode::identity::Identity;
use memnode::node::Node;
use memnode::trust::TrustStore;
use memnode::{logging, platform, supervisor};
use tokio_util::sync::CancellationToken;

/// The exit code for wrong flags or settings, as clap has it.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    platform::return_freed_memory();
    let settings = match Settings::load(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(settings) => settings,
        Err(ConfigError::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("memnode: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On stderr whatever the log does: it is where the one who started the node looks.
            eprintln!("memnode: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let home = Home::open(&settings.home)?;
    // First of all: from here on this process alone touches the files of the folder.
    let _lock = home.lock()?;
    if settings.background {
        platform::detach().context("cannot leave the terminal")?;
    }
    logging::init(&settings, &home)?;
    let ended = run_locked(settings, home);
    if let Err(error) = &ended {
        tracing::error!("the node ends: {error:#}");
    }
    ended
}

#[tokio::main]
async fn run_locked(settings: Settings, home: Home) -> anyhow::Result<()> {
    let identity = Identity::load_or_create(&home)?;
    let trust = TrustStore::load(&home)?;
    let stop = CancellationToken::new();
    let signals = platform::StopSignals::listen().context("cannot listen for signals")?;
    let listener = tokio::spawn(stop_on_signal(signals, stop.clone()));
    let ended = serve(settings, home, identity, trust, stop).await;
    listener.abort();
    ended
}

/// Runs the node until it is stopped.
async fn serve(
    settings: Settings,
    home: Home,
    identity: Identity,
    trust: TrustStore,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let node = Node::start(&settings, &home, identity, trust, stop.clone()).await?;
    let reports = tokio::spawn(supervisor::report(node.health(), stop));
    let ended = node.run_until_stopped().await;
    reports
        .await
        .context("the reports to the service manager ended in a fault")?;
    ended
}

/// Stops the node at the first signal, and ends the process at the second: a person who asks twice does not want to wait.
async fn stop_on_signal(mut signals: platform::StopSignals, stop: CancellationToken) {
    let signal = signals.next().await;
    tracing::info!(signal, "the node stops");
    stop.cancel();
    let signal = signals.next().await;
    tracing::warn!(signal, "ended without waiting for the node to stop");
    std::process::exit(1);
}
