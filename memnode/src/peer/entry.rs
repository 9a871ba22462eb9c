//! What is known of one peer: an entry of the [table](super::table).

use std::net::SocketAddr;
use std::time::Instant;

use memproto::NodeId;
use memproto::control::PeerState;
use memproto::error::ErrorCode;
use memproto::limits::NODE_NAME_LEN_MAX;
use memproto::peer::Consent;

/// How many addresses are kept of each kind for one peer.
const ADDRESSES_MAX: usize = super::config::ADDRESSES_MAX;

/// How many processes of one identity are remembered: two that alternate are found with two, and some that crash at their
/// start may lie between.
const PROCESSES_MAX: usize = 8;

/// What is fixed for the life of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LinkFacts {
    /// Names the link within this process.
    pub(super) serial: u64,
    pub(super) id: NodeId,
    pub(super) public_key: [u8; 32],
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) incarnation: u64,
    pub(super) we_dialled: bool,
    pub(super) code: String,
    pub(super) offered_quota_bytes: u64,
}

/// The consent of this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grant {
    pub(super) quota_bytes: u64,
    /// Whether a person named this figure: else a trusted peer keeps what it is trusted with.
    pub(super) named: bool,
    /// Whether the peer becomes trusted for good once it agreed too.
    pub(super) keep: bool,
}

/// A link in its place in the table.
#[derive(Debug)]
pub(super) struct Slot<L> {
    pub(super) link: L,
    pub(super) facts: LinkFacts,
    /// The consent of this side, once given.
    pub(super) ours: Option<Grant>,
    /// What the other side said, once it said anything.
    pub(super) theirs: Option<Consent>,
    /// Whether requests may pass.
    pub(super) agreed: bool,
    /// What the other side wants.
    pub(super) purpose: Purpose,
    pub(super) since: Instant,
}

/// What a link is for, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The usual one: where this side has not consented, its person is asked.
    Consent,
    /// It came while a code is offered here, and has not said yet whether it is about that.
    Unknown,
    /// A code is tried. It answers the question, and nobody is asked.
    Pairing,
}

impl<L> Slot<L> {
    fn state(&self) -> PeerState {
        match (self.ours, self.agreed) {
            (_, true) => PeerState::Connected,
            (None, _) => PeerState::WaitingForOurConsent,
            (Some(_), false) => PeerState::WaitingForTheirConsent,
        }
    }
}

/// How the last link of a peer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// There was none.
    Never,
    /// It broke, or the peer stopped: a trusted peer is dialled again.
    Lost,
    /// A person ended it or did not answer: not dialled again until somebody connects.
    Released,
    /// One side said no: likewise.
    Denied,
}

/// What is known of one peer.
#[derive(Debug)]
pub(super) struct Entry<L> {
    pub(super) id: NodeId,
    pub(super) name: String,
    /// Where mDNS says that it is, now.
    pub(super) announced: Vec<SocketAddr>,
    /// Where it was reached, the newest first.
    pub(super) reached: Vec<SocketAddr>,
    pub(super) link: Option<Slot<L>>,
    /// Attempts under way that a person asked for.
    pub(super) connecting: u32,
    pub(super) ended: Ended,
    /// Whether an agreed link broke while the process at the other end may be alive: its data is there, out of reach.
    pub(super) unreachable: bool,
    pub(super) trusted: bool,
    pub(super) last_error: Option<String>,
    /// Whether it was trusted under another name when its present or last link came up.
    pub(super) renamed: bool,
    /// The kind of `last_error`: what `connect` answers with where there is one.
    pub(super) last_code: ErrorCode,
    /// The consent to a link that the peer gave up for another one, which is about to arrive.
    pub(super) carried: Option<Carried>,
    /// The incarnations of the processes that were met under this identity, the latest last.
    pub(super) processes: Vec<u64>,
    /// When, and at which address, one of them came back after another one: two nodes have this identity.
    pub(super) shared: Option<(Instant, SocketAddr)>,
    /// Attempts to dial since both sides last agreed, for the pause before the next one.
    pub(super) attempts: u32,
    /// When it was last heard of, as a count, to forget the oldest first.
    pub(super) touched: u64,
}

impl<L> Entry<L> {
    pub(super) fn state(&self) -> PeerState {
        match (&self.link, self.ended) {
            (Some(slot), _) => slot.state(),
            _ if self.connecting > 0 => PeerState::Connecting,
            (None, Ended::Denied) => PeerState::Denied,
            (None, Ended::Lost) if self.trusted => PeerState::Lost,
            _ => PeerState::Discovered,
        }
    }

    /// The address of the link, or the likeliest one known.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.link {
            Some(slot) => Some(slot.facts.address),
            None => self.announced.first().or(self.reached.first()).copied(),
        }
    }

    /// Whether this process was met before, and another one since. A process that ended never comes back: it is one of two
    /// that have the same identity.
    pub(super) fn comes_back(&self, incarnation: u64) -> bool {
        self.processes.last() != Some(&incarnation) && self.processes.contains(&incarnation)
    }

    /// Notes the process at the other end of a link that got a place.
    pub(super) fn note_process(&mut self, incarnation: u64) {
        self.processes.retain(|known| *known != incarnation);
        if self.processes.len() == PROCESSES_MAX {
            self.processes.remove(0);
        }
        self.processes.push(incarnation);
    }

    /// Where to dial the peer, the likeliest first.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = self.announced.clone();
        addresses.extend(
            self.reached
                .iter()
                .filter(|address| !self.announced.contains(address)),
        );
        addresses.truncate(ADDRESSES_MAX);
        addresses
    }

    /// Whether the node should dial the peer by itself.
    pub(super) fn wants_dial(&self) -> bool {
        self.trusted
            && self.link.is_none()
            && matches!(self.ended, Ended::Never | Ended::Lost)
            && !(self.announced.is_empty() && self.reached.is_empty())
    }

    /// A peer of which nothing is known but that it was once heard of.
    pub(super) fn is_forgettable(&self) -> bool {
        self.link.is_none() && !self.trusted && self.connecting == 0
    }
}

/// A consent to a link that was given up for another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) ours: Grant,
    pub(super) incarnation: u64,
    pub(super) since: Instant,
}

/// How a link ended, for [`Table::ended`](super::table::Table::ended).
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) ended: Ended,
    /// Whether the process at the other end told that it ends: what it held is gone, not out of reach.
    pub(super) data_is_gone: bool,
    /// Whether the peer gave this link up for another one.
    pub(super) replaced: bool,
    /// The kind of `error`.
    pub(super) code: ErrorCode,
    pub(super) error: Option<String>,
}

pub(super) fn note_address(addresses: &mut Vec<SocketAddr>, address: SocketAddr) {
    addresses.retain(|known| *known != address);
    addresses.insert(0, address);
    addresses.truncate(ADDRESSES_MAX);
}

/// A name from an announcement as it may stand on a terminal: nobody proved it, and it may hold control sequences.
pub(super) fn printable(name: &str) -> String {
    let mut clean: String = name
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    while clean.len() > NODE_NAME_LEN_MAX {
        clean.pop();
    }
    clean
}
