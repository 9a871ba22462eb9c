//! What a program may do to a node over the Unix socket, by mistake or not: it gets the right error or a closed connection,
//! the node holds little for it, and another program is served meanwhile.
//!
//! A real node, because what it holds is measured as the resident memory of its process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod support;

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use memproto::local::reply::ReadReply;
use memproto::local::request::{HelloRequest, PutRequest, ReadRequest};
use memproto::local::{FRAME_PAYLOAD_MAX, FrameHeader, INLINE_MAX, Input, Op, Output, PREFACE};
use memproto::{BlockClass, ErrorCode, Placement};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use support::NodeProcess;
use tempfile::TempDir;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(30);

/// How much a node may grow beside what a test reckons with: pages of its allocator, tables of its runtime.
const SLACK: u64 = 8 * MIB;

/// The most that a connection may cost which does nothing: its session and its read buffer.
const IDLE_MAX: u64 = 16 * KIB;

/// A node with a budget of 64 MiB, without peers and without TCP.
struct Node {
    process: NodeProcess,
    home: TempDir,
}

impl Node {
    fn start(connections_max: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let connections_max = connections_max.to_string();
        let args = [
            "--memory=64mb",
            "--api-port=off",
            "--local-connections-max",
            &connections_max,
        ];
        let process = NodeProcess::start(home.path(), &args);
        Self { process, home }
    }

    fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.home.path().join("memnode.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream
    }

    /// A program that said HELLO, and was greeted.
    fn greeted(&self) -> Program {
        let mut program = Program::new(self.dial());
        program.write(&hello());
        assert_eq!(program.read().unwrap().0.op, Op::Hello.to_byte());
        program
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * KIB
    }
}

/// A program that speaks the protocol frame by frame.
struct Program {
    stream: UnixStream,
    input: Input,
}

