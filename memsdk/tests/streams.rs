//! Streams that are written piece by piece, read at any place, followed, and read from and into files, in front of a fake node.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

#[path = "support/beside.rs"]
#[allow(dead_code)]
mod beside;

use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use beside::{Body, Running};
use bytes::Bytes;
use memnode::home::Home;
use memnode::local::{ApiPort, ConnectionGauge, TcpApi, TcpConfig};
use memnode::token::Token;
use memproto::stream::StreamPlacement;
use memsdk::{
    BlockClass, BlockId, ChunkHash, Compress, Error, ErrorCode, KnownChunk, MemCloud, PIECE_SIZE, Placement,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, ReadBuf};
use tokio_util::sync::CancellationToken;

const MIB: usize = 1024 * 1024;

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// What a stream of the fake node has so far, and where its chunks end.
fn there(node: &Running, id: BlockId) -> (Vec<u8>, Vec<u64>) {
    let stream = node.fake.growing.stream(id).unwrap();
    (stream.bytes.to_vec(), stream.ends)
}

/// The error of the node inside that of a reader or writer.
fn api_code(error: io::Error) -> Option<ErrorCode> {
    error.downcast::<Error>().unwrap().api_code()
}

/// A client of a fake node over TCP, where no descriptor passes.
async fn over_tcp(node: &Running, folder: &tempfile::TempDir) -> MemCloud {
    let home = Home::open(folder.path().join("home")).unwrap();
    let token = Token::load_or_create(&home).unwrap();
    let config = TcpConfig {
        listen: std::net::Ipv4Addr::LOCALHOST.into(),
        port: ApiPort::Port(0),
        connections_max: 10,
    };
    let api = TcpApi::bind(&config, token, ConnectionGauge::default()).await;
    let api = api.unwrap().unwrap();
    let address = api.address();
    tokio::spawn(api.serve(Arc::clone(&node.fake), CancellationToken::new()));
    let token = std::fs::read_to_string(home.token_file()).unwrap();
    let client = MemCloud::builder().tcp(address).token(token).connect();
    client.await.unwrap()
}

#[tokio::test]
async fn a_stream_is_written_in_steps_and_kept_as_it_was_asked() {
    let node = Running::start();
    let cloud = node.client().await;
    let opened = cloud
        .stream_writer()
        .key("model")
        .live(true)
        .class(BlockClass::Cache)
        .ttl(std::time::Duration::from_secs(60))
        .peers(["NodeB", "1f2e"])
        .compress(Compress::Never);
    let mut writer = opened.await.unwrap();
    let id = writer.id();
    let options = node.fake.growing.stream(id).unwrap().options;
    assert_eq!((options.key.as_deref(), options.live), (Some("model"), true));
    assert_eq!(
        (options.class, options.compress),
        (BlockClass::Cache, Compress::Never)
    );
    assert_eq!(options.ttl.map(memproto::Ttl::as_millis), Some(60_000));
    let peers = vec!["NodeB".to_owned(), "1f2e".to_owned()];
    assert_eq!(options.placement, StreamPlacement::Peers(peers));

    assert_eq!(writer.write_bytes("abc").await.unwrap(), 3);
    let long = pattern(3 * MIB + 5);
    assert_eq!(
        writer.write_bytes(long.clone()).await.unwrap(),
        3 + long.len() as u64
    );
    let size = writer.write_from(Cursor::new(b"from a reader")).await.unwrap();
    assert_eq!(size, (3 + long.len() + 13) as u64);
    let all = [b"abc", &long[..], b"from a reader"].concat();
    let ends = [3, 3 + long.len() as u64, size];
    let (bytes, has_ends) = there(&node, id);
    assert!(bytes == all && has_ends == ends, "{has_ends:?}");

    let (here, missing) = (ChunkHash::from_bytes([1; 32]), ChunkHash::from_bytes([2; 32]));
    node.fake.growing.know(here, Bytes::from_static(b"known"));
    let chunk = |hash| KnownChunk { hash, length: 5 };
    // More than one request has room for.
    let mut chunks = vec![chunk(missing); 4096];
    chunks.push(chunk(here));
    let appended = writer.known(&chunks).await.unwrap();
    assert_eq!(
        (
            appended.len(),
            appended.iter().filter(|&&appended| appended).count()
        ),
        (4097, 1)
    );
    assert!(appended[4096]);

    let status = writer.status().await.unwrap();
    assert_eq!(
        (status.taken_bytes, status.known_bytes, status.finished),
        (size + 5, 5, false)
    );
    let finished = writer.finish().await.unwrap();
    assert_eq!((finished.id, finished.size_bytes), (id, size + 5));
    assert!(cloud.stream_status(id).await.unwrap().finished);
    assert_eq!(cloud.get("model").await.unwrap().unwrap().len() as u64, size + 5);
}

