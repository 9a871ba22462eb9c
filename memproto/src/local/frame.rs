//! Frames: the header, and cutting a byte stream into frames.

use crate::error::{ApiError, ErrorCode};

use super::limits::FRAME_PAYLOAD_MAX;

/// The size of a header in bytes.
pub const HEADER_LEN: usize = 16;

/// Flag: the body goes on in `DATA` frames with the same request id, of which the last has this flag not set.
pub const FLAG_MORE: u8 = 0b0000_0001;

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// What a frame asks for or carries. A reply has the operation of its request.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Op {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Op] = &[$(Op::$name),+];

            /// The operation of a byte, or `None` where this version has none.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($number => Some(Op::$name),)+
                    _ => None,
                }
            }

            /// The name in the specification, such as `SET`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Op::$name => $text,)+
                }
            }
        }
    };
}

ops! {
    /// Node to client, request id 0: why the node closes the connection.
    Fault = 0, "FAULT";
    /// The first frame: versions.
    Hello = 1, "HELLO";
    /// An empty request with an empty reply.
    Ping = 2, "PING";
    /// Client to node: the request of this id is no longer wanted.
    Cancel = 3, "CANCEL";
    /// Both ways: the next bytes of the body of this request id.
    Data = 4, "DATA";
    /// Both ways: the receiver of a body allows more bytes.
    Credit = 5, "CREDIT";
    /// Makes a key name a value.
    Set = 16, "SET";
    /// Reads the value of a key.
    Get = 17, "GET";
    /// Deletes a key.
    Del = 18, "DEL";
    /// Stores a block without a key.
    Store = 19, "STORE";
    /// Reads a block or stream by its id.
    Load = 20, "LOAD";
    /// Frees blocks and streams.
    Free = 21, "FREE";
    /// Stores a stream in chunks.
    Stream = 22, "STREAM";
    /// Lists keys.
    Keys = 23, "KEYS";
    /// Reads the values of several keys.
    Mget = 24, "MGET";
    /// Makes several keys name values.
    Mset = 25, "MSET";
    /// Deletes several keys.
    Mdel = 26, "MDEL";
    /// Asks that descriptors are passed on this connection.
    Attach = 27, "ATTACH";
    /// As GET, with a descriptor in place of the bytes where that can be.
    GetMapped = 28, "GET_MAPPED";
    /// As LOAD, with a descriptor in place of the bytes where that can be.
    LoadMapped = 29, "LOAD_MAPPED";
    /// As SET, of the memory file whose descriptor is attached.
    SetMapped = 30, "SET_MAPPED";
    /// As STORE, of the memory file whose descriptor is attached.
    StoreMapped = 31, "STORE_MAPPED";
    /// Tells how long a value lives.
    Ttl = 32, "TTL";
    /// Sets how long a value lives.
    Expire = 33, "EXPIRE";
    /// Lets a value live for good.
    Persist = 34, "PERSIST";
    /// Client to node: what came with the reply to this request id is no longer mapped.
    Unmap = 35, "UNMAP";
    /// Appends bytes to a stream.
    StreamWrite = 36, "STREAM_WRITE";
    /// Appends bytes of the file whose descriptor is attached to a stream.
    StreamFile = 37, "STREAM_FILE";
    /// Appends chunks to a stream that need not be sent.
    StreamKnown = 38, "STREAM_KNOWN";
    /// As LOAD, into the file whose descriptor is attached.
    LoadInto = 39, "LOAD_INTO";
    /// JSON: what the node is.
    Status = 64, "STATUS";
    /// JSON: what lies in it.
    Stats = 65, "STATS";
    /// JSON: its peers.
    Peers = 66, "PEERS";
    /// JSON: asks for a link.
    Connect = 67, "CONNECT";
    /// JSON: waits for a change of a peer's state.
    PeerWait = 68, "PEER_WAIT";
    /// JSON: ends a link.
    Disconnect = 69, "DISCONNECT";
    /// JSON: who waits for consent.
    ConsentList = 70, "CONSENT_LIST";
    /// JSON: answers one of them.
    ConsentDecide = 71, "CONSENT_DECIDE";
    /// JSON: trusted devices.
    TrustList = 72, "TRUST_LIST";
    /// JSON: trusts one no longer.
    TrustRemove = 73, "TRUST_REMOVE";
    /// JSON: asks the node to stop.
    Stop = 74, "STOP";
    /// JSON: changes what a peer may use.
    PeerUpdate = 75, "PEER_UPDATE";
    /// JSON: offers a code for pairing.
    PairOffer = 80, "PAIR_OFFER";
    /// JSON: waits for what becomes of it.
    PairWait = 81, "PAIR_WAIT";
    /// JSON: tries the code of another node.
    PairJoin = 82, "PAIR_JOIN";
    /// JSON: why nodes do not find or reach each other.
    Doctor = 83, "DOCTOR";
    /// JSON: waits for a change of who waits for consent.
    ConsentWait = 90, "CONSENT_WAIT";
    /// JSON: trusts a device by its key.
    TrustAdd = 91, "TRUST_ADD";
    /// JSON: frees what the programs of a node stored.
    Flush = 92, "FLUSH";
    /// JSON: opens a stream.
    StreamOpen = 93, "STREAM_OPEN";
    /// JSON: tells how far a stream has come.
    StreamStatus = 94, "STREAM_STATUS";
    /// JSON: ends a stream that is open.
    StreamFinish = 95, "STREAM_FINISH";
}