impl Program {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: Input::default(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame, or `None` at the end of the connection.
    fn read(&mut self) -> Option<(FrameHeader, Bytes)> {
        loop {
            if let Some(header) = self.input.peek().unwrap() {
                return Some((header, self.input.take(&header)));
            }
            let mut buffer = [0; 4096];
            match io::Read::read(&mut self.stream, &mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.input.extend(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the node neither answers nor closes: {error}"),
            }
        }
    }

    fn expect_error(&mut self, op: Op, code: ErrorCode) {
        let (header, message) = self.read().unwrap();
        let got = (header.op, ErrorCode::from_number(header.status));
        assert_eq!(got, (op.to_byte(), code), "{message:?}");
    }

    /// Checks that the node says why it ends the connection, and ends it.
    fn expect_fault(&mut self, code: ErrorCode) {
        self.expect_error(Op::Fault, code);
        assert_eq!(self.read(), None);
    }

    fn set(&mut self, key: &str, value: &[u8]) {
        self.write(&set(key, value));
        let (header, message) = self.read().unwrap();
        assert_eq!((header.op, header.status), (Op::Set.to_byte(), 0), "{message:?}");
    }

    /// Checks that this program is served as if it were alone.
    fn is_served(&mut self) {
        for value in [&b"first"[..], b"second"] {
            self.set("bystander", value);
            self.write(&get("bystander"));
            let (header, payload) = self.read().unwrap();
            assert_eq!(header.status, 0, "{payload:?}");
            assert_eq!(ReadReply::decode(&payload).unwrap().1, value);
        }
    }
}

fn frame(header: FrameHeader, args: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut output = Output::default();
    output.frame_copied(header, args, &[]);
    output.to_vec()
}

fn hello() -> Vec<u8> {
    let hello = HelloRequest {
        version_min: 1,
        version_max: 1,
        name: "test",
        token: "",
    };
    let frame = frame(FrameHeader::new(Op::Hello, 1), |out| hello.encode(out));
    [&PREFACE[..], &frame].concat()
}

fn set(key: &str, value: &[u8]) -> Vec<u8> {
    let put = PutRequest {
        size: Some(value.len() as u64),
        ttl: None,
        class: BlockClass::Pinned,
        placement: Placement::Auto,
        key: Some(key),
        strict: false,
    };
    frame(FrameHeader::new(Op::Set, 2), |out| {
        put.encode(out);
        out.put_slice(value);
    })
}

fn get(key: &str) -> Vec<u8> {
    let read = ReadRequest {
        offset: 0,
        length: u64::MAX,
        target: key,
        strict: false,
        follow: false,
    };
    frame(FrameHeader::new(Op::Get, 2), |out| read.encode(out))
}

fn header_of(op: Op, length: u32) -> [u8; 16] {
    FrameHeader {
        length,
        ..FrameHeader::new(op, 2)
    }
    .encode()
}

/// Lets this process open as many files as the system lets it.
fn allow_open_files() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    maximum.unwrap_or(u64::MAX)
}

#[test]
fn frames_that_never_end_cost_what_came_of_them() {
    const PROGRAMS: u64 = 200;
    let node = Node::start(1_000);
    let mut bystander = node.greeted();
    bystander.is_served();
    let before = node.resident_bytes();
    let mut slow: Vec<Program> = (0..PROGRAMS).map(|_| node.greeted()).collect();
    for program in &mut slow {
        program.write(&header_of(Op::Set, FRAME_PAYLOAD_MAX as u32));
        program.write(&[0; 100]);
    }
    // Some have not even begun: half a preface, half a HELLO.
    let mut beginners: Vec<Program> = (0..PROGRAMS).map(|_| Program::new(node.dial())).collect();
    for (at, program) in beginners.iter_mut().enumerate() {
        program.write(&hello()[..at % 20]);
    }
    bystander.is_served();
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(
        growth < 2 * PROGRAMS * IDLE_MAX + SLACK,
        "the node grew by {growth}"
    );
    // They may still come to an end, and are answered for what they sent: this is no SET.
    for program in &mut slow {
        program.write(&vec![0; FRAME_PAYLOAD_MAX - 100]);
        program.expect_error(Op::Set, ErrorCode::InvalidArgument);
    }
    bystander.is_served();
    // What they made the node hold for a moment comes back when they are at rest.
    let deadline = Instant::now() + SOON;
    while node.resident_bytes().saturating_sub(before) > 2 * PROGRAMS * IDLE_MAX + SLACK {
        assert!(
            Instant::now() < deadline,
            "the node keeps {}",
            node.resident_bytes() - before
        );
        bystander.is_served();
    }
}

#[test]
fn programs_that_never_read_are_not_read_from_and_cost_little() {
    const PROGRAMS: usize = 32;
    let node = Node::start(100);
    let mut bystander = node.greeted();
    let value = vec![7; INLINE_MAX];
    bystander.set("large", &value);
    bystander.set("small", &value[..4 * 1024]);
    bystander.is_served();
    let before = node.resident_bytes();
    // Large replies share the block's memory, small ones are copied.
    let mut deaf: Vec<(UnixStream, Vec<u8>, usize)> = (0..PROGRAMS)
        .map(|at| {
            let program = node.greeted();
            program.stream.set_nonblocking(true).unwrap();
            let one = get(if at % 2 == 0 { "large" } else { "small" });
            (program.stream, one.repeat(100), 0)
        })
        .collect();
    // Until nobody can write any more, though the node has had its turn.
    let mut idle_rounds = 0;
    while idle_rounds < 3 {
        let mut has_moved = false;
        for (stream, bytes, sent) in &mut deaf {
            // From where the last write ended, so that what arrives are frames.
            while let Ok(written) = stream.write(&bytes[*sent % bytes.len()..]) {
                *sent += written;
                has_moved = true;
                assert!(*sent < 4 * MIB as usize, "the node reads on and on");
            }
        }
        bystander.is_served();
        idle_rounds = if has_moved { 0 } else { idle_rounds + 1 };
    }
    // What waits to be written, twice: an output grows by doubling.
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(
        growth < PROGRAMS as u64 * 2 * MIB + SLACK,
        "the node grew by {growth}"
    );
}

#[test]
fn lengths_that_lie_reserve_nothing() {
    let node = Node::start(100);
    let mut bystander = node.greeted();
    bystander.is_served();
    let before = node.resident_bytes();
    let over = FRAME_PAYLOAD_MAX as u32 + 1;
    for length in [over, 0x7fff_ffff, u32::MAX] {
        let mut program = node.greeted();
        program.write(&header_of(Op::Set, length));
        program.expect_fault(ErrorCode::TooLarge);
        // Before HELLO a frame is no longer than a HELLO.
        let mut program = Program::new(node.dial());
        program.write(&[&PREFACE[..], &header_of(Op::Hello, length.min(1_000))].concat());
        program.expect_fault(ErrorCode::InvalidArgument);
    }
    // Counts and lengths within a frame; the connection goes on behind each.
    let mut program = node.greeted();
    for (op, args) in [
        (Op::Mget, vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        (
            Op::Mset,
            vec![0, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'k'],
        ),
        (Op::Mdel, vec![0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, b'k']),
        (
            Op::Set,
            [vec![0xff; 7], vec![0x7f], vec![0; 12], vec![1, 0, 0, 0, b'k']].concat(),
        ),
        (Op::Stream, [vec![0xff; 7], vec![0x7f], vec![0; 16]].concat()),
    ] {
        program.write(&frame(FrameHeader::new(op, 2), |out| out.put_slice(&args)));
        let (header, message) = program.read().unwrap();
        let code = ErrorCode::from_number(header.status);
        assert_eq!(header.op, op.to_byte(), "{message:?}");
        assert!(
            matches!(code, ErrorCode::InvalidArgument | ErrorCode::TooLarge),
            "{code:?}"
        );
    }
    program.is_served();
    bystander.is_served();
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(growth < SLACK, "the node grew by {growth}");
}

#[test]
fn a_value_that_passes_the_budget_is_refused_before_it_is_held() {
    let node = Node::start(100);
    let mut bystander = node.greeted();
    bystander.is_served();
    let before = node.resident_bytes();
    // One that says how large it is, and one that does not and goes on and on.
    let mut program = node.greeted();
    let put = |size| PutRequest {
        size,
        ttl: None,
        class: BlockClass::Pinned,
        placement: Placement::Auto,
        key: Some("huge"),
        strict: false,
    };
    let begin = |size| {
        frame(FrameHeader::new(Op::Set, 2).with_more(true), |out| {
            put(size).encode(out);
        })
    };
    program.write(&begin(Some(1 << 40)));
    program.expect_error(Op::Set, ErrorCode::OutOfMemory);
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(growth < SLACK, "the node grew by {growth}");

    program.write(&begin(None));
    let chunk = vec![1; INLINE_MAX];
    let piece = frame(FrameHeader::new(Op::Data, 2).with_more(true), |out| {
        out.put_slice(&chunk);
    });
    let mut credit = memproto::local::BODY_WINDOW;
    let refused = loop {
        if credit >= INLINE_MAX as u64 {
            program.write(&piece);
            credit -= INLINE_MAX as u64;
            continue;
        }
        let (header, payload) = program.read().unwrap();
        if header.op != Op::Credit.to_byte() {
            break ErrorCode::from_number(header.status);
        }
        credit += u64::from_le_bytes(payload[..].try_into().unwrap());
    };
    assert_eq!(refused, ErrorCode::OutOfMemory);
    program.is_served();
    bystander.is_served();
}

#[test]
fn a_node_without_descriptors_serves_whom_it_has_and_the_others_later() {
    /// Less than the node would need for them, and more than it has open by itself.
    const DESCRIPTORS: u64 = 64;
    const PROGRAMS: usize = 100;
    let node = Node::start(1_000);
    let mut bystander = node.greeted();
    bystander.set("large", &[7; INLINE_MAX]);
    let limit = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(DESCRIPTORS),
    };
    prlimit(
        Some(Pid::from_child(&node.process.child)),
        Resource::Nofile,
        limit,
    )
    .unwrap();
    let mut waiting: Vec<Program> = (0..PROGRAMS).map(|_| Program::new(node.dial())).collect();
    for program in &mut waiting {
        program.write(&hello());
    }
    // More than a socket holds, so that the node has to wait for room to write.
    for _ in 0..10 {
        bystander.is_served();
        bystander.write(&get("large").repeat(16));
        for _ in 0..16 {
            let (header, payload) = bystander
                .read()
                .expect("the node closed a connection of an honest program");
            assert_eq!((header.status, payload.len()), (0, ReadReply::LEN + INLINE_MAX));
        }
    }
    // Those that were let in come first; each that goes makes room for one more.
    for program in &mut waiting {
        assert_eq!(program.read().unwrap().0.op, Op::Hello.to_byte());
        program.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    bystander.is_served();
}

#[test]
fn idle_connections_cost_little_and_those_over_the_limit_are_told_so() {
    const WANTED: usize = 10_000;
    // What else is open here and at the node, which inherits the limit: the refused ones, the log, the runtimes.
    const OTHERS: usize = 300;
    let limit = WANTED.min((allow_open_files() as usize).saturating_sub(OTHERS));
    let node = Node::start(limit);
    let mut bystander = node.greeted();
    bystander.is_served();
    let before = node.resident_bytes();
    let mut idle = Vec::new();
    for at in 0..limit - 1 {
        // Most said HELLO once, and something more, as programs do that keep a connection.
        let mut program = node.greeted();
        if at % 2 == 0 {
            program.set("idle", b"value");
        }
        idle.push(program.stream);
    }
    bystander.is_served();
    let each = node.resident_bytes().saturating_sub(before) / idle.len() as u64;
    println!("{} idle connections, {each} bytes each", idle.len());
    assert!(each < IDLE_MAX, "an idle connection costs {each} bytes");

    for _ in 0..100 {
        Program::new(node.dial()).expect_fault(ErrorCode::Busy);
    }
    bystander.is_served();
    // Where some go, others have room.
    drop(idle.split_off(limit / 2));
    let mut late = loop {
        let mut program = Program::new(node.dial());
        program.write(&hello());
        if program.read().unwrap().0.op == Op::Hello.to_byte() {
            break program;
        }
    };
    late.is_served();
    bystander.is_served();
}
