//! Values of a MiB and more: from where they lie to where they belong, with no copy in between.

use std::io::{IoSlice, IoSliceMut};

use anyhow::Result;
use memproto::local::Op;

use super::native::{self, Body};
use super::prepared::{self, Reply};
use super::{Client, Protocol, Request};

impl Client {
    /// Sets a value.
    pub(crate) fn set_large(&mut self, key: &str, value: &[u8]) -> Result<()> {
        if self.protocol == Protocol::MemCloud {
            let len = value.len() as u64;
            return self.set_body(key, Body { source: value, len });
        }
        let head = prepared::set_head(self.protocol, key, value.len());
        self.write_all_of(&mut [
            IoSlice::new(head.as_bytes()),
            IoSlice::new(value),
            IoSlice::new(b"\r\n"),
        ])?;
        let reply = Reply::of(self.protocol, Request::Set, value.len());
        let mut there = vec![0; reply.head.len()];
        self.inbox
            .read_all_of(&self.socket, &mut [IoSliceMut::new(&mut there)])?;
        reply.check(&there)
    }

    /// Reads a value of exactly this length.
    pub(crate) fn get_large(&mut self, key: &str, value: &mut [u8]) -> Result<()> {
        if self.protocol == Protocol::MemCloud {
            self.queue(Op::Get, |out| native::read(key).encode(out), &[]);
            self.flush()?;
            return self.receive_body(value.len() as u64, value);
        }
        self.write_all(prepared::get(self.protocol, key).as_bytes())?;
        let reply = Reply::of(self.protocol, Request::Get, value.len());
        let (mut head, mut tail) = (vec![0; reply.head.len()], vec![0; reply.tail.len()]);
        self.inbox.read_all_of(
            &self.socket,
            &mut [
                IoSliceMut::new(&mut head),
                IoSliceMut::new(value),
                IoSliceMut::new(&mut tail),
            ],
        )?;
        reply.check(&head)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::random::pattern;

    /// A connection to a server that speaks Redis's protocol, expects this request and answers it so.
    fn served(request: &'static str, reply: Vec<u8>) -> Client {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            for (request, reply) in [("PING\r\n", &b"+PONG\r\n"[..]), (request, &reply)] {
                let mut read = vec![0; request.len()];
                socket.read_exact(&mut read).unwrap();
                assert_eq!(read, request.as_bytes());
                socket.write_all(reply).unwrap();
            }
        });
        Client::connect(Protocol::Redis, &path).unwrap()
    }

    #[test]
    fn a_text_protocols_value_comes_whole() {
        let value = pattern(300_000);
        let reply = [b"$300000\r\n", &value[..], b"\r\n"].concat();
        let request = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let mut client = served(request, reply);
        let mut received = vec![0; value.len()];
        client.get_large("k", &mut received).unwrap();
        assert_eq!(received, value);
    }

    #[test]
    fn a_refusal_of_a_large_value_is_an_error() {
        let request = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r\n";
        let mut client = served(request, b"-OOM too much\r\n".to_vec());
        let error = client.set_large("k", b"abc").unwrap_err();
        assert!(error.to_string().contains("-OOM"), "{error}");
    }
}
