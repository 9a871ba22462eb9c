//! The local API on TCP: loopback alone, and for nobody without the token.
//!
//! Anybody on this host can open a connection, and so can a web page in the owner's browser. So the first bytes tell what
//! it is: `MEMC` begins the native protocol and `{` JSON lines, and both have to bring the token first. Everything else,
//! HTTP above all, gets one line that says so and is closed. No header of an HTTP request is looked at, so no Host and no
//! Origin makes a difference.
//!
//! What strangers can take is bounded: [`STRANGERS_MAX`] connections, [`OPENING_MAX`] bytes and some seconds each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::BytesMut;
use memproto::error::{ApiError, ErrorCode};
use memproto::local::PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, info, warn};

use super::accept::accept_until;
use super::backend::Backend;
use super::gate::Gate;
use super::json::{JsonSession, error_line};
use super::listener::ConnectionGauge;
use super::session::{HELLO_TIMEOUT, LAST_WRITE_TIMEOUT, Session, shutting_down};
use crate::token::Token;

/// The port of the local API where nobody names one.
pub const API_PORT_DEFAULT: u16 = 7070;

/// The most connections that have not proven the token; one more is dropped. Programs of the owner pass within a round trip.
pub(super) const STRANGERS_MAX: usize = 64;

/// The most bytes that are read to tell what a connection is. The longest method of HTTP in use has 17 letters.
const OPENING_MAX: usize = 32;

/// The most bytes of a refused connection that are read and dropped, so that it gets its refusal: the system throws away
/// what was sent on a connection that is closed with bytes unread.
const DRAIN_MAX: u64 = 64 * 1024;

/// Which port the local API has on TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApiPort {
    /// [`API_PORT_DEFAULT`], and no TCP where another program has it.
    Auto,
    /// This one and no other; 0 is a free one.
    Port(u16),
    /// No TCP.
    Off,
}

impl FromStr for ApiPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(ApiPort::Auto),
            "off" => Ok(ApiPort::Off),
            port => port
                .parse()
                .map(ApiPort::Port)
                .map_err(|_| format!("'{text}' is no port: a number from 0 to 65535, 'auto' or 'off'")),
        }
    }
}

/// Where and how much the local API listens on TCP.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// A loopback address.
    pub listen: IpAddr,
    /// The port.
    pub port: ApiPort,
    /// How many connections at most; one more is told `Busy` and closed.
    pub connections_max: usize,
}

/// The local API, bound to a port.
#[derive(Debug)]
pub struct TcpApi {
    listener: TcpListener,
    address: SocketAddr,
    connections_max: usize,
    token: Token,
    gauge: ConnectionGauge,
    strangers: Arc<Semaphore>,
}

impl TcpApi {
    /// Binds the port. `None` where there is to be no TCP, or where the default port cannot be had.
    ///
    /// # Errors
    /// Where a port that was named cannot be had, or the address is not loopback.
    pub async fn bind(
        config: &TcpConfig,
        token: Token,
        gauge: ConnectionGauge,
    ) -> anyhow::Result<Option<Self>> {
        anyhow::ensure!(
            config.listen.is_loopback(),
            "the local API listens on loopback addresses alone, and {} is none",
            config.listen
        );
        let port = match config.port {
            ApiPort::Auto => API_PORT_DEFAULT,
            ApiPort::Port(port) => port,
            ApiPort::Off => return Ok(None),
        };
        let wanted = SocketAddr::new(config.listen, port);
        let listener = match TcpListener::bind(wanted).await {
            Ok(listener) => listener,
            Err(error) if config.port == ApiPort::Auto => {
                warn!(
                    address = %wanted, %error,
                    "no API on TCP: the default port is not free. Name another one with --api-port, or 'off'"
                );
                return Ok(None);
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot serve the API on TCP at {wanted}: name another port with --api-port, 0 for a free one")
                });
            }
        };
        let address = listener.local_addr().context("the API's socket has no address")?;
        info!(%address, "listening for programs of this host that have the token");
        Ok(Some(Self {
            listener,
            address,
            connections_max: config.connections_max,
            token,
            gauge,
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
        }))
    }

    /// The address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves programs until `stop` is cancelled; then ends all sessions.
    pub async fn serve<B: Backend>(self, backend: Arc<B>, stop: CancellationToken) {
        let mut sessions = accept_until(
            &stop,
            |cx| self.listener.poll_accept(cx),
            |(stream, from), sessions| self.begin(stream, from, &backend, &stop, sessions),
        )
        .await;
        while sessions.join_next().await.is_some() {}
    }

    fn begin<B: Backend>(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        backend: &Arc<B>,
        stop: &CancellationToken,
        sessions: &mut JoinSet<()>,
    ) {
        let Ok(place) = Arc::clone(&self.strangers).try_acquire_owned() else {
            return debug!(%from, "dropped a connection: too many others have not sent the token");
        };
        if let Err(error) = stream.set_nodelay(true) {
            return debug!(%from, %error, "dropped a connection");
        }
        // Strangers, this one among them, take no place of those that have the token.
        let strangers = STRANGERS_MAX - self.strangers.available_permits();
        let visitor = Visitor {
            backend: Arc::clone(backend),
            stream,
            gate: Gate::new(self.token.clone(), place),
            strangers: Arc::clone(&self.strangers),
            is_one_too_many: (sessions.len() + 1).saturating_sub(strangers) >= self.connections_max,
        };
        let (guard, stop) = (self.gauge.enter(), stop.clone());
        let serve = async move {
            visitor.receive(stop).await;
            drop(guard);
        };
        sessions.spawn(serve.instrument(debug_span!("tcp", %from)));
    }
}

