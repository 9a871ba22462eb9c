//! Streams that are written piece by piece, followed, and read and filled by way of files.

use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes, BytesMut};
use memproto::local::reply::{PutReply, ReadReply};
use memproto::local::request::ReadRequest;
use memproto::local::streams::{
    NamedFile, StreamFileRequest, StreamKnownRequest, StreamWriteRequest, decode_known,
};
use memproto::local::{BODY_WINDOW, FrameHeader, INLINE_MAX, Op};
use memproto::stream::{KnownChunk, StreamFinished, StreamOpened, StreamOptions, StreamStatus};
use memproto::{BlockId, ChunkHash, ErrorCode};

use super::program::{Program, frame, pattern};

fn request(op: Op, id: u64) -> FrameHeader {
    FrameHeader::new(op, id)
}

fn write(id: BlockId, bytes: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    StreamWriteRequest { id }.encode(&mut out);
    out.put_slice(bytes);
    out.to_vec()
}

fn known(id: BlockId, chunks: &[KnownChunk]) -> Vec<u8> {
    let mut out = BytesMut::new();
    StreamKnownRequest::encode(id, chunks, &mut out);
    out.to_vec()
}

fn follow(id: BlockId, offset: u64, length: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    ReadRequest {
        offset,
        length,
        target: id,
        strict: false,
        follow: true,
    }
    .encode(&mut out);
    out.to_vec()
}

fn named(id: BlockId) -> Vec<u8> {
    format!("{{\"id\":{id}}}").into_bytes()
}

impl Program {
    async fn open(&mut self, request_id: u64, key: &str) -> BlockId {
        let options = StreamOptions {
            key: Some(key.to_owned()),
            ..StreamOptions::default()
        };
        let json = serde_json::to_vec(&options).unwrap();
        self.send(request(Op::StreamOpen, request_id), &json).await;
        let opened: StreamOpened = self.json(Op::StreamOpen, request_id).await;
        opened.id
    }

    async fn json<T: serde::de::DeserializeOwned>(&mut self, op: Op, request_id: u64) -> T {
        let (header, payload) = self.read().await;
        assert_eq!(
            (header.op, header.request, header.status),
            (op.to_byte(), request_id, 0)
        );
        serde_json::from_slice(&payload).unwrap()
    }