#[tokio::test]
async fn what_is_written_bit_by_bit_is_gathered_into_chunks() {
    let node = Running::start();
    let cloud = node.client().await;
    let mut writer = cloud.stream_writer().await.unwrap();
    let id = writer.id();
    let bytes = pattern(3 * MIB + 777);
    for piece in bytes.chunks(10_007) {
        writer.write_all(piece).await.unwrap();
    }
    writer.flush().await.unwrap();
    let border = MIB as u64;
    let (there_now, ends) = there(&node, id);
    assert!(there_now == bytes);
    assert_eq!(ends, [border, 2 * border, 3 * border, bytes.len() as u64]);
    // What was gathered comes in front of what is appended as a whole.
    writer.write_all(b"gathered, ").await.unwrap();
    writer.write_bytes("then whole").await.unwrap();
    writer.write_all(b", and the end").await.unwrap();
    writer.shutdown().await.unwrap();
    let (there_now, _) = there(&node, id);
    assert!(there_now.ends_with(b"gathered, then whole, and the end"));
    // It is finished once, and says so again.
    writer.shutdown().await.unwrap();
    let error = writer.write_all(b"late").await.unwrap_err();
    assert_eq!(api_code(error), Some(ErrorCode::NotFound));
    assert_eq!(writer.finish().await.unwrap().size_bytes, there_now.len() as u64);
}

#[tokio::test]
async fn many_writers_take_turns_on_one_connection() {
    let node = Running::start();
    let cloud = node.client().await;
    let mut writers = Vec::new();
    for _ in 0..30 {
        writers.push(cloud.stream_writer().await.unwrap());
    }
    // Each has more than a chunk under way, and none keeps the others from it.
    let piece = pattern(300_000);
    for _ in 0..8 {
        for writer in &mut writers {
            writer.write_all(&piece).await.unwrap();
        }
    }
    for mut writer in writers {
        writer.flush().await.unwrap();
        let (bytes, _) = there(&node, writer.id());
        assert!(bytes == piece.repeat(8));
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_a_stream_that_is_resumed() {
    let node = Running::start();
    let cloud = node.client().await;
    let mut writer = cloud.stream_writer().key("gated").await.unwrap();
    let id = writer.id();
    node.fake.gate.add_permits(2);
    writer.write_bytes("kept, ").await.unwrap();
    writer.write_all(b"lost").await.unwrap();
    // Held up in the middle.
    let mut held_up = Box::pin(writer.write_bytes("never taken"));
    assert!(futures_util::poll!(&mut held_up).is_pending());
    node.until_running(1).await;
    drop(held_up);
    drop(writer);
    node.until_running(0).await;
    let status = cloud.stream_status(id).await.unwrap();
    assert_eq!((status.taken_bytes, status.finished), (6, false));

    let mut writer = cloud.resume_stream(id).await.unwrap();
    node.fake.gate.add_permits(2);
    assert_eq!(writer.write_bytes("and more").await.unwrap(), 14);
    writer.finish().await.unwrap();
    assert_eq!(cloud.load(id).await.unwrap(), "kept, and more");
    let error = cloud.resume_stream(id).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::NotFound));
    cloud.free(id).await.unwrap();
    let error = cloud.resume_stream(id).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_writer_usable() {
    let node = Running::start();
    let cloud = node.client().await;
    let mut writer = cloud.stream_writer().await.unwrap();
    let appending = node.fake.growing.append(writer.id()).unwrap();
    let error = writer.write_bytes("x").await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::Busy));
    drop(appending);
    // What failed is gone, as the error said; what comes now is appended.
    assert_eq!(writer.write_bytes("z").await.unwrap(), 1);

    let error = writer.write_from(Broken(b"half")).await.unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    let size = cloud.stream_status(writer.id()).await.unwrap().taken_bytes;
    node.until_running(0).await;
    assert!((1..=5).contains(&size), "{size}");
    writer.write_bytes("end").await.unwrap();
}

