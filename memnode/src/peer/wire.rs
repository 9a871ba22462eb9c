//! One link's machine, its socket, and everyone who waits on them, behind one short lock.
//!
//! Whoever has something to say to the peer locks the machine, says it, and writes what comes of it to the socket at
//! once, where the socket takes it: a small request costs no switch to another task. What the socket does not take, and
//! bulk, is left to the writer of [`super::driver`]. Nothing here waits, and no lock is held across an await.
//!
//! What arrived is sorted here too: replies and pieces of bodies go straight to who waits for them; what needs the rest
//! of the node (requests, consent, the end) is queued for the reader, which acts on it without the lock.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Instant;

use bytes::Bytes;
use memproto::error::{ApiError, ApiResult};
use memproto::peer::pairing::PairMessage;
use memproto::peer::{BodySpec, Consent, Event, Link, LinkError, PeerReply, PeerRequest, RequestId};
use tokio::sync::{Notify, oneshot};

use super::gathering::{Gathering, Message};
use super::input::Input;
use super::looking;
use super::transport::Connection;
use crate::body::{Body, BodySender, Pushed};

/// How much may be sealed and written by the task that has something to say, before the rest is left to the writer.
/// [`Link::poll_transmit`] makes about this much at a time.
const INLINE_MAX: usize = 64 * 1024;

/// What the reader has to act on.
pub(super) enum Notice {
    /// What the person at the other side said.
    TheirConsent(Consent),
    /// A message of pairing.
    Pair(PairMessage),
    /// Both sides agreed.
    Agreed { quota_bytes: u64 },
    /// The peer asks for something.
    Request {
        id: RequestId,
        request: PeerRequest,
        body: Body,
    },
    /// The peer no longer wants its request answered.
    Cancelled(RequestId),
    /// The link is over.
    Closed(LinkError),
}

/// Why the lock of the input cannot be poisoned.
const INPUT_WHOLE: &str = "no code panics while it reads from a link";

/// A reply and its body, for who waits for it.
pub(super) type ReplySender = oneshot::Sender<ApiResult<(PeerReply, Body)>>;

/// See the module.
pub(super) struct Wire {
    pub(super) stream: Connection,
    /// For messages: the peer's name.
    name: String,
    /// What arrived and is no whole record yet. Whoever reads holds it until the machine has what came; locked before `inner`, never after.
    input: Mutex<Input>,
    inner: Mutex<Inner>,
    /// How many look at the connection again and again, so that the reader need not be told of what arrives.
    looking: AtomicU32,
    /// How many requests of this side wait for their reply.
    awaited: AtomicU32,
    /// There is something to write.
    pub(super) wake_writer: Notify,
    /// There are notices.
    pub(super) wake_reader: Notify,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

struct Inner {
    link: Link,
    /// Requests of this side that wait for their reply.
    replies: BTreeMap<RequestId, ReplySender>,
    /// Bodies of the peer that somebody reads.
    incoming: BTreeMap<RequestId, BodySender>,
    /// Small bodies of the peer that are not whole yet.
    gathering: BTreeMap<RequestId, Gathering>,
    /// Bodies of this side whose writer may wait for room.
    rooms: BTreeMap<RequestId, Arc<Notify>>,
    notices: VecDeque<Notice>,
    /// Sealed bytes that the socket did not take yet; the writer's as soon as it comes.
    unsent: Vec<u8>,
    /// Whether the writer is writing: then it also takes what comes after.
    writing: bool,
    /// What nobody wanted any more. Dropping a body may lock again, so it is dropped behind the lock.
    unwanted: Vec<ApiResult<(PeerReply, Body)>>,
}

impl Wire {
    /// `first` is what is to be sent before anything of the link: the last message of the handshake.
    pub(super) fn new(link: Link, stream: Connection, first: Vec<u8>) -> Arc<Self> {
        let name = link.peer().name.clone();
        let inner = Inner {
            link,
            replies: BTreeMap::new(),
            incoming: BTreeMap::new(),
            gathering: BTreeMap::new(),
            rooms: BTreeMap::new(),
            notices: VecDeque::new(),
            unsent: first,
            writing: false,
            unwanted: Vec::new(),
        };
        Arc::new(Self {
            stream,
            name,
            input: Mutex::new(Input::new()),
            inner: Mutex::new(inner),
            looking: AtomicU32::new(0),
            awaited: AtomicU32::new(0),
            wake_writer: Notify::new(),
            wake_reader: Notify::new(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        })
    }

    /// The link is gone, for who waits on it.
    pub(super) fn unreachable(&self) -> ApiError {
        super::link::unreachable(&self.name)
    }

    /// Reads from the machine: no bytes, no events come of it.
    pub(super) fn peek<R>(&self, look: impl FnOnce(&Link) -> R) -> R {
        look(&self.lock().link)
    }

    /// Says something to the peer and writes what comes of it, as far as the socket takes it now.
    pub(super) fn say<R>(self: &Arc<Self>, act: impl FnOnce(&mut Link) -> R) -> R {
        self.with(true, |inner| act(&mut inner.link))
    }

    /// Reads what has arrived, for who was told that something has. Returns how many bytes came, 0 at the end of the connection.
    pub(super) fn read(self: &Arc<Self>) -> io::Result<usize> {
        let input = self.input.lock();
        self.take_in(&mut input.expect(INPUT_WHOLE), |buffer| {
            self.stream.try_read(buffer)
        })
    }

    /// Reads what has arrived, for who looks without having been told. `None` where somebody else reads at this moment.
    pub(super) fn look(self: &Arc<Self>) -> Option<io::Result<usize>> {
        let mut input = match self.input.try_lock() {
            Ok(input) => input,
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(_)) => panic!("{INPUT_WHOLE}"),
        };
        Some(self.take_in(&mut input, |buffer| self.stream.look(buffer)))
    }

