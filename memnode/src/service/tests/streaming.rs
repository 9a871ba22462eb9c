//! Streams that are written piece by piece, broken off, gone on with, shared, followed and read into files.

use std::io::{Read, Seek, Write};

use memproto::stream::{Compress, KnownChunk, StreamOptions, StreamPlacement};
use memproto::{BlockClass, ChunkHash};

use super::*;
use crate::service::StreamAudit;

const CHUNK: u64 = STREAM_CHUNK_SIZE as u64;

fn on(nodes: &[&TestNode]) -> StreamOptions {
    StreamOptions {
        placement: StreamPlacement::Peers(nodes.iter().map(|node| node.id().to_string()).collect()),
        compress: Compress::Never,
        ..StreamOptions::default()
    }
}

/// Bytes that no other call makes.
fn bytes_of(seed: u64, len: u64) -> Bytes {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; len as usize];
    hasher.finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn file_of(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn known(bytes: &Bytes) -> KnownChunk {
    KnownChunk {
        hash: ChunkHash::from_bytes(*blake3::hash(bytes).as_bytes()),
        length: bytes.len() as u32,
    }
}

impl TestNode {
    async fn open(&self, options: StreamOptions) -> BlockId {
        self.service.stream_open(options).await.unwrap().id
    }

    async fn write(&self, id: BlockId, bytes: Bytes) -> ApiResult<u64> {
        Ok(self.service.stream_write(id, Body::from(bytes)).await?.size)
    }

    async fn write_file(&self, id: BlockId, bytes: &[u8]) -> ApiResult<u64> {
        let file = file_of(bytes);
        Ok(self.service.stream_file(id, file, ByteRange::ALL).await?.size)
    }

    /// A whole stream of what a file has.
    async fn streamed(&self, options: StreamOptions, bytes: &[u8]) -> BlockId {
        let id = self.open(options).await;
        self.write_file(id, bytes).await.unwrap();
        self.service.stream_finish(id).await.unwrap();
        id
    }

    async fn follow(&self, id: BlockId) -> Body {
        self.service.stream_follow(id, ByteRange::ALL).await.unwrap().body
    }
}

#[tokio::test]
async fn a_file_that_is_streamed_again_sends_only_what_is_missing() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let value = bytes_of(1, 5 * CHUNK + 99);
    // The first attempt gets through the first three chunks.
    let first = a.open(on(&[&b])).await;
    a.write_file(first, &value[..3 * STREAM_CHUNK_SIZE])
        .await
        .unwrap();
    let again = a.open(on(&[&b])).await;
    assert_eq!(a.write_file(again, &value).await.unwrap(), value.len() as u64);
    assert_eq!(b.blocks(), 6, "each chunk lies there once");
    let finished = a.service.stream_finish(again).await.unwrap();
    assert_eq!(finished.known_bytes, 3 * CHUNK);
    // What is left of the first attempt takes nothing along.
    a.service.free(vec![first]).await.unwrap();
    assert!(a.load(again, ByteRange::ALL).await.unwrap() == value);
    a.service.free(vec![again]).await.unwrap();
    until("everything is free", || {
        b.blocks() == 0 && a.service.chunks.len() == 0
    })
    .await;
}

#[tokio::test]
async fn an_append_that_is_broken_off_leaves_the_stream_whole_up_to_there() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let value = bytes_of(2, 3 * CHUNK);
    let id = a.open(on(&[&b])).await;
    let (sender, body) = Body::channel(None, |_| {});
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream_write(id, body).await });
    sender.send(value.slice(..STREAM_CHUNK_SIZE + 10));
    let stream = a.service.writing.get(id).unwrap();
    until("a chunk is placed", || {
        stream.status(&a.service).placed_bytes == CHUNK
    })
    .await;
    let busy = a.write(id, Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(busy.code, ErrorCode::Busy);
    writing.abort();
    let _ = writing.await;
    assert_eq!(a.service.stream_status(id).await.unwrap().placed_bytes, CHUNK);
    a.write(id, value.slice(STREAM_CHUNK_SIZE..)).await.unwrap();
    a.service.stream_finish(id).await.unwrap();
    assert!(a.load(id, ByteRange::ALL).await.unwrap() == value);
    let over = a.write(id, Bytes::new()).await.unwrap_err();
    assert_eq!(over.code, ErrorCode::NotFound, "{over}");
}