#[tokio::test]
async fn nothing_is_appended_behind_gathered_bytes_that_were_lost() {
    let node = Running::start();
    let cloud = node.client().await;
    let mut writer = cloud.stream_writer().await.unwrap();
    let id = writer.id();
    writer.write_all(b"first").await.unwrap();
    writer.flush().await.unwrap();
    let appending = node.fake.growing.append(id).unwrap();
    // The chunk fails while the next one is gathered.
    writer.write_all(&pattern(MIB + 5)).await.unwrap();
    assert_eq!(api_code(writer.flush().await.unwrap_err()), Some(ErrorCode::Busy));
    drop(appending);
    for _ in 0..2 {
        assert!(writer.flush().await.is_err());
        assert!(writer.write_all(b"behind").await.is_err());
        assert!(writer.shutdown().await.is_err());
        assert!(writer.write_bytes("behind").await.is_err());
    }
    assert!(writer.finish().await.is_err());
    assert_eq!(there(&node, id).0, b"first");
    let mut writer = cloud.resume_stream(id).await.unwrap();
    writer.write_all(b", second").await.unwrap();
    assert_eq!(writer.finish().await.unwrap().size_bytes, 13);
}

/// A reader that fails behind its first bytes.
struct Broken(&'static [u8]);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return Poll::Ready(Err(io::Error::other("the disk is gone")));
        }
        buffer.put_slice(bytes);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_stream_of_one_call_is_opened_where_its_options_need_it() {
    let node = Running::start();
    let cloud = node.client().await;
    let bytes = pattern(MIB + 5);
    let stored = cloud
        .stream(Cursor::new(bytes.clone()))
        .key("named")
        .compress(Compress::Always)
        .await
        .unwrap();
    assert_eq!(stored.size, bytes.len() as u64);
    assert_eq!(cloud.get("named").await.unwrap().unwrap(), bytes);
    let options = node.fake.growing.stream(stored.id).unwrap().options;
    assert_eq!(
        (options.compress, options.placement),
        (Compress::Always, StreamPlacement::Auto)
    );
    // One that needs none of it goes as ever, and none is left open.
    let stored = cloud
        .stream(Cursor::new(b"plain"))
        .placement(Placement::Local)
        .await
        .unwrap();
    assert!(node.fake.growing.stream(stored.id).is_none());
    for refused in [
        cloud.stream(Cursor::new(b"")).peers(Vec::<String>::new()),
        cloud.stream(Cursor::new(b"")).key(""),
    ] {
        assert_eq!(
            refused.await.unwrap_err().api_code(),
            Some(ErrorCode::InvalidArgument)
        );
    }
}

