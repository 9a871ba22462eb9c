//! The part of MemCloud's protocol whose frames have no fixed form: greeting, refusals, bodies with credit, control.

use std::io::{IoSlice, IoSliceMut};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, BytesMut};
use memproto::local::reply::{PutReply, ReadReply};
use memproto::local::request::{
    DelRequest, FreeRequest, HelloRequest, PutRequest, ReadRequest, decode_credit,
};
use memproto::local::{
    BODY_WINDOW, FrameHeader, HEADER_LEN, INLINE_MAX, Op, PREFACE, PROTOCOL_VERSION, data_cost,
};
use memproto::{ApiError, BlockClass, BlockId, ErrorCode, Placement};
use serde::de::DeserializeOwned;

use super::Client;

/// Arguments of a SET of this key, or of a STREAM, for a value of this length.
pub(super) fn put(key: Option<&str>, len: u64) -> PutRequest<'_> {
    PutRequest {
        size: Some(len),
        class: BlockClass::Pinned,
        placement: Placement::Auto,
        ttl: None,
        key,
        strict: false,
    }
}

/// Arguments of a GET or LOAD of the whole value.
pub(super) fn read<T>(target: T) -> ReadRequest<T> {
    ReadRequest {
        offset: 0,
        length: u64::MAX,
        target,
        strict: false,
        follow: false,
    }
}

/// Appends a frame without MORE.
pub(super) fn put_frame(out: &mut BytesMut, op: Op, id: u64, args: impl FnOnce(&mut BytesMut), value: &[u8]) {
    let start = out.len();
    out.put_bytes(0, HEADER_LEN);
    args(out);
    out.put_slice(value);
    let mut header = FrameHeader::new(op, id);
    header.length = (out.len() - start - HEADER_LEN) as u32;
    out[start..start + HEADER_LEN].copy_from_slice(&header.encode());
}

/// A value that is sent in pieces of at most [`INLINE_MAX`] bytes: so many bytes, which are `source` again and again. Where the source ends
/// a piece does, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    pub(crate) source: &'a [u8],
    pub(crate) len: u64,
}

impl<'a> Body<'a> {
    /// The piece that begins at `offset`, and whether more follow.
    fn piece(&self, offset: u64) -> (&'a [u8], bool) {
        let rest = self.len - offset;
        let start = (offset % self.source.len() as u64) as usize;
        let piece = &self.source[start..];
        let len = (INLINE_MAX as u64).min(rest).min(piece.len() as u64);
        (&piece[..len as usize], len < rest)
    }
}

