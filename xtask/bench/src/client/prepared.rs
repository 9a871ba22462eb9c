//! Small requests that are encoded before the clock starts, and replies of known form.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Result, bail, ensure};
use bytes::{BufMut, BytesMut};
use memproto::Placement;
use memproto::local::reply::ReadReply;
use memproto::local::request::PutRequest;
use memproto::local::{FrameHeader, HEADER_LEN, Op};

use super::native;
use super::{Client, Protocol, Request};

/// The same request for each of several keys, all with the same value.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The requests one behind another.
    bytes: Vec<u8>,
    each_len: usize,
    count: usize,
    reply: Reply,
}

/// The value of a request: its bytes where it is set, its length where it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Len(usize),
}

impl Value<'_> {
    fn len(self) -> usize {
        match self {
            Value::Bytes(bytes) => bytes.len(),
            Value::Len(len) => len,
        }
    }
}

impl Prepared {
    /// Encodes a SET of this value, or a GET of one, for each key.
    ///
    /// # Errors
    /// When the keys are not all of one length: then the requests would not be either.
    pub(crate) fn new(protocol: Protocol, keys: &[String], value: Value<'_>) -> Result<Self> {
        Self::placed(protocol, keys, value, &Placement::Auto)
    }

    /// The same with values that are to lie somewhere, where the protocol can say so.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn placed(
        protocol: Protocol,
        keys: &[String],
        value: Value<'_>,
        placement: &Placement,
    ) -> Result<Self> {
        let mut bytes = BytesMut::new();
        for (index, key) in keys.iter().enumerate() {
            encode(protocol, index as u64 + 1, key, value, placement, &mut bytes);
        }
        ensure!(
            keys.iter().all(|key| key.len() == keys[0].len()),
            "the keys of a run have one length"
        );
        let request = match value {
            Value::Bytes(_) => Request::Set,
            Value::Len(_) => Request::Get,
        };
        Ok(Self {
            each_len: bytes.len() / keys.len().max(1),
            bytes: bytes.into(),
            count: keys.len(),
            reply: Reply::of(protocol, request, value.len()),
        })
    }

    /// How many requests there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

fn encode(
    protocol: Protocol,
    id: u64,
    key: &str,
    value: Value<'_>,
    placement: &Placement,
    out: &mut BytesMut,
) {
    match (protocol, value) {
        (Protocol::Echo, Value::Bytes(bytes)) => out.put_slice(bytes),
        (Protocol::Echo, Value::Len(len)) => out.put_bytes(b'x', len),
        (Protocol::MemCloud, Value::Bytes(bytes)) => {
            let put = PutRequest {
                placement: placement.clone(),
                ..native::put(Some(key), bytes.len() as u64)
            };
            native::put_frame(out, Op::Set, id, |out| put.encode(out), bytes);
        }
        (Protocol::MemCloud, Value::Len(_)) => {
            native::put_frame(out, Op::Get, id, |out| native::read(key).encode(out), &[]);
        }
        (_, Value::Bytes(bytes)) => {
            out.put_slice(set_head(protocol, key, bytes.len()).as_bytes());
            out.put_slice(bytes);
            out.put_slice(b"\r\n");
        }
        (_, Value::Len(_)) => out.put_slice(get(protocol, key).as_bytes()),
    }
}

/// What stands in front of the value of a SET in a text protocol.
pub(super) fn set_head(protocol: Protocol, key: &str, len: usize) -> String {
    match protocol {
        Protocol::Redis => format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${len}\r\n", key.len()),
        _ => format!("ms {key} {len}\r\n"),
    }
}

/// A GET in a text protocol.
pub(super) fn get(protocol: Protocol, key: &str) -> String {
    match protocol {
        Protocol::Redis => format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()),
        _ => format!("mg {key} v\r\n"),
    }
}

/// What a reply must look like, byte by byte, with a gap where the server has something of its own to say.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Vec<u8>,
    /// Where `head` may differ: in MemCloud's protocol the ids of the request and of the block.
    gap: Range<usize>,
    body_len: usize,
    pub(super) tail: &'static [u8],
}

