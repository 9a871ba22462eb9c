//! Accepting connections: the only place where strangers cost this node something.
//!
//! An accepted connection that has not proved an identity holds one task, one buffer of a kilobyte and one slot, for at
//! most [`HANDSHAKE_TIMEOUT`](super::config::HANDSHAKE_TIMEOUT). There is a fixed number of slots; when all are taken the
//! connection that has waited longest is closed, so that many silent ones push out each other and a node that has
//! something to say, which takes milliseconds, still gets in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use super::transport::{Acceptor, Connection};
use super::wire::now;
use super::{Peers, handshake};
use crate::surroundings::Surroundings;

/// How long to wait before accepting again after the system refused, which it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the listening sockets. Port 0 takes a free one, for all addresses the same.
pub(super) async fn bind(
    surroundings: &Surroundings,
    addresses: &[SocketAddr],
) -> anyhow::Result<Vec<Acceptor>> {
    let mut listeners: Vec<Acceptor> = Vec::new();
    for &address in addresses {
        let mut address = address;
        if address.port() == 0
            && let Some(first) = listeners.first()
        {
            address.set_port(first.local_addr()?.port());
        }
        let mut bound = surroundings.listen(address).await;
        if address.ip() == Ipv6Addr::UNSPECIFIED && bound.as_ref().is_err_and(lacks_ipv6) {
            address.set_ip(Ipv4Addr::UNSPECIFIED.into());
            bound = surroundings.listen(address).await;
        }
        let listener = bound.map_err(|error| explain(&error, address))?;
        listeners.push(listener);
    }
    anyhow::ensure!(
        !listeners.is_empty(),
        "no address to accept peers on is configured"
    );
    Ok(listeners)
}

/// Whether the system refused an address because it has no IPv6.
fn lacks_ipv6(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn explain(error: &std::io::Error, address: SocketAddr) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} is in use on {}: another node or program listens there. Choose another one with --port, or 0 for a free one",
            address.port(),
            address.ip()
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!(
                "{} is no address of this host: peers cannot be accepted there",
                address.ip()
            )
        }
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "the system does not let this user listen on port {}: choose one from 1024 on with --port",
            address.port()
        ),
        _ => anyhow::anyhow!("cannot accept peers on {address}: {error}"),
    }
}

/// The addresses on which the listeners really are.
pub(super) fn addresses(listeners: &[Acceptor]) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses: std::io::Result<_> = listeners.iter().map(Acceptor::local_addr).collect();
    addresses.context("cannot ask the system for the listening address")
}

/// Accepts until the node stops.
pub(super) async fn accept(peers: Arc<Peers>, listener: Acceptor) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = peers.stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => welcome(&peers, stream, address),
            Err(error) => {
                // One connection that broke while it waited is no reason to pause, but cannot be told from the others.
                warn!(%error, "a connection of a peer could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn welcome(peers: &Arc<Peers>, stream: Connection, address: SocketAddr) {
    let slot = peers.slots.take(address.ip().to_canonical());
    let number = slot.number;
    let guest = Arc::clone(peers);
    let task = peers.spawn(async move {
        let _slot = slot;
        match tokio::time::timeout(guest.config.handshake_timeout, respond(&guest, stream, address)).await {
            Ok(()) => {}
            Err(_) => debug!(%address, "a connection did not finish its handshake in time"),
        }
    });
    if let Some(task) = task {
        peers.slots.occupy(number, task);
    }
}

async fn respond(peers: &Arc<Peers>, stream: Connection, address: SocketAddr) {
    if let Err(error) = stream.set_nodelay() {
        debug!(%address, %error, "a connection was gone before its handshake");
        return;
    }
    // One that says nothing learns nothing, and does not count.
    if !stream.has_first_byte().await {
        debug!(%address, "a connection ended without a word");
        return;
    }
    if !peers.state().strangers.admit(now()) {
        debug!(%address, "strangers begin too many handshakes: this one is closed");
        return;
    }
    let config = peers.handshake_config(peers.config.default_grant_bytes);
    match handshake::respond(&stream, config, peers.surroundings()).await {
        Ok(shaken) => {
            if peers.trust.by_id(shaken.established.peer.node_id).is_some() {
                peers.state().strangers.refund();
            }
            // The reason why it is refused, if it is, leaves with the goodbye.
            drop(peers.adopt(stream, shaken, address, None));
        }
        Err(error) => debug!(%address, %error, "a handshake failed"),
    }
}

/// The places for connections in the handshake.
#[derive(Debug)]
pub(super) struct HandshakeSlots {
    max: usize,
    per_address_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    slots: HashMap<u64, (IpAddr, Option<AbortHandle>)>,
}

/// One place, given back on drop.
#[derive(Debug)]
pub(super) struct HandshakeSlot {
    number: u64,
    taken: Arc<Mutex<Taken>>,
}

impl HandshakeSlots {
    pub(super) fn new(max: usize, per_address_max: usize) -> Self {
        Self {
            max,
            per_address_max,
            taken: Arc::default(),
        }
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        let taken = self.taken.lock();
        taken
            .expect("no code panics while it holds the handshake slots")
            .slots
            .len()
    }

    /// Takes a place for a connection from this address, if need be from the one that has waited longest: of the same
    /// address where that has its share already, else of all.
    fn take(&self, ip: IpAddr) -> HandshakeSlot {
        let (number, pushed_out) = {
            let mut taken = self
                .taken
                .lock()
                .expect("no code panics while it holds the handshake slots");
            let from_there = taken.slots.values().filter(|(other, _)| *other == ip).count();
            let pushed_out = if from_there >= self.per_address_max {
                taken.remove_oldest(|other| other == ip)
            } else if taken.slots.len() >= self.max {
                taken.remove_oldest(|_| true)
            } else {
                None
            };
            let number = taken.next;
            taken.next += 1;
            taken.slots.insert(number, (ip, None));
            (number, pushed_out)
        };
        if let Some(task) = pushed_out {
            debug!(%ip, "too many handshakes at once: the one that has waited longest is closed");
            task.abort();
        }
        HandshakeSlot {
            number,
            taken: Arc::clone(&self.taken),
        }
    }

    /// Says which task holds a place. One that was pushed out meanwhile is ended.
    fn occupy(&self, number: u64, task: AbortHandle) {
        let mut taken = self
            .taken
            .lock()
            .expect("no code panics while it holds the handshake slots");
        match taken.slots.get_mut(&number) {
            Some(slot) => slot.1 = Some(task),
            None => task.abort(),
        }
    }
}

impl Taken {
    fn remove_oldest(&mut self, which: impl Fn(IpAddr) -> bool) -> Option<AbortHandle> {
        let oldest = self
            .slots
            .iter()
            .filter(|(_, (ip, _))| which(*ip))
            .map(|(number, _)| *number)
            .min()?;
        self.slots.remove(&oldest)?.1
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        self.taken
            .lock()
            .expect("no code panics while it holds the handshake slots")
            .slots
            .remove(&self.number);
    }
}
