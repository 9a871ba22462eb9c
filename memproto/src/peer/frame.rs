//! Frames: what lies in a record. A record holds one frame or several, back to back; a frame never spans records.
//!
//! ```text
//!  0      1       2          4            8              16
//! +------+-------+----------+------------+--------------+-------------------+
//! | kind | flags | 0 (u16)  | length u32 | request id   | payload, length   |
//! |  u8  |  u8   |          |            |     u64      | bytes             |
//! +------+-------+----------+------------+--------------+-------------------+
//! ```
//!
//! Integers are little-endian. The request id is 0 in frames that concern the link as a whole.
//! Read next: [`super::link`], which gives the frames their meaning.

use super::link::{Consent, Goodbye};

/// Number of bytes of a frame's header.
pub const HEADER_LEN: usize = 16;

/// Flag of [`Kind::Request`] and [`Kind::Reply`]: the next frame of this kind goes on with the message.
pub const FLAG_MORE: u8 = 1;

/// Flag of [`Kind::Data`]: the last piece of the body.
pub const FLAG_END: u8 = 1;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Asks for a `Pong`. Payload: a token of 8 bytes.
    Ping = 1,
    /// Answers a `Ping` with its token.
    Pong = 2,
    /// What the person at the sender's side said. Payload: see [`encode_consent`].
    Consent = 3,
    /// The sender closes the link. Payload: one byte, the reason.
    Goodbye = 4,
    /// A request, or a part of one.
    Request = 5,
    /// A reply, or a part of one.
    Reply = 6,
    /// A piece of a body.
    Data = 7,
    /// The sender's body breaks off. Payload: the error.
    Fail = 8,
    /// The sender took bytes out of the receiver's body. Payload: how many more may be sent, `u64`.
    Credit = 9,
    /// The sender no longer wants its request answered. No payload.
    Cancel = 10,
    /// A message of pairing, see [`super::pairing`].
    Pair = 11,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Ping,
        Kind::Pong,
        Kind::Consent,
        Kind::Goodbye,
        Kind::Request,
        Kind::Reply,
        Kind::Data,
        Kind::Fail,
        Kind::Credit,
        Kind::Cancel,
        Kind::Pair,
    ];

    /// The flags that this kind knows.
    const fn flags(self) -> u8 {
        match self {
            Kind::Request | Kind::Reply => FLAG_MORE,
            Kind::Data => FLAG_END,
            _ => 0,
        }
    }

    /// Whether the frame concerns one request, and so has an id.
    const fn has_id(self) -> bool {
        !matches!(
            self,
            Kind::Ping | Kind::Pong | Kind::Consent | Kind::Goodbye | Kind::Pair
        )
    }
}

/// A frame within a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// See [`FLAG_MORE`] and [`FLAG_END`].
    pub flags: u8,
    /// The request, or 0.
    pub id: u64,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: Kind, flags: u8, id: u64, payload: &[u8]) {
    put_header(out, kind, flags, id, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the header of a frame whose payload of `len` bytes the caller appends.
pub fn put_header(out: &mut Vec<u8>, kind: Kind, flags: u8, id: u64, len: usize) {
    out.extend_from_slice(&[kind as u8, flags, 0, 0]);
    out.extend_from_slice(&(len as u32).to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
}

/// Takes the first frame off a record's plaintext, and leaves the rest.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn take<'a>(rest: &mut &'a [u8]) -> Result<Frame<'a>, &'static str> {
    let (header, behind) = rest
        .split_first_chunk::<HEADER_LEN>()
        .ok_or("a frame's header is cut off")?;
    let kind = *Kind::ALL
        .get(usize::from(header[0]).wrapping_sub(1))
        .ok_or("a frame is of an unknown kind")?;
    let flags = header[1];
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let id = u64::from_le_bytes(header[8..].try_into().expect("the header's last 8 bytes"));
    if flags & !kind.flags() != 0 || header[2..4] != [0, 0] {
        return Err("a frame has unknown flags");
    }
    if kind.has_id() != (id != 0) {
        return Err("a frame has a request id where none belongs, or lacks it");
    }
    let (payload, behind) = behind.split_at_checked(length).ok_or("a frame is cut off")?;
    *rest = behind;
    Ok(Frame {
        kind,
        flags,
        id,
        payload,
    })
}

/// The payload of [`Kind::Consent`].
///
/// ```text
/// +----------+-----------+
/// | state u8 | quota u64 |     0 waiting, 1 agreed until the link ends, 2 denied, 3 agreed for good; the quota is 0 in 0 and 2
/// +----------+-----------+
/// ```
pub fn encode_consent(consent: Consent) -> [u8; 9] {
    let (state, quota_bytes) = match consent {
        Consent::Waiting => (0, 0),
        Consent::Agreed {
            quota_bytes,
            for_good: false,
        } => (1, quota_bytes),
        Consent::Agreed {
            quota_bytes,
            for_good: true,
        } => (3, quota_bytes),
        Consent::Denied => (2, 0),
    };
    let mut payload = [0; 9];
    payload[0] = state;
    payload[1..].copy_from_slice(&u64::to_le_bytes(quota_bytes));
    payload
}

/// The consent of a payload.
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn decode_consent(payload: &[u8]) -> Result<Consent, &'static str> {
    let payload: &[u8; 9] = payload
        .try_into()
        .map_err(|_| "a consent does not have 9 bytes")?;
    let quota_bytes = u64::from_le_bytes(payload[1..].try_into().expect("8 of 9 bytes"));
    match (payload[0], quota_bytes) {
        (0, 0) => Ok(Consent::Waiting),
        (state @ (1 | 3), quota_bytes) => Ok(Consent::Agreed {
            quota_bytes,
            for_good: state == 3,
        }),
        (2, 0) => Ok(Consent::Denied),
        _ => Err("a consent is of an unknown kind"),
    }
}

/// A payload of one number: of [`Kind::Ping`], [`Kind::Pong`] and [`Kind::Credit`].
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn decode_number(payload: &[u8]) -> Result<u64, &'static str> {
    payload
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| "a number does not have 8 bytes")
}