#[tokio::test]
async fn a_stream_is_followed_here_and_elsewhere_while_it_grows() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    c.connect(&a, MIB).await;
    let id = a.open(on(&[&b])).await;
    let (sender, body) = Body::channel(None, |_| {});
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream_write(id, body).await });
    let mut readers = vec![a.follow(id).await];
    // A first line is seen long before there is a chunk.
    sender.send(Bytes::from_static(b"one line\n"));
    readers.push(c.follow(id).await);
    for reader in &mut readers {
        assert_eq!(reader.next().await.unwrap().unwrap(), "one line\n");
    }
    let rest = bytes_of(3, 2 * CHUNK);
    sender.send(rest.clone());
    sender.finish();
    writing.await.unwrap().unwrap();
    let collected = |body: Body| tokio::spawn(body.collect(u64::MAX));
    let reading: Vec<_> = readers.into_iter().map(collected).collect();
    a.service.stream_finish(id).await.unwrap();
    for reading in reading {
        assert!(reading.await.unwrap().unwrap() == rest);
    }
    assert_eq!(c.load(id, ByteRange::ALL).await.unwrap().len(), 9 + rest.len());
}

#[tokio::test]
async fn a_follower_is_told_where_the_writer_goes_away() {
    let a = TestNode::start("a", 64 * MIB).await;
    let id = a.open(StreamOptions::default()).await;
    let (sender, body) = Body::channel(None, |_| {});
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream_write(id, body).await });
    let mut reader = a.follow(id).await;
    sender.send(Bytes::from_static(b"half"));
    assert_eq!(reader.next().await.unwrap().unwrap(), "half");
    writing.abort();
    let lost = reader.next().await.unwrap().unwrap_err();
    assert_eq!(lost.code, ErrorCode::Cancelled, "{lost}");
    // And where the stream is freed.
    let mut reader = a.follow(id).await;
    a.service.free(vec![id]).await.unwrap();
    let freed = reader.next().await.unwrap().unwrap_err();
    assert_eq!(freed.code, ErrorCode::NotFound, "{freed}");
}

#[tokio::test]
async fn a_reader_does_not_mix_what_was_broken_off_with_what_came_instead() {
    let a = TestNode::start("a", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    c.connect(&a, MIB).await;
    let id = a.open(StreamOptions::default()).await;
    let (sender, body) = Body::channel(None, |_| {});
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream_write(id, body).await });
    let mut followers = vec![a.follow(id).await];
    sender.send(Bytes::from_static(b"half"));
    followers.push(c.follow(id).await);
    for follower in &mut followers {
        assert_eq!(follower.next().await.unwrap().unwrap(), "half");
    }
    let waiting: Vec<_> = followers
        .into_iter()
        .map(|mut follower| tokio::spawn(async move { follower.next().await.unwrap() }))
        .collect();
    until("both followers wait", || {
        a.service.writing.get(id).unwrap().followers() >= 2
    })
    .await;
    writing.abort();
    let _ = writing.await;
    a.write(id, Bytes::from_static(b"another")).await.unwrap();
    for waiting in waiting {
        let lost = waiting.await.unwrap().unwrap_err();
        assert_eq!(lost.code, ErrorCode::Cancelled, "{lost}");
    }
    let behind = ByteRange { offset: 8, length: 1 };
    for node in [&a, &c] {
        let refused = node.service.stream_follow(id, behind).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn a_read_that_is_told_a_length_gets_so_many_bytes_or_an_error() {
    let a = TestNode::start("a", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    c.connect(&a, MIB).await;
    let id = a.open(StreamOptions::default()).await;
    let (sender, body) = Body::channel(None, |_| {});
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream_write(id, body).await });
    sender.send(Bytes::from_static(b"half"));
    until("it is seen", || a.service.writing.get(id).unwrap().size() == 4).await;
    let mut reads = Vec::new();
    for node in [&a, &c] {
        reads.push(node.service.load(id, ByteRange::ALL).await.unwrap());
    }
    writing.abort();
    let _ = writing.await;
    for read in reads {
        assert_eq!(read.body.size(), Some(4));
        let lost = read.body.collect(u64::MAX).await.unwrap_err();
        assert_eq!(lost.code, ErrorCode::Cancelled, "{lost}");
    }
}

