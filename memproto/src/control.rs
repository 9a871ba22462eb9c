//! The JSON bodies of control operations: what the local API answers and what `memcli --json` prints.
//!
//! Sizes are in bytes and named `*_bytes`, times in the unit of their name. Block ids are numbers, node ids are
//! 32 hexadecimal digits. A reader ignores fields it does not know.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::id::NodeId;

/// What a node is and where it listens: `node status`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The name people chose.
    pub name: String,
    /// The id derived from the identity key.
    pub node_id: NodeId,
    /// The Ed25519 public key, 64 hexadecimal digits: what `trust add` takes on other nodes.
    #[serde(default)]
    pub public_key: String,
    /// The version of `memnode`, such as `0.1.0`.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// Seconds since the node started.
    pub uptime_secs: u64,
    /// The folder of the node's files.
    pub home: PathBuf,
    /// The Unix socket of the local API.
    pub socket: PathBuf,
    /// The addresses on which peers are accepted, with the real port where 0 was asked for.
    pub peer_addresses: Vec<SocketAddr>,
    /// The TCP address of the local API, where it is served.
    #[serde(default)]
    pub api_address: Option<SocketAddr>,
    /// RAM that the node gives to the pool.
    pub budget_bytes: u64,
    /// RAM of the budget that is in use.
    pub used_bytes: u64,
    /// Number of connected peers.
    pub peers_connected: usize,
    /// The file of the log; `None` where the node writes it to stderr, which under a service manager is that one's log.
    #[serde(default)]
    pub log_file: Option<PathBuf>,
    /// The service manager that started the node; `None` where a person or a script did.
    #[serde(default)]
    pub service_manager: Option<ServiceManager>,
    /// What the person should know, in whole sentences: another node that has the same identity, a budget that does not fit.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The options of `memnode` with which it was started in the background, as `memcli node start` does: what starts it again. `None`
    /// where something else looks after it, a terminal or a service manager.
    #[serde(default)]
    pub started_with: Option<Vec<String>>,
}

/// Who starts a node, watches it and has its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceManager {
    /// systemd, for the whole machine: `systemctl`, `journalctl`.
    Systemd,
    /// systemd, for one user: `systemctl --user`, `journalctl --user`.
    SystemdUser,
}

/// What lies in a node and what it did: `stats`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Blocks that lie here, chunks of streams included.
    pub blocks: u64,
    /// Keys whose newest value this node wrote or holds.
    pub keys: u64,
    /// Streams whose manifest lies here.
    pub streams: u64,
    /// RAM that the node gives to the pool.
    pub budget_bytes: u64,
    /// RAM of the budget in use, with the cost of the entries.
    pub used_bytes: u64,
    /// Part of `used_bytes` that is pinned.
    pub pinned_bytes: u64,
    /// Part of `used_bytes` that is cache.
    pub cache_bytes: u64,
    /// Part of `used_bytes` that peers use.
    pub peers_used_bytes: u64,
    /// Blocks of which programs of this host have the memory mapped, in bytes.
    #[serde(default)]
    pub mapped_bytes: u64,
    /// Part of `mapped_bytes` that was freed, overwritten or expired, and is in `used_bytes` until the programs let go of it.
    #[serde(default)]
    pub mapped_freed_bytes: u64,
    /// Bytes that programs of this host have on peers.
    pub remote_bytes: u64,
    /// Bytes of the chunks that make up the streams of this node, each counted once, wherever they lie.
    #[serde(default)]
    pub chunk_bytes: u64,
    /// What those chunks take where they lie, compressed as they are.
    #[serde(default)]
    pub chunk_stored_bytes: u64,
    /// Resident memory of the process as the system counts it.
    pub resident_bytes: u64,
    /// Reads that found their key or block.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Writes.
    pub writes: u64,
    /// Requests that were answered with an error, absence not included.
    pub errors: u64,
    /// Blocks that were dropped to make room: of class cache, or of a peer that had been away for too long.
    #[serde(default)]
    pub evictions: u64,
    /// Open connections of programs of this host.
    pub local_connections: u64,
    /// Seconds since the node started.
    pub uptime_secs: u64,
    /// The operations on data that programs of this host asked for.
    #[serde(default)]
    pub operations: Vec<OperationStats>,
    /// The connected peers.
    #[serde(default)]
    pub peers: Vec<PeerInfo>,
}

