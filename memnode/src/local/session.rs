//! One connection of a program of this host.
//!
//! One task serves it, on a thread that serves others like it. A request that must wait, such as for a peer, waits within that task: what it
//! waits for wakes no other one in between. What it begins (sockets, tasks that outlive the connection) belongs to the node's own runtime all
//! the same. Requests with bodies of many frames run there altogether, for they may keep a core busy.
//!
//! The task turns in a circle: finished calls become replies, buffered frames are handled (small requests are
//! answered there and then), bodies add their next pieces, all of it leaves in one write, and then it reads again. Where
//! nothing moves it sleeps. So one read takes many pipelined requests and one write carries all their replies.
//!
//! What a program can make the session hold is bounded: it reads no further while [`OUTPUT_MAX`] bytes wait to be
//! written, works on at most `IN_FLIGHT_MAX` requests, and refuses requests beyond `HELD_BYTES_MAX`.

use std::any::Any;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::attached::cut;
use memproto::local::{
    FrameHeader, HELD_BYTES_MAX, HELLO_LEN_MAX, IN_FLIGHT_MAX, Input, Op, Output, PROTOCOL_VERSION,
    reply::HelloReply, request::HelloRequest,
};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::backend::Backend;
use super::descriptors::Descriptors;
use super::gate::Gate;
use super::incoming::{Grant, Incoming};
use super::outgoing::Outgoing;
use super::receiving::{Direct, Receiving};
use super::wire::{Arrived, Wire};
use crate::patience::Patience;
use crate::peer::{Heard, Looking, together};
use crate::timings::Answered;

/// No request is taken while this many bytes of replies wait: a program that does not read its replies gets none of its
/// requests read. Two frames of the largest size fit.
pub(super) const OUTPUT_MAX: usize = 512 * 1024;

/// The most pieces of one vectored write.
const SLICES_MAX: usize = 32;

/// How long a connection keeps the memory of its last burst. A program that sends large values one after the other, with its
/// own work in between, does not pay for fresh memory each time; one that is done leaves nothing behind.
const REST: Duration = Duration::from_secs(1);

/// How long a program may take to say HELLO.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last frames of a connection may take to leave.
pub(super) const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// A successful reply, before it is written.
pub(super) enum Reply {
    Empty,
    Stored(crate::service::Stored),
    Loaded(crate::service::Loaded),
    Mapped(crate::service::Loaded),
    /// The end may not be known.
    Followed(crate::service::Loaded),
    Written(crate::service::Written),
    Known(Vec<bool>),
    Deleted(bool),
    Freed(memproto::control::Freed),
    Lifetime(Option<memproto::Ttl>),
    Keys(memproto::local::keys::KeysReply),
    Batch(memproto::local::batch::BatchReply),
    Json(bytes::Bytes),
}

impl Reply {
    /// The reply to a read, as a file where that was asked for.
    pub(super) fn of(loaded: crate::service::Loaded, as_file: bool) -> Self {
        if as_file {
            Reply::Mapped(loaded)
        } else {
            Reply::Loaded(loaded)
        }
    }
}

/// A request that is being worked on by a task.
pub(super) struct Call {
    pub(super) serial: u64,
    pub(super) op: u8,
    read_at: Instant,
    pub(super) held: u64,
    /// Ends what works on it; `None` while its body is received.
    work: Option<Work>,
    pub(super) body: Body,
}

/// What works on a request.
enum Work {
    /// The session itself.
    Here(AbortHandle),
    /// A task of the node's own runtime.
    Task(tokio::task::AbortHandle),
}

impl Work {
    fn abort(&self) {
        match self {
            Work::Here(handle) => handle.abort(),
            Work::Task(handle) => handle.abort(),
        }
    }
}

/// The body of a request, as long as it may come.
pub(super) enum Body {
    /// There is none.
    None,
    /// It lies in the file that was attached, or goes there: the task reads or writes that.
    Attached,
    /// It is passed to the task piece by piece.
    Piped(Incoming),
    /// It is received where it will stay; then the task begins.
    Receiving(Box<Receiving>),
}

