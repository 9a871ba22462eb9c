//! The tasks of one link: a reader, which also keeps its timers and acts on what arrives, and a writer.
//!
//! They decide nothing: the machine in `memproto` does, and [`Host`] does what concerns more than this link.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use memproto::error::{ApiError, ErrorCode};
use memproto::peer::pairing::PairMessage;
use memproto::peer::{Consent, Goodbye, Link, LinkError, PeerReply, PeerRequest, RequestId};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, trace};

use super::link::PeerLink;
use super::wire::{LookedAt, Notice, Wire, now};
use crate::body::Body;
use crate::patience::Patience;
use crate::surroundings::Surroundings;

/// How much the writer writes at a time is the machine's choice, about 64 KiB; this is the buffer it begins with.
const WRITE_BUFFER_LEN: usize = 16 * 1024;

/// How long the other side may take no byte at all while some wait for it: as long as the link's keepalive lets it say
/// nothing. A node reads its links whatever else it does, so this is one that hangs, or means to.
const WRITE_STALL_MAX: Duration = Duration::from_secs(10);

/// How long a reader that always finds something when it looks again keeps its thread from others: some twenty requests one at a time.
const TURN_MAX: Duration = Duration::from_micros(500);

/// How long to wait where the machine names no time of its own: it always does, for its pings.
const TIMER_DEFAULT: Duration = Duration::from_secs(1);

/// What a link needs of the node.
pub(super) trait Host: Send + Sync + 'static {
    /// Answers a request of the peer.
    fn handle(
        &self,
        link: &Arc<PeerLink>,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)>;
    /// The other side's program answered the first ping. A consent that needs no person comes before that.
    fn answered(&self, link: &Arc<PeerLink>);
    /// The other side said something.
    fn their_consent(&self, link: &Arc<PeerLink>, consent: Consent);
    /// A message of pairing came.
    fn pair(&self, link: &Arc<PeerLink>, message: PairMessage);
    /// Both sides agreed. Returns before any request of the peer is handled.
    fn agreed(&self, link: &Arc<PeerLink>, quota_bytes: u64);
    /// The link is over; its tasks have ended.
    fn ended(&self, link: &Arc<PeerLink>, end: &LinkEnd);
}

/// Why a link is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    /// The machine says why.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other side closed the connection without a goodbye: its process or its host is gone.
    #[error("the other side closed the connection without a word")]
    Eof,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Drives a link until it is over. `goodbye_timeout` is how long the last bytes may take to leave.
pub(super) async fn drive(
    link: Arc<PeerLink>,
    host: Arc<dyn Host>,
    goodbye_timeout: Duration,
    patience: Patience,
    surroundings: Surroundings,
) {
    let wire = Arc::clone(link.wire());
    let mut writer = JoinSet::new();
    writer.spawn(surroundings.task(write(Arc::clone(&wire))));
    let mut reader = Reader {
        link: Arc::clone(&link),
        host: Arc::clone(&host),
        surroundings,
        handlers: JoinSet::new(),
        by_request: HashMap::new(),
        answered: false,
        patience,
        looked_at: None,
        turn: Instant::now(),
    };
    let end = tokio::select! {
        biased;
        end = reader.run() => end,
        // A writer that ended without an error has sent the last byte; the reader has a notice of why.
        Some(Ok(Err(error))) = writer.join_next() => error.into(),
    };
    debug!(peer = %link.id(), name = link.name(), reason = %end, "a link is over");
    // First the waiters, for nothing more comes for them.
    wire.fail_waiters();
    reader.handlers.shutdown().await;
    wire.say(|link| link.close(Goodbye::Other));
    if matches!(end, LinkEnd::Link(_)) {
        // The writer ends by itself once the goodbye has left.
        wire.wake_writer.notify_one();
        let _ = tokio::time::timeout(goodbye_timeout, writer.join_next()).await;
    }
    writer.shutdown().await;
    wire.drop_notices();
    wire.fail_waiters();
    host.ended(&link, &end);
}

/// Writes until the link is over and all of it has left.
async fn write(wire: Arc<Wire>) -> io::Result<()> {
    let mut batch = Vec::with_capacity(WRITE_BUFFER_LEN);
    loop {
        if wire.next_batch(&mut batch) {
            write_all(&wire, &batch).await?;
        } else if wire.peek(Link::is_closed) {
            return Ok(());
        } else {
            wire.wake_writer.notified().await;
        }
    }
}

async fn write_all(wire: &Wire, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                wire.sent_bytes.fetch_add(written as u64, Ordering::Relaxed);
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = tokio::time::timeout(WRITE_STALL_MAX, wire.stream.writable());
                writable.await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "the other side no longer reads")
                })??;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // A writer that never waits would keep its thread from everyone else.
    tokio::task::consume_budget().await;
    Ok(())
}

struct Reader {
    link: Arc<PeerLink>,
    host: Arc<dyn Host>,
    surroundings: Surroundings,
    /// Requests of the peer that could not be answered at once. They end with the link.
    handlers: JoinSet<RequestId>,
    by_request: HashMap<RequestId, AbortHandle>,
    /// Whether the other side's program was heard to answer.
    answered: bool,
    /// Whether the peer asks again as soon as it is answered.
    patience: Patience,
    /// While it looks whether it does.
    looked_at: Option<LookedAt>,
    /// Since when this task keeps its thread from others.
    turn: Instant,
}

