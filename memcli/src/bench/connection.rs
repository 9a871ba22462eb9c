//! One connection: frames out, whole answers in.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memproto::flow::{ReceiveWindow, SendCredit};
use memproto::local::reply::{HelloReply, ReadReply};
use memproto::local::request::{HelloRequest, decode_credit};
use memproto::local::{
    BODY_WINDOW, DATA_COST_MIN, FrameHeader, HEADER_LEN, INLINE_MAX, Op, Output, PREFACE, PROTOCOL_VERSION,
    data_cost,
};
use memproto::{ApiError, ErrorCode};

use super::Load;
use crate::exit::{Failure, Outcome};

/// How long the node may be silent. It answers in microseconds; one that does not is stopped or swapped out.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Room for what arrives: the longest frame fits three times, so that little is moved within the buffer.
const INBOX_LEN: usize = 1024 * 1024;

/// The most pieces of one vectored write.
const SLICES_MAX: usize = 64;

/// Large values add to the output while fewer than this many bytes wait in it.
const BULK_LEVEL: usize = 2 * INLINE_MAX;

/// The limits that the node named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    in_flight_max: u32,
    held_bytes_max: u64,
}

impl Limits {
    /// Checks that one connection may have all of its requests in flight.
    ///
    /// # Errors
    /// `TooLarge`, with the depth that would do.
    pub(super) fn check(self, load: &Load) -> Outcome {
        // The longest key, the arguments and the replies of writes have room in this.
        let small = DATA_COST_MIN * load.items() as u64;
        let value = load.value.len() as u64;
        let held = match load.value.len() {
            len if len > INLINE_MAX => BODY_WINDOW + INLINE_MAX as u64 + small,
            _ => value * load.items() as u64 + small,
        };
        let depth_max = (self.held_bytes_max / held).min(self.in_flight_max.into()).max(1);
        if load.pipeline as u64 <= depth_max {
            return Ok(());
        }
        Err(Failure::api(
            ErrorCode::TooLarge,
            format!(
                "the node does not take {} requests of {} with this size at a time on one connection: the most is \
                 --pipeline {depth_max}",
                load.pipeline,
                load.operation.as_str(),
            ),
        ))
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    /// A value of this size came.
    Value { size: u64 },
    /// The payload of any other success.
    Payload(&'a [u8]),
}

/// A value that is being sent.
#[derive(Debug)]
struct Upload {
    request: u64,
    rest: Bytes,
    credit: SendCredit,
}

/// A value that is being received.
#[derive(Debug)]
struct Download {
    request: u64,
    size: u64,
    left: u64,
    window: ReceiveWindow,
}

/// A connection to the node. It blocks unless it is told otherwise.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    blocks: bool,
    output: Output,
    inbox: Vec<u8>,
    /// What arrived and was not taken yet lies here in the inbox.
    start: usize,
    end: usize,
    last_request: u64,
    uploads: VecDeque<Upload>,
    downloads: Vec<Download>,
    limits: Limits,
}

impl Connection {
    /// Connects and greets.
    pub(super) fn open(socket: &Path) -> Outcome<Self> {
        let stream = UnixStream::connect(socket).map_err(|error| broken(&error))?;
        let timeouts = stream
            .set_read_timeout(Some(SILENCE_MAX))
            .and_then(|()| stream.set_write_timeout(Some(SILENCE_MAX)));
        timeouts.map_err(|error| broken(&error))?;
        let mut connection = Self {
            stream,
            blocks: true,
            output: Output::default(),
            inbox: vec![0; INBOX_LEN],
            start: 0,
            end: 0,
            last_request: 0,
            uploads: VecDeque::new(),
            downloads: Vec::new(),
            limits: Limits {
                in_flight_max: 1,
                held_bytes_max: 0,
            },
        };
        connection.greet()?;
        Ok(connection)
    }