#[tokio::test]
async fn a_stream_that_is_freed_while_it_is_written_leaves_nothing() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let id = a.open(on(&[&b])).await;
    let (sender, body) = Body::channel(None, |_| {});
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream_write(id, body).await });
    let value = bytes_of(11, 4 * CHUNK);
    sender.send(value.slice(..2 * STREAM_CHUNK_SIZE + 7));
    let stream = a.service.writing.get(id).unwrap();
    until("something is placed", || {
        stream.status(&a.service).placed_bytes >= CHUNK
    })
    .await;
    a.service.free(vec![id]).await.unwrap();
    sender.send(value.slice(2 * STREAM_CHUNK_SIZE + 7..));
    sender.finish();
    let gone = writing.await.unwrap().unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound, "{gone}");
    until("nothing is left", || {
        b.blocks() == 0 && a.service.chunks.len() == 0
    })
    .await;
    assert_eq!(a.service.audit_streams(), StreamAudit::default());
}

#[tokio::test]
async fn a_live_stream_that_is_freed_is_not_taken_for_a_whole_one() {
    let a = TestNode::start("a", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    c.connect(&a, MIB).await;
    let id = a
        .open(StreamOptions {
            key: Some("log".to_owned()),
            live: true,
            ..StreamOptions::default()
        })
        .await;
    let mut followers = vec![a.follow(id).await, c.follow(id).await];
    a.service.free(vec![id]).await.unwrap();
    for follower in &mut followers {
        let freed = follower.next().await.unwrap().unwrap_err();
        assert_eq!(freed.code, ErrorCode::NotFound, "{freed}");
    }
}

#[tokio::test]
async fn chunks_go_to_all_peers_that_have_room_and_to_no_others() {
    let a = TestNode::start("a", 64 * MIB).await;
    let nodes = [
        TestNode::start("b", 64 * MIB).await,
        TestNode::start("c", 64 * MIB).await,
        TestNode::start("d", 64 * MIB).await,
    ];
    for node in &nodes {
        a.connect(node, 32 * MIB).await;
    }
    let value = bytes_of(4, 24 * CHUNK);
    let id = a.open(on(&[&nodes[0], &nodes[1]])).await;
    a.write_file(id, &value).await.unwrap();
    let holders = a.service.stream_status(id).await.unwrap().holders;
    let names: Vec<&str> = holders.iter().map(|holder| holder.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert!(
        holders.iter().all(|holder| holder.bytes >= 4 * CHUNK),
        "{holders:?}"
    );
    a.service.stream_finish(id).await.unwrap();
    assert_eq!((a.blocks(), nodes[2].blocks()), (0, 0));
    assert!(a.load(id, ByteRange::ALL).await.unwrap() == value);
    // One that fills up leaves the rest to the other.
    nodes[0].service.store.set_quota(a.id(), Some(MIB));
    let more = bytes_of(5, 8 * CHUNK);
    let before = nodes[1].blocks();
    let id = a.streamed(on(&[&nodes[0], &nodes[1]]), &more).await;
    assert_eq!(nodes[1].blocks() - before, 8);
    assert!(a.load(id, ByteRange::ALL).await.unwrap() == more);
}

#[tokio::test]
async fn what_a_lost_peer_had_of_a_file_is_placed_elsewhere() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let value = bytes_of(6, 6 * CHUNK);
    let id = a
        .open(StreamOptions {
            compress: Compress::Never,
            ..StreamOptions::default()
        })
        .await;
    a.write_file(id, &value[..3 * STREAM_CHUNK_SIZE]).await.unwrap();
    assert_eq!(b.blocks(), 3);
    a.connect(&c, 32 * MIB).await;
    let _home = b.stop().await;
    a.service.peers().disconnect("b").unwrap();
    // What is gone was of an earlier call: only a new attempt reads it again, and finishing says what is missing.
    a.write_file(id, &value[3 * STREAM_CHUNK_SIZE..]).await.unwrap();
    let missing = a.service.stream_finish(id).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::PeerUnreachable);
    assert!(missing.message.contains("bytes 0-3145727 on 'b'"), "{missing}");
    let again = a
        .open(StreamOptions {
            compress: Compress::Never,
            ..StreamOptions::default()
        })
        .await;
    a.write_file(again, &value).await.unwrap();
    let finished = a.service.stream_finish(again).await.unwrap();
    assert_eq!(finished.known_bytes, 3 * CHUNK);
    assert!(a.load(again, ByteRange::ALL).await.unwrap() == value);
}

