//! Nodes that misbehave, word by word.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use memproto::local::reply::{HelloReply, ReadReply};
use memproto::local::{FrameHeader, Input, Op, Output};
use memproto::{ApiError, BlockId, ErrorCode, NodeId};
use memsdk::{Error, MemCloud};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A socket that a test answers by hand.
struct Script {
    home: tempfile::TempDir,
    listener: UnixListener,
}

struct Wire {
    stream: UnixStream,
    input: Input,
}

impl Script {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("s")).unwrap();
        Self { home, listener }
    }

    /// A client and the node's end of its connection, greeted.
    async fn connect(&self) -> (MemCloud, Wire) {
        let builder = MemCloud::builder()
            .socket(self.home.path().join("s"))
            .timeout(Duration::from_secs(20));
        let (cloud, wire) = tokio::join!(builder.connect(), self.accept());
        (cloud.unwrap(), wire)
    }

    async fn accept(&self) -> Wire {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut wire = Wire {
            stream,
            input: Input::default(),
        };
        while !wire.input.take_preface().unwrap() {
            wire.fill().await;
        }
        let (hello, _) = wire.read().await;
        let reply = HelloReply {
            version: 1,
            in_flight_max: 100,
            held_bytes_max: 1 << 25,
            node_id: NodeId::from_bytes([1; 16]),
            node_version: "0.1.0".to_owned(),
        };
        wire.send(hello, |out| reply.encode(out)).await;
        wire
    }
}

impl Wire {
    async fn fill(&mut self) {
        let bytes = self.stream.read_buf(self.input.read_buffer()).await.unwrap();
        assert_ne!(bytes, 0, "the client went away");
        self.input.received(bytes);
    }

    async fn read(&mut self) -> (FrameHeader, Bytes) {
        loop {
            if let Some(header) = self.input.peek().unwrap() {
                return (header, self.input.take(&header));
            }
            self.fill().await;
        }
    }

    async fn send(&mut self, header: FrameHeader, payload: impl FnOnce(&mut BytesMut)) {
        let mut output = Output::default();
        output.frame_copied(header, payload, &[]);
        self.stream.write_all(&output.to_vec()).await.unwrap();
    }

    async fn value(&mut self, header: FrameHeader, length: u64, value: &[u8]) {
        let reply = ReadReply {
            id: id(),
            size: length,
            length,
        };
        self.send(header, |out| {
            reply.encode(out);
            out.put_slice(value);
        })
        .await;
    }
}

fn id() -> BlockId {
    BlockId::new(5).unwrap()
}

#[tokio::test]
async fn replies_out_of_order_find_their_calls() {
    let script = Script::new();
    let (cloud, mut wire) = script.connect().await;
    let names: Vec<String> = (0..10).map(|i| format!("key{i}")).collect();
    let gets = futures_util::future::join_all(names.iter().map(|name| cloud.get(name)));
    let answers = async {
        let mut requests = Vec::new();
        for _ in 0..10 {
            requests.push(wire.read().await);
        }
        for (header, payload) in requests.into_iter().rev() {
            let key = &payload[20..];
            wire.value(header, key.len() as u64, key).await;
        }
    };
    let (values, ()) = tokio::join!(gets, answers);
    for (name, value) in names.iter().zip(values) {
        assert_eq!(value.unwrap().unwrap(), *name);
    }
}

#[tokio::test]
async fn a_connection_lost_in_mid_body_is_an_error_and_the_next_call_connects_again() {
    let script = Script::new();
    let (cloud, mut wire) = script.connect().await;
    let (object, ()) = tokio::join!(cloud.open(id()), async {
        let (header, _) = wire.read().await;
        wire.value(header.with_more(true), 10, b"").await;
        wire.send(
            FrameHeader::new(Op::Data, header.request).with_more(true),
            |out| out.put_slice(b"abc"),
        )
        .await;
    });
    let mut object = object.unwrap();
    let waiting = cloud.get("k");
    let (got, lost) = tokio::join!(
        async {
            let first = object.next().await.unwrap().unwrap();
            (first, object.next().await)
        },
        async {
            let (lost, ()) = tokio::join!(waiting, async {
                wire.read().await;
                drop(wire);
            });
            lost
        }
    );
    assert_eq!(got.0, "abc");
    assert!(matches!(got.1, Err(Error::ConnectionLost)));
    assert!(matches!(lost, Err(Error::ConnectionLost)));
    let (pong, ()) = tokio::join!(cloud.ping(), async {
        let mut wire = script.accept().await;
        let (header, _) = wire.read().await;
        wire.send(header, |_| {}).await;
    });
    pong.unwrap();
}