    /// Reads once and gives the machine all records that are whole.
    fn take_in(
        self: &Arc<Self>,
        input: &mut Input,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let bytes = input.fill(read)?;
        if bytes == 0 {
            return Ok(0);
        }
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = now();
        let mut is_whole = false;
        loop {
            match input.next_record() {
                Ok(Some(record)) => {
                    is_whole = true;
                    // On an error the machine is closed, and its last notice says so.
                    if self
                        .with(false, |inner| inner.handle_record(record, now))
                        .is_err()
                    {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.hear(|link| link.refuse_record(error));
                    break;
                }
            }
        }
        if !is_whole {
            self.hear(|link| link.note_received(now));
        }
        input.compact();
        self.flush();
        Ok(bytes)
    }

    /// Keeps the reader from being told of what arrives, for who looks again and again. `None` where nobody can.
    pub(super) fn looked_at(self: &Arc<Self>) -> Option<LookedAt> {
        if !self.stream.can_be_looked_at() {
            return None;
        }
        if self.looking.fetch_add(1, Ordering::AcqRel) == 0 {
            self.stream.set_looked_at(true);
        }
        Some(LookedAt(Arc::clone(self)))
    }

    /// Whether requests of this side wait for their reply.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) > 0
    }

    /// Takes what arrived, or lets time pass. What is to be sent waits for [`flush`](Self::flush), so that the answers to
    /// all that arrived together leave together.
    fn hear<R>(self: &Arc<Self>, act: impl FnOnce(&mut Link) -> R) -> R {
        self.with(false, |inner| act(&mut inner.link))
    }

    /// Writes what is to be sent, as far as the socket takes it now.
    pub(super) fn flush(self: &Arc<Self>) {
        self.with(true, |_| ());
    }

    /// Whether it is to be written at once what this thread says now, or later together with more.
    fn asks_at_once(self: &Arc<Self>) -> bool {
        !looking::note_asked(self)
    }

