//! What a session answers, and what it holds.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use memproto::local::reply::{PutReply, ReadReply};
use memproto::local::{
    BODY_WINDOW, DATA_COST_MIN, FrameHeader, HELD_BYTES_MAX, IN_FLIGHT_MAX, INLINE_MAX, Op, PREFACE,
};
use memproto::{BlockId, ErrorCode};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use super::program::{Program, frame, get, load, pattern, put};
use crate::body::Body;
use crate::local::session::{OUTPUT_MAX, Session};
use crate::local::wire::Wire;

fn request(op: Op, id: u64) -> FrameHeader {
    FrameHeader::new(op, id)
}

#[tokio::test(start_paused = true)]
async fn what_was_set_is_read_back() {
    let mut program = Program::greeted().await;
    program
        .send(request(Op::Set, 2), &put(Some("k"), Some(5), b"hello"))
        .await;
    let (header, payload) = program.read().await;
    assert_eq!((header.request, header.status), (2, 0));
    let stored = PutReply::decode(&payload).unwrap();
    assert_eq!(stored.size, 5);
    program.send(request(Op::Get, 3), &get("k")).await;
    let (_, payload) = program.read().await;
    let (reply, value) = ReadReply::decode(&payload).unwrap();
    assert_eq!(
        (reply.id, reply.size, reply.length, value),
        (stored.id, 5, 5, &b"hello"[..])
    );
    program.send(request(Op::Get, 4), &get("other")).await;
    program.expect_error(Op::Get, 4, ErrorCode::NotFound).await;
}