/// The payload of [`Kind::Goodbye`].
pub const fn encode_goodbye(reason: Goodbye) -> u8 {
    match reason {
        Goodbye::Stopping => 1,
        Goodbye::Disconnected => 2,
        Goodbye::Denied => 3,
        Goodbye::Replaced => 4,
        Goodbye::ConsentExpired => 5,
        Goodbye::Busy => 6,
        Goodbye::ProtocolError => 7,
        Goodbye::SharedIdentity => 8,
        Goodbye::Other => 255,
    }
}

/// The reason of a payload. One that this version does not know is [`Goodbye::Other`].
///
/// # Errors
/// A sentence about what is wrong with it.
pub fn decode_goodbye(payload: &[u8]) -> Result<Goodbye, &'static str> {
    let &[reason] = payload else {
        return Err("a goodbye does not have 1 byte");
    };
    Ok(match reason {
        1 => Goodbye::Stopping,
        2 => Goodbye::Disconnected,
        3 => Goodbye::Denied,
        4 => Goodbye::Replaced,
        5 => Goodbye::ConsentExpired,
        6 => Goodbye::Busy,
        7 => Goodbye::ProtocolError,
        8 => Goodbye::SharedIdentity,
        _ => Goodbye::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_have_the_numbers_of_their_places() {
        for (n, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, n + 1);
        }
    }

    #[test]
    fn what_a_frame_may_not_be_is_refused() {
        let mut valid = Vec::new();
        put(&mut valid, Kind::Data, FLAG_END, 7, b"abc");
        assert_eq!(
            take(&mut &valid[..]),
            Ok(Frame {
                kind: Kind::Data,
                flags: FLAG_END,
                id: 7,
                payload: b"abc"
            })
        );
        for cut in 0..valid.len() {
            assert!(take(&mut &valid[..cut]).is_err(), "cut to {cut}");
        }
        for (at, byte) in [
            (0, 0),
            (0, 12),
            (0, 255),
            (1, 2),
            (2, 1),
            (3, 1),
            (4, 4),
            (7, 255),
            (8, 0),
        ] {
            let mut changed = valid.clone();
            changed[at] = byte;
            assert!(take(&mut &changed[..]).is_err(), "byte {at} as {byte}");
        }
        let mut ping_of_a_request = Vec::new();
        put(&mut ping_of_a_request, Kind::Ping, 0, 1, &[0; 8]);
        assert!(take(&mut &ping_of_a_request[..]).is_err());
    }

    #[test]
    fn payloads_come_back() {
        for consent in [
            Consent::Waiting,
            Consent::Agreed {
                quota_bytes: u64::MAX,
                for_good: false,
            },
            Consent::Agreed {
                quota_bytes: 0,
                for_good: true,
            },
            Consent::Denied,
        ] {
            assert_eq!(decode_consent(&encode_consent(consent)), Ok(consent));
        }
        for reason in 0..=255 {
            let decoded = decode_goodbye(&[reason]).unwrap();
            assert!(decoded == Goodbye::Other || encode_goodbye(decoded) == reason);
        }
        assert!(decode_consent(&[0, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(decode_consent(&[4, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(decode_goodbye(&[]).is_err());
        assert!(decode_number(&[0; 7]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_are_taken_apart_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            while !rest.is_empty() && take(&mut rest).is_ok() {}
        }
    }
}
