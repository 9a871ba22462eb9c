//! One connection: many calls in flight, one task that reads and writes.
//!
//! A call appends its frame to the shared output. Where nothing else is in flight it writes it itself, without waking
//! anybody; otherwise the connection's task writes what concurrent calls have collected, in one system call. Replies are
//! matched by request id.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use memproto::flow::{ReceiveWindow, SendCredit};
use memproto::local::reply::{HelloReply, ReadReply};
use memproto::local::request::{HelloRequest, decode_credit};
use memproto::local::{
    BODY_WINDOW, CLIENT_NAME_LEN_MAX, FRAME_PAYLOAD_MAX, FrameHeader, Input, Op, Output, PREFACE,
    PROTOCOL_VERSION, data_cost,
};
use memproto::{ApiError, ErrorCode};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::debug;

use crate::socket::Socket;
use crate::{Error, Result};

/// The most pieces of one vectored write.
const SLICES_MAX: usize = 32;

/// Values that are being sent add to the output while fewer than this many bytes wait in it, so that a small request
/// never waits behind more.
pub(crate) const BULK_LEVEL: usize = 256 * 1024;

/// Values count against the node's limit of held bytes in units of this many bytes. Smaller ones need not count:
/// the limit on requests holds them.
const HELD_UNIT: u64 = 4 * 1024;

/// The units of the largest frame.
const INLINE_UNITS_MAX: u32 = (FRAME_PAYLOAD_MAX as u64 / HELD_UNIT) as u32;

/// A reply, or its beginning.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) payload: Bytes,
    /// The rest of the body, where there is more.
    pub(crate) pieces: Option<mpsc::UnboundedReceiver<Piece>>,
}

/// A part of the body of a reply.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    End,
    Failed(ApiError),
}

/// What waits for frames of one request.
#[derive(Debug)]
struct Slot {
    op: Op,
    reply: Option<oneshot::Sender<Result<Reply>>>,
    /// The reply's body, once it is known to have one.
    body: Option<(mpsc::UnboundedSender<Piece>, Arc<Mutex<ReceiveWindow>>)>,
    window: Arc<Mutex<ReceiveWindow>>,
    upload: Option<Arc<Credit>>,
}

/// Credit of a value that is being sent.
#[derive(Debug)]
pub(crate) struct Credit {
    bytes: Mutex<SendCredit>,
    /// Told when there is more, or when none is needed any more.
    pub(crate) changed: Notify,
}

impl Credit {
    fn bytes(&self) -> MutexGuard<'_, SendCredit> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Credit that is there now.
    pub(crate) fn available(&self) -> u64 {
        self.bytes().available()
    }

    /// Takes the credit of a frame with this many bytes, which the caller saw to be available.
    pub(crate) fn take(&self, bytes: usize) {
        self.bytes().take(data_cost(bytes));
    }
}

/// A connection that is up, or was.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// Drops the connection's task, which closes the socket.
impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    socket: Socket,
    output: Mutex<Output>,
    /// Wakes the task: there is something to write.
    to_write: Notify,
    /// Wakes senders of values: the output has room.
    pub(crate) room: Notify,
    /// `None` once the connection is lost: no call can begin.
    slots: Mutex<Option<HashMap<u64, Slot>>>,
    next_request: AtomicU64,
    /// Why the connection ended, where there is more to say than that it did.
    failure: OnceLock<Failure>,
    limits: OnceLock<Limits>,
}

/// What the node allows, shared out among the calls of this process.
#[derive(Debug)]
struct Limits {
    calls: Arc<Semaphore>,
    /// Half of the bytes that the node holds for us, for values that go in one frame, in units of [`HELD_UNIT`].
    inline: Arc<Semaphore>,
    /// The other half, for values in pieces: however many wait here, small ones go on.
    uploads: Arc<Semaphore>,
}

impl Limits {
    fn new(reply: &HelloReply) -> Self {
        let half = (reply.held_bytes_max / 2).min(1 << 40);
        let inline = (half / HELD_UNIT).max(INLINE_UNITS_MAX.into()) as usize;
        let uploads = (half / (BODY_WINDOW + FRAME_PAYLOAD_MAX as u64)).max(1) as usize;
        Self {
            calls: Arc::new(Semaphore::new(reply.in_flight_max.max(1) as usize)),
            inline: Arc::new(Semaphore::new(inline)),
            uploads: Arc::new(Semaphore::new(uploads)),
        }
    }
}

/// What a call makes the node hold until its reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// This many bytes.
    Bytes(usize),
    /// The window of a value in pieces.
    Upload,
}

#[derive(Clone, Debug)]
enum Failure {
    Protocol(String),
    Fault(ApiError),
}

