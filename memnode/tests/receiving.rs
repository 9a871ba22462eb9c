//! Large values that a real node receives straight into their place, whatever the pieces are in which they come.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use memproto::local::reply::{PutReply, ReadReply};
use memproto::local::request::{HelloRequest, PutRequest, ReadRequest};
use memproto::local::{FrameHeader, Input, Op, Output, PREFACE};
use memproto::{BlockClass, ErrorCode, Placement};

use support::NodeProcess;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A value of this length takes several frames, and a memory file where there are such.
const LEN: usize = (1 << 20) + 12_345;

/// The bytes of a DATA frame of these tests.
const PIECE: usize = 200_000;

struct Node {
    _process: NodeProcess,
    home: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let _process = NodeProcess::start(home.path(), &["--memory=32mb", "--api-port=off"]);
        Self { _process, home }
    }

    fn program(&self) -> Program {
        let stream = UnixStream::connect(self.home.path().join("memnode.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut program = Program {
            stream,
            input: Input::default(),
        };
        let hello = HelloRequest {
            version_min: 1,
            version_max: 1,
            name: "test",
            token: "",
        };
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(
            FrameHeader::new(Op::Hello, 1),
            |out| hello.encode(out),
            &[],
        ));
        program.stream.write_all(&bytes).unwrap();
        assert_eq!(program.reply(1).0.status, 0);
        program
    }
}

struct Program {
    stream: UnixStream,
    input: Input,
}

impl Program {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The reply to a request; credit that comes before is passed over.
    fn reply(&mut self, request: u64) -> (FrameHeader, Bytes) {
        loop {
            if let Some(header) = self.input.peek().unwrap() {
                let payload = self.input.take(&header);
                if header.op == Op::Credit.to_byte() {
                    continue;
                }
                assert_eq!(header.request, request, "{}", String::from_utf8_lossy(&payload));
                return (header, payload);
            }
            let mut room = [0; 64 * 1024];
            let read = self.stream.read(&mut room).unwrap();
            assert_ne!(read, 0, "the node has closed the connection");
            self.input.extend(&room[..read]);
        }
    }

    fn expect_stored(&mut self, request: u64, size: usize) {
        let (header, payload) = self.reply(request);
        assert_eq!(header.status, 0, "{}", String::from_utf8_lossy(&payload));
        assert_eq!(PutReply::decode(&payload).unwrap().size, size as u64);
    }

    fn expect_error(&mut self, request: u64, code: ErrorCode) -> String {
        let (header, payload) = self.reply(request);
        let message = String::from_utf8(payload.to_vec()).unwrap();
        assert_eq!(ErrorCode::from_number(header.status), code, "{message}");
        message
    }

    fn get(&mut self, request: u64, key: &str) -> Option<Vec<u8>> {
        let read = ReadRequest {
            offset: 0,
            length: u64::MAX,
            target: key,
            strict: false,
            follow: false,
        };
        self.send(&frame(
            FrameHeader::new(Op::Get, request),
            |out| read.encode(out),
            &[],
        ));
        let (mut header, payload) = self.reply(request);
        if header.status != 0 {
            return None;
        }
        let (_, first) = ReadReply::decode(&payload).unwrap();
        let mut value = first.to_vec();
        while header.more() {
            let payload;
            (header, payload) = self.reply(request);
            value.extend_from_slice(&payload);
        }
        Some(value)
    }
}

fn frame(header: FrameHeader, args: impl FnOnce(&mut BytesMut), value: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    output.frame_copied(header, args, value);
    output.to_vec()
}

fn data(request: u64, piece: &[u8], more: bool) -> Vec<u8> {
    frame(FrameHeader::new(Op::Data, request).with_more(more), |_| {}, piece)
}

/// The frame of a SET that says it has `size` bytes, with the first of them.
fn set(request: u64, key: &str, size: usize, first: &[u8]) -> Vec<u8> {
    let put = PutRequest {
        size: Some(size as u64),
        ttl: None,
        class: BlockClass::Pinned,
        placement: Placement::Auto,
        key: Some(key),
        strict: false,
    };
    let header = FrameHeader::new(Op::Set, request).with_more(first.len() < size);
    frame(
        header,
        |out| {
            put.encode(out);
            out.put_slice(first);
        },
        &[],
    )
}

/// All frames of a SET, the first with this many bytes of the value.
fn frames(request: u64, key: &str, value: &[u8], first: usize) -> Vec<Vec<u8>> {
    let mut frames = vec![set(request, key, value.len(), &value[..first])];
    let mut left = &value[first..];
    while !left.is_empty() {
        let (piece, rest) = left.split_at(left.len().min(PIECE));
        frames.push(data(request, piece, !rest.is_empty()));
        left = rest;
    }
    frames
}

fn value(seed: usize) -> Vec<u8> {
    (0..LEN).map(|i| ((i * 31 + seed) % 251) as u8).collect()
}

