//! Settings and limits of the peer links.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::interfaces::InterfaceRules;
use crate::patience::LOOK_AGAIN_DEFAULT;
use crate::surroundings::Surroundings;

/// The port on which peers are accepted unless the person says otherwise.
pub const DEFAULT_PORT: u16 = 8080;

/// How many links there are at most. Each costs two tasks and some hundred KiB of buffers; a LAN has fewer machines.
pub const PEERS_MAX: usize = 256;

/// How many peers are remembered at most, with or without a link. mDNS is not authenticated, so that anyone on the LAN
/// can announce nodes that do not exist: what is forgotten first are those that were only announced.
pub const KNOWN_MAX: usize = 1_024;

/// How many accepted connections may be in the handshake at once. When one more comes, the one that has waited longest
/// is closed: silent connections then push out each other, while an honest handshake takes only milliseconds.
pub const HANDSHAKES_MAX: usize = 128;

/// How many of [`HANDSHAKES_MAX`] one IP address may hold: one misbehaving host does not push out the others.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 16;

/// How long a handshake may take. Two round trips and three signatures fit even on a bad wireless link.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a TCP connection. On a LAN an answer takes milliseconds; two lost SYNs are sent again after 1 s
/// and 3 s in all.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How many addresses of one peer are tried at once: a host with four interfaces has about twelve, IPv6 included.
pub const ADDRESSES_MAX: usize = 16;

/// How long `connect` waits after the handshake for the other side to say whether it agrees, asks or denies.
/// It is the peer's program that answers, not its person: one round trip.
pub const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How many peers may wait for the answer of the person at this machine: more than one can look at is noise.
pub const CONSENTS_MAX: usize = 32;

/// How many of [`CONSENTS_MAX`] may come from one IP address, behind which several nodes may run.
pub const CONSENTS_PER_ADDRESS_MAX: usize = 8;

/// How many handshakes of strangers may come in a row: every machine of a LAN at once.
pub const STRANGERS_BURST: usize = 64;

/// The pause between two handshakes of strangers after that (`pace.rs` says why). With [`CONSENT_TIMEOUT`] it
/// leaves a man in the middle about 364 attempts at a code of six digits, a chance of one in 2,700.
pub const STRANGERS_PAUSE: Duration = Duration::from_secs(1);

/// How long a peer waits for the answer of a person: the time to walk to the other machine.
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How long a pairing code is good: the time to walk to the other machine and type it.
pub const PAIR_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How long each step of an exchange may take, once it has begun: two round trips and some milliseconds of computing, on
/// a bad wireless link.
pub const PAIR_STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `pair` looks for the node that made a code: a node that was started a moment ago is found within 2 s.
pub const PAIR_SEARCH_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause before the second attempt to dial a trusted peer. It doubles with each attempt, with jitter.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// The longest pause between two attempts to dial a trusted peer.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long links get to say goodbye when the node stops.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long `stop` waits for everything else, mDNS included, before it cuts.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest that [`super::Peers::wait`] waits, whatever the caller asks for.
pub const WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// Two links of one pair of nodes that came up within this time of each other are two sides that dialled at once;
/// later the second one is a redial by a side that knows that the first is gone. A side only dials while it has no link,
/// and a handshake that it has not seen the end of fails after [`HANDSHAKE_TIMEOUT`]: twice that is on the safe side.
pub const SIMULTANEOUS_DIAL_WINDOW: Duration = Duration::from_secs(10);

/// The shortest prefix of an id that names a peer: with 4 digits, 300 peers share one with a chance of a half.
pub const ID_PREFIX_MIN: usize = 4;