impl Client {
    pub(super) fn greet(&mut self) -> Result<()> {
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            name: "bench",
            token: "",
        };
        self.outbox.put_slice(&PREFACE);
        self.queue(Op::Hello, |out| hello.encode(out), &[]);
        self.flush()?;
        self.outcome()?.1?;
        Ok(())
    }

    /// Appends a request, which leaves with the next [`flush`](Self::flush). Returns its id.
    pub(super) fn queue(&mut self, op: Op, args: impl FnOnce(&mut BytesMut), value: &[u8]) -> u64 {
        self.last_id += 1;
        put_frame(&mut self.outbox, op, self.last_id, args, value);
        self.last_id
    }

    /// Appends a SET of a value that fits a frame. Returns its id.
    pub(crate) fn queue_set(&mut self, key: &str, value: &[u8]) -> u64 {
        let put = put(Some(key), value.len() as u64);
        self.queue(Op::Set, |out| put.encode(out), value)
    }

    /// Appends a DEL.
    pub(crate) fn queue_del(&mut self, key: &str) {
        self.queue(Op::Del, |out| DelRequest { key, strict: false }.encode(out), &[]);
    }

    /// Sends what was queued.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.write_all(&self.outbox)?;
        self.outbox.clear();
        Ok(())
    }

    /// Reads the next reply, to a request whose value was sent whole: the id of the request, and the payload or why the node
    /// refuses.
    pub(crate) fn outcome(&mut self) -> Result<(u64, Result<Vec<u8>, ApiError>)> {
        let header = self.header()?;
        ensure!(
            header.request > 0 && header.request <= self.last_id && !header.more(),
            "an unexpected frame: {header:?}"
        );
        let payload = self.payload(&header)?;
        let outcome = match header.status {
            0 => Ok(payload),
            status => Err(ApiError::new(
                ErrorCode::from_number(status),
                String::from_utf8_lossy(&payload),
            )),
        };
        Ok((header.request, outcome))
    }

    /// Reads a key that is nowhere.
    ///
    /// # Errors
    /// When there is one, or the node answers with another error than that.
    pub(crate) fn miss(&mut self, key: &str) -> Result<()> {
        self.queue(Op::Get, |out| read(key).encode(out), &[]);
        self.flush()?;
        match self.outcome()?.1 {
            Err(error) if error.code == ErrorCode::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => anyhow::bail!("there is a key {key}"),
        }
    }

    /// Asks for one of the control objects without arguments.
    pub(crate) fn control<T: DeserializeOwned>(&mut self, op: Op) -> Result<T> {
        self.queue(op, |_| (), &[]);
        self.flush()?;
        let json = self.outcome()?.1?;
        serde_json::from_slice(&json).with_context(|| format!("not the JSON of {}", op.as_str()))
    }

    /// Sets a value in pieces.
    pub(crate) fn set_body(&mut self, key: &str, body: Body<'_>) -> Result<()> {
        self.send_body(Op::Set, &put(Some(key), body.len), body)?;
        Ok(())
    }

    /// Stores a stream.
    pub(crate) fn stream(&mut self, body: Body<'_>) -> Result<BlockId> {
        self.send_body(Op::Stream, &put(None, body.len), body)
    }

    /// Reads a stream or block of this length through a buffer of at least [`INLINE_MAX`] bytes.
    pub(crate) fn load(&mut self, id: BlockId, len: u64, buffer: &mut [u8]) -> Result<()> {
        self.queue(Op::Load, |out| read(id).encode(out), &[]);
        self.flush()?;
        self.receive_body(len, buffer)
    }

    /// Frees a stream or block.
    pub(crate) fn free(&mut self, id: BlockId) -> Result<()> {
        self.queue(Op::Free, |out| FreeRequest::encode(&[id], out), &[]);
        self.flush()?;
        self.outcome()?.1?;
        Ok(())
    }

    /// Sends a value under the credits of the protocol, and reads the reply.
    pub(super) fn send_body(&mut self, op: Op, put: &PutRequest<'_>, body: Body<'_>) -> Result<BlockId> {
        self.last_id += 1;
        let id = self.last_id;
        let mut args = BytesMut::new();
        put.encode(&mut args);
        let (mut op_next, mut sent, mut more) = (op, 0, true);
        let mut credit = BODY_WINDOW;
        while more {
            // All that the credit pays for leaves in one write.
            let mut heads = Vec::with_capacity(BODY_WINDOW as usize / INLINE_MAX);
            let mut pieces = Vec::with_capacity(heads.capacity());
            while more {
                let (piece, goes_on) = body.piece(sent);
                if data_cost(piece.len()) > credit {
                    break;
                }
                credit -= data_cost(piece.len());
                let mut header = FrameHeader::new(op_next, id).with_more(goes_on);
                header.length = (args.len() + piece.len()) as u32;
                let mut head = header.encode().to_vec();
                head.extend_from_slice(&args.split());
                heads.push(head);
                pieces.push(piece);
                (op_next, sent, more) = (Op::Data, sent + piece.len() as u64, goes_on);
            }
            let pairs = heads.iter().zip(&pieces);
            let mut slices: Vec<_> = pairs
                .flat_map(|(head, piece)| [IoSlice::new(head), IoSlice::new(piece)])
                .collect();
            self.write_all_of(&mut slices)?;
            if more {
                let header = self.header()?;
                let payload = self.payload(&header)?;
                check(&header, &payload, Op::Credit, id)?;
                credit += decode_credit(&payload)?;
            }
        }
        self.put_reply(op, id, body.len)
    }

    /// The reply to a write of this length, behind credits that are not needed any more.
    fn put_reply(&mut self, op: Op, id: u64, len: u64) -> Result<BlockId> {
        loop {
            let header = self.header()?;
            let payload = self.payload(&header)?;
            if header.op == Op::Credit.to_byte() {
                continue;
            }
            check(&header, &payload, op, id)?;
            let reply = PutReply::decode(&payload)?;
            ensure!(reply.size == len, "{} bytes were stored", reply.size);
            return Ok(reply.id);
        }
    }

    /// Reads the value that answers the last request, of this length, into `out`; where that is shorter, each piece over the one before.
    pub(super) fn receive_body(&mut self, len: u64, out: &mut [u8]) -> Result<()> {
        let id = self.last_id;
        let mut header = self.header_exactly()?;
        if header.status != 0 {
            let payload = self.payload(&header)?;
            check(&header, &payload, Op::Get, id)?;
        }
        let mut args = [0; ReadReply::LEN];
        let mut args_len = args.len();
        let (mut filled, mut granted) = (0, BODY_WINDOW);
        loop {
            ensure!(header.request == id, "an unexpected frame: {header:?}");
            let here = (header.length as usize)
                .checked_sub(args_len)
                .context("a reply that is too short")?;
            let at = if len <= out.len() as u64 {
                filled as usize
            } else {
                0
            };
            let piece = out
                .get_mut(at..at + here)
                .context("more bytes than were promised")?;
            let mut next = [0; HEADER_LEN];
            let next_len = if header.more() { HEADER_LEN } else { 0 };
            self.inbox.read_all_of(
                &self.socket,
                &mut [
                    IoSliceMut::new(&mut args[..args_len]),
                    IoSliceMut::new(piece),
                    IoSliceMut::new(&mut next[..next_len]),
                ],
            )?;
            if args_len > 0 {
                let (reply, _) = ReadReply::decode(&args)?;
                ensure!(reply.length == len, "a value of {} bytes", reply.length);
                args_len = 0;
            }
            filled += here as u64;
            if !header.more() {
                break;
            }
            header = FrameHeader::decode(&next)?;
            let payload = match header.status {
                0 => Vec::new(),
                _ => self.payload(&header)?,
            };
            check(&header, &payload, Op::Data, id)?;
            // Half a window at a time, as long as the sender will need it.
            let due = BODY_WINDOW / 2;
            if granted < len && granted - filled <= due {
                put_frame(&mut self.outbox, Op::Credit, id, |out| out.put_u64_le(due), &[]);
                self.flush()?;
                granted += due;
            }
        }
        ensure!(filled == len, "the value ends after {filled} bytes");
        Ok(())
    }

    fn header(&mut self) -> Result<FrameHeader> {
        self.inbox.need(&self.socket, HEADER_LEN)?;
        let bytes = self.inbox.bytes()[..HEADER_LEN].try_into();
        let header = FrameHeader::decode(bytes.expect("a slice of a header's length"))?;
        self.inbox.consume(HEADER_LEN);
        Ok(header)
    }

    /// A header, and nothing behind it: that goes to its place.
    fn header_exactly(&mut self) -> Result<FrameHeader> {
        let mut bytes = [0; HEADER_LEN];
        self.inbox
            .read_all_of(&self.socket, &mut [IoSliceMut::new(&mut bytes)])?;
        Ok(FrameHeader::decode(&bytes)?)
    }

    fn payload(&mut self, header: &FrameHeader) -> Result<Vec<u8>> {
        let len = header.length as usize;
        let mut payload = vec![0; len];
        self.inbox
            .read_all_of(&self.socket, &mut [IoSliceMut::new(&mut payload)])?;
        Ok(payload)
    }
}

fn check(header: &FrameHeader, payload: &[u8], op: Op, id: u64) -> Result<()> {
    ensure!(
        header.status == 0,
        "the node refuses: {}",
        String::from_utf8_lossy(payload)
    );
    ensure!(
        header.op == op.to_byte() && header.request == id,
        "an unexpected frame: {header:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_pieces_and_goes_round() {
        let source = vec![7; 3 * INLINE_MAX];
        let body = Body {
            source: &source,
            len: 4 * INLINE_MAX as u64 + 5,
        };
        let (mut offset, mut lens) = (0, Vec::new());
        loop {
            let (piece, more) = body.piece(offset);
            lens.push(piece.len());
            offset += piece.len() as u64;
            if !more {
                break;
            }
        }
        assert_eq!(lens, [INLINE_MAX, INLINE_MAX, INLINE_MAX, INLINE_MAX, 5]);
        let short = Body {
            source: b"abc",
            len: 3,
        };
        assert_eq!(short.piece(0), (&b"abc"[..], false));
    }
}