impl Connection {
    /// Connects and greets.
    pub(crate) async fn open(socket: Socket, name: &str) -> Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            socket,
            output: Mutex::new(Output::default()),
            to_write: Notify::new(),
            room: Notify::new(),
            slots: Mutex::new(Some(HashMap::new())),
            next_request: AtomicU64::new(1),
            failure: OnceLock::new(),
            limits: OnceLock::new(),
        });
        shared.output().raw(&PREFACE);
        let driver = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Also where the task is aborted, for the runtime ends: calls must not wait for it.
            let _lost = LostOnDrop(Arc::clone(&driver));
            driver.drive().await;
        })
        .abort_handle();
        let connection = Arc::new(Self { shared, task });
        let name = &name[..name.floor_char_boundary(CLIENT_NAME_LEN_MAX)];
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            name,
        };
        let mut call = connection.begin(
            Admission::default(),
            Op::Hello,
            false,
            |out| hello.encode(out),
            Bytes::new(),
        )?;
        let reply = call.reply().await?;
        let reply = HelloReply::decode(&reply.payload).map_err(broken)?;
        if reply.version != PROTOCOL_VERSION {
            return Err(Error::Protocol(format!(
                "the node chose version {}",
                reply.version
            )));
        }
        // Set once, here.
        let _ = connection.shared.limits.set(Limits::new(&reply));
        drop(call);
        Ok(connection)
    }

    /// Waits until the node has room for a call that makes it hold this much.
    pub(crate) async fn admit(&self, held: Held) -> Result<Admission> {
        let Some(limits) = self.shared.limits.get() else {
            return Err(Error::ConnectionLost);
        };
        let (semaphore, units) = match held {
            Held::Bytes(bytes) => (
                &limits.inline,
                (bytes as u64 / HELD_UNIT).min(INLINE_UNITS_MAX.into()) as u32,
            ),
            Held::Upload => (&limits.uploads, 1),
        };
        let _held = match units {
            0 => None,
            units => Some(acquire(semaphore, units).await?),
        };
        Ok(Admission {
            _held,
            _call: Some(acquire(&limits.calls, 1).await?),
        })
    }

    /// Begins a call: notes who waits, then sends the frame.
    pub(crate) fn begin(
        self: &Arc<Self>,
        admission: Admission,
        op: Op,
        more: bool,
        args: impl FnOnce(&mut BytesMut),
        value: Bytes,
    ) -> Result<Call> {
        let shared = &self.shared;
        let request = shared.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        let window = Arc::new(Mutex::new(ReceiveWindow::new(BODY_WINDOW)));
        let upload = more.then(|| {
            let mut credit = SendCredit::new(BODY_WINDOW);
            credit.take(data_cost(value.len()));
            Arc::new(Credit {
                bytes: Mutex::new(credit),
                changed: Notify::new(),
            })
        });
        let slot = Slot {
            op,
            reply: Some(sender),
            body: None,
            window: Arc::clone(&window),
            upload: upload.clone(),
        };
        let alone = {
            let mut slots = shared.slots();
            let Some(slots) = slots.as_mut() else {
                return Err(shared.lost_error());
            };
            let alone = slots.is_empty();
            slots.insert(request, slot);
            alone
        };
        let connection = Arc::clone(self);
        let call = Call {
            connection,
            request,
            upload,
            window,
            reply: Some(reply),
            done: false,
            _admission: admission,
        };
        shared.send(FrameHeader::new(op, request).with_more(more), args, value, alone);
        Ok(call)
    }

    /// Whether calls can begin.
    pub(crate) fn is_up(&self) -> bool {
        self.shared.slots().is_some()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

struct LostOnDrop(Arc<Shared>);

impl Drop for LostOnDrop {
    fn drop(&mut self) {
        self.0.lose();
    }
}

/// Room for one call within the node's limits; given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    _call: Option<OwnedSemaphorePermit>,
    _held: Option<OwnedSemaphorePermit>,
}

async fn acquire(semaphore: &Arc<Semaphore>, units: u32) -> Result<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(semaphore).try_acquire_many_owned(units) {
        return Ok(permit);
    }
    // The semaphore is never closed.
    Arc::clone(semaphore)
        .acquire_many_owned(units)
        .await
        .map_err(|_| Error::ConnectionLost)
}

impl Shared {
    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Option<HashMap<u64, Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame and sees that it is written: here and now where `now`, else by the task.
    fn send(&self, header: FrameHeader, args: impl FnOnce(&mut BytesMut), value: Bytes, now: bool) {
        let mut output = self.output();
        output.frame(header, args, value);
        if now {
            // What fails here fails for the task, too, which knows what to do.
            let _ = self.write_now(&mut output);
        }
        let rest = !output.is_empty();
        drop(output);
        if rest {
            self.to_write.notify_one();
        }
    }

