//! Descriptors between a program that need not keep to the protocol and a real node.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod support;

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use memproto::local::reply::{MappedReply, PutReply};
use memproto::local::request::{HelloRequest, PutRequest, ReadRequest};
use memproto::local::{FrameHeader, Input, Op, Output, PREFACE};
use memproto::{BlockClass, ErrorCode, Placement};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use support::NodeProcess;

const MIB: usize = 1024 * 1024;

/// The seals that a node wants to see.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// How long a state may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node of 32 MiB.
struct Running {
    process: NodeProcess,
    home: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let process = NodeProcess::start(home.path(), &["--memory=32mb", "--api-port=off"]);
        Self { process, home }
    }

    fn attached(&self) -> Program {
        let mut program = Program::greeted(self.home.path());
        program.send(Op::Attach, 2, &[], &[]);
        program.expect_success(Op::Attach, 2);
        program
    }

    /// Waits until the node has as many descriptors as before.
    fn descriptors_return_to(&self, before: usize) {
        let since = Instant::now();
        while self.descriptors() != before {
            assert!(
                since.elapsed() < PATIENCE,
                "{} descriptors, {before} before",
                self.descriptors()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }
}

struct Program {
    stream: UnixStream,
    input: Input,
}

impl Program {
    fn greeted(home: &Path) -> Self {
        let stream = UnixStream::connect(home.join("memnode.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut program = Self {
            stream,
            input: Input::default(),
        };
        program.stream.write_all(&PREFACE).unwrap();
        let mut hello = BytesMut::new();
        let greeting = HelloRequest {
            version_min: 1,
            version_max: 1,
            name: "test",
            token: "",
        };
        greeting.encode(&mut hello);
        program.send(Op::Hello, 1, &hello, &[]);
        program.expect_success(Op::Hello, 1);
        program
    }

    /// Sends a frame with descriptors attached to its first byte.
    fn send(&mut self, op: Op, request: u64, payload: &[u8], descriptors: &[BorrowedFd<'_>]) {
        self.send_bytes(&frame(op, request, payload), descriptors);
    }

    fn send_bytes(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let slices = [IoSlice::new(bytes)];
        let sent = sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// The next frame and what was attached to it, or `None` at the end of the connection.
    fn try_read(&mut self) -> Option<(FrameHeader, Bytes, Option<OwnedFd>)> {
        let mut descriptor = None;
        loop {
            if let Some(header) = self.input.peek().unwrap() {
                return Some((header, self.input.take(&header), descriptor));
            }
            // One frame a time, so that a descriptor is that of the frame.
            let mut room = vec![0; self.missing()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut room)];
            let received = recvmsg(&self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    for one in descriptors {
                        assert!(descriptor.replace(one).is_none(), "two descriptors came");
                    }
                }
            }
            if received.bytes == 0 {
                return None;
            }
            self.input.extend(&room[..received.bytes]);
        }
    }

    /// How many bytes of the next frame are missing, as far as that is known.
    fn missing(&self) -> usize {
        match self.input.promised_len() {
            Some(len) => len - self.input.len(),
            None => 16 - self.input.len(),
        }
    }

    fn read(&mut self) -> (FrameHeader, Bytes, Option<OwnedFd>) {
        self.try_read().expect("the connection is open")
    }

    fn expect_success(&mut self, op: Op, request: u64) -> Bytes {
        let (header, payload, descriptor) = self.read();
        assert_eq!(header.status, 0, "{}", String::from_utf8_lossy(&payload));
        assert_eq!((header.op, header.request), (op.to_byte(), request));
        assert!(descriptor.is_none());
        payload
    }

    fn expect_error(&mut self, op: Op, request: u64, code: ErrorCode) -> String {
        let (header, payload, _) = self.read();
        let message = String::from_utf8(payload.to_vec()).unwrap();
        assert_eq!(
            (header.op, header.request, ErrorCode::from_number(header.status)),
            (op.to_byte(), request, code),
            "{message}"
        );
        message
    }

    fn expect_fault(&mut self) -> String {
        let message = self.expect_error(Op::Fault, 0, ErrorCode::InvalidArgument);
        assert!(self.try_read().is_none());
        message
    }

    /// Reads a reply with a descriptor.
    fn expect_mapped(&mut self, request: u64) -> (MappedReply, File) {
        let (header, payload, descriptor) = self.read();
        assert_eq!((header.status, header.request), (0, request));
        let (reply, rest) = MappedReply::decode(&payload).unwrap();
        assert!(rest.is_empty());
        (reply, descriptor.unwrap().into())
    }

    fn ping(&mut self, request: u64) {
        self.send(Op::Ping, request, &[], &[]);
        self.expect_success(Op::Ping, request);
    }

    fn set(&mut self, request: u64, key: &str, value: &[u8]) {
        let bytes = frame_of_put(Op::Set, request, key, Some(value.len() as u64), &[], true);
        self.stream.write_all(&bytes).unwrap();
        // Within the credit that a body has from the start.
        for (at, piece) in value.chunks(200_000).enumerate() {
            let mut output = Output::default();
            let more = (at + 1) * 200_000 < value.len();
            let header = FrameHeader::new(Op::Data, request).with_more(more);
            output.frame_copied(header, |_| {}, piece);
            self.stream.write_all(&output.to_vec()).unwrap();
        }
        loop {
            let (header, payload, _) = self.read();
            if header.op != Op::Credit.to_byte() {
                assert_eq!((header.op, header.status), (Op::Set.to_byte(), 0));
                PutReply::decode(&payload).unwrap();
                return;
            }
        }
    }
}

fn frame(op: Op, request: u64, payload: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    output.frame_copied(FrameHeader::new(op, request), |_| {}, payload);
    output.to_vec()
}

fn put(key: &str, size: Option<u64>, value: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    PutRequest {
        size,
        ttl: None,
        class: BlockClass::Pinned,
        placement: Placement::Auto,
        key: Some(key).filter(|key| !key.is_empty()),
        strict: false,
    }
    .encode(&mut out);
    out.extend_from_slice(value);
    out.to_vec()
}

fn frame_of_put(op: Op, request: u64, key: &str, size: Option<u64>, value: &[u8], more: bool) -> Vec<u8> {
    let mut output = Output::default();
    let header = FrameHeader::new(op, request).with_more(more);
    output.frame_copied(header, |_| {}, &put(key, size, value));
    output.to_vec()
}

fn get(key: &str, offset: u64, length: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    ReadRequest {
        offset,
        length,
        target: key,
        strict: false,
        follow: false,
    }
    .encode(&mut out);
    out.to_vec()
}

/// A memory file with this many bytes and these seals.
fn memory_file(len: usize, seals: SealFlags) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("test", flags).unwrap());
    file.write_all_at(&vec![5; len], 0).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

#[test]
fn a_descriptor_comes_with_the_reply_and_can_only_be_read() {
    let node = Running::start();
    let mut program = node.attached();
    program.set(3, "k", &vec![7; MIB + 9]);
    program.send(Op::GetMapped, 4, &get("k", 0, u64::MAX), &[]);
    let (reply, file) = program.expect_mapped(4);
    assert_eq!(
        (reply.read.size, reply.read.length, reply.offset),
        (MIB as u64 + 9, MIB as u64 + 9, Some(0))
    );
    assert_eq!(file.metadata().unwrap().len(), MIB as u64 + 9);
    let seals = fcntl_get_seals(&file).unwrap();
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
    assert!(seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE));
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(file.set_len(1).is_err());

    program.send(Op::GetMapped, 5, &get("k", 1_000, 50), &[]);
    let (reply, _) = program.expect_mapped(5);
    assert_eq!((reply.read.length, reply.offset), (50, Some(1_000)));

    // The request id is in use until the mapping is gone.
    program.send(Op::Unmap, 5, &[], &[]);
    program.ping(5);
    program.send(Op::Ping, 4, &[], &[]);
    program.expect_fault();
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).unwrap();
    assert!(bytes == vec![7; MIB + 9]);
}

