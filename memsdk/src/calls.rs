//! How a call is made: the connection it goes over, its deadline, its JSON.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use memproto::local::{FRAME_PAYLOAD_MAX, FrameHeader, Op, TOKEN_LEN_MAX};
use memproto::{ApiError, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::admission::Held;
use crate::connection::{Call, Connection};
use crate::socket::{Descriptor, Endpoint};
use crate::wire::{Piece, Reply};
use crate::{Builder, Error, MemCloud, Result, default_socket_path};

/// The longest JSON of a reply: some ten thousand peers.
const JSON_LEN_MAX: usize = 16 * 1024 * 1024;

/// The first wait before another attempt, after the second failure in a row; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(5);

/// The longest wait before another attempt.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    timeout: Duration,
    name: String,
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while connecting, so that concurrent calls share one attempt.
    dial: tokio::sync::Mutex<Backoff>,
    /// How much of an object the last request to fill a file asked for that was quick; 0 before the first.
    pub(crate) quick_part: AtomicU64,
}

/// How attempts are spaced that fail one after another.
#[derive(Debug, Default)]
struct Backoff {
    delay: Duration,
    next_attempt: Option<Instant>,
}

impl Backoff {
    fn failed(&mut self) {
        self.next_attempt = Some(Instant::now() + self.delay);
        self.delay = (self.delay * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
    }
}

impl MemCloud {
    pub(crate) async fn connect_with(settings: Builder) -> Result<Self> {
        let Builder {
            socket,
            tcp,
            token,
            timeout,
            name,
        } = settings;
        let endpoint = match tcp {
            Some(address) => Endpoint::Tcp(address, token),
            None => Endpoint::Unix(socket.or_else(default_socket_path).ok_or_else(|| {
                Error::Io(std::io::Error::other(
                    "cannot tell where the node's socket is: set MEMCLOUD_SOCKET, or HOME",
                ))
            })?),
        };
        if endpoint.token().len() > TOKEN_LEN_MAX {
            return Err(ApiError::new(ErrorCode::TooLarge, "the token is too long for one").into());
        }
        let current = Mutex::new(None);
        let dial = tokio::sync::Mutex::new(Backoff::default());
        let cloud = Self {
            inner: Arc::new(Inner {
                endpoint,
                timeout,
                name,
                current,
                dial,
                quick_part: AtomicU64::new(0),
            }),
            is_strict: false,
        };
        within(timeout, cloud.connection()).await?;
        Ok(cloud)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    fn current(&self) -> Option<Arc<Connection>> {
        let current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|connection| connection.is_up()).cloned()
    }

    /// The connection; a new one where there is none or it is lost.
    async fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let mut backoff = self.inner.dial.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        if let Some(at) = backoff.next_attempt.take() {
            tokio::time::sleep_until(at).await;
        }
        let connection = match Connection::open(&self.inner.endpoint, &self.inner.name).await {
            Ok(connection) => connection,
            Err(error) => {
                backoff.failed();
                return Err(error);
            }
        };
        *backoff = Backoff::default();
        let mut current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Begins a call once the node has room for it.
    pub(crate) async fn begin(
        &self,
        op: Op,
        held: Held,
        more: bool,
        args: impl Fn(&mut BytesMut),
        value: Bytes,
    ) -> Result<Call> {
        let connection = within(self.timeout(), self.connection()).await?;
        // Not under the deadline: what is waited for are other calls of this process, which have theirs.
        let admission = connection.admit(held).await?;
        match connection.begin(admission, op, more, &args, value.clone()) {
            Ok(call) => return Ok(call),
            // Lost since the last call: nothing was sent yet, so another connection may carry it.
            Err(_) if !connection.is_up() => {}
            Err(error) => return Err(error),
        }
        let connection = within(self.timeout(), self.connection()).await?;
        let admission = connection.admit(held).await?;
        connection.begin(admission, op, more, &args, value)
    }

