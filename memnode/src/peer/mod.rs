//! The links to other nodes.
//!
//! [`Peers`] knows the peers, accepts and dials connections, asks the person at this machine about strangers, dials lost
//! peers again, and hands out a [`PeerLink`] for each peer that both sides agreed to. What a peer asks for goes to the
//! service as [`PeerEvents`].
//!
//! It never decides what a peer may read or store: the service does. It never lets a request pass before both persons
//! agreed: the link machine in [`memproto::peer::link`] does not.
//!
//! A connection passes through the files in this order: `listener` or `dialer`, `handshake`, `lifecycle` (its place in
//! the `table`, and consent), `driver` (its tasks, which call `host`) around `wire` (its machine and socket, with `input` and
//! `gathering`), `link` (its handle), `looking` (what programs wait for). `attempt` meets a node at an address, for the dialer; `network` notices that this host slept or moved. What people
//! ask is in `connect`, `questions`, `consent`, `grants`, `watching`, `trusting`, `pairing`, `resolve` and `diagnosis`, limits are in [`config`], and `transport` is
//! what a connection is.

mod attempt;
pub mod config;
mod connect;
mod consent;
mod diagnosis;
mod dialer;
mod driver;
mod entry;
mod gathering;
mod grants;
mod handshake;
mod host;
mod input;
mod lifecycle;
mod link;
mod listener;
mod looking;
mod network;
mod pace;
mod pairing;
mod questions;
mod resolve;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod transport;
mod trusting;
mod watching;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use memproto::NodeId;
use memproto::peer::{Goodbye, HandshakeConfig, VERSION_MAX};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use attempt::Obstacle;
pub use config::PeersConfig;
pub(crate) use diagnosis::{ClockOffset, Multicast};
pub use grants::GrantChange;
pub use link::PeerLink;
pub use looking::{Heard, Looking, together};
pub(crate) use network::ClockSet;

use crate::discovery::{Announcement, Discovery, DiscoveryEvent};
use crate::identity::Identity;
use crate::service::PeerEvents;
use crate::surroundings::Surroundings;
use crate::trust::TrustStore;
use consent::ConsentLimits;
use listener::HandshakeSlots;
use network::Network;
use pace::Pace;
use pairing::{Machine, Pairing};
use table::{Table, TableLimits};

/// How often the questions for consent are looked at where nothing else wakes their task.
const CONSENT_LOOK_EVERY: Duration = Duration::from_secs(60);

/// The peers of this node. Ends with [`stop`](Self::stop): its tasks keep it alive until then.
pub struct Peers {
    config: PeersConfig,
    identity: Identity,
    trust: TrustStore,
    /// Set by `start`.
    events: OnceLock<Arc<dyn PeerEvents>>,
    state: Mutex<State>,
    /// How many links the table has over which requests may pass: every request of this host's programs asks whether there is any.
    agreed_links: Arc<AtomicUsize>,
    /// Which link of each peer the service was told of. Held while it is told, so that it hears of the links of a peer in
    /// their order. Locked before `state`, never after.
    told: Mutex<BTreeMap<NodeId, u64>>,
    /// Changes with every change of `state` that somebody may wait for.
    changed: watch::Sender<u64>,
    slots: HandshakeSlots,
    /// Changes when the network of this host did.
    network_changes: watch::Sender<u64>,
    /// Whether a link looks again for what its peer says: one does at a time.
    looking: Arc<AtomicBool>,
    serials: AtomicU64,
    stopping: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    discovery: Mutex<Option<Discovery>>,
}

/// What changes together.
struct State {
    table: Table<Arc<PeerLink>>,
    /// Addresses that a person's `connect` is dialling, while it is not known who is there.
    dialling: BTreeMap<u64, String>,
    /// Peers that are dialled again and again, with what ends the pause.
    redials: BTreeMap<NodeId, Arc<Notify>>,
    /// How fast strangers begin a handshake.
    strangers: Pace,
    /// The code that is offered here, and the codes that were typed here.
    pairing: Pairing<Machine>,
    network: Network,
    /// No link gets a place any more.
    stopped: bool,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers")
            .field("id", &self.identity.node_id())
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// The peers of a node. Nothing happens before [`start`](Self::start).
    pub fn new(config: PeersConfig, identity: Identity, trust: TrustStore) -> Arc<Self> {
        let limits = TableLimits {
            peers_max: config.peers_max,
            known_max: config.known_max,
            simultaneous_dial_window: config::SIMULTANEOUS_DIAL_WINDOW,
        };
        let mut table = Table::new(identity.node_id(), limits);
        for device in trust.list() {
            table.trust(device.id, &device.name, &device.addresses);
        }
        let state = State {
            table,
            dialling: BTreeMap::new(),
            redials: BTreeMap::new(),
            strangers: Pace::new(config.strangers_burst, config.strangers_pause),
            pairing: Pairing::default(),
            network: Network::default(),
            stopped: false,
        };
        Arc::new(Self {
            slots: HandshakeSlots::new(config.handshakes_max, config.handshakes_per_address_max),
            config,
            identity,
            trust,
            events: OnceLock::new(),
            agreed_links: state.table.agreed_links(),
            state: Mutex::new(state),
            told: Mutex::default(),
            changed: watch::Sender::new(0),
            network_changes: watch::Sender::new(0),
            looking: Arc::default(),
            serials: AtomicU64::new(1),
            stopping: CancellationToken::new(),
            tasks: Mutex::default(),
            discovery: Mutex::default(),
        })
    }