#[test]
fn replies_with_and_without_descriptors_come_in_one_stream() {
    let node = Running::start();
    let mut program = node.attached();
    program.set(3, "large", &vec![7; MIB]);
    program.set(4, "small", b"seven");
    let mut batch = Vec::new();
    for request in 10..60 {
        let key = if request % 3 == 0 { "small" } else { "large" };
        batch.extend(frame(Op::GetMapped, request, &get(key, 0, u64::MAX)));
        batch.extend(frame(Op::Ping, 1_000 + request, &[]));
    }
    program.stream.write_all(&batch).unwrap();
    for request in 10..60 {
        if request % 3 == 0 {
            let payload = program.expect_success(Op::GetMapped, request);
            let (reply, value) = MappedReply::decode(&payload).unwrap();
            assert_eq!((reply.offset, value), (None, &b"seven"[..]));
        } else {
            let (_, file) = program.expect_mapped(request);
            assert_eq!(file.metadata().unwrap().len(), MIB as u64);
        }
        program.expect_success(Op::Ping, 1_000 + request);
    }
}

#[test]
fn without_attach_nothing_is_passed() {
    let node = Running::start();
    let mut program = Program::greeted(node.home.path());
    let before = node.descriptors();
    program.set(3, "k", &vec![7; MIB]);
    let with_file = node.descriptors();
    assert_eq!(with_file, before + 1);
    program.send(Op::GetMapped, 4, &get("k", 0, 100), &[]);
    let payload = program.expect_success(Op::GetMapped, 4);
    let (reply, value) = MappedReply::decode(&payload).unwrap();
    assert_eq!((reply.offset, value), (None, &[7; 100][..]));
    let file = memory_file(MIB, SEALS);
    program.send(Op::SetMapped, 5, &put("l", None, b""), &[file.as_fd()]);
    program.expect_error(Op::SetMapped, 5, ErrorCode::InvalidArgument);
    program.ping(6);
    assert_eq!(node.descriptors(), with_file);
}

