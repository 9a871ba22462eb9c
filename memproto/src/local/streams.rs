//! Streams that are written piece by piece: STREAM_WRITE, STREAM_FILE, STREAM_KNOWN, and LOAD_INTO.
//!
//! A stream is opened, asked about and finished with JSON ([`crate::stream`]); what moves bytes is here.

use bytes::{BufMut, BytesMut};

use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::id::BlockId;
use crate::limits::STREAM_CHUNK_SIZE;
use crate::stream::{ChunkHash, KnownChunk};

use super::limits::KNOWN_CHUNKS_MAX;
use super::read::{Fields, must_be_zero};

/// Bytes of a chunk in a STREAM_KNOWN: its hash and its length.
const KNOWN_LEN: usize = ChunkHash::LEN + 4;

/// Arguments of STREAM_WRITE, in front of the bytes or the first of them:
///
/// ```text
///  0        8            12
/// +--------+------------+- - - -
/// |   id   | options: 0 | bytes
/// +--------+------------+- - - -
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamWriteRequest {
    /// The stream.
    pub id: BlockId,
}

impl StreamWriteRequest {
    /// Writes the arguments; the bytes go behind them.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.as_u64());
        out.put_u32_le(0);
    }

    /// Reads them. The second part is the bytes, or the first of them.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong id, `Unsupported` for options of a later version.
    pub fn decode(payload: &[u8]) -> ApiResult<(Self, &[u8])> {
        let mut fields = Fields::new(payload);
        let id = BlockId::try_from(fields.u64()?)?;
        no_options(fields.u32()?, "STREAM_WRITE")?;
        Ok((Self { id }, fields.rest()))
    }
}

/// The option of a STREAM_FILE whose file is named, not attached.
const NAMED: u32 = 1;

/// Arguments of STREAM_FILE:
///
/// ```text
///  0        8        16       24        28           32       40       48
/// +--------+--------+--------+---------+- - - - - - + - - - -+- - - -+
/// |   id   | offset | length | options | descriptor | device | inode |   with NAMED alone
/// +--------+--------+--------+---------+- - - - - - + - - - -+- - - -+
/// ```
///
/// The descriptor of the file is attached, or with bit 0 of `options` (NAMED) the file is named here. `length` is `u64::MAX` for all up
/// to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamFileRequest {
    /// The stream.
    pub id: BlockId,
    /// The first byte of the file that is appended.
    pub offset: u64,
    /// How many bytes are.
    pub length: u64,
    /// The file, where it is named; `None` where its descriptor is attached.
    pub named: Option<NamedFile>,
}

/// A file that a program has open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedFile {
    /// The number of its descriptor in the program.
    pub descriptor: u32,
    /// The device that it lies on, as fstat(2) tells it (`st_dev`).
    pub device: u64,
    /// Its number there (`st_ino`).
    pub inode: u64,
}

impl StreamFileRequest {
    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.as_u64());
        out.put_u64_le(self.offset);
        out.put_u64_le(self.length);
        match self.named {
            None => out.put_u32_le(0),
            Some(named) => {
                out.put_u32_le(NAMED);
                out.put_u32_le(named.descriptor);
                out.put_u64_le(named.device);
                out.put_u64_le(named.inode);
            }
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong id, `Unsupported` for options of a later version.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let id = BlockId::try_from(fields.u64()?)?;
        let (offset, length) = (fields.u64()?, fields.u64()?);
        let options = fields.u32()?;
        no_options(options & !NAMED, "STREAM_FILE")?;
        let named = match options & NAMED {
            0 => None,
            _ => Some(NamedFile {
                descriptor: fields.u32()?,
                device: fields.u64()?,
                inode: fields.u64()?,
            }),
        };
        fields.end()?;
        Ok(Self {
            id,
            offset,
            length,
            named,
        })
    }
}

/// Arguments of STREAM_KNOWN:
///
/// ```text
///  0        8            12
/// +--------+------------+  +----------+--------+
/// |   id   | options: 0 |  | 32: hash | length |  1 to KNOWN_CHUNKS_MAX times
/// +--------+------------+  +----------+--------+
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamKnownRequest {
    /// The stream.
    pub id: BlockId,
    /// The chunks, in the order in which they are to be appended.
    pub chunks: Vec<KnownChunk>,
}

