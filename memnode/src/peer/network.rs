//! What happens to the network of this host: it sleeps and wakes, moves to another Wi-Fi, gets an interface.
//!
//! Each time links may be dead without a sign, and peers that were out of reach may be there. So every link is asked for a
//! sign of life, and every peer that is wanted is dialled at once, whatever pause its dialling had reached.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use memproto::NodeId;
use tracing::{debug, info, warn};

use super::Peers;
use super::wire::now;
use crate::interfaces::{self, Interface};
use crate::wake::{Clocks, Jump, WakeWatch};

/// How often the clocks and the interfaces are looked at: a machine is back within a second of waking. A look takes some
/// ten microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a peer may take to answer when there is reason to doubt that it is there. A LAN answers within milliseconds, a
/// wireless card that just woke within a second.
const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(2);

/// For how long it is told that two nodes have one identity, after the last sign of it. Whoever is refused for it tries
/// again each half minute.
const SHARED_IDENTITY_TOLD_FOR: Duration = Duration::from_secs(5 * 60);

/// What is known of the network of this host.
#[derive(Debug, Default)]
pub(super) struct Network {
    interfaces: Arc<[Interface]>,
    twin: Option<Twin>,
    clock_set: Option<ClockSet>,
    /// Why mDNS did not start.
    pub(super) discovery_error: Option<String>,
}

/// Another process with the identity of this node.
#[derive(Debug)]
struct Twin {
    name: Option<String>,
    addresses: Vec<SocketAddr>,
    seen: Instant,
    /// Whether mDNS announces it now: then it is there, whenever it was seen first.
    announced: bool,
}

/// The last time that somebody, or a time service, set the wall clock by much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockSet {
    /// When, by the new time.
    pub(crate) at: SystemTime,
    /// By how much.
    pub(crate) by: Duration,
    /// Whether forward.
    pub(crate) forward: bool,
}

impl Peers {
    /// Looks after the network until the node stops.
    pub(super) async fn watch_network(self: Arc<Self>) {
        if !self.surroundings().is_system() {
            // Nor do this host's clocks say when a simulated one slept.
            return;
        }
        let mut watch = WakeWatch::new(Clocks::now(), LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let woke = match watch.look(Clocks::now()) {
                Some(Jump::Slept(time)) => {
                    info!(
                        slept_secs = time.as_secs(),
                        "this machine slept, or this process stood still"
                    );
                    true
                }
                Some(Jump::SetForward(by)) => self.note_clock_set(by, true),
                Some(Jump::SetBack(by)) => self.note_clock_set(by, false),
                None => false,
            };
            let moved = self.look_at_interfaces();
            if woke || moved {
                self.network_changed();
            }
        }
    }

    /// Takes note of the interfaces. Returns whether an address that leads to others came or went since the last time: what
    /// containers do among themselves is no news.
    pub(super) fn look_at_interfaces(&self) -> bool {
        if !self.surroundings().is_system() {
            // A simulated machine has one address, and its peers are not where this host's interfaces lead.
            return false;
        }
        let interfaces: Arc<[Interface]> = match interfaces::list(&self.config.interfaces) {
            Ok(interfaces) => interfaces.into(),
            Err(error) => {
                debug!(%error, "the system does not tell its network interfaces");
                return false;
            }
        };
        let mut state = self.state();
        let moved = !used_interfaces(&state.network.interfaces).eq(used_interfaces(&interfaces));
        if moved {
            let addresses: Vec<_> = used_interfaces(&interfaces)
                .flat_map(|interface| &interface.subnets)
                .map(ToString::to_string)
                .collect();
            debug!(?addresses, "the addresses of this host");
        }
        state.network.interfaces = interfaces;
        moved
    }

    /// Asks every link for a sign of life, dials every peer that is wanted, announces this node and searches anew.
    pub(super) fn network_changed(self: &Arc<Self>) {
        let (links, redials) = {
            let mut state = self.state();
            state.table.forget_attempts();
            let links: Vec<_> = state.table.links().map(|slot| Arc::clone(&slot.link)).collect();
            (links, state.redials.values().cloned().collect::<Vec<_>>())
        };
        links.iter().for_each(|link| link.check(SIGN_OF_LIFE_WITHIN));
        redials.iter().for_each(|redial| redial.notify_one());
        self.network_changes.send_modify(|changes| *changes += 1);
        let discovery = self.discovery.lock().expect("no code panics while it holds mDNS");
        if let Some(discovery) = &*discovery {
            discovery.refresh();
        }
    }

