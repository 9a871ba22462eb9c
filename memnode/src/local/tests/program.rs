//! A program that speaks the protocol frame by frame, on the other end of a pipe.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use memproto::ErrorCode;
use memproto::local::reply::HelloReply;
use memproto::local::request::{HelloRequest, PutRequest, ReadRequest};
use memproto::local::{FrameHeader, Input, Op, Output, PREFACE};
use memproto::{BlockClass, BlockId, Placement};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use crate::local::session::Session;

/// How long a test waits for what must not come. Time is paused: it passes when nothing else can happen.
const QUIET: Duration = Duration::from_secs(1);

pub(super) struct Program {
    pub(super) stream: DuplexStream,
    pub(super) fake: Arc<Fake>,
    pub(super) stop: CancellationToken,
    pub(super) session: tokio::task::JoinHandle<()>,
    input: Input,
}

impl Program {
    /// A session that has received nothing yet.
    pub(super) fn silent() -> Self {
        let (stream, socket) = tokio::io::duplex(64 * 1024);
        let fake = Arc::new(Fake::new());
        let stop = CancellationToken::new();
        let session =
            tokio::spawn(Session::new(Arc::clone(&fake), socket, Handle::current()).run(stop.clone()));
        Self {
            stream,
            fake,
            stop,
            session,
            input: Input::default(),
        }
    }

    /// A session that was greeted.
    pub(super) async fn greeted() -> Self {
        let mut program = Self::silent();
        let hello = HelloRequest {
            version_min: 1,
            version_max: 1,
            name: "test",
            token: "",
        };
        let mut output = Output::default();
        output.raw(&PREFACE);
        output.frame_copied(FrameHeader::new(Op::Hello, 1), |out| hello.encode(out), &[]);
        program.write(&output.to_vec()).await;
        let (header, payload) = program.read().await;
        assert_eq!((header.op, header.status), (Op::Hello.to_byte(), 0));
        assert_eq!(HelloReply::decode(&payload).unwrap().version, 1);
        program
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(super) async fn send(&mut self, header: FrameHeader, payload: &[u8]) {
        self.write(&frame(header, payload)).await;
    }

    /// The next frame.
    pub(super) async fn read(&mut self) -> (FrameHeader, Bytes) {
        self.try_read().await.expect("the connection is open")
    }

    /// The next frame, or `None` at the end of the connection.
    pub(super) async fn try_read(&mut self) -> Option<(FrameHeader, Bytes)> {
        loop {
            if let Some(header) = self.input.peek().unwrap() {
                return Some((header, self.input.take(&header)));
            }
            let bytes = self.stream.read_buf(self.input.read_buffer()).await.ok()?;
            self.input.received(bytes);
            if bytes == 0 {
                return None;
            }
        }
    }

    /// Checks that no frame comes however long one waits.
    pub(super) async fn expect_silence(&mut self) {
        let frame = tokio::time::timeout(QUIET, self.try_read()).await;
        assert!(frame.is_err(), "came: {frame:?}");
    }

    pub(super) async fn expect_error(&mut self, op: Op, request: u64, code: ErrorCode) {
        let (header, payload) = self.read().await;
        let message = String::from_utf8(payload.to_vec()).unwrap();
        assert_eq!(header.op, op.to_byte(), "{message}");
        assert_eq!(header.request, request);
        assert_eq!(ErrorCode::from_number(header.status), code, "{message}");
        assert!(!message.is_empty());
    }

    /// Checks that the session says why it closes, and closes.
    pub(super) async fn expect_fault(&mut self, code: ErrorCode) {
        self.expect_error(Op::Fault, 0, code).await;
        assert!(self.try_read().await.is_none());
    }

    /// Checks that the connection goes on.
    pub(super) async fn ping(&mut self, request: u64) {
        self.send(FrameHeader::new(Op::Ping, request), &[]).await;
        let (header, payload) = self.read().await;
        assert_eq!(header, FrameHeader::new(Op::Ping, request));
        assert!(payload.is_empty());
    }

    /// Reads a body's DATA frames to the end, giving credit.
    pub(super) async fn read_body(&mut self, request: u64) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let (header, payload) = self.read().await;
            assert_eq!(
                (header.op, header.request, header.status),
                (Op::Data.to_byte(), request, 0)
            );
            all.extend_from_slice(&payload);
            if !header.more() {
                return all;
            }
            let credit = memproto::local::data_cost(payload.len());
            self.send(FrameHeader::new(Op::Credit, request), &credit.to_le_bytes())
                .await;
        }
    }
}

pub(super) fn frame(header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    output.frame_copied(header, |_| {}, payload);
    output.to_vec()
}

pub(super) fn put(key: Option<&str>, size: Option<u64>, value: &[u8]) -> Vec<u8> {
    let placement = Placement::Auto;
    let mut out = BytesMut::new();
    PutRequest {
        size,
        ttl: None,
        class: BlockClass::Pinned,
        placement,
        key,
        strict: false,
    }
    .encode(&mut out);
    out.put_slice(value);
    out.to_vec()
}

pub(super) fn get(key: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    ReadRequest {
        offset: 0,
        length: u64::MAX,
        target: key,
        strict: false,
        follow: false,
    }
    .encode(&mut out);
    out.to_vec()
}

pub(super) fn load(id: BlockId) -> Vec<u8> {
    let mut out = BytesMut::new();
    ReadRequest {
        offset: 0,
        length: u64::MAX,
        target: id,
        strict: false,
        follow: false,
    }
    .encode(&mut out);
    out.to_vec()
}

/// Bytes that do not repeat soon.
pub(super) fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}