    /// Begins a call on a connection that passes descriptors, with one attached where there is one. `None` where the connection
    /// passes none.
    pub(crate) async fn begin_attached(
        &self,
        op: Op,
        args: &impl Fn(&mut BytesMut),
        descriptor: Option<Descriptor>,
    ) -> Result<Option<Call>> {
        if matches!(self.inner.endpoint, Endpoint::Tcp(..)) {
            return Ok(None);
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let connection = self.connection().await?;
            let begun = async {
                if !connection.attach().await? {
                    return Ok(None);
                }
                let admission = connection.admit(Held::Bytes(0)).await?;
                let header = FrameHeader::new(op, 0);
                connection
                    .begin_attached(admission, header, args, Bytes::new(), descriptor.clone())
                    .map(Some)
            };
            match begun.await {
                // As in `begin`: lost since the last call, and nothing was sent yet.
                Err(_) if attempts == 1 && !connection.is_up() => {}
                begun => return begun,
            }
        }
    }

    /// One request and its reply, or the beginning of it.
    pub(crate) async fn exchange(
        &self,
        op: Op,
        held: Held,
        args: impl Fn(&mut BytesMut),
        value: Bytes,
        timeout: Duration,
    ) -> Result<(Call, Reply)> {
        within(timeout, async {
            let mut call = self.begin(op, held, false, args, value).await?;
            let reply = call.reply().await?;
            Ok((call, reply))
        })
        .await
    }

    /// A small request with a small reply.
    pub(crate) async fn ask(&self, op: Op, args: impl Fn(&mut BytesMut)) -> Result<Reply> {
        let (_, reply) = self
            .exchange(op, Held::Bytes(0), args, Bytes::new(), self.timeout())
            .await?;
        Ok(reply)
    }

    /// A control operation: JSON both ways.
    pub(crate) async fn control<T: DeserializeOwned>(
        &self,
        op: Op,
        request: Option<&(impl Serialize + Sync)>,
        timeout: Duration,
    ) -> Result<T> {
        let json = request
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|error| Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
        let json = json.unwrap_or_default();
        if json.len() > FRAME_PAYLOAD_MAX {
            return Err(ApiError::new(ErrorCode::TooLarge, "the request is too long").into());
        }
        let args = |out: &mut BytesMut| out.put_slice(&json);
        let (mut call, reply) = self
            .exchange(op, Held::Bytes(json.len()), args, Bytes::new(), timeout)
            .await?;
        let json = within(timeout, collect_json(&mut call, reply)).await?;
        serde_json::from_slice(&json).map_err(|error| {
            Error::Protocol(format!(
                "the JSON of {} is not as specified: {error}",
                op.as_str()
            ))
        })
    }
}

/// The JSON of a reply, which may go on in pieces.
async fn collect_json(call: &mut Call, reply: Reply) -> Result<Bytes> {
    let Some(mut pieces) = reply.pieces else {
        return Ok(reply.payload);
    };
    let mut json = BytesMut::from(&reply.payload[..]);
    call.connection
        .shared()
        .consumed(call.request, &call.window, json.len());
    loop {
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) if json.len() + bytes.len() <= JSON_LEN_MAX => {
                call.connection
                    .shared()
                    .consumed(call.request, &call.window, bytes.len());
                json.extend_from_slice(&bytes);
            }
            Some(Piece::Bytes(_)) => return Err(Error::Protocol("a reply's JSON is too long".to_owned())),
            Some(Piece::End) => {
                call.finish();
                return Ok(json.freeze());
            }
            Some(Piece::Failed(error)) => {
                call.finish();
                return Err(error.into());
            }
            None => return Err(call.connection.shared().lost_error()),
        }
    }
}

/// A call with a deadline.
///
/// # Errors
/// `Timeout`, and `NoRuntime` where there is nothing that keeps time.
pub(crate) async fn within<T>(timeout: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    if Handle::try_current().is_err() {
        return Err(Error::NoRuntime);
    }
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or(Err(Error::Timeout))
}