/// What a connection is, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    Native,
    Json,
    Http,
    Garbage,
}

/// What these first bytes begin, or `None` where more are needed to tell.
pub(super) fn opening(bytes: &[u8]) -> Option<Opening> {
    if bytes.first()? == &b'{' {
        return Some(Opening::Json);
    }
    if bytes.starts_with(&PREFACE) {
        return Some(Opening::Native);
    }
    let word = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    match bytes.get(word) {
        Some(b' ') if word > 0 => Some(Opening::Http),
        None if bytes.len() < OPENING_MAX => None,
        _ => Some(Opening::Garbage),
    }
}

/// A connection of which nothing is known yet.
struct Visitor<B> {
    backend: Arc<B>,
    stream: TcpStream,
    gate: Gate,
    strangers: Arc<Semaphore>,
    is_one_too_many: bool,
}

impl<B: Backend> Visitor<B> {
    /// Finds out what it is, serves or refuses it, and closes.
    async fn receive(mut self, stop: CancellationToken) {
        let mut read = BytesMut::with_capacity(OPENING_MAX);
        let opened = tokio::time::timeout(HELLO_TIMEOUT, read_opening(&mut self.stream, &mut read));
        let opening = tokio::select! {
            biased;
            () = stop.cancelled() => Err(shutting_down()),
            opened = opened => match opened {
                Ok(Ok(Some(opening))) => Ok(opening),
                Ok(Ok(None) | Err(_)) => return debug!("closed before it began"),
                Err(_) => Err(ApiError::new(ErrorCode::Timeout, "nothing came in time")),
            },
        };
        let Self {
            backend,
            mut stream,
            gate,
            strangers,
            is_one_too_many,
        } = self;
        let socket = &mut stream;
        match opening {
            Err(error) => refuse(socket, &error).await,
            Ok(Opening::Native) if is_one_too_many => {
                Session::new(backend, socket, Handle::current())
                    .refuse(&busy())
                    .await;
            }
            Ok(Opening::Json) if is_one_too_many => refuse(socket, &busy()).await,
            Ok(Opening::Native) => Session::gated(backend, socket, gate, &read).run(stop).await,
            Ok(Opening::Json) => JsonSession::new(backend, socket, gate, read).run(stop).await,
            Ok(Opening::Http) => {
                let message =
                    "this port does not speak HTTP: use a program of MemCloud, or JSON lines over plain TCP";
                refuse(socket, &ApiError::new(ErrorCode::Denied, message)).await;
            }
            Ok(Opening::Garbage) => {
                let message = "a connection begins with MEMC (native protocol) or { (JSON lines)";
                refuse(socket, &ApiError::invalid(message)).await;
            }
        }
        // While it is drained a connection takes the place of a stranger, whoever it was; without one it is closed at once.
        if let Ok(_place) = strangers.try_acquire() {
            drain(stream).await;
        }
    }
}

fn busy() -> ApiError {
    let message = "too many programs are connected to this node: close some, then try again";
    ApiError::new(ErrorCode::Busy, message)
}

/// Reads until the first bytes tell what it is; `None` where the connection ended before.
async fn read_opening(stream: &mut TcpStream, read: &mut BytesMut) -> io::Result<Option<Opening>> {
    loop {
        if let Some(opening) = opening(read) {
            return Ok(Some(opening));
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

/// Sends one line that says why.
async fn refuse(stream: &mut TcpStream, error: &ApiError) {
    debug!(code = %error.code, message = error.message, "refused");
    let line = error_line(&serde_json::Value::Null, error);
    // Who does not read it in time does not get it.
    let _ = tokio::time::timeout(LAST_WRITE_TIMEOUT, stream.write_all(&line)).await;
}

/// Ends a connection so that the other side gets what was sent.
async fn drain(mut stream: TcpStream) {
    let drained = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DRAIN_MAX), &mut tokio::io::sink()).await
    };
    // Whoever goes on sending is cut off.
    let _ = tokio::time::timeout(LAST_WRITE_TIMEOUT, drained).await;
}