    /// Asks the peer. The waiter is registered before the request can leave. A body that is there as a whole goes along.
    pub(super) fn ask(
        self: &Arc<Self>,
        request: &PeerRequest,
        body: &Body,
        reply: ReplySender,
    ) -> ApiResult<RequestId> {
        let at_once = self.asks_at_once();
        self.with(at_once, |inner| {
            let id = inner
                .link
                .open_request(request, BodySpec { size: body.size() }, None)?;
            inner.replies.insert(id, reply);
            inner.begin_body(id, body);
            Ok(id)
        })
    }

    /// Answers the peer; likewise. Returns whether the body is still to be sent by [`send_body`](Self::send_body).
    pub(super) fn answer(
        self: &Arc<Self>,
        id: RequestId,
        reply: &PeerReply,
        body: &Body,
        flush: bool,
    ) -> bool {
        self.with(flush, |inner| {
            inner.incoming.remove(&id);
            inner.link.reply(id, reply, BodySpec { size: body.size() }) && inner.begin_body(id, body)
        })
    }

    /// Sends a body piece by piece, as fast as its reader and the wire take it. Returns early where nobody wants it.
    ///
    /// # Errors
    /// What the body failed with. The peer was not told.
    ///
    /// # Cancel safety
    /// The body is left unfinished: the caller cancels or fails it.
    pub(super) async fn send_body(self: &Arc<Self>, id: RequestId, mut body: Body) -> ApiResult<()> {
        while let Some(piece) = body.next().await {
            if !self.send_piece(id, piece?).await {
                return Ok(());
            }
        }
        self.with(true, |inner| inner.finish_body(id));
        Ok(())
    }

    /// Queues a piece once there is room. False where nobody wants it.
    async fn send_piece(self: &Arc<Self>, id: RequestId, piece: Bytes) -> bool {
        loop {
            let wait = self.with(false, |inner| match inner.link.body_room(id) {
                None => Err(false),
                Some(0) => inner.rooms.get(&id).map(Arc::clone).ok_or(false),
                Some(_) => Err(inner.link.push_body(id, piece.clone())),
            });
            match wait {
                Ok(room) => room.notified().await,
                Err(wanted) => {
                    self.wake_writer.notify_one();
                    return wanted;
                }
            }
        }
    }

    /// Forgets a request of this side, wherever it stands.
    pub(super) fn forget(self: &Arc<Self>, id: RequestId) {
        self.with(true, |inner| {
            inner.replies.remove(&id);
            inner.incoming.remove(&id);
            inner.gathering.remove(&id);
            inner.rooms.remove(&id);
            inner.link.cancel(id);
        });
    }

    /// Breaks off a body of this side.
    pub(super) fn fail_body(self: &Arc<Self>, id: RequestId, error: &ApiError) {
        self.with(true, |inner| {
            inner.rooms.remove(&id);
            inner.link.fail_body(id, error);
        });
    }

    /// The next notice.
    pub(super) fn next_notice(&self) -> Option<Notice> {
        self.lock().notices.pop_front()
    }

    /// Fills a batch for the writer: what was left over, else what the machine has. False where there is nothing.
    pub(super) fn next_batch(self: &Arc<Self>, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        self.with(false, |inner| {
            std::mem::swap(&mut inner.unsent, batch);
            if batch.is_empty() {
                inner.link.poll_transmit(now(), batch);
            }
            inner.writing = !batch.is_empty();
            inner.writing
        })
    }

    /// Ends every wait with `PeerUnreachable`: nothing more comes.
    pub(super) fn fail_waiters(self: &Arc<Self>) {
        let error = self.unreachable();
        let (replies, incoming, rooms) = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            inner.gathering.clear();
            (
                std::mem::take(&mut inner.replies),
                std::mem::take(&mut inner.incoming),
                std::mem::take(&mut inner.rooms),
            )
        };
        self.awaited.store(0, Ordering::Relaxed);
        // Behind the lock: who is woken, or dropped, may want it.
        replies
            .into_values()
            .for_each(|reply| drop(reply.send(Err(error.clone()))));
        incoming.into_values().for_each(|body| body.fail(error.clone()));
        rooms.into_values().for_each(|room| room.notify_one());
    }