#[test]
fn a_sealed_file_becomes_a_block() {
    let node = Running::start();
    let mut program = node.attached();
    let before = node.descriptors();
    let file = memory_file(2 * MIB, SEALS);
    program.send(
        Op::SetMapped,
        3,
        &put("k", Some(2 * MIB as u64), b""),
        &[file.as_fd()],
    );
    let stored = PutReply::decode(&program.expect_success(Op::SetMapped, 3)).unwrap();
    assert_eq!(stored.size, 2 * MIB as u64);
    assert_eq!(node.descriptors(), before + 1);

    // Its first byte brings the descriptor, however slowly the others follow.
    let bytes = frame_of_put(Op::StoreMapped, 4, "", None, b"", false);
    program.send_bytes(&bytes[..1], &[file.as_fd()]);
    for byte in &bytes[1..] {
        program.send_bytes(std::slice::from_ref(byte), &[]);
    }
    program.expect_success(Op::StoreMapped, 4);
    assert_eq!(node.descriptors(), before + 2);

    let mut del = BytesMut::new();
    memproto::local::request::DelRequest {
        key: "k",
        strict: false,
    }
    .encode(&mut del);
    program.send(Op::Del, 5, &del, &[]);
    program.expect_success(Op::Del, 5);
    assert_eq!(node.descriptors(), before + 1);
}

