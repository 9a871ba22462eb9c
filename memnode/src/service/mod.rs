//! What a node does, whoever asks: authorise, place, do.
//!
//! An adapter (the local API, a peer link, later the gateways) decodes a request, calls the [`Service`] and encodes what
//! it returns. It decides nothing.

use futures_util::future::BoxFuture;
use memproto::peer::{PeerReply, PeerRequest};
use memproto::{BlockClass, BlockId, NodeId, Placement};

use crate::body::Body;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Caller {
    /// A program of this host's owner.
    Local,
    /// A connected peer: its identity is proven and both sides agreed.
    Peer(NodeId),
}

/// How a new block is to be kept and where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// The class.
    pub class: BlockClass,
    /// The placement.
    pub placement: Placement,
}

/// What a `set`, `store` or `stream` made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The new id.
    pub id: BlockId,
    /// Its size in bytes.
    pub size: u64,
}

/// A part of an object, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many bytes at most; `u64::MAX` for all the rest.
    pub length: u64,
}

impl ByteRange {
    /// The whole object.
    pub const ALL: ByteRange = ByteRange {
        offset: 0,
        length: u64::MAX,
    };
}

/// An object that was found.
#[derive(Debug)]
pub struct Loaded {
    /// Its id.
    pub id: BlockId,
    /// The size of the whole object in bytes.
    pub size: u64,
    /// The bytes of the range that was asked for; its size is always known.
    pub body: Body,
}

/// What the peer links need of the node: implemented by the service, called by [`crate::peer`].
pub trait PeerEvents: Send + Sync + 'static {
    /// Answers a request of a connected peer. Failures are `PeerReply::Failed`, never a closed link.
    fn handle_peer_request(
        &self,
        peer: NodeId,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)>;

    /// A link came up and both sides agreed. `incarnation` is a random number that the peer's process drew at its
    /// start: another one than last time means that the peer restarted and what it held is gone.
    /// `we_dialled` is true on exactly one of the two sides.
    fn peer_connected(&self, peer: NodeId, incarnation: u64, quota_bytes: u64, we_dialled: bool);

    /// The link of a peer is gone.
    fn peer_disconnected(&self, peer: NodeId);

    /// What this peer may use here and what it uses.
    fn lent(&self, peer: NodeId) -> memproto::control::GrantUse;

    /// The peer is no longer trusted: gives back all that it stored here.
    fn forget_peer(&self, peer: NodeId) -> memproto::control::Freed;
}