#[tokio::test]
async fn nothing_is_kept_of_a_stream_whose_reader_fails() {
    let node = Running::start();
    let cloud = node.client().await;
    let error = cloud.stream(Broken(b"half")).key("named").await.unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    while node.fake.growing.open_streams() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(cloud.get("named").await.unwrap(), None);
    let error = cloud
        .stream(Cursor::new(b"short"))
        .key("named")
        .size(6)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    while node.fake.growing.open_streams() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn files_are_appended_with_and_without_descriptors() {
    let node = Running::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes = pattern(2 * MIB + 99);
    std::fs::write(&path, &bytes).unwrap();
    for cloud in [node.client().await, over_tcp(&node, &folder).await] {
        let mut writer = cloud.stream_writer().await.unwrap();
        let id = writer.id();
        let open = || File::open(&path).unwrap();
        assert_eq!(writer.write_file(open(), ..).await.unwrap(), bytes.len() as u64);
        writer.write_file(open(), 10..20).await.unwrap();
        writer.write_file(open(), bytes.len() as u64 - 3..).await.unwrap();
        writer.write_file(open(), 5..5).await.unwrap();
        let expected = [&bytes[..], &bytes[10..20], &bytes[bytes.len() - 3..]].concat();
        assert!(there(&node, id).0 == expected);
        // A file that has become shorter.
        assert!(
            writer
                .write_file(open(), bytes.len() as u64 - 3..bytes.len() as u64 + 1)
                .await
                .is_err()
        );
        let not_opened_so = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(writer.write_file(not_opened_so, ..).await.is_err());
        assert!(
            writer
                .write_file(File::open(folder.path()).unwrap(), ..)
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn objects_go_into_files_with_and_without_descriptors() {
    let node = Running::start();
    let folder = tempfile::tempdir().unwrap();
    // Several parts of what one request asks for.
    let bytes = pattern(13 * MIB + 99);
    let id = node.fake.insert(bytes.clone()).id;
    for cloud in [node.client().await, over_tcp(&node, &folder).await] {
        let file = tempfile::tempfile().unwrap();
        let read = |len: usize, at: u64| {
            let mut read = vec![0; len];
            file.read_exact_at(&mut read, at).unwrap();
            read
        };
        assert_eq!(
            cloud.load_into(id, .., &file, 7).await.unwrap(),
            bytes.len() as u64
        );
        assert!(read(bytes.len(), 7) == bytes);
        assert_eq!(file.metadata().unwrap().len(), 7 + bytes.len() as u64);
        assert_eq!(cloud.load_into(id, 5..9, &file, 0).await.unwrap(), 4);
        assert_eq!(read(4, 0), bytes[5..9]);
        // As far as there is anything.
        let end = bytes.len() as u64;
        assert_eq!(cloud.load_into(id, end - 2..end + 50, &file, 0).await.unwrap(), 2);
        let missing = cloud.load_into(BlockId::MAX, .., &file, 0).await.unwrap_err();
        assert_eq!(missing.api_code(), Some(ErrorCode::NotFound));
        let path = folder.path().join("kept");
        std::fs::write(&path, b"as it is").unwrap();
        assert!(
            cloud
                .load_into(id, .., &File::open(&path).unwrap(), 0)
                .await
                .is_err()
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"as it is");
    }
    #[cfg(target_os = "linux")]
    {
        let cloud = node.client().await;
        let path = folder.path().join("appended");
        let appends = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let error = cloud.load_into(id, .., &appends, 0).await.unwrap_err();
        assert_eq!(error.api_code(), Some(ErrorCode::InvalidArgument));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_object_that_is_no_memory_of_the_node_fills_a_mapping() {
    let node = Running::start();
    let cloud = node.client().await;
    let bytes = pattern(20 * MIB + 1);
    let id = node.fake.name("large", bytes.clone()).id;
    let mapped = cloud.load_mapped(id).await.unwrap();
    assert!(mapped[..] == bytes[..] && !mapped.is_mapped());
    // It lies in a file of this process, which nobody can write.
    let (file, offset) = mapped.file().unwrap();
    assert_eq!(offset, 0);
    let file = File::from(file.try_clone_to_owned().unwrap());
    assert!(file.write_at(b"x", 0).is_err());
    assert_eq!(node.fake.files.open(), 0);
    let by_key = cloud.get_mapped("large").await.unwrap().unwrap();
    assert!(by_key[..] == bytes[..] && by_key.file().is_some());
    // Where no descriptor passes its bytes are read.
    let folder = tempfile::tempdir().unwrap();
    let copied = over_tcp(&node, &folder).await.load_mapped(id).await.unwrap();
    assert!(copied[..] == bytes[..] && copied.file().is_none());
}

#[tokio::test]
async fn who_follows_reads_along_until_the_end() {
    let node = Running::start();
    let cloud = node.client().await;
    let mut writer = cloud.stream_writer().await.unwrap();
    writer.write_bytes("before, ").await.unwrap();
    let mut follower = cloud.follow(writer.id()).await.unwrap();
    assert_eq!((follower.size(), follower.length()), (u64::MAX, u64::MAX));
    assert_eq!(follower.next().await.unwrap().unwrap(), "before, ");
    let mut waiting = Box::pin(follower.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    writer.write_all(b"meanwhile").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), "meanwhile");
    let from = cloud.follow_from(writer.id(), 8).await.unwrap();
    let id = writer.finish().await.unwrap().id;
    assert!(follower.next().await.unwrap().is_none());
    assert_eq!(from.collect().await.unwrap(), "meanwhile");
    // One that has ended is an object as any other.
    let whole = cloud.follow(id).await.unwrap();
    assert_eq!(
        (whole.length(), whole.collect().await.unwrap()),
        (17, Bytes::from("before, meanwhile"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_has_patience_and_learns_that_the_stream_is_gone() {
    let node = Running::start();
    let cloud = node.client().await;
    let writer = cloud.stream_writer().await.unwrap();
    let mut follower = cloud.follow(writer.id()).await.unwrap();
    let hour = std::time::Duration::from_secs(3_600);
    assert!(tokio::time::timeout(hour, follower.next()).await.is_err());
    cloud.free(writer.id()).await.unwrap();
    let error = follower.next().await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::NotFound));
}

/// The pieces that were read of the fake node since the last time, in order, without those of no bytes.
fn pieces_read(node: &Running) -> Vec<u64> {
    let reads = std::mem::take(&mut *node.fake.reads.lock().unwrap());
    let pieces = reads.into_iter().filter(|(_, length)| *length > 0);
    pieces.map(|(offset, _)| offset / PIECE_SIZE).collect()
}

#[tokio::test]
async fn a_reader_that_seeks_fetches_what_it_touches() {
    let node = Running::start();
    let cloud = node.client().await;
    let bytes = pattern(40 * MIB + 1000);
    let id = node.fake.insert(bytes.clone()).id;
    let mut reader = cloud.reader(id).await.unwrap();
    assert_eq!((reader.id(), reader.size()), (id, bytes.len() as u64));
    assert!(pieces_read(&node).is_empty());
    let mut some = [0; 100];
    for (at, pieces) in [
        (30 * MIB + 5, &[30][..]),
        (2 * MIB - 50, &[1, 2, 3, 4]),
        (30 * MIB + 500, &[]),
        (40 * MIB + 900, &[40]),
    ] {
        reader.seek(SeekFrom::Start(at as u64)).await.unwrap();
        reader.read_exact(&mut some).await.unwrap();
        assert!(some[..] == bytes[at..at + 100], "{at}");
        let mut read = pieces_read(&node);
        read.sort_unstable();
        assert_eq!(read, pieces, "{at}");
    }
    assert_eq!(reader.read(&mut some).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reader_that_goes_forward_is_ahead_and_stays_within_its_bound() {
    let node = Running::start();
    let cloud = node.client().await;
    let bytes = pattern(24 * MIB + 1);
    let id = node.fake.insert(bytes.clone()).id;
    for (read_ahead, cache) in [(8, 16 * MIB), (0, 16 * MIB), (8, 3 * MIB), (1000, MIB), (2, 0)] {
        let builder = cloud.reader(id).read_ahead(read_ahead).cache_bytes(cache);
        let mut reader = builder.await.unwrap();
        let mut all = Vec::new();
        let mut piece = vec![0; 100_000];
        let (mut ahead_most, mut held_most) = (0, 0);
        loop {
            let read = reader.read(&mut piece).await.unwrap();
            if read == 0 {
                break;
            }
            all.extend_from_slice(&piece[..read]);
            let last = node
                .fake
                .reads
                .lock()
                .unwrap()
                .iter()
                .map(|(offset, _)| *offset)
                .max();
            let ahead = (last.unwrap() / PIECE_SIZE).saturating_sub((reader.position() - 1) / PIECE_SIZE);
            ahead_most = ahead_most.max(ahead);
            held_most = held_most.max(reader.held_bytes());
        }
        assert!(all == bytes);
        let bound = cache.max(MIB);
        assert!(held_most <= bound, "{held_most} of {bound}");
        let expected = read_ahead.min(bound / MIB - 1) as u64;
        assert_eq!(ahead_most, expected, "{read_ahead} {cache}");
        // Each piece was fetched once.
        let mut read = pieces_read(&node);
        read.sort_unstable();
        assert_eq!(read, (0..25).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn places_that_are_none_are_refused_and_those_behind_the_end_are_empty() {
    let node = Running::start();
    let cloud = node.client().await;
    let id = node.fake.insert(Bytes::from_static(b"0123456789")).id;
    let mut reader = cloud.reader(id).await.unwrap();
    let mut rest = String::new();
    assert_eq!(reader.seek(SeekFrom::End(-3)).await.unwrap(), 7);
    for before in [
        SeekFrom::End(-11),
        SeekFrom::Current(-8),
        SeekFrom::Current(i64::MIN),
    ] {
        let error = reader.seek(before).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(reader.stream_position().await.unwrap(), 7);
    }
    reader.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "789");
    for behind in [10, 11, u64::MAX] {
        assert_eq!(reader.seek(SeekFrom::Start(behind)).await.unwrap(), behind);
        assert_eq!(reader.read(&mut [0; 4]).await.unwrap(), 0);
    }
    assert!(reader.seek(SeekFrom::Current(1)).await.is_err());
    assert_eq!(reader.seek(SeekFrom::Start(2)).await.unwrap(), 2);
    assert_eq!(reader.read_u8().await.unwrap(), b'2');
    let empty = node.fake.insert(Bytes::new()).id;
    let mut reader = cloud.reader(empty).await.unwrap();
    assert_eq!(reader.seek(SeekFrom::End(5)).await.unwrap(), 5);
    assert_eq!(reader.read(&mut [0; 4]).await.unwrap(), 0);
    let error = cloud.reader(BlockId::MAX).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_seek_while_a_read_is_under_way_gives_that_up() {
    let node = Running::start();
    let cloud = node.client().await;
    let bytes = pattern(4 * MIB);
    let id = node.fake.insert(bytes.clone()).id;
    let mut reader = cloud.reader(id).await.unwrap();
    // The next read of the block never comes to its end.
    let (sender, body) = Body::channel(Some(PIECE_SIZE), |_| {});
    node.fake.bodies.lock().unwrap().insert(id, body);
    let mut some = [0; 10];
    let mut reading = Box::pin(reader.read(&mut some));
    while !node.fake.bodies.lock().unwrap().is_empty() {
        assert!(futures_util::poll!(&mut reading).is_pending());
        tokio::task::yield_now().await;
    }
    drop(reading);
    let at = 3 * MIB as u64 + 7;
    reader.seek(SeekFrom::Start(at)).await.unwrap();
    reader.read_exact(&mut some).await.unwrap();
    assert!(some[..] == bytes[at as usize..at as usize + 10]);
    // The node hears that nobody waits for the other one.
    sender.closed().await;
    assert_eq!(reader.held_bytes(), MIB);
}

#[tokio::test]
async fn what_failed_is_read_anew() {
    let node = Running::start();
    let cloud = node.client().await;
    let bytes = pattern(2 * MIB);
    let id = node.fake.insert(bytes.clone()).id;
    let mut reader = cloud.reader(id).await.unwrap();
    let (sender, body) = Body::channel(Some(PIECE_SIZE), |_| {});
    node.fake.bodies.lock().unwrap().insert(id, body);
    sender.fail(memsdk::ApiError::new(ErrorCode::PeerUnreachable, "it went away"));
    let error = reader.read_u8().await.unwrap_err();
    assert_eq!(api_code(error), Some(ErrorCode::PeerUnreachable));
    assert_eq!(reader.read_u8().await.unwrap(), bytes[0]);
}

#[test]
fn programs_without_a_runtime_do_the_same() {
    use memsdk::blocking;
    use std::io::{Read, Seek};

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let node = runtime.block_on(async { Running::start() });
    let cloud = blocking::MemCloud::builder()
        .socket(&node.socket)
        .connect_blocking()
        .unwrap();
    let bytes = pattern(3 * MIB + 5);
    let mut writer = cloud.stream_writer().key("log").live(true).open().unwrap();
    let id = writer.id();
    let mut follower = cloud.follow(id).unwrap();
    writer.write_all(&bytes).unwrap();
    writer.flush().unwrap();
    let mut came = vec![0; bytes.len()];
    follower.read_exact(&mut came).unwrap();
    assert!(came == bytes);
    writer.write_from(Cursor::new(b"more")).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"from a file").unwrap();
    writer.write_file(file, 5..).unwrap();
    assert_eq!(writer.status().unwrap().taken_bytes, bytes.len() as u64 + 10);
    drop(writer);
    let mut writer = cloud.resume_stream(id).unwrap();
    assert!(writer.known(&[]).unwrap().is_empty());
    writer.write_bytes("!").unwrap();
    assert_eq!(writer.finish().unwrap().size_bytes, bytes.len() as u64 + 11);
    let mut rest = String::new();
    follower.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "morea file!");
    assert!(cloud.stream_status(id).unwrap().finished);

    let mut reader = cloud.reader(id).open().unwrap();
    assert_eq!(reader.seek(SeekFrom::End(-7)).unwrap(), reader.size() - 7);
    rest.clear();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "a file!");
    let into = tempfile::tempfile().unwrap();
    assert_eq!(cloud.load_into(id, 2..5, &into, 1).unwrap(), 3);
    let mut read = [0; 4];
    into.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(read, [0, bytes[2], bytes[3], bytes[4]]);
    let named = cloud
        .stream(Cursor::new(b"named"))
        .key("named")
        .peers(["NodeB"])
        .send()
        .unwrap();
    assert_eq!(cloud.load(named.id).unwrap(), "named");
    assert_eq!(node.fake.running.load(Ordering::SeqCst), 0);
}