    /// Sends the next bytes of a value.
    pub(crate) fn send_data(&self, request: u64, more: bool, value: Bytes) {
        self.send(
            FrameHeader::new(Op::Data, request).with_more(more),
            |_| {},
            value,
            false,
        );
    }

    /// Whether the output has room for bytes of a value.
    pub(crate) fn has_room(&self) -> bool {
        self.output().len() < BULK_LEVEL
    }

    /// Gives credit back for bytes that were taken out of a reply's body.
    pub(crate) fn consumed(&self, request: u64, window: &Mutex<ReceiveWindow>, bytes: usize) {
        let grant = window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .consume(data_cost(bytes));
        if let Some(grant) = grant {
            let args = |out: &mut BytesMut| out.extend_from_slice(&grant.to_le_bytes());
            self.send(FrameHeader::new(Op::Credit, request), args, Bytes::new(), false);
        }
    }

    /// Why calls fail now.
    pub(crate) fn lost_error(&self) -> Error {
        match self.failure.get() {
            Some(Failure::Protocol(what)) => Error::Protocol(what.clone()),
            // A node that stops or is full says so; the connection is lost all the same.
            Some(Failure::Fault(error)) => Error::Api(error.clone()),
            None => Error::ConnectionLost,
        }
    }

    /// Ends all calls. What they wait for is dropped, which they see.
    fn lose(&self) {
        let slots = self.slots().take();
        drop(slots);
        self.room.notify_waiters();
    }

    fn fail(&self, failure: Failure) {
        // The first reason is the reason.
        let _ = self.failure.set(failure);
    }

    /// The connection's task: writes and reads until the connection ends.
    async fn drive(&self) {
        let mut input = Input::default();
        let ended = tokio::select! {
            biased;
            read = self.read_all(&mut input) => Some(read),
            written = self.write_all() => {
                debug!(?written, "cannot write any more");
                None
            }
        };
        // Where the node closed, it may have said why: that is still to be read, and its end comes at once.
        let ended = match ended {
            Some(read) => read,
            None => self.read_all(&mut input).await,
        };
        if let Err(error) = ended {
            debug!(%error, "connection broken");
        }
    }