#[tokio::test]
async fn what_shrinks_is_kept_smaller_and_read_back() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let lines: String = (0..200_000).map(|i| format!("GET /page/{i} 200\n")).collect();
    let value = Bytes::from(lines);
    let options = StreamOptions {
        compress: Compress::Always,
        ..on(&[&b])
    };
    let id = a.open(options.clone()).await;
    a.write(id, value.clone()).await.unwrap();
    let finished = a.service.stream_finish(id).await.unwrap();
    assert!(finished.stored_bytes * 3 < finished.size_bytes, "{finished:?}");
    assert!(b.service.lent(a.id()).used_bytes < finished.size_bytes / 2);
    let stats = a.service.stats();
    assert_eq!(
        (stats.chunk_bytes, stats.chunk_stored_bytes),
        (finished.size_bytes, finished.stored_bytes)
    );
    for reader in [&a, &b] {
        assert!(reader.load(id, ByteRange::ALL).await.unwrap() == value);
    }
    let here = a
        .open(StreamOptions {
            placement: StreamPlacement::Local,
            ..options
        })
        .await;
    a.write(here, value.slice(1..)).await.unwrap();
    a.service.stream_finish(here).await.unwrap();
    assert!(a.load(here, ByteRange::ALL).await.unwrap() == value.slice(1..));
}

#[tokio::test]
async fn equal_chunks_are_sent_once_and_freed_with_their_last_stream() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let zeroes = Bytes::from(vec![0; 20 * STREAM_CHUNK_SIZE]);
    let first = a.open(on(&[&b])).await;
    a.write_file(first, &zeroes).await.unwrap();
    assert_eq!(b.blocks(), 1);
    a.service.stream_finish(first).await.unwrap();
    let second = a.open(on(&[&b])).await;
    let chunk = zeroes.slice(..STREAM_CHUNK_SIZE);
    let other = bytes_of(7, 100);
    let asked = vec![known(&other), known(&chunk), known(&chunk)];
    assert_eq!(
        a.service.stream_known(second, asked).await.unwrap(),
        [false, true, true]
    );
    assert_eq!(a.write(second, other.clone()).await.unwrap(), 2 * CHUNK + 100);
    let finished = a.service.stream_finish(second).await.unwrap();
    assert_eq!((finished.known_bytes, finished.stored_bytes), (2 * CHUNK, 100));
    a.service.free(vec![first]).await.unwrap();
    let read = a.load(second, ByteRange::ALL).await.unwrap();
    assert!(read == [&zeroes[..2 * STREAM_CHUNK_SIZE], &other].concat());
    a.service.free(vec![second]).await.unwrap();
    assert_eq!((b.blocks(), b.service.lent(a.id()).used_bytes), (0, 0));
}

#[tokio::test]
async fn a_stream_that_is_not_finished_is_freed_when_nobody_goes_on() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let service = Arc::clone(&a.service);
    let sweep = tokio::spawn(async move { service.sweep_unfinished().await });
    let id = a.open(on(&[&b])).await;
    a.write(id, bytes_of(8, 2 * CHUNK)).await.unwrap();
    until("it is freed", || b.blocks() == 0).await;
    assert_eq!(
        a.service.stream_status(id).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    sweep.abort();
}