#[test]
fn a_value_is_the_same_in_whatever_pieces_it_comes() {
    let node = Node::start();
    let mut program = node.program();
    let mut request = 10;
    for first in [0, 1, 40_000, 256 * 1024] {
        for step in [16, 17, 999, 64 * 1024, usize::MAX] {
            let value = value(first + step % 97);
            let key = format!("{first}:{step}");
            let bytes = frames(request, &key, &value, first).concat();
            // Small steps where frames begin, so that headers and arguments are cut too, and large ones in between.
            let mut at = 0;
            while at < bytes.len() {
                let step = if at % PIECE < 2_000 {
                    step
                } else {
                    step.max(100_000)
                };
                let end = at.saturating_add(step).min(bytes.len());
                program.send(&bytes[at..end]);
                at = end;
            }
            program.expect_stored(request, LEN);
            assert!(program.get(request + 1, &key).unwrap() == value, "{key}");
            let del = frame(
                FrameHeader::new(Op::Mdel, request + 2),
                |out| {
                    memproto::local::batch::BatchKeys::encode(&[key.as_str()], false, out);
                },
                &[],
            );
            program.send(&del);
            program.reply(request + 2);
            request += 3;
        }
    }
}

#[test]
fn two_values_and_small_requests_share_a_connection() {
    let node = Node::start();
    let mut program = node.program();
    let (one, two) = (value(1), value(2));
    let (ones, twos) = (frames(10, "one", &one, 0), frames(11, "two", &two, 100));
    for (number, (of_one, of_two)) in ones.iter().zip(&twos).enumerate() {
        let ping = 100 + number as u64;
        program.send(
            &[
                &of_one[..],
                of_two,
                &frame(FrameHeader::new(Op::Ping, ping), |_| {}, &[]),
            ]
            .concat(),
        );
        if number + 1 < ones.len() {
            assert_eq!(program.reply(ping).0.status, 0);
        }
    }
    program.expect_stored(10, LEN);
    program.expect_stored(11, LEN);
    assert_eq!(program.reply(100 + ones.len() as u64 - 1).0.status, 0);
    assert!(program.get(12, "one").unwrap() == one && program.get(13, "two").unwrap() == two);
}

#[test]
fn what_is_too_long_too_short_or_given_up_is_refused_and_gives_its_room_back() {
    let node = Node::start();
    let mut program = node.program();
    let bytes = value(3);
    let whole = |request| frames(request, "k", &bytes, 0);
    // More than the half of the budget, so that what is not given back shows at once.
    let size = 20 << 20;

    program.send(
        &[
            set(10, "k", 300_000, &bytes[..1]),
            data(10, &bytes[..PIECE], true),
            data(10, &bytes[..PIECE], false),
        ]
        .concat(),
    );
    assert!(
        program
            .expect_error(10, ErrorCode::InvalidArgument)
            .contains("more bytes")
    );

    program.send(
        &[
            set(11, "k", size, &bytes[..100_000]),
            data(11, &bytes[..PIECE], false),
        ]
        .concat(),
    );
    assert!(
        program
            .expect_error(11, ErrorCode::InvalidArgument)
            .contains("before its size")
    );

    program.send(&set(12, "k", size, &bytes[..100_000]));
    let header = FrameHeader {
        status: ErrorCode::Cancelled.number(),
        ..FrameHeader::new(Op::Data, 12)
    };
    program.send(&frame(header, |_| {}, &[]));
    program.expect_error(12, ErrorCode::Cancelled);

    program.send(
        &[
            set(13, "k", size, &bytes[..100_000]),
            frame(FrameHeader::new(Op::Cancel, 13), |_| {}, &[]),
        ]
        .concat(),
    );
    program.expect_error(13, ErrorCode::Cancelled);
    // What is still under way of it is late, not wrong.
    program.send(&data(13, &bytes[..PIECE], true));

    // One that goes away in the middle of a frame.
    let mut other = node.program();
    let half = set(10, "k", size, &bytes[..200_000]);
    other.send(&half[..half.len() / 2]);
    drop(other);

    program.send(&set(14, "k", 33 << 20, &bytes[..100_000]));
    program.expect_error(14, ErrorCode::OutOfMemory);
    assert_eq!(program.get(15, "k"), None);
    // All of their room is there again, once the node has seen that the other one is gone.
    let mut request = 20;
    loop {
        program.send(&set(request, "large", size, &bytes[..100_000]));
        program.send(&frame(FrameHeader::new(Op::Cancel, request), |_| {}, &[]));
        let (header, _) = program.reply(request);
        if ErrorCode::from_number(header.status) == ErrorCode::Cancelled {
            break;
        }
        request += 1;
    }
    program.send(&whole(16).concat());
    program.expect_stored(16, LEN);
    assert!(program.get(17, "k").unwrap() == bytes);
}

#[test]
fn many_small_pieces_are_taken_as_they_come() {
    let node = Node::start();
    let mut program = node.program();
    let bytes = value(4);
    program.send(&set(10, "k", 16 << 20, &[]));
    // Each costs 512 of the credit, twice of what there is in the beginning: what is in its place is given back.
    let flood: Vec<u8> = (0..8_000).flat_map(|_| data(10, &bytes[..1], true)).collect();
    program.send(&flood);
    program.send(&frame(FrameHeader::new(Op::Cancel, 10), |_| {}, &[]));
    program.expect_error(10, ErrorCode::Cancelled);
    program.send(&frame(FrameHeader::new(Op::Ping, 11), |_| {}, &[]));
    assert_eq!(program.reply(11).0.status, 0);
}