/// What the peer links of a node need to know. [`PeersConfig::new`] fills in the defaults of this module.
#[derive(Clone, Debug)]
pub struct PeersConfig {
    /// The name of this node.
    pub name: String,
    /// A random number of this process, which tells peers whether they meet the same process again.
    pub incarnation: u64,
    /// Where peers are accepted. Port 0 takes a free one, the same on all addresses where it can.
    pub listen: Vec<SocketAddr>,
    /// Addresses (`HOST:PORT`) that are dialled from the start until there is a link. Dialling them is no consent.
    pub dial: Vec<String>,
    /// How much of the budget a peer may use where nobody named a grant.
    pub default_grant_bytes: u64,
    /// Which network interfaces that concerns, and on which link-local addresses are tried.
    pub interfaces: InterfaceRules,
    /// Whether the node announces itself by mDNS and listens for others.
    pub discovery: bool,
    /// See [`PEERS_MAX`].
    pub peers_max: usize,
    /// See [`KNOWN_MAX`].
    pub known_max: usize,
    /// See [`HANDSHAKES_MAX`].
    pub handshakes_max: usize,
    /// See [`HANDSHAKES_PER_ADDRESS_MAX`].
    pub handshakes_per_address_max: usize,
    /// See [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`FIRST_ANSWER_TIMEOUT`].
    pub first_answer_timeout: Duration,
    /// See [`CONSENTS_MAX`].
    pub consents_max: usize,
    /// See [`CONSENTS_PER_ADDRESS_MAX`].
    pub consents_per_address_max: usize,
    /// See [`STRANGERS_BURST`].
    pub strangers_burst: usize,
    /// See [`STRANGERS_PAUSE`].
    pub strangers_pause: Duration,
    /// See [`CONSENT_TIMEOUT`].
    pub consent_timeout: Duration,
    /// See [`PAIR_TIMEOUT`].
    pub pair_timeout: Duration,
    /// See [`PAIR_STEP_TIMEOUT`].
    pub pair_step_timeout: Duration,
    /// See [`PAIR_SEARCH_TIMEOUT`].
    pub pair_search_timeout: Duration,
    /// See [`BACKOFF_FIRST`].
    pub backoff_first: Duration,
    /// See [`BACKOFF_MAX`].
    pub backoff_max: Duration,
    /// See [`GOODBYE_TIMEOUT`].
    pub goodbye_timeout: Duration,
    /// See [`STOP_TIMEOUT`].
    pub stop_timeout: Duration,
    /// How long a link whose peer is quick looks for its next request before it sleeps; 0 is not at all.
    pub look_again: Duration,
    /// The system's, but in a simulation.
    pub surroundings: Surroundings,
}

impl PeersConfig {
    /// The defaults for a node of this name: all interfaces, [`DEFAULT_PORT`], mDNS on.
    pub fn new(name: impl Into<String>, incarnation: u64, default_grant_bytes: u64) -> Self {
        Self {
            name: name.into(),
            incarnation,
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT))],
            dial: Vec::new(),
            default_grant_bytes,
            interfaces: InterfaceRules::default(),
            discovery: true,
            peers_max: PEERS_MAX,
            known_max: KNOWN_MAX,
            handshakes_max: HANDSHAKES_MAX,
            handshakes_per_address_max: HANDSHAKES_PER_ADDRESS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            first_answer_timeout: FIRST_ANSWER_TIMEOUT,
            consents_max: CONSENTS_MAX,
            consents_per_address_max: CONSENTS_PER_ADDRESS_MAX,
            strangers_burst: STRANGERS_BURST,
            strangers_pause: STRANGERS_PAUSE,
            consent_timeout: CONSENT_TIMEOUT,
            pair_timeout: PAIR_TIMEOUT,
            pair_step_timeout: PAIR_STEP_TIMEOUT,
            pair_search_timeout: PAIR_SEARCH_TIMEOUT,
            backoff_first: BACKOFF_FIRST,
            backoff_max: BACKOFF_MAX,
            goodbye_timeout: GOODBYE_TIMEOUT,
            stop_timeout: STOP_TIMEOUT,
            look_again: LOOK_AGAIN_DEFAULT,
            surroundings: Surroundings::system(),
        }
    }
}