#[tokio::test]
async fn a_stream_for_which_there_is_no_room_is_freed() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 4 * MIB).await;
    let id = a
        .open(StreamOptions {
            placement: StreamPlacement::Remote,
            ..StreamOptions::default()
        })
        .await;
    let full = a.write(id, bytes_of(9, 9 * CHUNK)).await.unwrap_err();
    assert_eq!(full.code, ErrorCode::OutOfMemory, "{full}");
    until("it is free again", || b.service.lent(a.id()).used_bytes == 0).await;
    let gone = a.service.stream_finish(id).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_range_is_written_into_a_file() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let value = bytes_of(10, 4 * CHUNK + 5);
    let id = a.streamed(on(&[&b]), &value).await;
    let block = a.store(value.slice(..1_000), Placement::Local).await.unwrap();
    for (id, size, offset, length) in [
        (id, value.len() as u64, 0, u64::MAX),
        (id, value.len() as u64, CHUNK - 3, CHUNK + 10),
        (block.id, 1_000, 10, 20),
    ] {
        let mut file = file_of(b"xx");
        let range = ByteRange { offset, length };
        let written = a
            .service
            .load_into(id, range, file.try_clone().unwrap(), 1)
            .await
            .unwrap();
        assert_eq!(written.size, size);
        let mut read = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut read).unwrap();
        let part = range.within(size).unwrap();
        assert_eq!(written.length, part.end - part.start);
        assert!(read[1..] == value[part.start as usize..part.end as usize]);
    }
    let behind = ByteRange {
        offset: value.len() as u64 + 1,
        length: 1,
    };
    let error = a
        .service
        .load_into(id, behind, file_of(b""), 0)
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_bad_file_is_refused_and_the_stream_can_go_on() {
    let a = TestNode::start("a", 64 * MIB).await;
    let id = a.open(StreamOptions::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = std::fs::File::open(folder.path()).unwrap();
    let refused = a
        .service
        .stream_file(id, folder, ByteRange::ALL)
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    let behind = ByteRange { offset: 5, length: 1 };
    let refused = a
        .service
        .stream_file(id, file_of(b"1234"), behind)
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert_eq!(a.write_file(id, b"1234").await.unwrap(), 4);
    a.service.stream_finish(id).await.unwrap();
    assert_eq!(a.load(id, ByteRange::ALL).await.unwrap(), "1234");
}

#[tokio::test]
async fn what_expires_or_may_be_evicted_takes_nothing_of_other_streams_along() {
    let a = TestNode::start("a", 64 * MIB).await;
    let value = bytes_of(11, 2 * CHUNK);
    let mut ids = Vec::new();
    for options in [
        StreamOptions {
            class: BlockClass::Cache,
            ..StreamOptions::default()
        },
        StreamOptions {
            ttl: for_an_hour().ttl,
            ..StreamOptions::default()
        },
        StreamOptions::default(),
    ] {
        let id = a.streamed(options, &value).await;
        ids.push(id);
    }
    let used = a.service.stats().used_bytes;
    assert!(used < 3 * CHUNK, "the bytes are there once: {used}");
    a.let_an_hour_pass();
    a.service.drop_expired().await;
    a.service.free(vec![ids[0]]).await.unwrap();
    assert_eq!(a.service.stats().streams, 1);
    assert!(a.load(ids[2], ByteRange::ALL).await.unwrap() == value);
}

#[tokio::test]
async fn a_key_names_a_stream_that_is_whole() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    a.set("model", "old").await;
    let value = bytes_of(12, CHUNK + 1);
    let options = StreamOptions {
        key: Some("model".to_owned()),
        ..on(&[&b])
    };
    let id = a.open(options).await;
    a.write(id, value.clone()).await.unwrap();
    assert_eq!(b.get("model").await.unwrap().unwrap(), "old");
    a.service.stream_finish(id).await.unwrap();
    for reader in [&a, &b] {
        assert!(reader.get("model").await.unwrap().unwrap() == value);
    }
    a.set("model", "new").await;
    until("the stream is free", || b.blocks() == 0).await;
}

#[tokio::test]
async fn a_key_can_name_a_stream_from_its_first_byte_on() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let live = |key: &str| StreamOptions {
        key: Some(key.to_owned()),
        live: true,
        ..on(&[&b])
    };
    let value = bytes_of(13, 3 * CHUNK);
    let id = a.open(live("log")).await;
    a.write(id, value.slice(..STREAM_CHUNK_SIZE)).await.unwrap();
    for reader in [&a, &b] {
        assert!(reader.get("log").await.unwrap().unwrap() == value.slice(..STREAM_CHUNK_SIZE));
    }
    a.write(id, value.slice(STREAM_CHUNK_SIZE..)).await.unwrap();
    a.service.stream_finish(id).await.unwrap();
    for reader in [&a, &b] {
        assert!(reader.get("log").await.unwrap().unwrap() == value);
    }
    // What is set in its place frees it, also in the middle.
    let second = a.open(live("log")).await;
    a.write(second, bytes_of(14, CHUNK)).await.unwrap();
    until("the first one is free", || b.blocks() == 1).await;
    a.set("log", "something else").await;
    until("the second one is free", || b.blocks() == 0).await;
    let gone = a.write(second, Bytes::new()).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
    let third = a.open(live("log")).await;
    a.service.free(vec![third]).await.unwrap();
    until("its key is gone", || a.service.store.object(third).is_none()).await;
    assert_eq!(a.get("log").await.unwrap(), None);
    assert_eq!(a.service.stats().keys, 0);
}