impl Reply {
    /// The successful reply to a request for a value of this length.
    pub(super) fn of(protocol: Protocol, request: Request, value_len: usize) -> Self {
        let text = |head: &str, body_len, tail| Self {
            head: head.into(),
            gap: 0..0,
            body_len,
            tail,
        };
        match (protocol, request) {
            (Protocol::Echo, _) => text("", value_len, b""),
            (Protocol::Redis, Request::Set) => text("+OK\r\n", 0, b""),
            (Protocol::Memcached, Request::Set) => text("HD\r\n", 0, b""),
            (Protocol::Redis, Request::Get) => text(&format!("${value_len}\r\n"), value_len, b"\r\n"),
            (Protocol::Memcached, Request::Get) => text(&format!("VA {value_len}\r\n"), value_len, b"\r\n"),
            (Protocol::MemCloud, Request::Set) => Self::native(Op::Set, &[value_len], 0),
            (Protocol::MemCloud, Request::Get) => Self::native(Op::Get, &[value_len; 2], value_len),
        }
    }

    /// A frame with the id of a block, these sizes, and a body.
    fn native(op: Op, sizes: &[usize], body_len: usize) -> Self {
        let mut header = FrameHeader::new(op, 0);
        header.length = (8 + 8 * sizes.len() + body_len) as u32;
        let mut head = header.encode().to_vec();
        head.put_u64_le(0);
        for &size in sizes {
            head.put_u64_le(size as u64);
        }
        debug_assert!(op == Op::Set || head.len() == HEADER_LEN + ReadReply::LEN);
        Self {
            head,
            gap: REQUEST_ID.start..HEADER_LEN + 8,
            body_len,
            tail: b"",
        }
    }

    fn len(&self) -> usize {
        self.head.len() + self.body_len + self.tail.len()
    }

    /// Looks at the head of a reply, as far as it is there: an error is told by its first bytes, and may be shorter than
    /// what was expected.
    pub(super) fn check(&self, there: &[u8]) -> Result<()> {
        let here = there.len().min(self.head.len());
        let before = here.min(self.gap.start);
        let after = here.min(self.gap.end)..here;
        if there[..before] == self.head[..before] && there[after.clone()] == self.head[after] {
            return Ok(());
        }
        let mut shown = String::new();
        for &byte in &there[..there.len().min(200)] {
            let _ = write!(shown, "{}", byte.escape_ascii());
        }
        bail!("an unexpected reply: {shown}")
    }
}

/// Where the id of a request stands in a frame.
const REQUEST_ID: Range<usize> = 8..16;

impl Client {
    /// Sends `count` requests from the `first` on in one write, and reads all their replies.
    pub(crate) fn ask(&mut self, requests: &Prepared, first: usize, count: usize) -> Result<()> {
        self.send(requests, first, count)?;
        self.receive(requests, first, count)
    }

    /// The first half of [`ask`](Self::ask).
    pub(crate) fn send(&mut self, requests: &Prepared, first: usize, count: usize) -> Result<()> {
        let each = requests.each_len;
        self.write_all(&requests.bytes[first * each..(first + count) * each])
    }

    /// The second half of [`ask`](Self::ask).
    pub(crate) fn receive(&mut self, requests: &Prepared, first: usize, count: usize) -> Result<()> {
        let reply = &requests.reply;
        // Replies may come in any order: those of a batch are all there when their ids cancel out the requests'.
        let mut ids = 0;
        for index in first..first + count {
            ids ^= index as u64 + 1;
            loop {
                let there = self.inbox.bytes();
                reply.check(there)?;
                if there.len() >= reply.len() {
                    break;
                }
                self.inbox.read_some(&self.socket)?;
            }
            let there = &self.inbox.bytes()[..reply.len()];
            ensure!(there.ends_with(reply.tail), "a value without its end");
            if let Some(id) = reply.id(there) {
                ids ^= id;
            }
            self.inbox.consume(reply.len());
        }
        ensure!(
            self.protocol != Protocol::MemCloud || ids == 0,
            "replies to other requests"
        );
        Ok(())
    }