    /// Drops what the reader did not act on, for it has ended: a request holds its body, and a body holds the link.
    pub(super) fn drop_notices(&self) {
        let notices = std::mem::take(&mut self.lock().notices);
        drop(notices);
    }

    fn with<R>(self: &Arc<Self>, flush: bool, act: impl FnOnce(&mut Inner) -> R) -> R {
        let (result, unwanted) = {
            let mut inner = self.lock();
            let result = act(&mut inner);
            inner.sort_events(self);
            if flush {
                inner.flush(self);
                inner.sort_events(self);
            }
            if !inner.notices.is_empty() {
                self.wake_reader.notify_one();
            }
            self.awaited.store(inner.replies.len() as u32, Ordering::Relaxed);
            (result, std::mem::take(&mut inner.unwanted))
        };
        drop(unwanted);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("no code panics while it holds the machine of a link")
    }
}

impl Inner {
    /// Registers a body of this side, or queues it at once where it is whole: its memory is the caller's, whatever its
    /// size. Returns whether it is still to be sent.
    fn begin_body(&mut self, id: RequestId, body: &Body) -> bool {
        if body.size() == Some(0) {
            return false;
        }
        let Some(whole) = body.as_whole() else {
            self.rooms.insert(id, Arc::default());
            return true;
        };
        if self.link.push_body(id, whole) {
            self.link.finish_body(id);
        }
        false
    }

    fn finish_body(&mut self, id: RequestId) {
        self.rooms.remove(&id);
        self.link.finish_body(id);
    }

    /// Gives the machine a record. Pieces of bodies whose readers have a place for them go there from where they were decrypted.
    fn handle_record(&mut self, record: &mut [u8], now: Instant) -> Result<(), LinkError> {
        let Self { link, incoming, .. } = self;
        link.handle_record_with(record, now, |id, bytes| {
            incoming.get(&id).is_some_and(|body| body.place(bytes))
        })
    }

