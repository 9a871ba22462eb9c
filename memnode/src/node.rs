//! A node: all its parts, wired together. This file alone knows all of them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::budget::Ram;
use crate::config::Settings;
use crate::home::Home;
use crate::identity::Identity;
use crate::interfaces::InterfaceRules;
use crate::local::{ApiPort, ConnectionGauge, Listener, LocalConfig, TcpApi, TcpConfig, Workers};
use crate::logging;
use crate::memory_file::MemoryFiles;
use crate::notify::{Desktop, answering_command, tell_of_questions};
use crate::peer::{Peers, PeersConfig};
use crate::service::{FlushAllowed, Service, ServiceConfig, StartedAs};
use crate::store::{Store, StoreConfig};
use crate::supervisor::{self, Health};
use crate::token::Token;
use crate::trust::TrustStore;

/// Descriptors that no connection takes: the log, the lock, listeners, what the runtimes wait with, files that are opened
/// for a moment.
const OTHER_DESCRIPTORS: usize = 64;

/// A running node.
pub struct Node {
    service: Arc<Service>,
    local: JoinHandle<()>,
    workers: Arc<Workers>,
    tcp: Option<JoinHandle<()>>,
    deletions: JoinHandle<()>,
    expiry: JoinHandle<()>,
    unused_files: JoinHandle<()>,
    notices: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Node {
    /// Starts a node in its home, which the caller holds locked. When this returns, programs and peers are served.
    ///
    /// # Errors
    /// Where the local socket or the peer port cannot be bound; nothing is left running then.
    pub async fn start(
        settings: &Settings,
        home: &Home,
        identity: Identity,
        trust: TrustStore,
        stop: CancellationToken,
    ) -> anyhow::Result<Node> {
        let config = ServiceConfig {
            name: settings.name.clone(),
            node_id: identity.node_id(),
            home: home.path().to_owned(),
            socket: settings.socket.clone(),
            deletion_memory: settings.deletions_kept,
            announce_interval: settings.announce_interval,
            abandoned_grace: settings.unfinished_streams_kept,
            absent_grace: settings.absent_peers_data_kept,
            files: MemoryFiles::within_limits(settings.memory_files_max, descriptors_reserved(settings)),
            allow_flush: FlushAllowed::new(&settings.allow_flush),
            started: started_as(settings, home),
        };
        tracing::debug!(
            files_max = config.files.files_max(),
            "blocks may lie in memory files"
        );
        let files = config.files.clone();
        let node_id = config.node_id;
        let local = LocalConfig {
            connections_max: settings.local_connections_max,
            look_again: settings.look_again,
            group: settings.socket_group.clone(),
            ..LocalConfig::new(&settings.socket)
        };
        let listener = Listener::bind(&local)?;
        let tcp = bind_tcp(settings, home, listener.gauge()).await?;
        let workers = Workers::start().context("cannot start the threads that serve programs")?;
        let workers = Arc::new(workers);
        let store = Store::new(StoreConfig {
            budget_bytes: settings.memory,
            node_id,
            first_block_id: rand::random(),
        });
        let peers = Peers::new(peers_config(settings)?, identity, trust);
        let service = Service::new(config, store, Arc::clone(&peers), stop.clone());
        let addresses = peers
            .start(Arc::clone(&service) as _)
            .await
            .context("cannot accept peers")?;
        tracing::info!(
            name = settings.name, node = %node_id, home = %home.path().display(), peers = ?addresses,
            memory_bytes = settings.memory, "the node runs"
        );
        let api_address = tcp.as_ref().map(TcpApi::address);
        service.note_listening(addresses, api_address, listener.gauge());
        let serve = listener.serve(Arc::clone(&service), Arc::clone(&workers), stop.clone());
        let local = tokio::spawn(serve);
        let tcp = tcp.map(|tcp| tokio::spawn(tcp.serve(Arc::clone(&service), stop.clone())));
        let sweeper = Arc::clone(&service);
        let deletions = tokio::spawn(async move { sweeper.sweep_deletions().await });
        let sweeper = Arc::clone(&service);
        let expiry = tokio::spawn(async move {
            tokio::join!(sweeper.sweep_expired(), sweeper.sweep_unfinished());
        });
        let stopped = stop.clone();
        let unused_files = tokio::spawn(async move {
            stopped.run_until_cancelled(files.give_back_unused()).await;
        });
        let notices = begin_notices(settings, home, peers, stop.clone());
        Ok(Node {
            service,
            local,
            workers,
            tcp,
            deletions,
            expiry,
            unused_files,
            notices,
            stop,
        })
    }

    /// What the node does.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The parts whose progress shows that the node is well.
    pub fn health(&self) -> Health {
        let programs = ("the local API", self.local.abort_handle());
        let tcp = self
            .tcp
            .iter()
            .map(|task| ("the local API on TCP", task.abort_handle()));
        let accepting = std::iter::once(programs).chain(tcp).collect();
        Health::new(Arc::clone(&self.service), self.workers.handles(), accepting)
    }

    /// Serves until the stop token is cancelled, then ends everything in order: programs first, so that nothing new
    /// comes in; then the peers, who are told; then what was still going on.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        self.stop.cancelled().await;
        self.local.await.context("the local API ended in a fault")?;
        if let Some(tcp) = self.tcp {
            tcp.await.context("the local API on TCP ended in a fault")?;
        }
        self.service.peers().stop().await;
        self.deletions
            .await
            .context("the sweep of deletions ended in a fault")?;
        self.expiry
            .await
            .context("the sweep of what expired ended in a fault")?;
        self.unused_files
            .await
            .context("the sweep of unused memory files ended in a fault")?;
        if let Some(notices) = self.notices {
            notices.await.context("the notifications ended in a fault")?;
        }
        self.service.finish().await;
        // Only now: small tasks that the service tracks may have begun on them.
        drop(self.workers);
        tracing::info!("the node has stopped");
        Ok(())
    }
}