    /// The interfaces of this host, as of the last look.
    pub(crate) fn interfaces(&self) -> Arc<[Interface]> {
        Arc::clone(&self.state().network.interfaces)
    }

    /// Whether an address is that of another host for sure: in a network of this host, and not its own. One beyond a router
    /// may be this host's by a way back through the router.
    pub(super) fn is_of_another_host(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let interfaces = self.interfaces();
        let subnets = || interfaces.iter().flat_map(|interface| &interface.subnets);
        !ip.is_loopback()
            && subnets().any(|subnet| subnet.contains(ip))
            && subnets().all(|subnet| subnet.address != ip)
    }

    /// When the wall clock was last set by much while this node ran.
    pub(crate) fn clock_set(&self) -> Option<ClockSet> {
        self.state().network.clock_set
    }

    /// Notes that there is another process with the identity of this node: it answered at an address, or a peer said so.
    pub(super) fn note_twin(&self, name: Option<String>, addresses: Vec<SocketAddr>) {
        self.note(Twin {
            name,
            addresses,
            seen: now(),
            announced: false,
        });
    }

    /// Notes that mDNS announces such a process.
    pub(super) fn note_announced_twin(&self, name: String, addresses: Vec<SocketAddr>) {
        self.note(Twin {
            name: Some(name),
            addresses,
            seen: now(),
            announced: true,
        });
    }

    /// Notes that mDNS announces it no longer.
    pub(super) fn note_twin_gone(&self) {
        self.state().network.twin = None;
    }

    fn note(&self, twin: Twin) {
        let mut state = self.state();
        let known = state.network.twin.take();
        if known.is_none() {
            warn!(
                name = twin.name,
                addresses = ?twin.addresses,
                "another node has the identity of this one: the folder of one of them was copied"
            );
        }
        state.network.twin = Some(match known {
            // What mDNS says of it is more than that a peer met it.
            Some(known) if known.announced && !twin.announced => Twin {
                seen: twin.seen,
                ..known
            },
            _ => twin,
        });
    }

    fn note_clock_set(&self, by: Duration, forward: bool) -> bool {
        warn!(
            by_secs = by.as_secs(),
            forward, "the wall clock of this machine was set"
        );
        let at = SystemTime::now();
        self.state().network.clock_set = Some(ClockSet { at, by, forward });
        false
    }

    /// What is wrong with identities, in whole sentences: this node's first, then those of peers.
    pub fn identity_warnings(&self) -> Vec<String> {
        let state = self.state();
        let now = now();
        let is_fresh = |seen| now.duration_since(seen) < SHARED_IDENTITY_TOLD_FOR;
        let mut warnings = Vec::new();
        if let Some(twin) = state.network.twin.as_ref()
            && (twin.announced || is_fresh(twin.seen))
        {
            warnings.push(own_identity_shared(twin));
        }
        for entry in state.table.iter() {
            let Some((_, address)) = entry.shared.filter(|(seen, _)| is_fresh(*seen)) else {
                continue;
            };
            warnings.push(identity_shared(&entry.name, entry.id, address, entry.address()));
        }
        warnings
    }
}

/// The interfaces over which discovery reaches other machines.
pub(super) fn used_interfaces(interfaces: &[Interface]) -> impl Iterator<Item = &Interface> {
    interfaces
        .iter()
        .filter(|interface| interface.left_out.is_none() && !interface.is_loopback())
}

fn own_identity_shared(twin: &Twin) -> String {
    let name = twin
        .name
        .as_ref()
        .map(|name| format!(", called '{name}',"))
        .unwrap_or_default();
    let place = match twin.addresses.first() {
        Some(address) => format!(" at {address}"),
        None => String::new(),
    };
    format!(
        "another node{name}{place} has the identity of this one, so peers cannot tell them apart: the folder of one was copied \
         from the other. On the copy stop the node, delete identity.key in its folder, and start it again"
    )
}

fn identity_shared(name: &str, id: NodeId, address: SocketAddr, other: Option<SocketAddr>) -> String {
    let places = match other.filter(|other| other.ip() != address.ip()) {
        Some(other) => format!("at {} and {}", address.ip(), other.ip()),
        None => format!("one at {}", address.ip()),
    };
    format!(
        "two nodes ({places}) have the identity of '{name}' ({}), and only one of them is connected at a time: the folder of one was \
         copied from the other. On the copy stop the node, delete identity.key in its folder, and start it again",
        id.short()
    )
}