    /// Accepts peers, announces this node, and dials the trusted ones. Returns the addresses on which it listens.
    ///
    /// # Errors
    /// A port in use, an address that is not this host's, a name that no node may have. That mDNS does not work is only
    /// logged: `connect HOST:PORT` does without it.
    pub async fn start(self: &Arc<Self>, events: Arc<dyn PeerEvents>) -> anyhow::Result<Vec<SocketAddr>> {
        memproto::peer::handshake::check_node_name(&self.config.name)?;
        let listeners = listener::bind(&self.config.surroundings, &self.config.listen).await?;
        let addresses = listener::addresses(&listeners)?;
        anyhow::ensure!(
            self.events.set(events).is_ok(),
            "the peer links were started already"
        );
        for listener in listeners {
            self.spawn(listener::accept(Arc::clone(self), listener));
        }
        self.spawn(Arc::clone(self).watch_consents());
        self.look_at_interfaces();
        self.spawn(Arc::clone(self).watch_network());
        if self.config.discovery {
            self.start_discovery(&addresses)
                .context("cannot start a thread")?;
        }
        for address in &self.config.dial {
            self.spawn(Arc::clone(self).dial_configured(address.clone()));
        }
        for device in self.trust.list() {
            self.ensure_redial(device.id);
        }
        info!(?addresses, id = %self.identity.node_id(), "accepting peers");
        Ok(addresses)
    }

    /// Tells the peers goodbye, closes the listener, takes back the announcement and ends every task, within
    /// [`STOP_TIMEOUT`](config::STOP_TIMEOUT). The service is told of every link that ends.
    pub async fn stop(&self) {
        self.stopping.cancel();
        let links: Vec<Arc<PeerLink>> = {
            let mut state = self.state();
            state.stopped = true;
            state.table.links().map(|slot| Arc::clone(&slot.link)).collect()
        };
        for link in links {
            link.close(Goodbye::Stopping);
        }
        let discovery = self
            .discovery
            .lock()
            .expect("no code panics while it holds mDNS")
            .take();
        let goodbye = discovery.map(|discovery| tokio::task::spawn_blocking(move || discovery.stop()));
        let mut tasks = std::mem::take(
            &mut *self
                .tasks
                .lock()
                .expect("no code panics while it holds the tasks"),
        );
        let all = async {
            while tasks.join_next().await.is_some() {}
            if let Some(goodbye) = goodbye {
                // What mDNS panicked with was printed, and it is over now either way.
                let _ = goodbye.await;
            }
        };
        if tokio::time::timeout(self.config.stop_timeout, all).await.is_err() {
            warn!("some peer links did not end in time and were cut");
        }
        tasks.shutdown().await;
        self.touch();
    }

    /// How many connections are in the handshake: strangers, as far as this node knows.
    pub fn handshakes_under_way(&self) -> usize {
        self.slots.taken()
    }

    /// What these peers, and so the node that they belong to, take from the machine.
    pub fn surroundings(&self) -> &Surroundings {
        &self.config.surroundings
    }

    fn start_discovery(self: &Arc<Self>, addresses: &[SocketAddr]) -> anyhow::Result<()> {
        let announcement = Announcement {
            protocol_version: VERSION_MAX,
            id: self.identity.node_id(),
            name: self.config.name.clone(),
            incarnation: self.config.incarnation,
            interfaces: self.config.interfaces.clone(),
            listen: addresses.to_vec(),
        };
        let (peers, runtime) = (Arc::downgrade(self), tokio::runtime::Handle::current());
        let on_event = move |event| {
            if let Some(peers) = peers.upgrade() {
                let _entered = runtime.enter();
                peers.discovered(event);
            }
        };
        match Discovery::start(&announcement, on_event) {
            Ok(discovery) => {
                *self.discovery.lock().expect("no code panics while it holds mDNS") = Some(discovery);
            }
            Err(error) => {
                self.state().network.discovery_error = Some(error.to_string());
                warn!(%error, "mDNS does not work here: other nodes are reached by `memcli connect HOST:PORT` only");
            }
        }
        Ok(())
    }

    fn discovered(self: &Arc<Self>, event: DiscoveryEvent) {
        match event {
            DiscoveryEvent::Found { id, name, addresses } => {
                self.state().table.announced(id, &name, addresses);
                self.ensure_redial(id);
            }
            DiscoveryEvent::Gone { id } => self.state().table.gone(id),
            DiscoveryEvent::Twin { name, addresses } => {
                self.note_announced_twin(entry::printable(&name), addresses);
            }
            DiscoveryEvent::TwinGone => self.note_twin_gone(),
        }
        self.touch();
    }

    /// What this node says of itself to a peer.
    fn handshake_config(&self, offered_quota_bytes: u64) -> HandshakeConfig {
        HandshakeConfig {
            signing_key: self.identity.signing_key().clone(),
            name: self.config.name.clone(),
            offered_quota_bytes,
            incarnation: self.config.incarnation,
        }
    }

    /// Whether the node stops, so that nothing changes any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The Ed25519 public key of this node.
    pub fn public_key(&self) -> [u8; 32] {
        self.identity.public_key()
    }

    fn consent_limits(&self) -> ConsentLimits {
        ConsentLimits {
            waiting_max: self.config.consents_max,
            waiting_per_address_max: self.config.consents_per_address_max,
            timeout: self.config.consent_timeout,
        }
    }

    fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the table of peers")
    }

    /// Which link of each peer the service was told of; see the field.
    fn told(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        self.told
            .lock()
            .expect("no code panics while it tells the service")
    }

    /// Wakes whoever waits for a change.
    fn touch(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Spawns a task that ends with this node; `None` where it has ended already.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut tasks = self
            .tasks
            .lock()
            .expect("no code panics while it holds the tasks");
        // What has ended is let go here, so that the set does not grow with every connection ever made.
        while tasks.try_join_next().is_some() {}
        (!self.stopping.is_cancelled()).then(|| tasks.spawn(self.surroundings().task(task)))
    }
}