/// What `status` tells of the process, with a word in the log where the budget is more than there is.
fn started_as(settings: &Settings, home: &Home) -> StartedAs {
    let warning = Ram::of_this_process().and_then(|ram| ram.warning(settings.memory));
    if let Some(warning) = &warning {
        tracing::warn!("{warning}");
    }
    StartedAs {
        log_file: logging::log_file(settings, home),
        service_manager: supervisor::service_manager(),
        flags: settings.started_with.clone(),
        warnings: warning.into_iter().collect(),
    }
}

/// Tells the desktop who asks for consent, unless it is not to be told.
fn begin_notices(
    settings: &Settings,
    home: &Home,
    peers: Arc<Peers>,
    stop: CancellationToken,
) -> Option<JoinHandle<()>> {
    let desktop = Desktop::of_this_system().filter(|_| settings.notify)?;
    let command = answering_command(home.path(), Home::default_path().ok().as_deref());
    Some(tokio::spawn(async move {
        stop.run_until_cancelled(tell_of_questions(peers, desktop, command))
            .await;
    }))
}

/// How many descriptors memory files leave to everything else. A connection takes a second one while it waits for room to
/// write, and as many connections again are refused with a word.
fn descriptors_reserved(settings: &Settings) -> usize {
    2 * 2 * settings.local_connections_max + settings.peers_max + settings.handshakes_max + OTHER_DESCRIPTORS
}

/// The local API on TCP, with the token of the home, unless it is switched off or another program has the default port.
async fn bind_tcp(
    settings: &Settings,
    home: &Home,
    gauge: ConnectionGauge,
) -> anyhow::Result<Option<TcpApi>> {
    if settings.api_port == ApiPort::Off {
        return Ok(None);
    }
    let config = TcpConfig {
        listen: settings.api_listen,
        port: settings.api_port,
        connections_max: settings.local_connections_max,
    };
    TcpApi::bind(&config, Token::load_or_create(home)?, gauge).await
}

fn peers_config(settings: &Settings) -> anyhow::Result<PeersConfig> {
    let interfaces = InterfaceRules::new(&settings.interfaces).map_err(anyhow::Error::msg)?;
    Ok(PeersConfig {
        listen: vec![SocketAddr::new(settings.listen, settings.port)],
        dial: settings.peers.clone(),
        discovery: settings.discovery,
        interfaces,
        peers_max: settings.peers_max,
        known_max: settings.peers_known_max,
        handshakes_max: settings.handshakes_max,
        handshakes_per_address_max: settings.handshakes_per_address_max,
        handshake_timeout: settings.handshake_timeout,
        connect_timeout: settings.connect_timeout,
        consents_max: settings.consents_max,
        consents_per_address_max: settings.consents_per_address_max,
        consent_timeout: settings.consent_timeout,
        pair_timeout: settings.pair_timeout,
        backoff_max: settings.redial_pause_max,
        look_again: settings.look_again,
        ..PeersConfig::new(&settings.name, rand::random(), settings.default_grant_bytes())
    })
}