    /// The size of the stream that a reply tells.
    async fn size(&mut self, op: Op, request_id: u64) -> u64 {
        loop {
            let (header, payload) = self.read().await;
            if header.op == Op::Credit.to_byte() {
                continue;
            }
            assert_eq!(
                (header.op, header.request, header.status),
                (op.to_byte(), request_id, 0)
            );
            return PutReply::decode(&payload).unwrap().size;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_opened_written_asked_about_and_finished() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "logs").await;
    program
        .send(request(Op::StreamWrite, 3), &write(id, b"first "))
        .await;
    assert_eq!(program.size(Op::StreamWrite, 3).await, 6);
    // One that goes on in frames of any size, of which the end is a fine one without bytes.
    program
        .send(request(Op::StreamWrite, 4).with_more(true), &write(id, b""))
        .await;
    program.send(request(Op::Data, 4).with_more(true), b"sec").await;
    program.send(request(Op::Data, 4).with_more(true), b"ond").await;
    program.send(request(Op::Data, 4), b"").await;
    assert_eq!(program.size(Op::StreamWrite, 4).await, 12);
    assert_eq!(program.fake.growing.stream(id).unwrap().ends, [6, 12]);

    let hash = ChunkHash::from_bytes([1; 32]);
    program.fake.growing.know(hash, Bytes::from_static(b" third"));
    let chunks = [
        KnownChunk { hash, length: 6 },
        KnownChunk {
            hash: ChunkHash::from_bytes([2; 32]),
            length: 6,
        },
    ];
    program
        .send(request(Op::StreamKnown, 5), &known(id, &chunks))
        .await;
    let (header, payload) = program.read().await;
    assert_eq!((header.op, header.status), (Op::StreamKnown.to_byte(), 0));
    assert_eq!(decode_known(&payload, 2), Ok(vec![true, false]));

    program.send(request(Op::StreamStatus, 6), &named(id)).await;
    let status: StreamStatus = program.json(Op::StreamStatus, 6).await;
    assert_eq!(
        (status.taken_bytes, status.known_bytes, status.finished),
        (18, 6, false)
    );
    program.send(request(Op::StreamFinish, 7), &named(id)).await;
    let finished: StreamFinished = program.json(Op::StreamFinish, 7).await;
    assert_eq!(
        (finished.id, finished.size_bytes, finished.stored_bytes),
        (id, 18, 12)
    );
    program
        .send(request(Op::StreamWrite, 8), &write(id, b"late"))
        .await;
    program
        .expect_error(Op::StreamWrite, 8, ErrorCode::NotFound)
        .await;
    let found = program.fake.keys.lock().unwrap()["logs"];
    assert_eq!(
        program.fake.blocks.lock().unwrap()[&found],
        b"first second third"[..]
    );
}

#[tokio::test(start_paused = true)]
async fn frames_that_arrive_byte_by_byte_are_the_same() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "logs").await;
    let bytes = [
        frame(request(Op::StreamWrite, 3).with_more(true), &write(id, b"some")),
        frame(request(Op::Data, 3), b" bytes"),
    ]
    .concat();
    for byte in bytes {
        program.write(&[byte]).await;
    }
    assert_eq!(program.size(Op::StreamWrite, 3).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_nobody_takes_is_held_up_by_its_credit() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "gated").await;
    let chunk = pattern(INLINE_MAX);
    program
        .send(request(Op::StreamWrite, 3).with_more(true), &write(id, b""))
        .await;
    for _ in 0..BODY_WINDOW / INLINE_MAX as u64 {
        program.send(request(Op::Data, 3).with_more(true), &chunk).await;
    }
    program.expect_silence().await;
    // Meanwhile nobody else appends, and others are served.
    program.send(request(Op::StreamWrite, 4), &write(id, b"x")).await;
    program.expect_error(Op::StreamWrite, 4, ErrorCode::Busy).await;
    program.ping(5).await;
    program.fake.gate.add_permits(4);
    let (header, payload) = program.read().await;
    assert_eq!((header.op, header.request), (Op::Credit.to_byte(), 3));
    assert_eq!(payload[..], (BODY_WINDOW / 2).to_le_bytes());
    // Cancelled, it leaves the stream as it is, and the next one may append.
    program.send(request(Op::Cancel, 3), &[]).await;
    program
        .expect_error(Op::StreamWrite, 3, ErrorCode::Cancelled)
        .await;
    program.ping(6).await;
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 0);
    assert_eq!(
        program.fake.growing.stream(id).unwrap().bytes.len(),
        4 * INLINE_MAX
    );
    program.fake.gate.add_permits(2);
    program.send(request(Op::StreamWrite, 7), &write(id, b"x")).await;
    assert_eq!(program.size(Op::StreamWrite, 7).await, 4 * INLINE_MAX as u64 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_goes_away_leaves_its_stream_open() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "logs").await;
    program
        .send(request(Op::StreamWrite, 3).with_more(true), &write(id, b"half"))
        .await;
    program.ping(4).await;
    drop(program.stream);
    program.session.await.unwrap();
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 0);
    let stream = program.fake.growing.stream(id).unwrap();
    assert!(!stream.finished && b"half".starts_with(&stream.bytes));
    assert!(program.fake.growing.append(id).is_ok());
    assert_eq!(program.fake.growing.open_streams(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_follows_gets_what_comes_until_the_stream_ends() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "logs").await;
    program
        .send(request(Op::StreamWrite, 3), &write(id, b"before "))
        .await;
    program.size(Op::StreamWrite, 3).await;
    program.send(request(Op::Load, 4), &follow(id, 3, u64::MAX)).await;
    let (header, payload) = program.read().await;
    assert!(header.more());
    let (reply, first) = ReadReply::decode(&payload).unwrap();
    assert_eq!(
        (reply.id, reply.size, reply.length),
        (id, u64::MAX, ReadReply::LENGTH_UNKNOWN)
    );
    assert!(first.is_empty());
    let (header, payload) = program.read().await;
    assert_eq!(
        (header.op, header.more(), &payload[..]),
        (Op::Data.to_byte(), true, &b"ore "[..])
    );
    program.expect_silence().await;
    program
        .send(request(Op::StreamWrite, 5), &write(id, b"behind"))
        .await;
    let mut came = Vec::new();
    for _ in 0..2 {
        let (header, payload) = program.read().await;
        if header.request == 4 {
            assert!(header.more());
            came.extend_from_slice(&payload);
        }
    }
    assert_eq!(came, b"behind");
    program.send(request(Op::StreamFinish, 6), &named(id)).await;
    let mut ends = 0;
    for _ in 0..2 {
        let (header, payload) = program.read().await;
        if header.request == 4 {
            assert_eq!(
                (header.op, header.more(), header.status, payload.len()),
                (Op::Data.to_byte(), false, 0, 0)
            );
            ends += 1;
        }
    }
    assert_eq!(ends, 1);
    // One that has ended is read as any other, and its length is known.
    program.send(request(Op::Load, 7), &follow(id, 7, u64::MAX)).await;
    let (header, payload) = program.read().await;
    assert!(!header.more());
    let (reply, bytes) = ReadReply::decode(&payload).unwrap();
    assert_eq!((reply.length, bytes), (6, &b"behind"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_with_its_range_its_cancel_or_the_stream_s_failure() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "logs").await;
    program
        .send(request(Op::StreamWrite, 3), &write(id, b"0123456789"))
        .await;
    program.size(Op::StreamWrite, 3).await;
    program.send(request(Op::Load, 4), &follow(id, 2, 3)).await;
    assert!(program.read().await.0.more());
    assert_eq!(program.read_body(4).await, b"234");

    for (request_id, freed) in [(5, false), (6, true)] {
        program
            .send(request(Op::Load, request_id), &follow(id, 10, u64::MAX))
            .await;
        assert!(program.read().await.0.more());
        program.expect_silence().await;
        if freed {
            program.fake.growing.free(id);
        } else {
            program.send(request(Op::Cancel, request_id), &[]).await;
        }
        let code = if freed {
            ErrorCode::NotFound
        } else {
            ErrorCode::Cancelled
        };
        program.expect_error(Op::Data, request_id, code).await;
    }
    program.ping(7).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_does_not_read_holds_no_more_than_its_credit() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "logs").await;
    let appending = program.fake.growing.append(id).unwrap();
    for _ in 0..8 {
        appending.push(&pattern(1 << 20)).unwrap();
    }
    drop(appending);
    program.send(request(Op::Load, 3), &follow(id, 0, u64::MAX)).await;
    let mut came = 0;
    while came < BODY_WINDOW {
        came += program.read().await.1.len() as u64;
        came -= if came == ReadReply::LEN as u64 { came } else { 0 };
    }
    assert_eq!(came, BODY_WINDOW);
    program.expect_silence().await;
    program.ping(4).await;
}

