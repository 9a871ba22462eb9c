//! One connection: many calls in flight, one task that reads and writes.
//!
//! A call appends its frame to the shared output. A program that makes one call after another writes it itself, without waking
//! anybody; otherwise the connection's task writes what concurrent calls have collected, in one system call. Replies are
//! matched by request id.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::{Bytes, BytesMut};
use memproto::flow::{ReceiveWindow, SendCredit};
use memproto::local::reply::HelloReply;
use memproto::local::request::HelloRequest;
use memproto::local::{
    BODY_WINDOW, CLIENT_NAME_LEN_MAX, FrameHeader, Op, Output, PREFACE, PROTOCOL_VERSION, data_cost,
};
use memproto::{ApiError, ErrorCode};
use tokio::sync::{Notify, OnceCell, oneshot};
use tokio::task::AbortHandle;

use crate::admission::{Admission, Held, Limits};
use crate::slots::{Slot, Slots};
use crate::socket::{Descriptor, Endpoint};
use crate::wire::{Credit, Reply, Shared};
use crate::{Error, Result};

/// A connection that is up, or was.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    task: AbortHandle,
    /// Whether descriptors are passed; asked when the first call wants one.
    attached: OnceCell<bool>,
}

/// Drops the connection's task, which closes the socket.
impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Connects and greets.
    pub(crate) async fn open(endpoint: &Endpoint, name: &str) -> Result<Arc<Self>> {
        let (reader, socket) = endpoint.connect().await?;
        let shared = Arc::new(Shared {
            socket,
            output: Mutex::new(Output::default()),
            departing: Mutex::default(),
            to_write: Notify::new(),
            room: Notify::new(),
            slots: Mutex::new(Some(Slots::default())),
            next_request: AtomicU64::new(1),
            failure: OnceLock::new(),
            limits: OnceLock::new(),
        });
        shared.output().raw(&PREFACE);
        let driver = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Also where the task is aborted, for the runtime ends: calls must not wait for it.
            let _lost = LostOnDrop(Arc::clone(&driver));
            driver.drive(reader).await;
        })
        .abort_handle();
        let connection = Arc::new(Self {
            shared,
            task,
            attached: OnceCell::new(),
        });
        let name = &name[..name.floor_char_boundary(CLIENT_NAME_LEN_MAX)];
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            name,
            token: endpoint.token(),
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
        match self.shared.limits.get() {
            Some(limits) => limits.admit(held).await,
            None => Err(Error::ConnectionLost),
        }
    }

    /// Asks the node to pass descriptors, once. Returns false where it cannot.
    pub(crate) async fn attach(self: &Arc<Self>) -> Result<bool> {
        let ask = async {
            let admission = self.admit(Held::Bytes(0)).await?;
            let mut call = self.begin(admission, Op::Attach, false, |_| {}, Bytes::new())?;
            match call.reply().await {
                Ok(_) => Ok(true),
                // Also an older node, which does not know the question.
                Err(Error::Api(error)) if error.code == ErrorCode::Unsupported => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.attached.get_or_try_init(|| ask).await.copied()
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
        self.begin_attached(
            admission,
            FrameHeader::new(op, 0).with_more(more),
            args,
            value,
            None,
        )
    }

    /// Begins a call, with a descriptor attached to its frame where there is one. The request id is set here.
    pub(crate) fn begin_attached(
        self: &Arc<Self>,
        admission: Admission,
        header: FrameHeader,
        args: impl FnOnce(&mut BytesMut),
        value: Bytes,
        descriptor: Option<Descriptor>,
    ) -> Result<Call> {
        let shared = &self.shared;
        let request = shared.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        let window = Arc::new(Mutex::new(ReceiveWindow::new(BODY_WINDOW)));
        let header = FrameHeader { request, ..header };
        let upload = header.more().then(|| {
            let mut credit = SendCredit::new(BODY_WINDOW);
            credit.take(data_cost(value.len()));
            Arc::new(Credit {
                bytes: Mutex::new(credit),
                changed: Notify::new(),
            })
        });
        let slot = Slot {
            op: header.op,
            reply: Some(sender),
            body: None,
            window: Arc::clone(&window),
            upload: upload.clone(),
        };
        let at_once = match shared.slots().as_mut() {
            Some(slots) => slots.insert(request, slot),
            None => return Err(shared.lost_error()),
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
        shared.send_attached(header, args, value, descriptor, at_once);
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
            .and_then(|slots| slots.remove(self.request));
        if slot.is_some() {
            shared.send(
                FrameHeader::new(Op::Cancel, self.request),
                |_| {},
                Bytes::new(),
                false,
            );
        }
        // The reply may be here, with a descriptor that nobody will map.
        if let Some(mut reply) = self.reply.take() {
            reply.close();
            if let Ok(Ok(Reply {
                descriptor: Some(_), ..
            })) = reply.try_recv()
            {
                shared.unmapped(self.request);
            }
        }
    }
}

/// A reply whose layout is not as specified.
pub(crate) fn broken(error: ApiError) -> Error {
    Error::Protocol(error.message)
}
