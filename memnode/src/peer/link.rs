//! The handle of a link to a peer: what the rest of the node holds to ask the peer for something.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memproto::NodeId;
use memproto::control::GrantUse;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::pairing::PairMessage;
use memproto::peer::{Consent, Goodbye, Link, PeerReply, PeerRequest, RequestId};
use tokio::sync::oneshot;

use super::entry::LinkFacts;
use super::wire::{Wire, now};
use crate::body::Body;

/// A link to a peer. It is good until it ends; every request on one that ended fails with `PeerUnreachable`.
pub struct PeerLink {
    facts: LinkFacts,
    wire: Arc<Wire>,
    borrowed: Mutex<GrantUse>,
    /// The grant of this node to the peer, for the table's copy may be gone when the service is told.
    lent_quota_bytes: AtomicU64,
}

impl std::fmt::Debug for PeerLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerLink")
            .field("id", &self.facts.id)
            .field("name", &self.facts.name)
            .field("address", &self.facts.address)
            .field("serial", &self.facts.serial)
            .finish_non_exhaustive()
    }
}

impl PeerLink {
    pub(super) fn new(facts: LinkFacts, wire: Arc<Wire>) -> Arc<Self> {
        Arc::new(Self {
            facts,
            wire,
            borrowed: Mutex::default(),
            lent_quota_bytes: AtomicU64::new(0),
        })
    }

    /// The peer's id.
    pub fn id(&self) -> NodeId {
        self.facts.id
    }

    /// The name the peer gives itself.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// The random number that the peer's process drew at its start.
    pub fn incarnation(&self) -> u64 {
        self.facts.incarnation
    }

    /// Where the peer is.
    pub fn address(&self) -> SocketAddr {
        self.facts.address
    }

    /// The smoothed round trip; 0 before the first was measured.
    pub fn round_trip(&self) -> Duration {
        self.wire.peek(Link::round_trip).unwrap_or_default()
    }

    /// What this node may use at the peer, and what it uses as far as it knows.
    pub fn borrowed(&self) -> GrantUse {
        *self
            .borrowed
            .lock()
            .expect("no code panics while it holds a grant")
    }

    /// Notes what the peer said of this node's grant there.
    pub fn note_borrowed(&self, grant: GrantUse) {
        *self
            .borrowed
            .lock()
            .expect("no code panics while it holds a grant") = grant;
    }

    /// Asks the peer and waits for its reply. The reply's body may still be arriving then; dropped unread, it is given up.
    ///
    /// There is no deadline but the link's own: it ends when nothing came for
    /// [`DEAD_AFTER`](memproto::peer::link::DEAD_AFTER). Who wants a shorter one drops the future.
    ///
    /// # Errors
    /// What the peer failed with; what `body` failed with; `PeerUnreachable` where the link is gone or goes before the
    /// reply; `ConsentPending` or `Denied` before both sides agreed; `Busy` with too many requests in flight.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request at the peer.
    pub async fn request(&self, request: PeerRequest, body: Body) -> ApiResult<(PeerReply, Body)> {
        let (sender, receiver) = oneshot::channel();
        let id = self.wire.ask(&request, &body, sender)?;
        let mut pending = Pending {
            wire: &self.wire,
            id: Some(id),
        };
        let is_whole = body.as_whole().is_some();
        let answer = async { receiver.await.unwrap_or_else(|_| Err(self.wire.unreachable())) };
        let answer = if is_whole {
            answer.await
        } else {
            answer_to_body(&self.wire, id, body, answer).await?
        };
        pending.id = None;
        match answer? {
            (PeerReply::Failed(error), _) => Err(error),
            answer => Ok(answer),
        }
    }

    pub(super) fn facts(&self) -> &LinkFacts {
        &self.facts
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Bytes sent and received.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (
            self.wire.sent_bytes.load(Ordering::Relaxed),
            self.wire.received_bytes.load(Ordering::Relaxed),
        )
    }

    /// Tells the peer what the person at this machine said.
    pub(super) fn set_consent(&self, consent: Consent) {
        if let Consent::Agreed { quota_bytes, .. } = consent {
            self.lent_quota_bytes.store(quota_bytes, Ordering::Relaxed);
        }
        self.wire.say(|link| link.set_consent(consent));
    }

    /// Notes another grant, of which the peer is told later.
    pub(super) fn set_lent_quota_bytes(&self, quota_bytes: u64) {
        self.lent_quota_bytes.store(quota_bytes, Ordering::Relaxed);
    }

    /// Sends a message of pairing.
    pub(super) fn pair(&self, message: PairMessage) {
        self.wire.say(|link| link.pair(message));
    }

    pub(super) fn lent_quota_bytes(&self) -> u64 {
        self.lent_quota_bytes.load(Ordering::Relaxed)
    }

    /// Asks the peer for a sign of life; the link ends where none comes `within` the time.
    pub(super) fn check(&self, within: Duration) {
        self.wire.say(|link| link.check(now(), within));
        // The reader keeps the time, and has to learn that something is due earlier.
        self.wire.wake_reader.notify_one();
    }

    /// Ends the link. Its tasks notice, and everyone who waits gets `PeerUnreachable` at once.
    pub(super) fn close(&self, reason: Goodbye) {
        self.wire.say(|link| link.close(reason));
        self.wire.fail_waiters();
    }
}

/// Sends the body while the answer is awaited, which may come before the body's end.
///
/// # Errors
/// What the body failed with: the request is to be given up.
async fn answer_to_body(
    wire: &Arc<Wire>,
    id: RequestId,
    body: Body,
    answer: impl Future<Output = ApiResult<(PeerReply, Body)>>,
) -> ApiResult<ApiResult<(PeerReply, Body)>> {
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return Ok(answer),
        sent = wire.send_body(id, body) => sent?,
    }
    Ok(answer.await)
}

/// A request without its answer: given up when dropped.
struct Pending<'a> {
    wire: &'a Arc<Wire>,
    id: Option<RequestId>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.wire.forget(id);
        }
    }
}

/// The answer to everything that is asked of a peer whose link is gone.
pub(super) fn unreachable(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::PeerUnreachable,
        format!(
            "the connection to '{name}' is gone. A trusted peer is dialled again by itself; `memcli peer list` shows its \
             state, `memcli connect {name}` tries now"
        ),
    )
}
