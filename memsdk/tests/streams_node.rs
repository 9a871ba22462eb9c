//! Streams between a client and real nodes: one alone, and two of which one lends to the other.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

#[path = "support/node.rs"]
#[allow(dead_code)]
mod node;

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use memproto::control::{ConnectRequest, TrustAddition};
use memsdk::{Compress, ErrorCode, KnownChunk, MemCloud, Placement};
use node::{RunningNode, new_home};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

const MIB: usize = 1024 * 1024;

/// Bytes that no compression makes smaller, and no two chunks of which are equal.
fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

async fn client(node: &RunningNode) -> MemCloud {
    MemCloud::builder().socket(node.socket()).connect().await.unwrap()
}

/// Two nodes that trust each other; the second one lends to the first.
async fn pair() -> (RunningNode, RunningNode, MemCloud, MemCloud) {
    let here = RunningNode::start_with(new_home(), &["--memory", "64mb", "--name", "Here"]);
    let there = RunningNode::start_with(new_home(), &["--memory", "256mb", "--name", "There"]);
    let (cloud, peer) = (client(&here).await, client(&there).await);
    for (one, other, name) in [(&cloud, &peer, "There"), (&peer, &cloud, "Here")] {
        let addition = TrustAddition {
            public_key: other.status().await.unwrap().public_key,
            name: name.to_owned(),
            quota_bytes: Some(200 << 20),
        };
        one.trust(addition).await.unwrap();
    }
    let target = peer.status().await.unwrap().peer_addresses[0].to_string();
    let request = ConnectRequest {
        target,
        quota_bytes: None,
        once: false,
        accept_new_key: false,
    };
    let connected = cloud.connect_peer(request).await.unwrap();
    assert_eq!(connected.name, "There");
    (here, there, cloud, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_one_node_is_written_in_all_ways_and_read_in_all() {
    let node = RunningNode::start("128mb");
    let cloud = client(&node).await;
    let bytes = noise(20 * MIB + 333);
    let mut writer = cloud
        .stream_writer()
        .key("model")
        .placement(Placement::Local)
        .await
        .unwrap();
    let id = writer.id();
    let mut follower = cloud.follow(id).await.unwrap();
    writer.write_all(&bytes[..3 * MIB + 7]).await.unwrap();
    writer.flush().await.unwrap();
    let mut began = vec![0; 3 * MIB + 7];
    follower.read_exact(&mut began).await.unwrap();
    assert!(began == bytes[..began.len()]);
    // It is gone on with on another connection, behind what was taken.
    drop(writer);
    let cloud = client(&node).await;
    let taken = cloud.stream_status(id).await.unwrap().taken_bytes;
    assert_eq!(taken, began.len() as u64);
    let mut writer = cloud.resume_stream(id).await.unwrap();
    assert_eq!(
        writer.write_file(file_of(&bytes), taken..).await.unwrap(),
        bytes.len() as u64
    );
    assert_eq!(cloud.get("model").await.unwrap(), None);
    let finished = writer.finish().await.unwrap();
    assert_eq!((finished.id, finished.size_bytes), (id, bytes.len() as u64));

    let mut rest = Vec::new();
    follower.read_to_end(&mut rest).await.unwrap();
    assert!(rest == bytes[began.len()..]);
    assert!(cloud.get("model").await.unwrap().unwrap() == bytes);
    let mut file = tempfile::tempfile().unwrap();
    assert_eq!(
        cloud.load_into(id, .., &file, 0).await.unwrap(),
        bytes.len() as u64
    );
    assert!(contents(&mut file) == bytes);
    assert_eq!(
        cloud
            .load_into(id, MIB as u64 - 5..MIB as u64 + 5, &file, 3)
            .await
            .unwrap(),
        10
    );
    assert!(contents(&mut file)[3..13] == bytes[MIB - 5..MIB + 5]);
    let mapped = cloud.load_mapped(id).await.unwrap();
    assert!(mapped[..] == bytes[..] && mapped.file().is_some());
    let mut reader = cloud.reader(id).await.unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert!(all == bytes);
    reader.seek(SeekFrom::Start(7 * MIB as u64 - 3)).await.unwrap();
    let mut some = [0; 10];
    reader.read_exact(&mut some).await.unwrap();
    assert!(some[..] == bytes[7 * MIB - 3..7 * MIB + 7]);

    assert_eq!(cloud.free(id).await.unwrap().blocks, 1);
    assert_eq!(reader.seek(SeekFrom::Start(0)).await.unwrap(), 0);
    let error = reader.read_u8().await.map(drop);
    // What is cached may still be read; what is not, is gone.
    assert!(error.is_ok() || reader.read_to_end(&mut all).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lies_on_a_peer_comes_into_a_file_and_a_mapping() {
    let (_here, _there, cloud, peer) = pair().await;
    let bytes = noise(40 * MIB + 11);
    let stored = cloud
        .stream(Cursor::new(bytes.clone()))
        .key("weights")
        .peers(["There"])
        .compress(Compress::Never)
        .await
        .unwrap();
    assert_eq!(stored.size, bytes.len() as u64);
    for reads in [&cloud, &peer] {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(
            reads.load_into(stored.id, .., &file, 0).await.unwrap(),
            stored.size
        );
        assert!(contents(&mut file) == bytes);
        let mapped = reads.get_mapped("weights").await.unwrap().unwrap();
        assert!(mapped[..] == bytes[..]);
        let mut reader = reads.reader(stored.id).await.unwrap();
        reader.seek(SeekFrom::End(-5)).await.unwrap();
        let mut end = Vec::new();
        reader.read_to_end(&mut end).await.unwrap();
        assert!(end == bytes[bytes.len() - 5..]);
    }
    // The same bytes again need not travel.
    let mut writer = cloud
        .stream_writer()
        .peers(["There"])
        .compress(Compress::Never)
        .await
        .unwrap();
    writer.write_file(file_of(&bytes), ..).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().known_bytes, stored.size);
    let unknown = KnownChunk {
        hash: memsdk::ChunkHash::from_bytes([9; 32]),
        length: 5,
    };
    let mut writer = cloud.stream_writer().await.unwrap();
    assert_eq!(writer.known(&[unknown]).await.unwrap(), [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_on_another_node_reads_along() {
    let (_here, _there, cloud, peer) = pair().await;
    let mut writer = cloud.stream_writer().key("log").live(true).await.unwrap();
    writer.write_bytes("it begins, ").await.unwrap();
    let mut follower = peer.follow(writer.id()).await.unwrap();
    let mut came = vec![0; 11];
    follower.read_exact(&mut came).await.unwrap();
    writer.write_bytes("goes on, ").await.unwrap();
    let mut more = vec![0; 9];
    follower.read_exact(&mut more).await.unwrap();
    came.extend(more);
    writer.write_bytes("and ends").await.unwrap();
    let id = writer.finish().await.unwrap().id;
    follower.read_to_end(&mut came).await.unwrap();
    assert_eq!(came, b"it begins, goes on, and ends");
    assert_eq!(peer.load(id).await.unwrap(), &came[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_room_is_an_error_and_leaves_nothing() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node).await;
    let before = cloud.stats().await.unwrap().used_bytes;
    let bytes = noise(80 * MIB);
    let mut writer = cloud.stream_writer().placement(Placement::Local).await.unwrap();
    let error = writer.write_bytes(bytes.clone()).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::OutOfMemory));
    let mut writer = cloud.stream_writer().placement(Placement::Local).await.unwrap();
    let error = writer.write_file(file_of(&bytes), ..).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::OutOfMemory));
    let error = cloud.resume_stream(writer.id()).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::NotFound));
    assert_eq!(cloud.stats().await.unwrap().used_bytes, before);
}