    /// Hands out what the machine has to tell.
    fn sort_events(&mut self, wire: &Arc<Wire>) {
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::PeerConsent(consent) => self.notices.push_back(Notice::TheirConsent(consent)),
                Event::Pair(message) => self.notices.push_back(Notice::Pair(message)),
                Event::Agreed { quota_bytes } => self.notices.push_back(Notice::Agreed { quota_bytes }),
                Event::Request { id, request, body } if Gathering::is_for(body) => {
                    let gathering = Gathering::new(Message::Request(request), body);
                    self.gathering.insert(id, gathering);
                }
                Event::Request { id, request, body } => {
                    let body = self.incoming_body(wire, id, body, false);
                    self.notices.push_back(Notice::Request { id, request, body });
                }
                Event::Reply { id, reply, body } => self.replied(wire, id, reply, body),
                Event::Data { id, bytes } => {
                    if let Some(gathering) = self.gathering.get_mut(&id) {
                        gathering.take(bytes);
                    } else if let Some(body) = self.incoming.get(&id) {
                        let len = bytes.len() as u64;
                        if body.push(bytes) == Pushed::Placed {
                            self.link.consume(id, len);
                        }
                    }
                }
                Event::BodyEnd { id } => {
                    if let Some(gathering) = self.gathering.remove(&id) {
                        self.gathered(id, gathering.finish());
                    } else if let Some(body) = self.incoming.remove(&id) {
                        body.finish();
                    }
                }
                Event::BodyFailed { id, error } => {
                    if let Some(gathering) = self.gathering.remove(&id) {
                        self.gathered(id, gathering.fail(error));
                    } else if let Some(body) = self.incoming.remove(&id) {
                        body.fail(error);
                    }
                }
                Event::Cancelled { id } => self.cancelled(id),
                Event::RequestFailed { id, error } => self.failed(id, error),
                Event::BodyRoom { id } => {
                    if let Some(room) = self.rooms.get(&id) {
                        room.notify_one();
                    }
                }
                Event::Closed { reason } => self.notices.push_back(Notice::Closed(reason)),
            }
        }
    }

    fn replied(&mut self, wire: &Arc<Wire>, id: RequestId, reply: PeerReply, body: BodySpec) {
        self.drop_room(id);
        if !self.replies.contains_key(&id) {
            return;
        }
        if Gathering::is_for(body) {
            let gathering = Gathering::new(Message::Reply(reply), body);
            self.gathering.insert(id, gathering);
            return;
        }
        let body = self.incoming_body(wire, id, body, true);
        self.hand_over(id, reply, body);
    }

    /// A message and its small body are there.
    fn gathered(&mut self, id: RequestId, (message, body): (Message, Body)) {
        match message {
            Message::Request(request) => self.notices.push_back(Notice::Request { id, request, body }),
            Message::Reply(reply) => self.hand_over(id, reply, body),
        }
    }

    fn hand_over(&mut self, id: RequestId, reply: PeerReply, body: Body) {
        let Some(waiter) = self.replies.remove(&id) else {
            return;
        };
        if let Err(unwanted) = waiter.send(Ok((reply, body))) {
            self.unwanted.push(unwanted);
        }
    }

    fn failed(&mut self, id: RequestId, error: ApiError) {
        self.drop_room(id);
        if let Some(waiter) = self.replies.remove(&id) {
            // Who waited is gone: then nobody needs the error either.
            let _ = waiter.send(Err(error));
        }
    }

    fn cancelled(&mut self, id: RequestId) {
        self.drop_room(id);
        self.incoming.remove(&id);
        self.gathering.remove(&id);
        self.notices.push_back(Notice::Cancelled(id));
    }

    /// A body of this side is no longer wanted: its writer is woken, to see that.
    fn drop_room(&mut self, id: RequestId) {
        if let Some(room) = self.rooms.remove(&id) {
            room.notify_one();
        }
    }

    fn incoming_body(&mut self, wire: &Arc<Wire>, id: RequestId, spec: BodySpec, of_reply: bool) -> Body {
        if !spec.has_body() {
            return Body::empty();
        }
        let reader = Reader {
            wire: Arc::clone(wire),
            id,
            of_reply,
        };
        let (sender, body) = Body::channel(spec.size, move |bytes| reader.took(bytes));
        self.incoming.insert(id, sender);
        body
    }

    /// Writes what the socket takes now. The rest, and bulk, is the writer's.
    fn flush(&mut self, wire: &Wire) {
        if self.writing {
            return;
        }
        if self.unsent.is_empty() {
            self.link.poll_transmit(now(), &mut self.unsent);
        }
        if self.unsent.is_empty() {
            return;
        }
        let made = self.unsent.len();
        match wire.stream.try_write(&self.unsent) {
            Ok(written) => {
                wire.sent_bytes.fetch_add(written as u64, Ordering::Relaxed);
                self.unsent.drain(..written);
            }
            // The writer meets the same error, and ends the link.
            Err(_) => wire.wake_writer.notify_one(),
        }
        if !self.unsent.is_empty() || made >= INLINE_MAX {
            wire.wake_writer.notify_one();
        }
    }
}

/// Somebody looks at the connection, until this is dropped.
pub(super) struct LookedAt(Arc<Wire>);

impl LookedAt {
    /// At what is looked.
    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.0
    }
}

impl Drop for LookedAt {
    fn drop(&mut self) {
        if self.0.looking.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.stream.set_looked_at(false);
        }
    }
}

/// Who reads a body of the peer: gives credit back, and gives up the request when a reply's body is dropped unread.
struct Reader {
    wire: Arc<Wire>,
    id: RequestId,
    of_reply: bool,
}

impl Reader {
    fn took(&self, bytes: u64) {
        self.wire.say(|link| link.consume(self.id, bytes));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.of_reply && self.wire.lock().incoming.contains_key(&self.id) {
            self.wire.forget(self.id);
        }
    }
}

/// The clock of the links: tokio's, so that a test can stop it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