/// How often an operation was asked for, and how long its answers took: from when the request was read from its
/// connection to when its answer, or the first part of it, was ready to leave.
///
/// Times are rounded up, by at most an eighth, and are those of all answers since the node started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OperationStats {
    /// The operation in small letters, such as `get`.
    pub operation: String,
    /// Answers since the node started.
    pub count: u64,
    /// Answers in a second, on an average of the last ten.
    pub per_second: u64,
    /// What half of the answers took at most, in nanoseconds.
    pub p50_ns: u64,
    /// What 99 % of them took at most.
    pub p99_ns: u64,
    /// What 99.9 % of them took at most.
    pub p99_9_ns: u64,
}

/// The state of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Seen by mDNS or known from before, no link.
    Discovered,
    /// A connection or a handshake is under way.
    Connecting,
    /// The person at this machine has not answered yet.
    WaitingForOurConsent,
    /// The person at the other machine has not answered yet.
    WaitingForTheirConsent,
    /// The link is up and both sides agreed.
    Connected,
    /// The link went away; it is being dialled again.
    Lost,
    /// One of the two sides said no.
    Denied,
}

impl PeerState {
    /// The state in words, for people.
    pub const fn as_words(self) -> &'static str {
        match self {
            PeerState::Discovered => "discovered",
            PeerState::Connecting => "connecting",
            PeerState::WaitingForOurConsent => "waiting for our consent",
            PeerState::WaitingForTheirConsent => "waiting for their consent",
            PeerState::Connected => "connected",
            PeerState::Lost => "lost (retrying)",
            PeerState::Denied => "denied",
        }
    }
}

/// A grant and what is used of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GrantUse {
    /// How much may be used.
    pub quota_bytes: u64,
    /// How much is used.
    pub used_bytes: u64,
}

impl GrantUse {
    /// What is left.
    pub const fn free_bytes(&self) -> u64 {
        self.quota_bytes.saturating_sub(self.used_bytes)
    }
}

/// One peer: a line of `peer list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The peer's id; absent while only an address is known.
    pub id: Option<NodeId>,
    /// The peer's name; the address while nothing else is known.
    pub name: String,
    /// The address of the link, or the last one known.
    pub address: Option<SocketAddr>,
    /// The state.
    pub state: PeerState,
    /// Smoothed round trip of the link in microseconds.
    pub round_trip_us: Option<u64>,
    /// What this node may use there; known while connected.
    pub borrowed: Option<GrantUse>,
    /// What the peer may use here; known while connected, or while it uses any.
    pub lent: Option<GrantUse>,
    /// Bytes sent over the present link.
    pub sent_bytes: u64,
    /// Bytes received over the present link.
    pub received_bytes: u64,
    /// Whether the peer is trusted for good.
    pub trusted: bool,
    /// Whether this node is trusted for good there, else until the link ends; known while connected.
    #[serde(default)]
    pub trusts_us: Option<bool>,
    /// The six-digit code of the present handshake, for two people to compare.
    pub code: Option<String>,
    /// Why the last attempt or link failed.
    pub last_error: Option<String>,
    /// The kind of `last_error`: `denied`, `timeout` where nobody answered the question for consent, `peer_unreachable` and others.
    #[serde(default)]
    pub last_error_code: Option<ErrorCode>,
    /// Something odd about it.
    #[serde(default)]
    pub warning: Option<ConsentWarning>,
}

impl PeerInfo {
    /// A peer of which nothing is known but a name, or an address in its place.
    pub fn named(name: impl Into<String>, state: PeerState) -> Self {
        Self {
            id: None,
            name: name.into(),
            address: None,
            state,
            round_trip_us: None,
            borrowed: None,
            lent: None,
            sent_bytes: 0,
            received_bytes: 0,
            trusted: false,
            trusts_us: None,
            code: None,
            last_error: None,
            last_error_code: None,
            warning: None,
        }
    }
}

/// Something odd about a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentWarning {
    /// A trusted device has this name, but another key: a reinstalled machine, or an impostor.
    KnownNameNewKey,
    /// This key is trusted, and was known under another name.
    KnownKeyNewName,
}