/// What a get fails with where the node answers with these bytes.
async fn get_fails_with(answer: impl FnOnce(FrameHeader) -> Vec<u8>) -> Error {
    let script = Script::new();
    let (cloud, mut wire) = script.connect().await;
    let (value, _wire) = tokio::join!(cloud.get("k"), async {
        let (header, _) = wire.read().await;
        wire.stream.write_all(&answer(header)).await.unwrap();
        wire
    });
    value.unwrap_err()
}

fn frame(header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    output.frame_copied(header, |_| {}, payload);
    output.to_vec()
}

fn value(length: u64, value: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    ReadReply {
        id: id(),
        size: length,
        length,
    }
    .encode(&mut out);
    out.put_slice(value);
    out.to_vec()
}

#[tokio::test]
async fn a_node_that_breaks_the_protocol_is_an_error() {
    let too_long = |header: FrameHeader| {
        FrameHeader {
            length: u32::MAX,
            ..header
        }
        .encode()
        .to_vec()
    };
    let lying = |header| frame(header, &value(10, b"abc"));
    let too_much = |header| frame(header, &value(2, b"abc"));
    let wrong_op = |header: FrameHeader| frame(FrameHeader::new(Op::Ping, header.request), &[]);
    let no_layout = |header| frame(header, b"abc");
    let data_first = |header: FrameHeader| frame(FrameHeader::new(Op::Data, header.request), b"abc");
    let beyond_credit = |header: FrameHeader| {
        let mut bytes = frame(header.with_more(true), &value(1 << 30, b""));
        let data = frame(
            FrameHeader::new(Op::Data, header.request).with_more(true),
            &[0; 256 * 1024],
        );
        bytes.extend(data.repeat(9));
        bytes
    };
    let short_end = |header: FrameHeader| {
        let mut bytes = frame(header.with_more(true), &value(10, b""));
        bytes.extend(frame(FrameHeader::new(Op::Data, header.request), b"abc"));
        bytes
    };
    for error in [
        get_fails_with(too_long).await,
        get_fails_with(lying).await,
        get_fails_with(too_much).await,
        get_fails_with(wrong_op).await,
        get_fails_with(no_layout).await,
        get_fails_with(data_first).await,
        get_fails_with(short_end).await,
    ] {
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    }
    let script = Script::new();
    let (cloud, mut wire) = script.connect().await;
    let (object, _wire) = tokio::join!(cloud.open(id()), async {
        let (header, _) = wire.read().await;
        wire.stream.write_all(&beyond_credit(header)).await.unwrap();
        wire
    });
    // Nothing was taken out of the object: the ninth frame is beyond the window, and all calls end.
    let _object = object.unwrap();
    assert!(matches!(cloud.ping().await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_fault_is_told_to_the_calls() {
    let fault = |_| {
        let mut output = Output::default();
        let busy = ApiError::new(ErrorCode::Busy, "too many programs");
        output.error(FrameHeader::new(Op::Fault, 0), &busy);
        output.to_vec()
    };
    let error = get_fails_with(fault).await;
    assert_eq!(error.api_code(), Some(ErrorCode::Busy));
}

#[tokio::test]
async fn an_object_of_a_size_that_no_memory_has_is_an_error_not_a_crash() {
    let script = Script::new();
    let (cloud, mut wire) = script.connect().await;
    let (object, ()) = tokio::join!(cloud.open(id()), async {
        let (header, _) = wire.read().await;
        wire.value(header.with_more(true), u64::MAX, b"").await;
    });
    assert!(matches!(object.unwrap().collect().await, Err(Error::Io(_))));
}