    /// Writes what waits as far as the socket takes it. Returns whether all was written.
    fn write_now(&self, output: &mut Output) -> std::io::Result<bool> {
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = output.slices(&mut slices);
            match self.socket.try_write_vectored(&slices[..filled]) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => output.advance(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn write_all(&self) -> std::io::Result<()> {
        loop {
            let (done, has_room) = {
                let mut output = self.output();
                (self.write_now(&mut output)?, output.len() < BULK_LEVEL)
            };
            if has_room {
                self.room.notify_waiters();
            }
            if done {
                self.to_write.notified().await;
            } else {
                self.socket.writable().await?;
            }
        }
    }

    async fn read_all(&self, input: &mut Input) -> std::io::Result<()> {
        loop {
            self.socket.readable().await?;
            let buffer = input.read_buffer();
            match self.socket.try_read_buf(buffer) {
                Ok(0) => return Ok(()),
                Ok(bytes) => input.received(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if let Err(failure) = self.take_frames(input) {
                debug!(?failure, "the node ended the connection");
                self.fail(failure);
                return Ok(());
            }
        }
    }

    fn take_frames(&self, input: &mut Input) -> Result<(), Failure> {
        let protocol = |error: ApiError| Failure::Protocol(error.message);
        while let Some(header) = input
            .peek()
            .map_err(|error| Failure::Protocol(format!("its frames are damaged: {error}")))?
        {
            match Op::from_byte(header.op) {
                Some(Op::Fault) => return Err(Failure::Fault(failure_of(&header, input.payload(&header)))),
                Some(Op::Credit) => {
                    let bytes = decode_credit(input.payload(&header)).map_err(protocol)?;
                    input.skip(&header);
                    self.credit(header.request, bytes).map_err(protocol)?;
                }
                op => {
                    // A small payload is copied: else it would keep the whole buffer that it came in.
                    let payload = if header.length as usize <= COPY_MAX {
                        let payload = Bytes::copy_from_slice(input.payload(&header));
                        input.skip(&header);
                        payload
                    } else {
                        input.take(&header)
                    };
                    let is_data = op == Some(Op::Data);
                    let taken = if is_data {
                        self.data(header, &payload)
                    } else {
                        self.reply(header, payload)
                    };
                    taken.map_err(Failure::Protocol)?;
                }
            }
        }
        Ok(())
    }

    fn credit(&self, request: u64, bytes: u64) -> Result<(), ApiError> {
        let upload = self
            .slots()
            .as_ref()
            .and_then(|slots| slots.get(&request)?.upload.clone());
        if let Some(upload) = upload {
            upload.bytes().grant(bytes)?;
            upload.changed.notify_one();
        }
        Ok(())
    }

    fn reply(&self, header: FrameHeader, payload: Bytes) -> Result<(), String> {
        let mut slots = self.slots();
        let Some(slots) = slots.as_mut() else {
            return Ok(());
        };
        // A reply to a call that nobody waits for any more is no fault.
        let Some(slot) = slots.get_mut(&header.request) else {
            return Ok(());
        };
        let Some(sender) = slot.reply.take() else {
            return Err("a request got two replies".to_owned());
        };
        if slot.op.to_byte() != header.op {
            return Err("a reply has another operation than its request".to_owned());
        }
        // The node has taken the value, or wants no more of it.
        if let Some(upload) = slot.upload.take() {
            upload.changed.notify_one();
        }
        let reply = if header.status != 0 {
            Err(Error::Api(failure_of(&header, &payload)))
        } else if header.more() {
            let args = if matches!(slot.op, Op::Get | Op::Load) {
                ReadReply::LEN
            } else {
                0
            };
            receive(&slot.window, payload.len().saturating_sub(args))?;
            let (pieces, receiver) = mpsc::unbounded_channel();
            slot.body = Some((pieces, Arc::clone(&slot.window)));
            Ok(Reply {
                payload,
                pieces: Some(receiver),
            })
        } else {
            Ok(Reply {
                payload,
                pieces: None,
            })
        };
        if slot.body.is_none() {
            slots.remove(&header.request);
        }
        // Whoever dropped the call has no use for the reply.
        let _ = sender.send(reply);
        Ok(())
    }

    fn data(&self, header: FrameHeader, payload: &Bytes) -> Result<(), String> {
        let mut slots = self.slots();
        let Some(slots) = slots.as_mut() else {
            return Ok(());
        };
        let Some(slot) = slots.get_mut(&header.request) else {
            return Ok(());
        };
        let Some((pieces, window)) = &slot.body else {
            return Err("bytes of a value came before the reply".to_owned());
        };
        let ends = header.status != 0 || !header.more();
        // Nobody may read any more: the call's drop takes the slot away.
        if header.status != 0 {
            let _ = pieces.send(Piece::Failed(failure_of(&header, payload)));
        } else {
            receive(window, payload.len())?;
            let _ = pieces.send(Piece::Bytes(payload.clone()));
            if ends {
                let _ = pieces.send(Piece::End);
            }
        }
        if ends {
            slots.remove(&header.request);
        }
        Ok(())
    }
}

/// Payloads up to this many bytes are copied out of the read buffer.
const COPY_MAX: usize = 16 * 1024;

fn receive(window: &Mutex<ReceiveWindow>, bytes: usize) -> Result<(), String> {
    let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
    window.receive(data_cost(bytes)).map_err(|error| error.message)
}

fn failure_of(header: &FrameHeader, message: &[u8]) -> ApiError {
    let message = String::from_utf8_lossy(message);
    ApiError::new(ErrorCode::from_number(header.status), message)
}

/// A reply whose layout is not as specified.
pub(crate) fn broken(error: ApiError) -> Error {
    Error::Protocol(error.message)
}

/// A request in flight. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) connection: Arc<Connection>,
    pub(crate) request: u64,
    pub(crate) upload: Option<Arc<Credit>>,
    pub(crate) window: Arc<Mutex<ReceiveWindow>>,
    reply: Option<oneshot::Receiver<Result<Reply>>>,
    done: bool,
    _admission: Admission,
}

impl Call {
    /// Waits for the reply. To be called until it returned, then no more.
    pub(crate) async fn reply(&mut self) -> Result<Reply> {
        let Some(receiver) = self.reply.as_mut() else {
            return Err(Error::Protocol("a reply was asked for twice".to_owned()));
        };
        let reply = receiver
            .await
            .unwrap_or_else(|_| Err(self.connection.shared.lost_error()));
        self.reply = None;
        self.done = !matches!(&reply, Ok(Reply { pieces: Some(_), .. }));
        reply
    }

    /// Tells that the body's last frame came: nothing is left to cancel.
    pub(crate) fn finish(&mut self) {
        self.done = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let shared = &self.connection.shared;
        let slot = shared
            .slots()
            .as_mut()
            .and_then(|slots| slots.remove(&self.request));
        if slot.is_some() {
            shared.send(
                FrameHeader::new(Op::Cancel, self.request),
                |_| {},
                Bytes::new(),
                false,
            );
        }
    }
}