#[test]
fn what_is_no_sealed_memory_file_is_refused_and_closed() {
    let node = Running::start();
    let mut program = node.attached();
    let before = node.descriptors();
    let folder = tempfile::tempdir().unwrap();
    let regular = tempfile::tempfile().unwrap();
    regular.set_len(MIB as u64).unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let wrong: [(&str, OwnedFd); 9] = [
        ("not sealed", memory_file(MIB, SealFlags::empty()).into()),
        (
            "not sealed",
            memory_file(MIB, SealFlags::GROW | SealFlags::WRITE).into(),
        ),
        (
            "not sealed",
            memory_file(MIB, SealFlags::SHRINK | SealFlags::WRITE).into(),
        ),
        (
            "not sealed",
            memory_file(MIB, SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE).into(),
        ),
        ("is empty", memory_file(0, SEALS).into()),
        ("no memory file", regular.into()),
        ("no memory file", pipe.into()),
        ("no memory file", File::open(folder.path()).unwrap().into()),
        ("no memory file", UnixStream::pair().unwrap().0.into()),
    ];
    for (at, (why, descriptor)) in wrong.iter().enumerate() {
        let request = 10 + at as u64;
        program.send(
            Op::StoreMapped,
            request,
            &put("", None, b""),
            &[descriptor.as_fd()],
        );
        let message = program.expect_error(Op::StoreMapped, request, ErrorCode::InvalidArgument);
        let why = why.replace("no memory file", "not that of a memory file");
        assert!(message.contains(&why), "{message}");
    }
    let file = memory_file(MIB, SEALS);
    for (request, size) in [(30, MIB as u64 - 1), (31, MIB as u64 + 1), (32, 0), (33, 1 << 40)] {
        program.send(
            Op::SetMapped,
            request,
            &put("k", Some(size), b""),
            &[file.as_fd()],
        );
        let message = program.expect_error(Op::SetMapped, request, ErrorCode::InvalidArgument);
        assert!(message.contains("its memory file has"), "{message}");
    }
    // Refused for other reasons: the descriptor goes all the same.
    program.send(Op::StoreMapped, 40, &put("", Some(5), b"Hello"), &[file.as_fd()]);
    program.expect_error(Op::StoreMapped, 40, ErrorCode::InvalidArgument);
    let huge = memory_file(0, SealFlags::empty());
    huge.set_len(40 * MIB as u64).unwrap();
    fcntl_add_seals(&huge, SEALS).unwrap();
    program.send(Op::SetMapped, 41, &put("k", None, b""), &[huge.as_fd()]);
    program.expect_error(Op::SetMapped, 41, ErrorCode::OutOfMemory);
    program.ping(50);
    assert_eq!(node.descriptors(), before);
}

#[test]
fn a_descriptor_where_none_belongs_ends_the_connection_and_is_closed() {
    let node = Running::start();
    let before = node.descriptors();
    let file = memory_file(MIB, SEALS);
    let one = &[file.as_fd()][..];
    let two = &[file.as_fd(); 2][..];
    let many = &[file.as_fd(); 8][..];
    for (op, payload, descriptors) in [
        (Op::Ping, Vec::new(), one),
        (Op::GetMapped, get("k", 0, 1), one),
        (Op::SetMapped, put("k", None, b""), two),
        (Op::SetMapped, put("k", None, b""), many),
        (Op::Ping, Vec::new(), many),
    ] {
        let mut program = node.attached();
        program.send(op, 3, &payload, descriptors);
        let (header, _, _) = program.read();
        if header.op != Op::Fault.to_byte() {
            program.expect_fault();
        }
        assert!(program.try_read().is_none());
    }
    // In the middle of a frame, and a second one for a frame that is not whole yet.
    let bytes = frame_of_put(Op::SetMapped, 3, "k", None, b"", false);
    let mut program = node.attached();
    // The answer to what comes before says that the beginning was read.
    let beginning = [&frame(Op::Ping, 2, &[])[..], &bytes[..5]].concat();
    program.send_bytes(&beginning, &[]);
    program.expect_success(Op::Ping, 2);
    program.send_bytes(&bytes[5..], one);
    program.expect_error(Op::SetMapped, 3, ErrorCode::InvalidArgument);
    program.expect_fault();
    let mut program = node.attached();
    program.send_bytes(&bytes[..5], one);
    program.send_bytes(&bytes[5..10], one);
    program.expect_fault();
    // One whose frame never comes.
    let mut program = node.attached();
    program.send_bytes(&bytes[..5], one);
    drop(program);
    node.descriptors_return_to(before);
}

#[test]
fn the_end_of_a_connection_lets_go_of_what_it_had_mapped() {
    let node = Running::start();
    let mut program = node.attached();
    let before = node.descriptors();
    program.set(3, "k", &vec![7; MIB]);
    let mut other = node.attached();
    other.send(Op::GetMapped, 3, &get("k", 0, u64::MAX), &[]);
    let (_, file) = other.expect_mapped(3);
    program.set(4, "k", b"small");
    assert_eq!(node.descriptors(), before + 2, "the other's socket, and the file");
    drop(other);
    node.descriptors_return_to(before);
    // Cancelled is as good as unmapped.
    program.set(5, "l", &vec![7; MIB]);
    program.send(Op::GetMapped, 6, &get("l", 0, u64::MAX), &[]);
    program.expect_mapped(6);
    program.send(Op::Cancel, 6, &[], &[]);
    program.ping(6);
    drop(node);
    let mut bytes = vec![0; MIB];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 7));
}
