//! Calls that run at the same time share their system calls, as the system itself counts them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use bytes::{BufMut, Bytes};
use futures_util::future::try_join_all;
use memproto::local::reply::{HelloReply, PutReply, ReadReply};
use memproto::local::{FrameHeader, Input, Op, Output};
use memproto::{BlockId, NodeId};
use memsdk::MemCloud;

/// Calls at the same time.
const CALLS: usize = 64;

/// Rounds of them, one after another.
const ROUNDS: usize = 20;

/// A node of one connection that answers each read with one write, on a thread of its own.
struct Server {
    home: tempfile::TempDir,
    thread: JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("s")).unwrap();
        let thread = std::thread::spawn(move || serve(&listener.accept().unwrap().0));
        Self { home, thread }
    }

    async fn client(&self) -> MemCloud {
        let builder = MemCloud::builder().socket(self.home.path().join("s"));
        builder.connect().await.unwrap()
    }
}

fn serve(mut stream: &UnixStream) {
    let (mut input, mut output) = (Input::default(), Output::default());
    let mut greeted = false;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            return;
        }
        input.extend(&buffer[..read]);
        greeted = greeted || input.take_preface().unwrap();
        while let Some(header) = input.peek().unwrap() {
            input.skip(&header);
            answer(header, &mut output);
        }
        stream.write_all(&output.to_vec()).unwrap();
        output.advance(output.len());
    }
}

fn answer(request: FrameHeader, output: &mut Output) {
    let id = BlockId::new(5).unwrap();
    let header = FrameHeader {
        length: 0,
        ..request.with_more(false)
    };
    output.frame(
        header,
        |out| match Op::from_byte(request.op) {
            Some(Op::Hello) => HelloReply {
                version: 1,
                in_flight_max: 1_000,
                held_bytes_max: 1 << 25,
                node_id: NodeId::from_bytes([1; 16]),
                node_version: "0.1.0".to_owned(),
            }
            .encode(out),
            Some(Op::Set) => PutReply { id, size: 0 }.encode(out),
            Some(Op::Get) => {
                let length = 1_000;
                ReadReply {
                    id,
                    size: length,
                    length,
                }
                .encode(out);
                out.put_bytes(7, length as usize);
            }
            _ => {}
        },
        Bytes::new(),
    );
}

/// Calls of `write` and its like that this thread made so far.
fn writes() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = counts
        .lines()
        .find_map(|line| line.strip_prefix("syscw: "))
        .unwrap();
    count.parse().unwrap()
}

/// What so many concurrent calls take, round by round. All runs on one thread.
fn writes_of_rounds<F: Future>(call: impl Fn(MemCloud) -> F) -> Vec<u64> {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let counts = runtime.block_on(async {
        let cloud = server.client().await;
        let mut counts = Vec::new();
        for _ in 0..ROUNDS {
            let before = writes();
            call(cloud.clone()).await;
            counts.push(writes() - before);
        }
        counts
    });
    drop(runtime);
    server.thread.join().unwrap();
    counts
}

/// The first call of all cannot know that others follow, and goes at once; from then on a round is one write.
fn assert_one_write(counts: &[u64]) {
    assert!(counts[0] <= 2, "{counts:?}");
    assert!(counts[1..].iter().all(|&count| count == 1), "{counts:?}");
}

#[test]
fn concurrent_gets_leave_in_one_write() {
    let counts = writes_of_rounds(|cloud| async move {
        try_join_all((0..CALLS).map(|_| cloud.get("k"))).await.unwrap();
    });
    assert_one_write(&counts);
}

#[test]
fn concurrent_sets_leave_in_one_write() {
    // Some are copied behind their headers, others are handed to the system where they lie.
    for len in [100, 1_000, 5_000] {
        let value = Bytes::from(vec![7; len]);
        let set = |cloud: MemCloud| {
            let sets: Vec<_> = (0..CALLS / 2)
                .map(|_| cloud.set("k", value.clone()).into_future())
                .collect();
            async move {
                try_join_all(sets).await.unwrap();
            }
        };
        assert_one_write(&writes_of_rounds(set));
    }
}

#[test]
fn calls_one_after_another_take_one_write_each() {
    let counts = writes_of_rounds(|cloud| async move { cloud.get("k").await.unwrap() });
    assert_eq!(counts, [1; ROUNDS]);
}

#[test]
fn a_lone_call_behind_many_is_written_too() {
    let counts = writes_of_rounds(|cloud| async move {
        try_join_all((0..CALLS).map(|_| cloud.get("k"))).await.unwrap();
        cloud.get("k").await.unwrap();
        cloud.get("k").await.unwrap();
    });
    // The many, and the two.
    assert!(counts.iter().all(|&count| (3..=4).contains(&count)), "{counts:?}");
}