impl Call {
    pub(super) fn receiving(&mut self) -> Option<&mut Receiving> {
        match &mut self.body {
            Body::Receiving(receiving) => Some(receiving),
            Body::None | Body::Attached | Body::Piped(_) => None,
        }
    }

    fn piped(&mut self) -> Option<&mut Incoming> {
        match &mut self.body {
            Body::Piped(incoming) if incoming.is_open() => Some(incoming),
            _ => None,
        }
    }
}

/// What a call's task returns.
struct Finished {
    serial: u64,
    request: u64,
    result: ApiResult<Reply>,
}

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The program closed the connection, or the socket failed.
    Gone(Option<io::Error>),
    /// The program did not keep to the protocol.
    Fault(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        End::Fault(error)
    }
}

/// The state of one connection.
pub(super) struct Session<B, S> {
    pub(super) backend: Arc<B>,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) outgoing: Outgoing,
    pub(super) descriptors: Descriptors,
    pub(super) socket: S,
    greeting: Greeting,
    /// Began when there was memory to give back; with when the last bytes had come by then.
    rest: Option<(Instant, Pin<Box<Sleep>>)>,
    /// When the requests that are being handled were read.
    pub(super) read_at: Instant,
    /// Those that were answered at once.
    pub(super) answered: Answered,
    /// What HELLO has to pass on TCP; gone once it did.
    gate: Option<Gate>,
    pub(super) calls: HashMap<u64, Call>,
    /// The frame whose bytes are being read into their place.
    pub(super) direct: Option<Direct>,
    /// How soon other nodes answer.
    patience: Patience,
    looking: Looking,
    /// Requests that wait within this session.
    waiting: FuturesUnordered<Abortable<BoxFuture<'static, Finished>>>,
    /// Requests with long bodies or with files.
    tasks: JoinSet<Finished>,
    calls_on: Handle,
    pub(super) held: u64,
    serial: u64,
    grants: (mpsc::UnboundedSender<Grant>, mpsc::UnboundedReceiver<Grant>),
}

/// How far the beginning of the connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Preface,
    Hello,
    Done,
}

impl<B: Backend, S: Wire> Session<B, S> {
    /// A session on a socket whose other end is proven to be of this host's owner. Requests that must wait do so on
    /// the runtime `calls_on`.
    pub(super) fn new(backend: Arc<B>, socket: S, calls_on: Handle) -> Self {
        Self {
            backend,
            input: Input::default(),
            output: Output::default(),
            outgoing: Outgoing::default(),
            descriptors: Descriptors::default(),
            socket,
            greeting: Greeting::Preface,
            rest: None,
            read_at: Instant::now(),
            answered: Answered::default(),
            gate: None,
            calls: HashMap::new(),
            direct: None,
            patience: Patience::for_replies(Duration::ZERO),
            looking: Looking::default(),
            waiting: FuturesUnordered::new(),
            tasks: JoinSet::new(),
            calls_on,
            held: 0,
            serial: 0,
            grants: mpsc::unbounded_channel(),
        }
    }

    /// Looks for so long for what other nodes answer before it sleeps.
    pub(super) fn looking_for(mut self, look_again: Duration) -> Self {
        self.patience = Patience::for_replies(look_again);
        self
    }

    /// A session on a socket that anybody on this host may open: HELLO has to pass the gate. `read` was read already. It is served where it is made,
    /// within a runtime.
    pub(super) fn gated(backend: Arc<B>, socket: S, gate: Gate, read: &[u8]) -> Self {
        let mut session = Self::new(backend, socket, Handle::current());
        session.input.extend(read);
        // No descriptor comes on such a socket, but what was read counts.
        let _ = session.descriptors.note_read(read.len(), Arrived::Nothing);
        session.gate = Some(gate);
        session
    }