/// A pipe that counts the writes it gets.
struct Counted<S>(S, Arc<AtomicUsize>);

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for Counted<S> {}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn the_replies_of_a_batch_leave_in_one_write() {
    let (mut stream, socket) = tokio::io::duplex(64 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    let session = Session::new(
        Arc::new(Fake::new()),
        Counted(socket, Arc::clone(&writes)),
        tokio::runtime::Handle::current(),
    );
    tokio::spawn(session.run(CancellationToken::new()));
    let hello = [
        &PREFACE[..],
        &frame(request(Op::Hello, 1), &[1, 0, 1, 0, 0, 0, 0, 0]),
    ]
    .concat();
    stream.write_all(&hello).await.unwrap();
    let mut greeting = [0; 16 + 32 + 5];
    stream.read_exact(&mut greeting).await.unwrap();
    let before = writes.load(Ordering::Relaxed);
    let batch: Vec<u8> = (2..102)
        .flat_map(|id| frame(request(Op::Ping, id), &[]))
        .collect();
    stream.write_all(&batch).await.unwrap();
    let mut replies = vec![0; 100 * 16];
    stream.read_exact(&mut replies).await.unwrap();
    assert_eq!(replies, batch);
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_value_flows_in_and_out_under_credit() {
    let mut program = Program::greeted().await;
    let value = pattern(5 * 1024 * 1024 + 7);
    let first = put(None, Some(value.len() as u64), &value[..INLINE_MAX]);
    program.send(request(Op::Store, 2).with_more(true), &first).await;
    let mut credit = BODY_WINDOW - INLINE_MAX as u64;
    let mut rest = value.slice(INLINE_MAX..);
    while !rest.is_empty() {
        let chunk = rest.split_to(rest.len().min(100_000));
        while credit < 100_000 {
            let (header, payload) = program.read().await;
            assert_eq!((header.op, header.request), (Op::Credit.to_byte(), 2));
            credit += u64::from_le_bytes(payload[..].try_into().unwrap());
        }
        credit -= 100_000;
        program
            .send(request(Op::Data, 2).with_more(!rest.is_empty()), &chunk)
            .await;
    }
    let (mut header, mut payload) = program.read().await;
    while header.op == Op::Credit.to_byte() {
        (header, payload) = program.read().await;
    }
    assert_eq!((header.op, header.status), (Op::Store.to_byte(), 0));
    let id = PutReply::decode(&payload).unwrap().id;

    program.send(request(Op::Load, 3), &load(id)).await;
    let (header, payload) = program.read().await;
    assert!(header.more());
    let (reply, first) = ReadReply::decode(&payload).unwrap();
    assert_eq!(reply.length, value.len() as u64);
    let mut all = first.to_vec();
    all.extend(program.read_body(3).await);
    assert!(all == value);
    program.ping(4).await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_without_credit_waits_for_the_reader_and_cheating_ends_the_connection() {
    let mut program = Program::greeted().await;
    let (key, chunk) = (Some("gated"), pattern(INLINE_MAX));
    program
        .send(request(Op::Set, 2).with_more(true), &put(key, None, &chunk))
        .await;
    for _ in 1..BODY_WINDOW / INLINE_MAX as u64 {
        program.send(request(Op::Data, 2).with_more(true), &chunk).await;
    }
    program.expect_silence().await;
    // Half of the window is taken out: so much credit comes back.
    program.fake.gate.add_permits(4);
    let (header, payload) = program.read().await;
    assert_eq!((header.op, header.request), (Op::Credit.to_byte(), 2));
    assert_eq!(payload[..], (BODY_WINDOW / 2).to_le_bytes());
    program.expect_silence().await;
    program.ping(3).await;
    for _ in 0..4 {
        program.send(request(Op::Data, 2).with_more(true), &chunk).await;
    }
    program.ping(4).await;
    program.send(request(Op::Data, 2).with_more(true), b"x").await;
    program.expect_error(Op::Set, 2, ErrorCode::InvalidArgument).await;
    program.expect_fault(ErrorCode::InvalidArgument).await;
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn crumbs_cost_more_credit_than_they_have_bytes() {
    let mut program = Program::greeted().await;
    program
        .send(
            request(Op::Set, 2).with_more(true),
            &put(Some("gated"), None, b""),
        )
        .await;
    for _ in 0..BODY_WINDOW / DATA_COST_MIN {
        program.send(request(Op::Data, 2).with_more(true), b"x").await;
    }
    program.ping(3).await;
    // An empty end costs nothing, one byte more is too much.
    program.send(request(Op::Data, 2), b"x").await;
    program.expect_error(Op::Set, 2, ErrorCode::InvalidArgument).await;
    program.expect_fault(ErrorCode::InvalidArgument).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_must_be_as_long_as_it_says() {
    let mut program = Program::greeted().await;
    program
        .send(
            request(Op::Store, 2).with_more(true),
            &put(None, Some(10), b"12345"),
        )
        .await;
    program.send(request(Op::Data, 2), b"678").await;
    program
        .expect_error(Op::Store, 2, ErrorCode::InvalidArgument)
        .await;
    program
        .send(
            request(Op::Store, 3).with_more(true),
            &put(None, Some(10), b"12345"),
        )
        .await;
    program
        .send(request(Op::Data, 3).with_more(true), b"678901")
        .await;
    program
        .expect_error(Op::Store, 3, ErrorCode::InvalidArgument)
        .await;
    // What is still under way for it is dropped.
    program.send(request(Op::Data, 3), b"2").await;
    program.ping(4).await;
    // The program may give up itself.
    program
        .send(request(Op::Store, 5).with_more(true), &put(None, None, b"1"))
        .await;
    let mut failed = request(Op::Data, 5);
    failed.status = ErrorCode::Cancelled.number();
    program.send(failed, b"").await;
    program.expect_error(Op::Store, 5, ErrorCode::Cancelled).await;
    assert!(program.fake.blocks.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_small_request_passes_a_large_body_that_nobody_reads() {
    let mut program = Program::greeted().await;
    let id = program.fake.insert(pattern(8 * 1024 * 1024)).id;
    program.send(request(Op::Load, 2), &load(id)).await;
    program.send(request(Op::Ping, 3), &[]).await;
    let (header, _) = program.read().await;
    assert_eq!(header.request, 2);
    let (mut bytes, mut before_ping) = (0, None);
    while bytes < BODY_WINDOW {
        let (header, payload) = program.read().await;
        match header.request {
            3 => before_ping = Some(bytes),
            _ => bytes += payload.len() as u64,
        }
    }
    assert!(
        before_ping.is_some_and(|bytes| bytes <= OUTPUT_MAX as u64 + 128 * 1024),
        "{before_ping:?}"
    );
    // Without credit no more comes, and others are served.
    program.expect_silence().await;
    program.ping(4).await;
    program.send(request(Op::Cancel, 2), &[]).await;
    program.expect_error(Op::Data, 2, ErrorCode::Cancelled).await;
    program.ping(2).await;
}

#[tokio::test(start_paused = true)]
async fn credit_that_overflows_ends_the_connection() {
    let mut program = Program::greeted().await;
    let id = program.fake.insert(pattern(8 * 1024 * 1024)).id;
    program.send(request(Op::Load, 2), &load(id)).await;
    let most = frame(request(Op::Credit, 2), &u64::MAX.to_le_bytes());
    program.write(&most.repeat(2)).await;
    let (mut header, mut message) = program.read().await;
    while header.status == 0 {
        (header, message) = program.read().await;
    }
    assert_eq!(
        (header.op, header.request),
        (Op::Data.to_byte(), 2),
        "{message:?}"
    );
    assert_eq!(header.status, ErrorCode::InvalidArgument.number());
    program.expect_fault(ErrorCode::InvalidArgument).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_in_the_middle_says_so() {
    let mut program = Program::greeted().await;
    let (sender, body) = Body::channel(Some(6), |_| {});
    let id = BlockId::new(77).unwrap();
    program.fake.bodies.lock().unwrap().insert(id, body);
    program.send(request(Op::Load, 2), &load(id)).await;
    let (header, _) = program.read().await;
    assert!(header.more());
    sender.send(Bytes::from_static(b"abc"));
    let (header, payload) = program.read().await;
    assert!(header.more() && payload == "abc");
    sender.fail(memproto::ApiError::new(
        ErrorCode::PeerUnreachable,
        "it went away",
    ));
    program
        .expect_error(Op::Data, 2, ErrorCode::PeerUnreachable)
        .await;
    program.ping(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_dropped_and_its_id_is_free() {
    let mut program = Program::greeted().await;
    program.send(request(Op::Get, 2), &get("gated")).await;
    program.ping(3).await;
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 1);
    program.send(request(Op::Cancel, 2), &[]).await;
    program.expect_error(Op::Get, 2, ErrorCode::Cancelled).await;
    program.ping(2).await;
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 0);
    // One that is not there any more is no error.
    program.send(request(Op::Cancel, 2), &[]).await;
    program.ping(4).await;
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_in_flight_is_not_taken_twice() {
    let mut program = Program::greeted().await;
    program.send(request(Op::Get, 2), &get("gated")).await;
    program.send(request(Op::Ping, 2), &[]).await;
    program.expect_error(Op::Get, 2, ErrorCode::InvalidArgument).await;
    program.expect_fault(ErrorCode::InvalidArgument).await;
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_are_busy_and_the_others_go_on() {
    let mut program = Program::greeted().await;
    for id in 0..u64::from(IN_FLIGHT_MAX) {
        program.send(request(Op::Get, 10 + id), &get("gated")).await;
    }
    program.send(request(Op::Get, 2), &get("gated")).await;
    program.expect_error(Op::Get, 2, ErrorCode::Busy).await;
    program.ping(3).await;
    program.fake.gate.add_permits(1);
    assert_eq!(program.read().await.0.status, ErrorCode::NotFound.number());
}

#[tokio::test(start_paused = true)]
async fn what_requests_make_the_node_hold_is_bounded() {
    let mut program = Program::greeted().await;
    let value = put(Some("gated"), Some(INLINE_MAX as u64), &pattern(INLINE_MAX));
    let fit = HELD_BYTES_MAX / value.len() as u64;
    for id in 0..fit {
        program.send(request(Op::Set, 10 + id), &value).await;
    }
    program.send(request(Op::Set, 2), &value).await;
    program.expect_error(Op::Set, 2, ErrorCode::Busy).await;
    program.ping(3).await;
    assert_eq!(program.fake.running.load(Ordering::SeqCst), fit);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_never_reads_is_not_read_from() {
    let mut program = Program::greeted().await;
    program
        .fake
        .keys
        .lock()
        .unwrap()
        .insert("k".into(), program.fake.insert(pattern(100_000)).id);
    let one = frame(request(Op::Get, 2), &get("k"));
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), program.stream.write_all(&one))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 100_000, "the session reads on and on");
    }
    // The pipe's two buffers, one read, and the replies up to the limit.
    assert!(sent * one.len() < 64 * 1024 + 64 * 1024 + 1024, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_goes_on_as_before() {
    let mut program = Program::greeted().await;
    let value = pattern(INLINE_MAX);
    for id in [2, 3, 4] {
        let put = put(Some("k"), Some(INLINE_MAX as u64), &value);
        program.send(request(Op::Set, id), &put).await;
        assert_eq!(program.read().await.0.status, 0);
        // Half of the next frame's header lies there while the memory of this one is given back.
        let ping = frame(request(Op::Ping, 9), &[]);
        program.write(&ping[..8]).await;
        program.expect_silence().await;
        program.expect_silence().await;
        program.write(&ping[8..]).await;
        assert_eq!(program.read().await.0, request(Op::Ping, 9));
        program.expect_silence().await;
        program.expect_silence().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_request_s_failure() {
    let mut program = Program::greeted().await;
    program.send(request(Op::Get, 2), &get("panic")).await;
    program.expect_error(Op::Get, 2, ErrorCode::Internal).await;
    program.ping(3).await;
}

#[tokio::test(start_paused = true)]
async fn control_replies_that_fit_no_frame_go_on() {
    let mut program = Program::greeted().await;
    program.send(request(Op::Peers, 2), &[]).await;
    let (header, payload) = program.read().await;
    assert!(header.more());
    let mut json = payload.to_vec();
    json.extend(program.read_body(2).await);
    let peers: Vec<memproto::control::PeerInfo> = serde_json::from_slice(&json).unwrap();
    assert_eq!(peers.len(), 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_node_answers_what_is_open() {
    let mut program = Program::greeted().await;
    program.send(request(Op::Get, 2), &get("gated")).await;
    program.ping(3).await;
    program.send(request(Op::Stop, 4), &[]).await;
    assert_eq!(program.read().await.0, request(Op::Stop, 4));
    assert!(program.fake.stop.is_cancelled());
    program.stop.cancel();
    program.expect_error(Op::Get, 2, ErrorCode::ShuttingDown).await;
    program.expect_fault(ErrorCode::ShuttingDown).await;
    program.session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_program_that_goes_away_takes_its_calls_with_it() {
    let mut program = Program::greeted().await;
    program.send(request(Op::Get, 2), &get("gated")).await;
    program
        .send(
            request(Op::Set, 3).with_more(true),
            &put(Some("gated"), None, b"half"),
        )
        .await;
    program.ping(4).await;
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 2);
    drop(program.stream);
    program.session.await.unwrap();
    assert_eq!(program.fake.running.load(Ordering::SeqCst), 0);
    assert!(program.fake.keys.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_before_hello() {
    let mut program = Program::silent();
    program.write(&PREFACE).await;
    program
        .send(request(Op::Set, 2), &put(Some("k"), Some(1), b"v"))
        .await;
    program.expect_fault(ErrorCode::InvalidArgument).await;
    assert!(program.fake.keys.lock().unwrap().is_empty());

    let mut program = Program::silent();
    program.write(b"POST / HTTP/1.1\r\n").await;
    program.expect_fault(ErrorCode::InvalidArgument).await;

    let mut program = Program::silent();
    program.write(&PREFACE).await;
    program
        .send(request(Op::Hello, 1), &[2, 0, 9, 0, 0, 0, 0, 0])
        .await;
    program.expect_fault(ErrorCode::Unsupported).await;

    let mut program = Program::silent();
    program.write(b"ME").await;
    program.expect_fault(ErrorCode::Timeout).await;
}

#[tokio::test(start_paused = true)]
async fn refused_frames_are_answered_as_the_vectors_say() {
    let file = include_str!("../../../../docs/protocol/vectors/local-refused.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    for vector in file["vectors"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let hex = vector["hex"].as_str().unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut program = Program::greeted().await;
        program.write(&bytes).await;
        let (header, payload) = program.read().await;
        let code = ErrorCode::from_number(header.status);
        assert_eq!(
            code.as_str(),
            vector["error"].as_str().unwrap(),
            "{name}: {payload:?}"
        );
        if vector["effect"] == "fault" {
            assert_eq!((header.op, header.request), (Op::Fault.to_byte(), 0), "{name}");
            assert!(program.try_read().await.is_none(), "{name}");
        } else {
            assert_eq!((header.op, header.request), (bytes[4], 1), "{name}");
            program.ping(1).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_bytes_end_the_connection_and_nothing_else(
        op in 0u8..100,
        flags in 0u8..3,
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        garbage in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut program = Program::greeted().await;
            let header = FrameHeader { op, flags, ..request(Op::Ping, 2) };
            program.send(header, &payload).await;
            // The session may have closed already.
            let _ = program.stream.write_all(&garbage).await;
            let _ = program.stream.shutdown().await;
            while program.try_read().await.is_some() {}
            program.session.await.unwrap();
        });
    }
}