impl Op {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// Whether the request's body may go on in `DATA` frames.
    pub const fn takes_body(self) -> bool {
        matches!(self, Op::Set | Op::Store | Op::Stream | Op::StreamWrite)
    }
}

/// The header of a frame, little-endian:
///
/// ```text
///  0               4    5    6         8                       16
/// +---------------+----+----+---------+-----------------------+----------------- - -
/// |    length     | op |flag| status  |      request id       |  payload, `length` bytes
/// +---------------+----+----+---------+-----------------------+----------------- - -
/// ```
///
/// `status` is 0, or the number of an [`ErrorCode`]; then the payload is the message in UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Bytes behind the header.
    pub length: u32,
    /// The operation, as it came: see [`Op::from_byte`].
    pub op: u8,
    /// See [`FLAG_MORE`]; the other bits are 0 in this version.
    pub flags: u8,
    /// 0, or an error's number.
    pub status: u16,
    /// Chosen by the client, not 0, unique among its requests in flight. 0 in [`Op::Fault`] alone.
    pub request: u64,
}

impl FrameHeader {
    /// The header of a request or of a success.
    pub const fn new(op: Op, request: u64) -> Self {
        Self {
            length: 0,
            op: op.to_byte(),
            flags: 0,
            status: 0,
            request,
        }
    }

    /// This header with [`FLAG_MORE`] set or not.
    #[must_use]
    pub const fn with_more(mut self, more: bool) -> Self {
        self.flags = if more { FLAG_MORE } else { 0 };
        self
    }

    /// Whether the body goes on behind this frame.
    pub const fn more(&self) -> bool {
        self.flags & FLAG_MORE != 0
    }

    /// The 16 bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.op;
        bytes[5] = self.flags;
        bytes[6..8].copy_from_slice(&self.status.to_le_bytes());
        bytes[8..].copy_from_slice(&self.request.to_le_bytes());
        bytes
    }

    /// The header of 16 bytes.
    ///
    /// # Errors
    /// Where its length is over [`FRAME_PAYLOAD_MAX`]. What stands in the other fields is for the reader to judge: the
    /// frame's end is known all the same.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, op, flags, s0, s1, request @ ..] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length as usize > FRAME_PAYLOAD_MAX {
            return Err(FrameError::TooLong { length });
        }
        let status = u16::from_le_bytes([s0, s1]);
        Ok(Self {
            length,
            op,
            flags,
            status,
            request: u64::from_le_bytes(request),
        })
    }

    /// The length of the whole frame in bytes, header included.
    pub const fn frame_len(&self) -> usize {
        HEADER_LEN + self.length as usize
    }
}

/// The stream of bytes is no sequence of frames: the connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame claims to be longer than any may be.
    #[error("a frame claims {length} bytes, at most {FRAME_PAYLOAD_MAX} are allowed")]
    TooLong {
        /// What it claims.
        length: u32,
    },
    /// The first four bytes are not `MEMC`.
    #[error("this is no client of the MemCloud protocol: its first bytes are not 'MEMC'")]
    NoPreface,
}

impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            FrameError::NoPreface => ErrorCode::InvalidArgument,
        };
        ApiError::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_keep_their_bytes() {
        for &op in Op::ALL {
            assert_eq!(Op::from_byte(op.to_byte()), Some(op));
        }
        assert_eq!(Op::from_byte(255), None);
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let header = FrameHeader {
            length: 0x0001_0203,
            op: 17,
            flags: 1,
            status: 0x0405,
            request: 6 << 56,
        };
        assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
        assert_eq!(header.encode()[..8], [3, 2, 1, 0, 17, 1, 5, 4]);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_read() {
        let mut header = FrameHeader::new(Op::Get, 1);
        header.length = FRAME_PAYLOAD_MAX as u32;
        assert!(FrameHeader::decode(&header.encode()).is_ok());
        header.length += 1;
        assert!(FrameHeader::decode(&header.encode()).is_err());
        header.length = u32::MAX;
        assert_eq!(
            FrameHeader::decode(&header.encode()),
            Err(FrameError::TooLong { length: u32::MAX })
        );
    }
}