    fn greet(&mut self) -> Outcome {
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            name: concat!("memcli/", env!("CARGO_PKG_VERSION"), " bench"),
            token: "",
        };
        self.output.raw(&PREFACE);
        self.ask(Op::Hello, |out| hello.encode(out), Bytes::new());
        self.write()?;
        loop {
            self.read()?;
            if let Some(Answer::Payload(payload)) = self.answer()? {
                let reply = HelloReply::decode(payload)?;
                self.limits = Limits {
                    in_flight_max: reply.in_flight_max,
                    held_bytes_max: reply.held_bytes_max,
                };
                return Ok(());
            }
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Lets reads and writes return where they would wait.
    pub(super) fn never_block(&mut self) -> Outcome {
        self.blocks = false;
        self.stream.set_nonblocking(true).map_err(|error| broken(&error))
    }

    /// Appends a request; a large value goes in pieces, as the node gives credit for them.
    pub(super) fn ask(&mut self, op: Op, args: impl FnOnce(&mut BytesMut), mut value: Bytes) {
        self.last_request += 1;
        let header = FrameHeader::new(op, self.last_request);
        if value.len() <= INLINE_MAX {
            self.output.frame(header, args, value);
            return;
        }
        let first = value.split_to(INLINE_MAX);
        let mut credit = SendCredit::new(BODY_WINDOW);
        credit.take(data_cost(first.len()));
        self.output.frame(header.with_more(true), args, first);
        self.uploads.push_back(Upload {
            request: self.last_request,
            rest: value,
            credit,
        });
    }

    /// Appends what credit allows of the values that are being sent.
    fn append_pieces(&mut self) {
        while self.output.len() < BULK_LEVEL {
            let ready = |upload: &Upload| upload.credit.available() >= DATA_COST_MIN;
            let Some(at) = self.uploads.iter().position(ready) else {
                return;
            };
            let upload = &mut self.uploads[at];
            let room = usize::try_from(upload.credit.available()).unwrap_or(usize::MAX);
            let piece = upload.rest.split_to(upload.rest.len().min(room).min(INLINE_MAX));
            upload.credit.take(data_cost(piece.len()));
            let header = FrameHeader::new(Op::Data, upload.request).with_more(!upload.rest.is_empty());
            self.output.frame(header, |_| {}, piece);
            if self.uploads[at].rest.is_empty() {
                self.uploads.remove(at);
            }
        }
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&mut self) -> Outcome {
        loop {
            self.append_pieces();
            if self.output.is_empty() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.output.slices(&mut slices);
            match self.stream.write_vectored(&slices[..filled]) {
                Ok(0) => return Err(Failure::ConnectionLost),
                Ok(written) => self.output.advance(written),
                Err(error) if waits(&error) => return self.unless_silent(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// Whether something waits to be written.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads once. Returns whether anything came; a connection that blocks waits for it.
    pub(super) fn read(&mut self) -> Outcome<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.inbox.len() - self.end < self.inbox.len() / 2 {
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match self.stream.read(&mut self.inbox[self.end..]) {
                Ok(0) => return Err(Failure::ConnectionLost),
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if waits(&error) => return self.unless_silent().map(|()| false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    /// On a connection that blocks, waiting in vain is the node's silence.
    fn unless_silent(&self) -> Outcome {
        if self.blocks { Err(silent()) } else { Ok(()) }
    }

    /// The next whole answer of those that arrived. A refusal is an error.
    pub(super) fn answer(&mut self) -> Outcome<Option<Answer<'_>>> {
        loop {
            let Some((header, payload)) = self.take_frame()? else {
                return Ok(None);
            };
            let bytes = &self.inbox[payload.clone()];
            if header.status != 0 {
                let message = String::from_utf8_lossy(bytes);
                return Err(ApiError::new(ErrorCode::from_number(header.status), message).into());
            }
            match Op::from_byte(header.op) {
                Some(Op::Credit) => {
                    let granted = decode_credit(bytes)?;
                    if let Some(upload) = self.uploads.iter_mut().find(|up| up.request == header.request) {
                        upload.credit.grant(granted)?;
                    }
                }
                Some(Op::Get | Op::Load) => {
                    let (reply, value) = ReadReply::decode(bytes)?;
                    let (size, came) = (reply.size, value.len());
                    self.downloads.push(Download {
                        request: header.request,
                        size,
                        left: reply.length,
                        window: ReceiveWindow::new(BODY_WINDOW),
                    });
                    if self.received(&header, came)? {
                        return Ok(Some(Answer::Value { size }));
                    }
                }
                Some(Op::Data) => {
                    let size = self.size_of(header.request)?;
                    if self.received(&header, payload.len())? {
                        return Ok(Some(Answer::Value { size }));
                    }
                }
                _ => return Ok(Some(Answer::Payload(&self.inbox[payload]))),
            }
        }
    }

    fn size_of(&self, request: u64) -> Outcome<u64> {
        let download = self.downloads.iter().find(|down| down.request == request);
        download
            .map(|down| down.size)
            .ok_or_else(|| broke_protocol("bytes of a value came before their reply"))
    }

    /// Notes bytes of a value, and gives credit for more. Returns whether it is whole.
    fn received(&mut self, header: &FrameHeader, bytes: usize) -> Outcome<bool> {
        let at = self
            .downloads
            .iter()
            .position(|down| down.request == header.request);
        let Some(at) = at else {
            return Ok(false);
        };
        let download = &mut self.downloads[at];
        download.left = download
            .left
            .checked_sub(bytes as u64)
            .ok_or_else(|| broke_protocol("a value is longer than its reply said"))?;
        if header.more() {
            download.window.receive(data_cost(bytes))?;
            if let Some(credit) = download.window.consume(data_cost(bytes)) {
                let args = |out: &mut BytesMut| out.extend_from_slice(&credit.to_le_bytes());
                self.output
                    .frame(FrameHeader::new(Op::Credit, header.request), args, Bytes::new());
            }
            return Ok(false);
        }
        let left = self.downloads.swap_remove(at).left;
        if left > 0 {
            return Err(broke_protocol("a value is shorter than its reply said"));
        }
        Ok(true)
    }

    /// The next frame that arrived whole, and where its payload lies.
    fn take_frame(&mut self) -> Outcome<Option<(FrameHeader, std::ops::Range<usize>)>> {
        let there = &self.inbox[self.start..self.end];
        let Some(header) = there.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(header).map_err(|error| broke_protocol(&error.to_string()))?;
        if there.len() < header.frame_len() {
            return Ok(None);
        }
        let payload = self.start + HEADER_LEN..self.start + header.frame_len();
        self.start = payload.end;
        Ok(Some((header, payload)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The node said nothing for [`SILENCE_MAX`].
pub(super) fn silent() -> Failure {
    let message = format!(
        "the node did not answer for {} s; see: memcli logs",
        SILENCE_MAX.as_secs()
    );
    Failure::api(ErrorCode::Timeout, message)
}

fn broken(error: &io::Error) -> Failure {
    Failure::reading("from the node", error)
}

fn broke_protocol(what: &str) -> Failure {
    Failure::Other(format!("the node broke the protocol: {what}"))
}
