//! One blocking client that speaks every server's protocol, and costs the same with each.
//!
//! - `prepared`: small values. All requests of a run are encoded before it, so that a batch is one write of bytes that lie
//!   there already, and the replies, whose form is known, are checked where they were read. No text is made, no
//!   number parsed, nothing allocated or copied while the clock runs, whatever the protocol.
//! - `large`: values of a MiB and more, which go from where they lie to where they belong, by vectored reads and writes.
//! - `native`: the frames of MemCloud's protocol that have no fixed form: greeting, bodies with credit, control.
//! - `inbox`: what was read and not yet looked at.
//!
//! The socket is one of any kind, behind a file: the same calls serve all of them.
//!
//! Every reply is checked: its kind, its length, and in MemCloud's protocol the ids of the requests.

mod inbox;
mod large;
mod native;
mod prepared;

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::BytesMut;

use inbox::Inbox;
pub(crate) use native::Body;
pub(crate) use prepared::{Prepared, Value};

/// How long a server may be silent. It answers in microseconds; one that does not has failed.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// The room for replies: more than 64 values of 1 KiB with what stands around them.
const INBOX_LEN: usize = 256 * 1024;

/// The first id of requests that are not [`Prepared`], whose ids count from 1.
const FIRST_ID: u64 = 1 << 32;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// What is sent comes back.
    Echo,
    /// RESP2, as Redis speaks it.
    Redis,
    /// The meta commands of memcached's text protocol.
    Memcached,
    /// MemCloud's native local protocol.
    MemCloud,
}

/// What is asked of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Set,
    Get,
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    protocol: Protocol,
    socket: File,
    inbox: Inbox,
    /// Requests of MemCloud's protocol that were queued.
    outbox: BytesMut,
    last_id: u64,
}

impl Client {
    /// Connects, and greets where the protocol wants it. A server that is there has then answered.
    pub(crate) fn connect(protocol: Protocol, path: &Path) -> Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
        socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Self::greeted(protocol, socket.into())
    }

    /// The same on a TCP connection, on which nothing waits for more to send.
    pub(crate) fn over_tcp(protocol: Protocol, socket: TcpStream) -> Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
        socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Self::greeted(protocol, socket.into())
    }

    fn greeted(protocol: Protocol, socket: OwnedFd) -> Result<Self> {
        let mut client = Self::new(protocol, socket);
        match protocol {
            Protocol::MemCloud => client.greet()?,
            Protocol::Redis => client.expect(b"PING\r\n", b"+PONG\r\n")?,
            Protocol::Memcached => client.expect(b"mn\r\n", b"MN\r\n")?,
            Protocol::Echo => client.expect(b"hello", b"hello")?,
        }
        Ok(client)
    }

    fn new(protocol: Protocol, socket: OwnedFd) -> Self {
        Self {
            protocol,
            socket: File::from(socket),
            inbox: Inbox::new(INBOX_LEN),
            outbox: BytesMut::new(),
            last_id: FIRST_ID,
        }
    }

    /// What it speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn expect(&mut self, request: &[u8], reply: &[u8]) -> Result<()> {
        self.write_all(request)?;
        self.inbox.need(&self.socket, reply.len())?;
        ensure!(
            self.inbox.bytes() == reply,
            "an unexpected reply: {}",
            String::from_utf8_lossy(self.inbox.bytes())
        );
        self.inbox.consume(reply.len());
        Ok(())
    }

    fn write_all(&self, bytes: &[u8]) -> Result<()> {
        Ok((&self.socket).write_all(bytes)?)
    }

    fn write_all_of(&self, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
        while !slices.is_empty() {
            let written = uninterrupted(|| (&self.socket).write_vectored(slices))?;
            ensure!(written > 0, "the server takes no more bytes");
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }
}

/// A signal interrupts calls on sockets that have a timeout; whether it ends the chore is asked elsewhere.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
