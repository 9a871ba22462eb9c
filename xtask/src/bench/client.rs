//! One blocking client that speaks every server's protocol.
//!
//! Requests are collected and leave in one write; replies are read through a buffer, the bytes of a large value past it
//! into their place. Every reply is checked: its kind, its length, and for a read also its bytes.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, BytesMut};
use memproto::local::reply::{PutReply, ReadReply};
use memproto::local::request::{HelloRequest, PutRequest, ReadRequest, decode_credit};
use memproto::local::{BODY_WINDOW, FrameHeader, HEADER_LEN, INLINE_MAX, Op, PREFACE, PROTOCOL_VERSION};
use memproto::{BlockClass, Placement};

/// How long a server may be silent. It answers in microseconds; one that does not has failed.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// The room of the buffer for replies: 64 values of 1 KiB.
const READ_BUFFER_LEN: usize = 64 * 1024;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
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
pub(super) enum Request {
    Set,
    Get,
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Client {
    protocol: Protocol,
    replies: BufReader<UnixStream>,
    requests: BytesMut,
    last_id: u64,
}

impl Client {
    /// Connects, and greets where the protocol wants it.
    pub(super) fn connect(protocol: Protocol, socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let mut client = Self {
            protocol,
            replies: BufReader::with_capacity(READ_BUFFER_LEN, stream),
            requests: BytesMut::new(),
            last_id: 0,
        };
        if protocol == Protocol::MemCloud {
            client.greet()?;
        }
        Ok(client)
    }

    fn greet(&mut self) -> Result<()> {
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            name: "bench",
            token: "",
        };
        self.requests.put_slice(&PREFACE);
        self.queue_frame(Op::Hello, false, |out| hello.encode(out), &[]);
        self.flush()?;
        let reply = self.read_header(Op::Hello)?;
        self.skip(reply.length as usize)
    }