/// A peer that waits for the answer of the person at this machine: `consent`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsentRequest {
    /// Who asks.
    pub id: NodeId,
    /// The name it gives itself.
    pub name: String,
    /// From where.
    pub address: SocketAddr,
    /// The fingerprint of its key, in groups of four digits.
    pub fingerprint: String,
    /// The six digits that stand on both screens.
    pub code: String,
    /// What the peer grants this node there.
    pub offered_quota_bytes: u64,
    /// What the peer gets here unless the answer says otherwise.
    pub default_quota_bytes: u64,
    /// Seconds since it asked.
    pub age_secs: u64,
    /// Seconds until the request expires.
    pub expires_in_secs: u64,
    /// Something odd about it.
    pub warning: Option<ConsentWarning>,
}

/// The peers that wait for an answer, and a number that changes with them: the reply to a [`ConsentWait`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsentState {
    /// Another number whenever other peers wait, or one asks anew; below 2^53. It counts nothing.
    pub revision: u64,
    /// Who waits, the oldest first.
    pub requests: Vec<ConsentRequest>,
}

/// Waits until other peers wait for an answer than those that the caller knows of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConsentWait {
    /// The revision that the caller knows; without one the answer comes at once.
    pub known_revision: Option<u64>,
    /// After how many milliseconds to answer all the same; at most ten minutes count.
    pub timeout_ms: u64,
}

/// The answer to a [`ConsentRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentAnswer {
    /// Until this link ends.
    Allow,
    /// For good: kept in `trusted_devices.json`.
    Trust,
    /// No.
    Deny,
}

/// Answers a [`ConsentRequest`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsentDecision {
    /// Name, id or unambiguous prefix of the id of who asks.
    pub peer: String,
    /// The answer.
    pub answer: ConsentAnswer,
    /// How much of this node's budget the peer may use; the default grant where absent.
    pub quota_bytes: Option<u64>,
}

/// Asks for a link to a peer, which is the consent of this side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectRequest {
    /// A known peer's name, id or prefix of an id, or `HOST:PORT`.
    pub target: String,
    /// How much of this node's budget the peer may use; the default grant where absent.
    pub quota_bytes: Option<u64>,
    /// Whether this side's consent ends with the link. Otherwise the peer is trusted here for good once it agreed.
    pub once: bool,
    /// Whether to go on where `HOST:PORT` leads to a node with the name of a trusted device but another key.
    #[serde(default)]
    pub accept_new_key: bool,
}

/// Offers a code with which another node pairs with this one: `pair`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PairOffer {
    /// How much of this node's budget the other one may use; the default grant where absent.
    pub quota_bytes: Option<u64>,
}

/// A code that is offered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairCodeShown {
    /// Names the offer, for [`PairWait`].
    pub number: u64,
    /// The code for the person at the other machine, such as `417-582-9310`. It serves for one attempt.
    pub code: String,
    /// Seconds until it expires.
    pub expires_in_secs: u64,
}

/// Waits for the outcome of an offer, which lasts as long as somebody waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairWait {
    /// The offer's number.
    pub number: u64,
}

/// Tries a code that another node offers: `pair CODE`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairJoin {
    /// The code, with dashes and spaces or without.
    pub code: String,
    /// Where: a known peer's name, id or prefix of an id, or `HOST:PORT`. Without it the node that the code names is looked for.
    #[serde(default)]
    pub at: Option<String>,
    /// How much of this node's budget the other one may use; the default grant where absent.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
}

/// Waits until a peer's state is no longer the one that the caller knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerWait {
    /// Name, id or unambiguous prefix of an id.
    pub peer: String,
    /// The state that the caller knows.
    pub known_state: PeerState,
    /// After how many milliseconds to answer with the state all the same.
    pub timeout_ms: u64,
}

/// Names one peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerName {
    /// Name, id or unambiguous prefix of an id.
    pub peer: String,
}

/// Changes how much of this node's budget a peer may use: `peer update`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerUpdate {
    /// Name, id or unambiguous prefix of an id.
    pub peer: String,
    /// The new grant; 0 lets it read, not store.
    pub quota_bytes: u64,
}

/// What became of a [`PeerUpdate`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerUpdated {
    /// The peer.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The grant that it had.
    pub before_bytes: u64,
    /// The grant that it has now, and what it uses of it. More than the grant where what it has pinned does not fit: that stays.
    pub lent: GrantUse,
    /// What was evicted of it because it no longer fits: data of class cache.
    pub evicted: Freed,
    /// Whether the grant is kept with the trusted device; else it ends with the link.
    pub trusted: bool,
}