/// By way of files: on a real socket, whose other end attaches descriptors.
#[tokio::test(start_paused = true)]
async fn a_file_is_not_opened_by_its_number_for_who_did_not_come_through_the_unix_socket() {
    let mut program = Program::greeted().await;
    let id = program.open(2, "file").await;
    let mut payload = BytesMut::new();
    StreamFileRequest {
        id,
        offset: 0,
        length: u64::MAX,
        named: Some(NamedFile {
            descriptor: 0,
            device: 1,
            inode: 1,
        }),
    }
    .encode(&mut payload);
    program.send(request(Op::StreamFile, 3), &payload).await;
    program
        .expect_error(Op::StreamFile, 3, ErrorCode::Unsupported)
        .await;
    program
        .send(request(Op::StreamWrite, 4), &write(id, b"bytes"))
        .await;
    assert_eq!(program.size(Op::StreamWrite, 4).await, 5);
}

#[cfg(target_os = "linux")]
mod files {
    use std::fs::{File, OpenOptions};
    use std::io::{IoSlice, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use memproto::local::streams::LoadIntoRequest;
    use memproto::local::{Input, PREFACE};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::runtime::Handle;
    use tokio_util::sync::CancellationToken;

    use super::super::fake::Fake;
    use super::*;
    use crate::local::session::Session;
    use crate::local::socket::Socket;

    /// How long a frame may take to come.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A program that attaches descriptors. Its calls block: sessions run on another thread.
    struct Attaching {
        stream: UnixStream,
        fake: Arc<Fake>,
        input: Input,
    }

    impl Attaching {
        fn greeted() -> Self {
            let (stream, theirs) = UnixStream::pair().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let fake = Arc::new(Fake::new());
            let socket = Socket::new(theirs, Duration::ZERO).unwrap();
            let session = Session::new(Arc::clone(&fake), socket, Handle::current());
            tokio::spawn(session.run(CancellationToken::new()));
            let mut program = Self {
                stream,
                fake,
                input: Input::default(),
            };
            program.stream.write_all(&PREFACE).unwrap();
            program.send(Op::Hello, 1, &[1, 0, 1, 0, 0, 0, 0, 0], &[]);
            program.expect(Op::Hello, 1);
            program
        }

        fn attached() -> Self {
            let mut program = Self::greeted();
            program.send(Op::Attach, 2, &[], &[]);
            program.expect(Op::Attach, 2);
            program
        }

        /// A stream that is open.
        fn open(&self) -> BlockId {
            let id = BlockId::new(1 << 40).unwrap();
            self.fake.growing.open(id, StreamOptions::default());
            id
        }

        fn send(&mut self, op: Op, id: u64, payload: &[u8], files: &[BorrowedFd<'_>]) {
            self.send_bytes(&frame(request(op, id), payload), files);
        }

        fn send_bytes(&mut self, bytes: &[u8], files: &[BorrowedFd<'_>]) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(files)));
            }
            let slices = [IoSlice::new(bytes)];
            let sent = sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL);
            assert_eq!(sent, Ok(bytes.len()));
        }

        fn try_read(&mut self) -> Option<(FrameHeader, Bytes)> {
            loop {
                if let Some(header) = self.input.peek().unwrap() {
                    return Some((header, self.input.take(&header)));
                }
                let mut room = [0; 4096];
                let read = self.stream.read(&mut room).ok().filter(|&read| read > 0)?;
                self.input.extend(&room[..read]);
            }
        }

        fn expect(&mut self, op: Op, id: u64) -> Bytes {
            let (header, payload) = self.try_read().unwrap();
            assert_eq!(header.status, 0, "{}", String::from_utf8_lossy(&payload));
            assert_eq!((header.op, header.request), (op.to_byte(), id));
            payload
        }

        fn expect_error(&mut self, op: Op, id: u64, code: ErrorCode) -> String {
            let (header, payload) = self.try_read().unwrap();
            let message = String::from_utf8(payload.to_vec()).unwrap();
            let came = (header.op, header.request, ErrorCode::from_number(header.status));
            assert_eq!(came, (op.to_byte(), id, code), "{message}");
            message
        }
    }

    /// From a file whose descriptor is attached.
    fn from_file(id: BlockId, offset: u64, length: u64) -> Vec<u8> {
        from(id, offset, length, None)
    }

    /// From a file that the program has open.
    fn from_named(id: BlockId, offset: u64, length: u64, file: &(impl AsFd + AsRawFd)) -> Vec<u8> {
        let stat = rustix::fs::fstat(file).unwrap();
        let named = Some(NamedFile {
            descriptor: file.as_raw_fd().try_into().unwrap(),
            device: stat.st_dev,
            inode: stat.st_ino,
        });
        from(id, offset, length, named)
    }

    fn from(id: BlockId, offset: u64, length: u64, named: Option<NamedFile>) -> Vec<u8> {
        let mut out = BytesMut::new();
        StreamFileRequest {
            id,
            offset,
            length,
            named,
        }
        .encode(&mut out);
        out.to_vec()
    }

    /// Whether this system tells which process has connected (Linux 6.5).
    fn names_files(program: &Attaching) -> bool {
        let is_so = crate::platform::Program::of(&program.stream).is_ok();
        if !is_so {
            eprintln!("skipped: this system does not tell which process has connected");
        }
        is_so
    }

    fn into_file(id: BlockId, offset: u64, length: u64, at: u64) -> Vec<u8> {
        let mut out = BytesMut::new();
        LoadIntoRequest {
            id,
            offset,
            length,
            at,
        }
        .encode(&mut out);
        out.to_vec()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_go_from_a_file_and_into_one() {
        let mut program = Attaching::attached();
        let id = program.open();
        let bytes = pattern(300_000);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        program.send(Op::StreamFile, 3, &from_file(id, 0, u64::MAX), &[file.as_fd()]);
        let reply = PutReply::decode(&program.expect(Op::StreamFile, 3)).unwrap();
        assert_eq!((reply.id, reply.size), (id, 300_000));
        program.send(Op::StreamFile, 4, &from_file(id, 10, 5), &[file.as_fd()]);
        assert_eq!(
            PutReply::decode(&program.expect(Op::StreamFile, 4)).unwrap().size,
            300_005
        );
        assert!(program.fake.growing.stream(id).unwrap().bytes == [&bytes[..], &bytes[10..15]].concat());
        // More than the file has.
        program.send(Op::StreamFile, 5, &from_file(id, 299_990, 11), &[file.as_fd()]);
        let message = program.expect_error(Op::StreamFile, 5, ErrorCode::InvalidArgument);
        assert!(message.contains("shorter"), "{message}");

        let target = tempfile::NamedTempFile::new().unwrap();
        let into = OpenOptions::new().write(true).open(target.path()).unwrap();
        program.send(Op::LoadInto, 6, &into_file(id, 100, 50, 7), &[into.as_fd()]);
        let (reply, rest) = ReadReply::decode(&program.expect(Op::LoadInto, 6))
            .map(|(reply, rest)| (reply, rest.len()))
            .unwrap();
        assert_eq!((reply.id, reply.length, rest), (id, 50, 0));
        assert_eq!(
            reply.size,
            program.fake.growing.stream(id).unwrap().bytes.len() as u64
        );
        let written = std::fs::read(target.path()).unwrap();
        assert_eq!(written, [&[0; 7][..], &bytes[100..150]].concat());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_whose_frame_is_split_gets_its_file() {
        let mut program = Attaching::attached();
        let id = program.open();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"in pieces").unwrap();
        let bytes = frame(request(Op::StreamFile, 3), &from_file(id, 0, u64::MAX));
        program.send_bytes(&bytes[..5], &[file.as_fd()]);
        for piece in bytes[5..].chunks(7) {
            program.send_bytes(piece, &[]);
        }
        assert_eq!(
            PutReply::decode(&program.expect(Op::StreamFile, 3)).unwrap().size,
            9
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_descriptor_that_does_not_fit_the_request_is_refused_with_a_reason() {
        let mut program = Attaching::attached();
        let id = program.open();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"bytes").unwrap();
        let directory = File::open(folder.path()).unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let (pipe, _other) = std::io::pipe().unwrap();
        let reads = File::open(&path).unwrap();
        let writes = OpenOptions::new().write(true).open(&path).unwrap();
        let appends = OpenOptions::new().append(true).open(&path).unwrap();
        let (from, into) = (from_file(id, 0, u64::MAX), into_file(id, 0, u64::MAX, 0));
        let cases = [
            (Op::StreamFile, directory.as_fd(), "not that of a regular file"),
            (Op::StreamFile, socket.as_fd(), "not that of a regular file"),
            (Op::StreamFile, pipe.as_fd(), "not that of a regular file"),
            (Op::StreamFile, writes.as_fd(), "not opened for reading"),
            (Op::LoadInto, directory.as_fd(), "not opened for writing"),
            (Op::LoadInto, socket.as_fd(), "not that of a regular file"),
            (Op::LoadInto, reads.as_fd(), "not opened for writing"),
            (Op::LoadInto, appends.as_fd(), "opened for appending"),
        ];
        for (at, (op, file, reason)) in cases.into_iter().enumerate() {
            let payload = if op == Op::StreamFile { &from } else { &into };
            let id = 10 + at as u64;
            program.send(op, id, payload, &[file]);
            let message = program.expect_error(op, id, ErrorCode::InvalidArgument);
            assert!(message.contains(reason), "{message}");
        }
        for (id, op, payload) in [(30, Op::StreamFile, &from), (31, Op::LoadInto, &into)] {
            program.send(op, id, payload, &[]);
            let message = program.expect_error(op, id, ErrorCode::InvalidArgument);
            assert!(message.contains("no descriptor is attached"), "{message}");
        }
        assert!(program.fake.growing.stream(id).unwrap().bytes.is_empty());
        assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_is_read_by_its_number_without_attach() {
        let mut program = Attaching::greeted();
        let id = program.open();
        let bytes = pattern(300_000);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        if !names_files(&program) {
            return;
        }
        program.send(Op::StreamFile, 3, &from_named(id, 0, u64::MAX, &file), &[]);
        let reply = PutReply::decode(&program.expect(Op::StreamFile, 3)).unwrap();
        assert_eq!((reply.id, reply.size), (id, 300_000));
        program.send(Op::StreamFile, 4, &from_named(id, 10, 5, &file), &[]);
        program.expect(Op::StreamFile, 4);
        assert!(program.fake.growing.stream(id).unwrap().bytes == [&bytes[..], &bytes[10..15]].concat());
        program.send(Op::StreamFile, 5, &from_named(id, 299_990, 11, &file), &[]);
        let message = program.expect_error(Op::StreamFile, 5, ErrorCode::InvalidArgument);
        assert!(message.contains("shorter"), "{message}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_number_of_anything_else_is_refused_with_a_reason() {
        let mut program = Attaching::greeted();
        let id = program.open();
        if !names_files(&program) {
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let writes = OpenOptions::new().write(true).open(file.path()).unwrap();
        let (pipe, _other) = std::io::pipe().unwrap();
        let cases = [
            (from_named(id, 0, u64::MAX, &writes), "not opened for reading"),
            (from_named(id, 0, u64::MAX, &pipe), "not that of a regular file"),
        ];
        for (at, (payload, reason)) in cases.into_iter().enumerate() {
            let request = 10 + at as u64;
            program.send(Op::StreamFile, request, &payload, &[]);
            let message = program.expect_error(Op::StreamFile, request, ErrorCode::InvalidArgument);
            assert!(message.contains(reason), "{message}");
        }
        assert!(program.fake.growing.stream(id).unwrap().bytes.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_is_named_is_not_attached_as_well() {
        let mut program = Attaching::attached();
        let id = program.open();
        let file = tempfile::tempfile().unwrap();
        program.send(
            Op::StreamFile,
            3,
            &from_named(id, 0, u64::MAX, &file),
            &[file.as_fd()],
        );
        let mut answers = std::iter::from_fn(|| program.try_read());
        let (fault, message) = answers.find(|(header, _)| header.request == 0).unwrap();
        assert_eq!(fault.op, Op::Fault.to_byte());
        assert!(String::from_utf8_lossy(&message).contains("where none belongs"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_descriptors_for_a_request_end_the_connection() {
        let mut program = Attaching::attached();
        let id = program.open();
        let file = tempfile::tempfile().unwrap();
        let payload = from_file(id, 0, u64::MAX);
        program.send(Op::StreamFile, 3, &payload, &[file.as_fd(), file.as_fd()]);
        let message = program.expect_error(Op::Fault, 0, ErrorCode::InvalidArgument);
        assert!(message.contains("more than one descriptor"), "{message}");
        assert!(program.try_read().is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_attach_no_file_passes_and_bytes_do() {
        let mut program = Attaching::greeted();
        let id = program.open();
        let file = tempfile::tempfile().unwrap();
        program.send(Op::StreamFile, 3, &from_file(id, 0, u64::MAX), &[file.as_fd()]);
        let message = program.expect_error(Op::StreamFile, 3, ErrorCode::Unsupported);
        assert!(message.contains("ATTACH"), "{message}");
        program.send(Op::LoadInto, 4, &into_file(id, 0, u64::MAX, 0), &[file.as_fd()]);
        program.expect_error(Op::LoadInto, 4, ErrorCode::Unsupported);
        program.send(Op::StreamWrite, 5, &write(id, b"bytes"), &[]);
        assert_eq!(
            PutReply::decode(&program.expect(Op::StreamWrite, 5))
                .unwrap()
                .size,
            5
        );
    }
}