    /// Appends a request. It leaves with the next [`flush`](Self::flush).
    pub(super) fn queue(&mut self, request: Request, key: &str, value: &[u8]) {
        match (self.protocol, request) {
            (Protocol::Echo, _) => self.requests.put_slice(value),
            (Protocol::MemCloud, Request::Set) => {
                self.queue_frame(Op::Set, false, |out| put(key, value.len()).encode(out), value);
            }
            (Protocol::MemCloud, Request::Get) => {
                self.queue_frame(Op::Get, false, |out| read(key).encode(out), &[]);
            }
            (_, Request::Set) => {
                self.queue_set_head(key, value.len());
                self.requests.put_slice(value);
                self.requests.put_slice(b"\r\n");
            }
            (Protocol::Redis, Request::Get) => {
                self.queue_text(format_args!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()));
            }
            (Protocol::Memcached, Request::Get) => self.queue_text(format_args!("mg {key} v\r\n")),
        }
    }

    /// What stands in front of the value of a SET in a text protocol.
    fn queue_set_head(&mut self, key: &str, len: usize) {
        match self.protocol {
            Protocol::Redis => {
                let key_len = key.len();
                self.queue_text(format_args!(
                    "*3\r\n$3\r\nSET\r\n${key_len}\r\n{key}\r\n${len}\r\n"
                ));
            }
            _ => self.queue_text(format_args!("ms {key} {len}\r\n")),
        }
    }

    fn queue_text(&mut self, text: std::fmt::Arguments<'_>) {
        std::fmt::Write::write_fmt(&mut self.requests, text).expect("a buffer in memory takes all");
    }

    fn queue_frame(&mut self, op: Op, more: bool, args: impl FnOnce(&mut BytesMut), value: &[u8]) {
        self.last_id += 1;
        let start = self.requests.len();
        self.requests.put_bytes(0, HEADER_LEN);
        args(&mut self.requests);
        self.requests.put_slice(value);
        let mut header = FrameHeader::new(op, self.last_id).with_more(more);
        header.length = (self.requests.len() - start - HEADER_LEN) as u32;
        self.requests[start..start + HEADER_LEN].copy_from_slice(&header.encode());
    }

    /// Sends what was queued.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.replies.get_ref().write_all(&self.requests)?;
        self.requests.clear();
        Ok(())
    }

    /// Reads the next reply. The value that came with it fills `value`.
    pub(super) fn finish(&mut self, request: Request, value: &mut [u8]) -> Result<()> {
        match (self.protocol, request) {
            (Protocol::Echo, _) => self.replies.read_exact(value)?,
            (Protocol::MemCloud, Request::Set) => self.finish_put(value.len())?,
            (Protocol::MemCloud, Request::Get) => self.finish_read(value)?,
            (Protocol::Redis, Request::Set) => self.expect(b"+OK\r\n")?,
            (Protocol::Memcached, Request::Set) => self.expect(b"HD\r\n")?,
            (Protocol::Redis, Request::Get) => self.finish_text_get(b"$", value)?,
            (Protocol::Memcached, Request::Get) => self.finish_text_get(b"VA ", value)?,
        }
        Ok(())
    }

    /// Sets a value of any size: its bytes go to the socket from where they are.
    pub(super) fn set_large(&mut self, key: &str, value: &[u8]) -> Result<()> {
        if self.protocol == Protocol::MemCloud {
            return self.set_in_pieces(key, value);
        }
        self.queue_set_head(key, value.len());
        let head = self.requests.split();
        self.write_all_of(&mut [IoSlice::new(&head), IoSlice::new(value), IoSlice::new(b"\r\n")])?;
        match self.protocol {
            Protocol::Redis => self.expect(b"+OK\r\n"),
            _ => self.expect(b"HD\r\n"),
        }
    }

    /// Sends a value under the credits of the native protocol, and reads the reply.
    fn set_in_pieces(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.last_id += 1;
        let id = self.last_id;
        let mut args = BytesMut::new();
        put(key, value.len()).encode(&mut args);
        let mut chunks = value.chunks(INLINE_MAX).peekable();
        let mut credit = BODY_WINDOW;
        let mut op = Op::Set;
        while chunks.peek().is_some() {
            // All that the credit pays for leaves in one write.
            let mut heads = Vec::new();
            let mut bodies = Vec::new();
            while let Some(chunk) = chunks.next_if(|chunk| chunk.len() as u64 <= credit) {
                credit -= chunk.len() as u64;
                let mut header = FrameHeader::new(op, id).with_more(chunks.peek().is_some());
                header.length = (args.len() + chunk.len()) as u32;
                let mut head = header.encode().to_vec();
                head.extend_from_slice(&args);
                args.clear();
                op = Op::Data;
                heads.push(head);
                bodies.push(chunk);
            }
            let pairs = heads.iter().zip(&bodies);
            let mut slices: Vec<_> = pairs
                .flat_map(|(head, body)| [IoSlice::new(head), IoSlice::new(body)])
                .collect();
            self.write_all_of(&mut slices)?;
            if chunks.peek().is_some() {
                credit += self.read_credit()?;
            }
        }
        self.finish_put(value.len())
    }

    fn write_all_of(&self, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
        let mut socket = self.replies.get_ref();
        while !slices.is_empty() {
            let written = uninterrupted(|| socket.write_vectored(slices))?;
            ensure!(written > 0, "the server takes no more bytes");
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    fn read_credit(&mut self) -> Result<u64> {
        let header = self.read_header(Op::Credit)?;
        let mut payload = [0; 8];
        ensure!(
            header.length as usize == payload.len(),
            "a CREDIT of a wrong length"
        );
        self.replies.read_exact(&mut payload)?;
        Ok(decode_credit(&payload)?)
    }

    fn finish_put(&mut self, len: usize) -> Result<()> {
        let header = loop {
            let header = self.read_any_header()?;
            if header.op != Op::Credit.to_byte() {
                break header;
            }
            self.skip(header.length as usize)?;
        };
        self.check(&header, Op::Set)?;
        let mut payload = [0; 16];
        ensure!(
            header.length as usize == payload.len(),
            "a reply to SET of a wrong length"
        );
        self.replies.read_exact(&mut payload)?;
        let reply = PutReply::decode(&payload)?;
        ensure!(reply.size == len as u64, "{} bytes were stored", reply.size);
        Ok(())
    }

    fn finish_read(&mut self, value: &mut [u8]) -> Result<()> {
        let mut header = self.read_header(Op::Get)?;
        let mut args = [0; ReadReply::LEN];
        self.replies.read_exact(&mut args)?;
        let (reply, _) = ReadReply::decode(&args)?;
        ensure!(
            reply.length == value.len() as u64,
            "a value of {} bytes",
            reply.length
        );
        let mut here = header.length as usize - ReadReply::LEN;
        let (mut filled, mut granted) = (0, BODY_WINDOW);
        loop {
            let piece = value
                .get_mut(filled..filled + here)
                .context("more bytes than were promised")?;
            self.replies.read_exact(piece)?;
            filled += here;
            if !header.more() {
                break;
            }
            // Half a window at a time, as long as the sender will need it.
            let due = BODY_WINDOW / 2;
            if granted < value.len() as u64 && granted - filled as u64 <= due {
                let mut credit = FrameHeader::new(Op::Credit, header.request);
                credit.length = 8;
                self.requests.put_slice(&credit.encode());
                self.requests.put_u64_le(due);
                self.flush()?;
                granted += due;
            }
            header = self.read_header(Op::Data)?;
            here = header.length as usize;
        }
        ensure!(filled == value.len(), "the value ends after {filled} bytes");
        Ok(())
    }

    fn finish_text_get(&mut self, prefix: &[u8], value: &mut [u8]) -> Result<()> {
        let mut line = [0; 32];
        let line = self.read_line(&mut line)?;
        let len = line
            .strip_prefix(prefix)
            .and_then(|len| std::str::from_utf8(len).ok()?.trim_end().parse().ok());
        ensure!(
            len == Some(value.len()),
            "an unexpected reply: {}",
            String::from_utf8_lossy(line)
        );
        self.replies.read_exact(value)?;
        self.expect(b"\r\n")
    }

    fn read_line<'a>(&mut self, line: &'a mut [u8; 32]) -> Result<&'a [u8]> {
        let mut len = 0;
        loop {
            uninterrupted(|| self.replies.fill_buf().map(|_| ()))?;
            let there = self.replies.buffer();
            ensure!(!there.is_empty(), "the server closed the connection");
            let end = there.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(there.len(), |end| end + 1);
            line.get_mut(len..len + taken)
                .context("a reply whose first line is too long")?
                .copy_from_slice(&there[..taken]);
            self.replies.consume(taken);
            len += taken;
            if end.is_some() {
                return Ok(&line[..len]);
            }
        }
    }

    fn expect(&mut self, expected: &[u8]) -> Result<()> {
        let mut line = [0; 32];
        let line = self.read_line(&mut line)?;
        ensure!(
            line == expected,
            "an unexpected reply: {}",
            String::from_utf8_lossy(line)
        );
        Ok(())
    }

    fn read_any_header(&mut self) -> Result<FrameHeader> {
        let mut header = [0; HEADER_LEN];
        self.replies.read_exact(&mut header)?;
        Ok(FrameHeader::decode(&header)?)
    }

    fn read_header(&mut self, op: Op) -> Result<FrameHeader> {
        let header = self.read_any_header()?;
        self.check(&header, op)?;
        Ok(header)
    }

    fn check(&mut self, header: &FrameHeader, op: Op) -> Result<()> {
        if header.status != 0 {
            let mut message = vec![0; header.length as usize];
            self.replies.read_exact(&mut message)?;
            bail!("the node refuses: {}", String::from_utf8_lossy(&message));
        }
        ensure!(
            header.op == op.to_byte() && (1..=self.last_id).contains(&header.request),
            "an unexpected frame: {header:?}"
        );
        Ok(())
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        let skipped = io::copy(&mut (&mut self.replies).take(len as u64), &mut io::sink())?;
        ensure!(skipped == len as u64, "the server closed the connection");
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

fn put(key: &str, len: usize) -> PutRequest<'_> {
    PutRequest {
        size: Some(len as u64),
        class: BlockClass::Pinned,
        placement: Placement::Auto,
        ttl: None,
        key: Some(key),
    }
}

fn read(key: &str) -> ReadRequest<&str> {
    ReadRequest {
        offset: 0,
        length: u64::MAX,
        target: key,
    }
}