/// A device that is trusted for good: `trust list`, and an entry of `trusted_devices.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrustedDevice {
    /// The id, derived from `public_key`.
    pub id: NodeId,
    /// The Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
    /// The name it had last.
    pub name: String,
    /// How much of this node's budget it may use.
    pub quota_bytes: u64,
    /// When it was trusted, in seconds since 1970.
    pub trusted_at_unix_secs: u64,
    /// Addresses at which it was reached, newest first.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
}

/// Trusts a device for good that need not have been met yet: `trust add`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrustAddition {
    /// Its Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
    /// The name by which it is known until it is met, 1 to 63 bytes.
    pub name: String,
    /// How much of this node's budget it may use. Where absent, what it was trusted with before, or the default grant.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
}

/// What `trust add` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrustAdded {
    /// The device as it is trusted now.
    pub device: TrustedDevice,
    /// Whether it was trusted before: then its name and quota were replaced.
    pub was_trusted: bool,
}

/// Frees all that the programs of a node's own host stored: `flush`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlushRequest {
    /// Name, id or unambiguous prefix of the id of the peer to flush; without one it is this node.
    #[serde(default)]
    pub peer: Option<String>,
}

/// What `free`, `flush` or `trust remove` gave back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Freed {
    /// Number of blocks and streams; of a `flush` the values of keys as well.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Trusts a device no longer: `trust remove`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrustRemoval {
    /// Name, id or unambiguous prefix of an id.
    pub peer: String,
    /// Whether to free what the device stored here.
    pub free_data: bool,
}

/// Asks why nodes do not find or reach each other: `doctor`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DoctorRequest {
    /// A known peer's name, id or prefix of an id, or `HOST:PORT`. Without it all known peers that should be connected and
    /// are not are looked at.
    #[serde(default)]
    pub target: Option<String>,
}

/// What was found, in the order in which a person would look.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The checks.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Whether nothing was found that keeps nodes apart. Warnings do not count.
    pub fn is_healthy(&self) -> bool {
        self.checks
            .iter()
            .all(|check| check.result != CheckResult::Problem)
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub subject: CheckSubject,
    /// The peer, or the address, that it is about; absent where it is about this machine.
    #[serde(default)]
    pub about: Option<String>,
    /// How it is.
    pub result: CheckResult,
    /// What was found.
    pub found: String,
    /// What to do about it, where it is not fine.
    #[serde(default)]
    pub advice: Option<String>,
}

/// How a thing is that was looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// Fine.
    Ok,
    /// It may be a reason, or will become one.
    Warning,
    /// It keeps nodes apart.
    Problem,
}

/// What was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckSubject {
    /// Whether the node runs.
    Node,
    /// Which network interfaces discovery uses.
    Interfaces,
    /// Where the node accepts peers.
    Listening,
    /// Whether mDNS is heard.
    Multicast,
    /// The packet filter of this machine.
    Firewall,
    /// Whether the system lets programs into the local network (macOS).
    LocalNetwork,
    /// The wall clock, beside those of the peers.
    Clock,
    /// Whether another node has an identity that must be one node's alone.
    Identity,
    /// Who waits for the answer of the person at this machine.
    Consent,
    /// The state of a peer, or who answers at an address.
    Peer,
    /// Whether a host's name has an address.
    Name,
    /// Whether this machine is in a network of a peer's addresses.
    Subnet,
    /// Whether a peer answers at an address.
    Reach,
    /// Whether both speak a common version of the protocol.
    Version,
}

impl CheckSubject {
    /// The subject in words, for people.
    pub const fn as_words(self) -> &'static str {
        match self {
            CheckSubject::Node => "node",
            CheckSubject::Interfaces => "interfaces",
            CheckSubject::Listening => "listening",
            CheckSubject::Multicast => "multicast",
            CheckSubject::Firewall => "firewall",
            CheckSubject::LocalNetwork => "local network",
            CheckSubject::Clock => "clock",
            CheckSubject::Identity => "identity",
            CheckSubject::Consent => "consent",
            CheckSubject::Peer => "peer",
            CheckSubject::Name => "name",
            CheckSubject::Subnet => "subnet",
            CheckSubject::Reach => "reach",
            CheckSubject::Version => "version",
        }
    }
}