    /// Sends the first request and returns the value that comes back.
    pub(crate) fn value(&mut self, requests: &Prepared) -> Result<Vec<u8>> {
        self.write_all(&requests.bytes[..requests.each_len])?;
        let reply = &requests.reply;
        self.inbox.need(&self.socket, reply.len())?;
        let there = &self.inbox.bytes()[..reply.len()];
        reply.check(there)?;
        let value = there[reply.head.len()..][..reply.body_len].to_vec();
        self.inbox.consume(reply.len());
        Ok(value)
    }
}

impl Reply {
    /// The id of the request that this answers, where the protocol has one.
    fn id(&self, there: &[u8]) -> Option<u64> {
        if self.gap.is_empty() {
            return None;
        }
        let bytes = there[REQUEST_ID].try_into().expect("an id has 8 bytes");
        Some(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A client of a server that sends these replies, whatever it is asked.
    fn ask(protocol: Protocol, value: Value<'_>, count: usize, replies: &[u8]) -> Result<()> {
        let (socket, mut server) = UnixStream::pair()?;
        socket.set_read_timeout(Some(super::super::REPLY_TIMEOUT))?;
        let mut client = Client::new(protocol, socket.into());
        let keys: Vec<_> = (0..count).map(|key| format!("key:{key}")).collect();
        let requests = Prepared::new(protocol, &keys, value)?;
        server.write_all(replies)?;
        client.ask(&requests, 0, count)?;
        let mut sent = vec![0; requests.bytes.len()];
        server.read_exact(&mut sent)?;
        assert_eq!(sent, requests.bytes);
        Ok(())
    }

    /// The reply of a node to request `id`.
    fn native(op: Op, id: u64, sizes: &[u64], value: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let block_id = |out: &mut BytesMut| {
            out.put_u64_le(77);
            sizes.iter().for_each(|&size| out.put_u64_le(size));
        };
        native::put_frame(&mut out, op, id, block_id, value);
        out.into()
    }

    #[test]
    fn replies_of_every_protocol_are_taken() {
        let (get, set) = (Value::Len(3), Value::Bytes(b"abc"));
        ask(Protocol::Redis, set, 2, b"+OK\r\n+OK\r\n").unwrap();
        ask(Protocol::Redis, get, 2, b"$3\r\nabc\r\n$3\r\nabc\r\n").unwrap();
        ask(Protocol::Memcached, set, 1, b"HD\r\n").unwrap();
        ask(Protocol::Memcached, get, 1, b"VA 3\r\nabc\r\n").unwrap();
        ask(Protocol::Echo, get, 2, b"abcdef").unwrap();
        // In any order.
        let replies = [native(Op::Set, 2, &[3], b""), native(Op::Set, 1, &[3], b"")].concat();
        ask(Protocol::MemCloud, set, 2, &replies).unwrap();
        ask(Protocol::MemCloud, get, 1, &native(Op::Get, 1, &[3, 3], b"abc")).unwrap();
    }

    #[test]
    fn wrong_replies_are_found_at_once() {
        let (get, set) = (Value::Len(3), Value::Bytes(b"abc"));
        let wrong: [(_, _, Vec<u8>); 9] = [
            (Protocol::Redis, set, b"-OOM\r\n".to_vec()),
            (Protocol::Redis, get, b"$-1\r\n".to_vec()),
            (Protocol::Redis, get, b"$4\r\nabcd\r\n".to_vec()),
            (Protocol::Redis, get, b"$3\r\nabcde".to_vec()),
            (Protocol::Memcached, set, b"NS\r\n".to_vec()),
            (Protocol::Memcached, get, b"EN\r\n".to_vec()),
            (Protocol::MemCloud, get, native(Op::Set, 1, &[3], b"")),
            (Protocol::MemCloud, get, native(Op::Get, 2, &[3, 3], b"abc")),
            (Protocol::MemCloud, get, native(Op::Get, 1, &[4, 4], b"abcd")),
        ];
        for (protocol, value, reply) in wrong {
            assert!(ask(protocol, value, 1, &reply).is_err(), "{protocol:?} {reply:?}");
        }
    }

    #[test]
    fn keys_of_a_run_have_one_length() {
        let keys = ["a".to_owned(), "bb".to_owned()];
        assert!(Prepared::new(Protocol::Redis, &keys, Value::Len(1)).is_err());
    }
}