impl StreamKnownRequest {
    /// Writes the arguments.
    pub fn encode(id: BlockId, chunks: &[KnownChunk], out: &mut BytesMut) {
        out.put_u64_le(id.as_u64());
        out.put_u32_le(0);
        for chunk in chunks {
            out.put_slice(chunk.hash.as_bytes());
            out.put_u32_le(chunk.length);
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong id, no chunk, and a chunk that no stream has; `TooLarge` for too many; `Unsupported` for options
    /// of a later version.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let id = BlockId::try_from(fields.u64()?)?;
        no_options(fields.u32()?, "STREAM_KNOWN")?;
        let chunks = fields.rest();
        if !chunks.len().is_multiple_of(KNOWN_LEN) {
            return Err(ApiError::invalid(
                "each chunk of a STREAM_KNOWN has 36 bytes: its hash of 32, and its length",
            ));
        }
        check_known(chunks.len() / KNOWN_LEN)?;
        let mut fields = Fields::new(chunks);
        let chunks = (0..chunks.len() / KNOWN_LEN)
            .map(|_| {
                let hash = ChunkHash::from_bytes(fields.array()?);
                KnownChunk::new(hash, fields.u32()?)
            })
            .collect::<ApiResult<_>>()?;
        Ok(Self { id, chunks })
    }
}

/// Checks how many chunks a STREAM_KNOWN has.
fn check_known(count: usize) -> ApiResult<()> {
    match count {
        0 => Err(ApiError::invalid(
            "STREAM_KNOWN has no chunk: send the bytes with STREAM_WRITE or STREAM_FILE",
        )),
        1..=KNOWN_CHUNKS_MAX => Ok(()),
        _ => Err(ApiError::new(
            ErrorCode::TooLarge,
            format!("STREAM_KNOWN has {count} chunks, at most {KNOWN_CHUNKS_MAX} are allowed: send several"),
        )),
    }
}

impl KnownChunk {
    /// A chunk of this length.
    ///
    /// # Errors
    /// `InvalidArgument` for a length that no chunk has.
    pub fn new(hash: ChunkHash, length: u32) -> ApiResult<Self> {
        match length {
            0 => Err(ApiError::invalid(
                "a chunk of no bytes is none: leave it out, no stream needs it",
            )),
            _ if length as usize > STREAM_CHUNK_SIZE => Err(ApiError::invalid(format!(
                "a chunk of {length} bytes is none: cut it, a chunk has at most {STREAM_CHUNK_SIZE}"
            ))),
            _ => Ok(Self { hash, length }),
        }
    }
}

/// Writes the reply to STREAM_KNOWN: a byte for each chunk, 1 where it was appended, 0 where its bytes are needed.
pub fn encode_known(appended: &[bool], out: &mut BytesMut) {
    out.extend(appended.iter().map(|&appended| u8::from(appended)));
}

/// Reads the reply to a STREAM_KNOWN of `count` chunks.
///
/// # Errors
/// `InvalidArgument` for another length, and for a byte that is neither 0 nor 1.
pub fn decode_known(payload: &[u8], count: usize) -> ApiResult<Vec<bool>> {
    if payload.len() != count {
        return Err(ApiError::invalid(
            "the reply is not about the chunks that were asked for",
        ));
    }
    let bit = |&byte: &u8| match byte {
        0 | 1 => Ok(byte == 1),
        _ => Err(ApiError::invalid("a chunk is neither appended nor needed")),
    };
    payload.iter().map(bit).collect()
}

/// Arguments of LOAD_INTO:
///
/// ```text
///  0        8        16       24       32           36
/// +--------+--------+--------+--------+------------+
/// |   id   | offset | length |   at   | options: 0 |
/// +--------+--------+--------+--------+------------+
/// ```
///
/// The descriptor of the file is attached. `length` is `u64::MAX` for all the rest. The reply is that to LOAD without bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadIntoRequest {
    /// The block or stream.
    pub id: BlockId,
    /// The first byte wanted.
    pub offset: u64,
    /// How many bytes at most.
    pub length: u64,
    /// The byte of the file to which the first of them goes.
    pub at: u64,
}

impl LoadIntoRequest {
    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.as_u64());
        out.put_u64_le(self.offset);
        out.put_u64_le(self.length);
        out.put_u64_le(self.at);
        out.put_u32_le(0);
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong id, `Unsupported` for options of a later version.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let request = Self {
            id: BlockId::try_from(fields.u64()?)?,
            offset: fields.u64()?,
            length: fields.u64()?,
            at: fields.u64()?,
        };
        no_options(fields.u32()?, "LOAD_INTO")?;
        fields.end()?;
        Ok(request)
    }
}