    /// Serves the connection until it ends or `stop` is cancelled. All its calls end with it.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let greeted = tokio::time::timeout(HELLO_TIMEOUT, poll_fn(|cx| self.poll(cx, true)));
        let greeted = tokio::select! {
            biased;
            greeted = greeted => greeted,
            () = stop.cancelled() => Ok(Err(shutting_down().into())),
        };
        let end = match greeted {
            Err(_) => Err(ApiError::new(ErrorCode::Timeout, "no HELLO came in time").into()),
            Ok(Err(end)) => Err(end),
            Ok(Ok(())) => tokio::select! {
                biased;
                end = poll_fn(|cx| self.poll(cx, false)) => end,
                () = stop.cancelled() => Err(shutting_down().into()),
            },
        };
        match end {
            Ok(()) | Err(End::Gone(None)) => debug!("closed"),
            Err(End::Gone(Some(error))) => debug!(%error, "broken"),
            Err(End::Fault(fault)) => self.last_words(&fault).await,
        }
    }

    /// Refuses a connection before it begins.
    pub(super) async fn refuse(mut self, fault: &ApiError) {
        self.last_words(fault).await;
    }

    /// Answers what is open with the reason, tells it to the connection, and writes what waits.
    async fn last_words(&mut self, fault: &ApiError) {
        debug!(code = %fault.code, message = fault.message, "closing");
        self.tasks.abort_all();
        self.waiting.clear();
        for (request, call) in self.calls.drain() {
            self.output.error(
                FrameHeader {
                    op: call.op,
                    ..FrameHeader::new(Op::Fault, request)
                },
                fault,
            );
        }
        self.outgoing.fail_all(fault, &mut self.output);
        self.output.error(FrameHeader::new(Op::Fault, 0), fault);
        let flushed = poll_fn(|cx| {
            while !self.output.is_empty() {
                ready!(self.poll_write(cx))?;
            }
            Poll::Ready(Ok::<(), End>(()))
        });
        // A program that does not read its last words in time does not get them.
        let _ = tokio::time::timeout(LAST_WRITE_TIMEOUT, flushed).await;
    }

    /// Does all that can be done now. Ready at the end of the connection, or, with `until_hello`, once it is greeted.
    fn poll(&mut self, cx: &mut Context<'_>, until_hello: bool) -> Poll<Result<(), End>> {
        loop {
            let mut moved = together(|| -> Result<bool, End> {
                let mut moved = self.poll_finished(cx);
                moved |= self.poll_grants(cx);
                moved |= self.handle_frames(cx)?;
                Ok(moved)
            })?;
            self.answered.write_down(self.read_at, self.backend.timings());
            moved |= self.outgoing.poll(cx, &mut self.output);
            if !self.output.is_empty() {
                moved |= self.poll_write(cx)?.is_ready();
            }
            if until_hello && self.greeting == Greeting::Done {
                return Poll::Ready(Ok(()));
            }
            self.socket.set_owed(!self.calls.is_empty());
            if self.output.len() < OUTPUT_MAX && !self.holds_descriptor() {
                moved |= match self.direct {
                    Some(direct) => self.poll_read_direct(direct, cx)?.is_ready(),
                    None => self.poll_read(cx)?.is_ready(),
                };
            }
            if !moved && !self.poll_rest(cx) && !self.hear(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Looks for what other nodes answer, where they are quick, before the session sleeps. Returns whether something came. Where nothing has, the
    /// session has its turn again behind the others of its thread, or sleeps.
    fn hear(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        if self.patience.look_again() {
            match self.looking.hear() {
                Heard::Something => return true,
                Heard::Nothing => {
                    cx.waker().wake_by_ref();
                    return false;
                }
                Heard::Nobody => {}
            }
        }
        self.looking.stop();
        false
    }

    /// Whether the descriptor of a frame that is there whole waits to be taken: until then no other one is let in.
    fn holds_descriptor(&self) -> bool {
        self.descriptors.arriving.is_waiting() && matches!(self.input.peek(), Ok(Some(_)))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let buffer = self.input.read_buffer();
        let read = ready!(pin!(self.socket.read_buf(buffer)).poll(cx));
        match read {
            Ok(0) => Poll::Ready(Err(End::Gone(None))),
            Ok(bytes) => {
                self.input.received(bytes);
                self.read_at = Instant::now();
                self.descriptors.note_read(bytes, self.socket.take_arrived())?;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(End::Gone(Some(error)))),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = self.output.slices(&mut slices);
        let (len_max, file) = self.descriptors.departing.next_write();
        let (whole, part) = cut(&slices[..filled], len_max);
        let slices = part.as_ref().map_or(whole, std::slice::from_ref);
        let written = ready!(match file {
            None => Pin::new(&mut self.socket).poll_write_vectored(cx, slices),
            Some(file) => self.socket.poll_write_attached(cx, slices, &file),
        });
        match written {
            Ok(0) => Poll::Ready(Err(End::Gone(None))),
            Ok(bytes) => {
                self.output.advance(bytes);
                self.descriptors.departing.note_written(bytes);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(End::Gone(Some(error)))),
        }
    }

    /// Gives memory back once nothing was read for [`REST`]. Returns whether something moved.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> bool {
        if self.rest.is_none() && !self.input.is_roomy() && !self.output.is_roomy() {
            return false;
        }
        let read_at = self.read_at;
        let (since, rest) = self.rest.get_or_insert_with(|| (read_at, Box::pin(sleep(REST))));
        if rest.as_mut().poll(cx).is_pending() {
            return false;
        }
        if *since == read_at {
            self.input.give_back();
            self.output.give_back();
        }
        // Where something was read meanwhile it runs once more.
        self.rest = None;
        true
    }

    /// Turns finished calls into replies while the output has room.
    fn poll_finished(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.output.len() < OUTPUT_MAX {
            let Some(finished) = self.poll_waiting(cx).or_else(|| self.poll_tasks(cx)) else {
                break;
            };
            moved = true;
            // What was aborted was answered when it was cancelled; a panic was caught inside.
            if let Some(finished) = finished {
                self.finish(finished);
            }
        }
        moved
    }

    /// One that waited here: `Some(None)` where it was aborted.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Option<Option<Finished>> {
        if self.waiting.is_empty() {
            return None;
        }
        let _entered = self.calls_on.enter();
        match self.waiting.poll_next_unpin(cx) {
            Poll::Ready(Some(finished)) => {
                self.patience.found();
                if self.waiting.is_empty() {
                    self.looking.stop();
                }
                Some(finished.map_err(|Aborted| ()).ok())
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    /// One that had a task: `Some(None)` where it was aborted.
    fn poll_tasks(&mut self, cx: &mut Context<'_>) -> Option<Option<Finished>> {
        if self.tasks.is_empty() {
            return None;
        }
        match self.tasks.poll_join_next(cx) {
            Poll::Ready(Some(finished)) => Some(finished.ok()),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    fn finish(&mut self, finished: Finished) {
        let Finished {
            serial,
            request,
            result,
        } = finished;
        if self.calls.get(&request).is_none_or(|call| call.serial != serial) {
            return;
        }
        if let Some(call) = self.calls.remove(&request) {
            self.held -= call.held;
            let header = FrameHeader {
                op: call.op,
                ..FrameHeader::new(Op::Ping, request)
            };
            self.backend.timings().record(call.op, call.read_at.elapsed());
            self.append_reply(header, result);
        }
    }

    /// Passes on credit that readers of bodies gave back.
    fn poll_grants(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        if self.calls.is_empty() {
            return false;
        }
        while let Poll::Ready(Some(grant)) = self.grants.1.poll_recv(cx) {
            moved = true;
            let Grant {
                serial,
                request,
                bytes,
            } = grant;
            let is_open = self
                .calls
                .get_mut(&request)
                .is_some_and(|call| call.serial == serial && call.piped().is_some());
            if is_open {
                let header = FrameHeader::new(Op::Credit, request);
                self.output.frame_copied(header, |_| {}, &bytes.to_le_bytes());
            }
        }
        moved
    }

    /// Handles the frames that are there whole, while the output has room.
    fn handle_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        if self.greeting == Greeting::Preface {
            if !self.input.take_preface().map_err(ApiError::from)? {
                return Ok(false);
            }
            self.greeting = Greeting::Hello;
        }
        if self.greeting == Greeting::Hello
            && self.input.promised_len().is_some_and(|len| len > HELLO_LEN_MAX)
        {
            return Err(ApiError::invalid("the first frame is no HELLO").into());
        }
        while self.output.len() < OUTPUT_MAX {
            if self.direct.is_some() {
                break;
            }
            let Some(header) = self.input.peek().map_err(ApiError::from)? else {
                self.begin_direct()?;
                break;
            };
            moved = true;
            self.handle_frame(header, cx)?;
            self.descriptors.arriving.check_taken(self.input.len())?;
        }
        Ok(moved)
    }

    fn handle_frame(&mut self, header: FrameHeader, cx: &mut Context<'_>) -> Result<(), End> {
        if header.request == 0 {
            return Err(ApiError::invalid("a frame has the request id 0").into());
        }
        let op = Op::from_byte(header.op);
        if self.greeting != Greeting::Done {
            return self.hello(header, op);
        }
        if header.status != 0 && op != Some(Op::Data) {
            return Err(ApiError::invalid("a request has a status").into());
        }
        match op {
            Some(Op::Data) => self.data(header, cx),
            Some(Op::Credit) => self.credit(header),
            Some(Op::Cancel) => self.cancel(header),
            Some(Op::Unmap) => self.unmap(header),
            Some(Op::Fault | Op::Hello) => Err(ApiError::invalid("this frame has no place here").into()),
            _ if self.calls.contains_key(&header.request)
                || self.outgoing.contains(header.request)
                || self.descriptors.is_mapped(header.request) =>
            {
                Err(ApiError::invalid("a request has the id of one that is still in flight").into())
            }
            op => {
                self.request(header, op, cx);
                Ok(())
            }
        }
    }

    fn hello(&mut self, header: FrameHeader, op: Option<Op>) -> Result<(), End> {
        if op != Some(Op::Hello) || header.flags != 0 || header.status != 0 {
            return Err(ApiError::invalid("the first frame is no HELLO").into());
        }
        let hello = HelloRequest::decode(self.input.payload(&header))?;
        if let Some(gate) = &self.gate {
            gate.check(hello.token)?;
        }
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            let HelloRequest {
                version_min,
                version_max,
                ..
            } = hello;
            return Err(ApiError::new(
                ErrorCode::Unsupported,
                format!(
                    "the program speaks versions {version_min} to {version_max} of the local protocol, this node \
                     speaks {PROTOCOL_VERSION}: update the older of the two"
                ),
            )
            .into());
        }
        debug!(client = hello.name, "greeted");
        let reply = HelloReply {
            version: PROTOCOL_VERSION,
            in_flight_max: IN_FLIGHT_MAX,
            held_bytes_max: HELD_BYTES_MAX,
            node_id: self.backend.node_id(),
            node_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.input.skip(&header);
        self.greeting = Greeting::Done;
        self.gate = None;
        self.output.frame_copied(header, |out| reply.encode(out), &[]);
        Ok(())
    }

    fn data(&mut self, header: FrameHeader, cx: &mut Context<'_>) -> Result<(), End> {
        if header.more() && header.length == 0 {
            return Err(ApiError::invalid("a DATA frame that goes on has no bytes").into());
        }
        match self.calls.get_mut(&header.request) {
            Some(call) if matches!(call.body, Body::Receiving(_)) => return self.receive(header, cx),
            Some(call) => match call.piped() {
                Some(incoming) => incoming.data(&header, self.input.take(&header))?,
                None => self.input.skip(&header),
            },
            // The request was answered while this was under way.
            None => self.input.skip(&header),
        }
        Ok(())
    }

    fn credit(&mut self, header: FrameHeader) -> Result<(), End> {
        let bytes = memproto::local::request::decode_credit(self.input.payload(&header))?;
        self.input.skip(&header);
        self.outgoing.grant(header.request, bytes)?;
        Ok(())
    }

    fn cancel(&mut self, header: FrameHeader) -> Result<(), End> {
        memproto::local::request::decode_empty(self.input.payload(&header))?;
        self.input.skip(&header);
        let error = ApiError::new(ErrorCode::Cancelled, "the request was cancelled");
        if let Some(call) = self.calls.remove(&header.request) {
            if let Some(work) = &call.work {
                work.abort();
            }
            self.held -= call.held;
            self.output.error(
                FrameHeader {
                    op: call.op,
                    ..header
                },
                &error,
            );
        } else if self.outgoing.cancel(header.request) {
            self.output
                .error(FrameHeader::new(Op::Data, header.request), &error);
        }
        // Else the reply is under way already. Where a descriptor is, the program will not map it.
        self.descriptors.unmap(header.request);
        Ok(())
    }

    fn unmap(&mut self, header: FrameHeader) -> Result<(), End> {
        memproto::local::request::decode_empty(self.input.payload(&header))?;
        self.input.skip(&header);
        self.descriptors.unmap(header.request);
        Ok(())
    }

    /// Whether a request that makes the node hold this many bytes may begin; otherwise it is answered `Busy`.
    pub(super) fn admit(&mut self, header: FrameHeader, held: u64) -> bool {
        if !self.has_room_for_call() || self.held + held > HELD_BYTES_MAX {
            let message =
                "too many requests of this connection are in flight: wait for replies, then try again";
            self.output
                .error(header, &ApiError::new(ErrorCode::Busy, message));
            return false;
        }
        true
    }

    /// Whether another request may be in flight.
    pub(super) fn has_room_for_call(&self) -> bool {
        self.calls.len() + self.outgoing.len() < IN_FLIGHT_MAX as usize
    }

    pub(super) fn is_greeted(&self) -> bool {
        self.greeting == Greeting::Done
    }

    /// The number of the next call: a request id may be used again, this one is not.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Where bodies give back credit.
    pub(super) fn grant_sender(&self) -> mpsc::UnboundedSender<Grant> {
        self.grants.0.clone()
    }

    /// Begins a call that [`admit`](Self::admit) let in. One that need not wait is answered at once, without a task.
    pub(super) fn begin(
        &mut self,
        header: FrameHeader,
        serial: u64,
        held: u64,
        body: Body,
        future: impl Future<Output = ApiResult<Reply>> + Send + 'static,
        cx: &mut Context<'_>,
    ) {
        let request = header.request;
        let mut future = Box::pin(AssertUnwindSafe(future).catch_unwind());
        let first = {
            // What it begins belongs to that runtime from here on.
            let _entered = self.calls_on.enter();
            future.as_mut().poll(cx)
        };
        if let Poll::Ready(result) = first {
            self.reply(header, result.unwrap_or_else(|panic| Err(panicked(&*panic))));
            return;
        }
        let call = async move {
            let result = future.await.unwrap_or_else(|panic| Err(panicked(&*panic)));
            Finished {
                serial,
                request,
                result,
            }
        };
        let work = match body {
            Body::None => {
                let (handle, registration) = AbortHandle::new_pair();
                self.waiting.push(Abortable::new(call.boxed(), registration));
                Work::Here(handle)
            }
            Body::Attached | Body::Piped(_) | Body::Receiving(_) => {
                Work::Task(self.tasks.spawn_on(call, &self.calls_on))
            }
        };
        self.held += held;
        self.calls.insert(
            request,
            Call {
                serial,
                op: header.op,
                read_at: self.read_at,
                held,
                work: Some(work),
                body,
            },
        );
    }

    /// Begins to receive the body of a call that [`admit`](Self::admit) let in.
    pub(super) fn begin_receiving(
        &mut self,
        header: FrameHeader,
        serial: u64,
        held: u64,
        receiving: Receiving,
    ) {
        self.held += held;
        self.calls.insert(
            header.request,
            Call {
                serial,
                op: header.op,
                read_at: self.read_at,
                held,
                work: None,
                body: Body::Receiving(Box::new(receiving)),
            },
        );
    }
}

pub(super) fn shutting_down() -> ApiError {
    ApiError::new(ErrorCode::ShuttingDown, "the node is stopping")
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> ApiError {
    let what = panic.downcast_ref::<&str>().copied();
    let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    error!(panic = what, "a request panicked");
    ApiError::new(ErrorCode::Internal, "the node failed; its log has more")
}