impl Reader {
    async fn run(&mut self) -> LinkEnd {
        let wire = Arc::clone(self.link.wire());
        let mut timer = std::pin::pin!(tokio::time::sleep_until(next_timeout(&wire)));
        loop {
            match self.act_on_notices() {
                Err(end) => return end,
                // The answers to all that arrived together leave together.
                Ok(true) => wire.flush(),
                Ok(false) => {}
            }
            self.note_answered(&wire);
            if self.look_again(&wire).await {
                continue;
            }
            // Waking early costs nothing, so the timer is only ever moved forward.
            let due = next_timeout(&wire);
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            // A sender that is never slower would keep this thread from everyone else.
            tokio::task::consume_budget().await;
            tokio::select! {
                // What is seldom ready comes first, for bytes of a busy link are always there.
                biased;
                Some(done) = self.handlers.join_next(), if !self.handlers.is_empty() => {
                    if let Ok(id) = done {
                        self.by_request.remove(&id);
                    }
                }
                () = &mut timer => {
                    wire.say(|link| link.handle_timeout(now()));
                    timer.as_mut().reset(next_timeout(&wire));
                }
                () = wire.wake_reader.notified() => {}
                readable = wire.stream.readable() => {
                    self.turn = Instant::now();
                    match readable.and_then(|()| wire.read()) {
                        Ok(0) => return LinkEnd::Eof,
                        Ok(_) => self.patience.found(),
                        Err(error) if is_passing(&error) => {}
                        Err(error) => return error.into(),
                    }
                }
            }
        }
    }

    /// Looks for what the peer says next, where it is quick to, instead of being told of it. Returns whether something came.
    ///
    /// It does not give way to other tasks of its thread while it looks, which is not for long; others of its core have it in between.
    async fn look_again(&mut self, wire: &Arc<Wire>) -> bool {
        if self.looked_at.is_some() && self.turn.elapsed() >= TURN_MAX {
            self.looked_at = None;
            self.patience.found();
            tokio::task::yield_now().await;
            return false;
        }
        while self.patience.look_again() {
            if self.looked_at.is_none() {
                self.looked_at = wire.looked_at();
            }
            if self.looked_at.is_none() {
                break;
            }
            match wire.look() {
                Some(Ok(1..)) => {
                    self.patience.found();
                    return true;
                }
                // Somebody else reads at this moment, or nothing came.
                None => {}
                Some(Err(error)) if is_passing(&error) => {}
                // Who is told of it acts on it.
                Some(Ok(0) | Err(_)) => break,
            }
        }
        self.looked_at = None;
        false
    }

    /// Tells the node once that the other side's program answers.
    fn note_answered(&mut self, wire: &Wire) {
        if !self.answered && wire.peek(|link| link.round_trip().is_some()) {
            self.answered = true;
            self.host.answered(&self.link);
        }
    }

    /// Returns whether there were any.
    fn act_on_notices(&mut self) -> Result<bool, LinkEnd> {
        let mut any = false;
        while let Some(notice) = self.link.wire().next_notice() {
            any = true;
            match notice {
                Notice::TheirConsent(consent) => self.host.their_consent(&self.link, consent),
                Notice::Pair(message) => self.host.pair(&self.link, message),
                Notice::Agreed { quota_bytes } => self.host.agreed(&self.link, quota_bytes),
                Notice::Request { id, request, body } => self.handle(id, request, body),
                Notice::Cancelled(id) => {
                    if let Some(handler) = self.by_request.remove(&id) {
                        handler.abort();
                    }
                }
                Notice::Closed(reason) => return Err(reason.into()),
            }
        }
        Ok(any)
    }

    /// Answers at once where that needs no waiting; else a task does. A panic costs its request, not the link.
    fn handle(&mut self, id: RequestId, request: PeerRequest, body: Body) {
        trace!(peer = %self.link.id(), ?id, "a request");
        let (host, link) = (Arc::clone(&self.host), Arc::clone(&self.link));
        let answer = async move { host.handle(&link, request, body).await };
        let mut answer = AssertUnwindSafe(answer)
            .catch_unwind()
            .map(|answer| answer.unwrap_or_else(panicked))
            .boxed();
        let answered = (&mut answer).now_or_never();
        let wire = Arc::clone(self.link.wire());
        let rest: BoxFuture<'static, ()> = match answered {
            Some((reply, body)) => match wire.answer(id, &reply, &body, false) {
                true => Box::pin(async move { send_reply_body(&wire, id, body).await }),
                false => return,
            },
            None => Box::pin(async move {
                let (reply, body) = answer.await;
                if wire.answer(id, &reply, &body, true) {
                    send_reply_body(&wire, id, body).await;
                }
            }),
        };
        let handler = self
            .handlers
            .spawn(self.surroundings.task(rest.map(move |()| id)));
        self.by_request.insert(id, handler);
    }
}

async fn send_reply_body(wire: &Arc<Wire>, id: RequestId, body: Body) {
    if let Err(error) = wire.send_body(id, body).await {
        wire.fail_body(id, &error);
    }
}

/// Whether a read that failed may be tried again.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn next_timeout(wire: &Wire) -> tokio::time::Instant {
    let at = wire.peek(Link::poll_timeout);
    at.map_or_else(
        || tokio::time::Instant::now() + TIMER_DEFAULT,
        tokio::time::Instant::from_std,
    )
}

fn panicked(_: Box<dyn Any + Send>) -> (PeerReply, Body) {
    // The panic's own message went to stderr; it may hold what is nobody else's business.
    let error = ApiError::new(
        ErrorCode::Internal,
        "the peer failed at this request: its log has more",
    );
    (PeerReply::Failed(error), Body::empty())
}