/// Checks options that have no meaning yet.
fn no_options(options: u32, op: &str) -> ApiResult<()> {
    must_be_zero(
        options.into(),
        &format!("the options {options:#x} of {op}: send 0, or update the node"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> BlockId {
        BlockId::new(number).unwrap()
    }

    fn encoded(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        encode(&mut out);
        out
    }

    fn known(length: u32) -> Vec<u8> {
        let hash = ChunkHash::from_bytes([7; 32]);
        encoded(|out| StreamKnownRequest::encode(id(1), &[KnownChunk { hash, length }], out)).to_vec()
    }

    #[test]
    fn chunks_have_a_length_that_a_stream_could_give_them() {
        assert!(StreamKnownRequest::decode(&known(1)).is_ok());
        assert!(StreamKnownRequest::decode(&known(STREAM_CHUNK_SIZE as u32)).is_ok());
        for (length, advice) in [(0, "leave it out"), (STREAM_CHUNK_SIZE as u32 + 1, "cut it")] {
            let error = StreamKnownRequest::decode(&known(length)).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert!(error.message.contains(advice), "{}", error.message);
        }
    }

    #[test]
    fn a_request_is_about_some_chunks_and_not_too_many() {
        let chunk = KnownChunk::new(ChunkHash::from_bytes([7; 32]), 5).unwrap();
        let decode = |count| {
            let payload = encoded(|out| StreamKnownRequest::encode(id(1), &vec![chunk; count], out));
            StreamKnownRequest::decode(&payload).map(|known| known.chunks.len())
        };
        assert_eq!(decode(KNOWN_CHUNKS_MAX), Ok(KNOWN_CHUNKS_MAX));
        assert_eq!(decode(0).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(
            decode(KNOWN_CHUNKS_MAX + 1).unwrap_err().code,
            ErrorCode::TooLarge
        );
        let most = encoded(|out| StreamKnownRequest::encode(id(1), &vec![chunk; KNOWN_CHUNKS_MAX], out));
        assert!(most.len() <= super::super::FRAME_PAYLOAD_MAX);
        let half = &known(5)[..30];
        assert_eq!(
            StreamKnownRequest::decode(half).unwrap_err().code,
            ErrorCode::InvalidArgument
        );
    }

    #[test]
    fn a_reply_is_about_all_chunks() {
        let reply = encoded(|out| encode_known(&[true, false, true], out));
        assert_eq!(decode_known(&reply, 3), Ok(vec![true, false, true]));
        assert!(decode_known(&reply, 2).is_err());
        assert!(decode_known(&[2], 1).is_err());
    }

    #[test]
    fn options_of_a_later_version_are_unsupported() {
        let requests = [
            encoded(|out| StreamWriteRequest { id: id(1) }.encode(out)),
            encoded(|out| {
                StreamFileRequest {
                    id: id(1),
                    offset: 0,
                    length: 0,
                    named: None,
                }
                .encode(out);
            }),
            BytesMut::from(&known(1)[..]),
            encoded(|out| {
                LoadIntoRequest {
                    id: id(1),
                    offset: 0,
                    length: 0,
                    at: 0,
                }
                .encode(out);
            }),
        ];
        let at = [8, 24, 8, 32];
        for (op, (mut request, at)) in requests.into_iter().zip(at).enumerate() {
            request[at] = 4;
            let decoded = match op {
                0 => StreamWriteRequest::decode(&request).map(drop),
                1 => StreamFileRequest::decode(&request).map(drop),
                2 => StreamKnownRequest::decode(&request).map(drop),
                _ => LoadIntoRequest::decode(&request).map(drop),
            };
            let error = decoded.unwrap_err();
            assert_eq!(error.code, ErrorCode::Unsupported);
            assert!(error.message.contains("0x4"), "{}", error.message);
        }
    }

    proptest! {
        #[test]
        fn requests_survive_their_bytes(
            number in 1..=BlockId::MAX.as_u64(),
            (offset, length, at) in any::<(u64, u64, u64)>(),
            named in any::<Option<(u32, u64, u64)>>(),
            hashes in proptest::collection::vec((any::<[u8; 32]>(), 1..=STREAM_CHUNK_SIZE as u32), 1..40),
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let id = id(number);
            let named = named.map(|(descriptor, device, inode)| NamedFile { descriptor, device, inode });
            let file = StreamFileRequest { id, offset, length, named };
            prop_assert_eq!(StreamFileRequest::decode(&encoded(|out| file.encode(out))), Ok(file));
            let into = LoadIntoRequest { id, offset, length, at };
            prop_assert_eq!(LoadIntoRequest::decode(&encoded(|out| into.encode(out))), Ok(into));
            let mut write = encoded(|out| StreamWriteRequest { id }.encode(out));
            write.put_slice(&value);
            prop_assert_eq!(StreamWriteRequest::decode(&write), Ok((StreamWriteRequest { id }, &value[..])));
            let chunks: Vec<_> = hashes
                .into_iter()
                .map(|(hash, length)| KnownChunk { hash: ChunkHash::from_bytes(hash), length })
                .collect();
            let known = encoded(|out| StreamKnownRequest::encode(id, &chunks, out));
            prop_assert_eq!(StreamKnownRequest::decode(&known), Ok(StreamKnownRequest { id, chunks }));
        }
    }
}