/// Lets a stream of `writer` say of its first chunk that it has the hash of other bytes.
fn falsify(writer: &TestNode, stream: BlockId, other: &Bytes) {
    let manifest = writer.service.finished_stream(stream).unwrap();
    let mut falsified = memproto::peer::Manifest::new();
    for index in 0..manifest.chunks().len() {
        let mut chunk = manifest.placed(index);
        if index == 0 {
            chunk.hash = known(other).hash;
        }
        falsified.push(chunk).unwrap();
    }
    assert!(
        writer
            .service
            .store
            .replace_stream(stream, Arc::new(falsified), None)
    );
}

#[tokio::test]
async fn bytes_that_are_not_what_was_stored_are_never_handed_out() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    a.connect(&c, 32 * MIB).await;
    let (stored, wanted) = (bytes_of(15, 2 * CHUNK), bytes_of(16, CHUNK));
    let id = a.open(on(&[&b])).await;
    a.write(id, stored.clone()).await.unwrap();
    a.service.stream_finish(id).await.unwrap();
    // As if b had kept other bytes than it was sent.
    falsify(&a, id, &wanted);
    let refused = a.load(id, ByteRange::ALL).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Corrupt);
    assert!(refused.message.contains("'b'"), "{refused}");
    let file = file_of(b"");
    let refused = a
        .service
        .load_into(id, ByteRange::ALL, file, 0)
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Corrupt);
    // What is right can be read all the same.
    let rest = ByteRange {
        offset: CHUNK,
        length: CHUNK,
    };
    assert!(a.load(id, rest).await.unwrap() == stored.slice(STREAM_CHUNK_SIZE..));
    // Where another node has bytes of that hash, they are taken from there.
    let at_c = c
        .open(StreamOptions {
            placement: StreamPlacement::Local,
            ..StreamOptions::default()
        })
        .await;
    c.write(at_c, wanted.clone()).await.unwrap();
    c.service.stream_finish(at_c).await.unwrap();
    let whole = a.load(id, ByteRange::ALL).await.unwrap();
    assert!(whole == [&wanted[..], &stored[STREAM_CHUNK_SIZE..]].concat());
}

#[tokio::test]
async fn a_peer_that_lies_about_its_chunks_harms_nobody_else() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let liar = NodeId::from_bytes([9; 16]);
    b.service.peer_connected(liar, 1, 8 * MIB);
    let honest = bytes_of(17, CHUNK);
    let request = PeerRequest::Store {
        id: BlockId::from_parts(liar.home_hint(), 5).unwrap(),
        size: CHUNK,
        class: BlockClass::Pinned,
        chunk: Some(memproto::peer::message::ChunkForm {
            stream: BlockId::from_parts(liar.home_hint(), 6).unwrap(),
            hash: known(&honest).hash,
            length: CHUNK as u32,
            codec: memproto::stream::Codec::Raw,
        }),
        ttl: None,
    };
    let body = Body::from(bytes_of(18, CHUNK));
    let (reply, _) = b.service.handle_peer_request(liar, 1, request, body).await;
    assert!(matches!(reply, PeerReply::Stored(_)), "{reply:?}");
    let id = a.open(on(&[&b])).await;
    a.write(id, honest.clone()).await.unwrap();
    assert_eq!(a.service.stream_finish(id).await.unwrap().known_bytes, 0);
    assert!(a.load(id, ByteRange::ALL).await.unwrap() == honest);
}

#[tokio::test]
async fn equal_chunks_of_two_nodes_are_held_once_and_each_pays() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 16 * MIB).await;
    c.connect(&b, 16 * MIB).await;
    let value = bytes_of(19, 4 * CHUNK);
    let mut ids = Vec::new();
    for node in [&a, &c] {
        let id = node.streamed(on(&[&b]), &value).await;
        assert!(b.service.lent(node.id()).used_bytes >= 4 * CHUNK);
        ids.push(id);
    }
    assert!(b.service.stats().used_bytes < 5 * CHUNK);
    a.service.free(vec![ids[0]]).await.unwrap();
    assert_eq!(b.service.lent(a.id()).used_bytes, 0);
    assert!(c.load(ids[1], ByteRange::ALL).await.unwrap() == value);
    c.service.free(vec![ids[1]]).await.unwrap();
    assert_eq!((b.blocks(), b.service.stats().used_bytes), (0, 0));
}
