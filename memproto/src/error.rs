//! Error codes: what went wrong, the same on every wire, in every SDK and in the exit code of `memcli`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// A stable error code. Its number crosses the native and the peer protocol, its text crosses JSON. A reader
        /// takes a code that it does not know, from a newer node, for [`ErrorCode::Internal`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),+];

            /// The number on the wire: never 0, which means success.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The code of a number. An unknown number, from a newer node, is [`ErrorCode::Internal`].
            pub const fn from_number(number: u16) -> Self {
                match number {
                    $($number => ErrorCode::$name,)+
                    _ => ErrorCode::Internal,
                }
            }

            /// The code in JSON, such as `out_of_memory`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $text,)+
                }
            }
        }
    };
}

error_codes! {
    /// The request is malformed or an argument is out of its range.
    InvalidArgument = 1, "invalid_argument";
    /// No such key or block, on this node and on every connected peer.
    NotFound = 2, "not_found";
    /// No room in the budget of any node that may be used.
    OutOfMemory = 3, "out_of_memory";
    /// The lender has room, but the borrower's grant is used up.
    QuotaExceeded = 4, "quota_exceeded";
    /// The caller may not do this.
    Denied = 5, "denied";
    /// The person at the other machine has not answered yet.
    ConsentPending = 6, "consent_pending";
    /// A deadline passed.
    Timeout = 7, "timeout";
    /// The peer that has the data, or was named, is not connected, or went away in the middle.
    PeerUnreachable = 8, "peer_unreachable";
    /// No known peer has this name or id.
    UnknownPeer = 9, "unknown_peer";
    /// Several peers have this name or start with this id; the message lists them.
    AmbiguousPeer = 10, "ambiguous_peer";
    /// A value, a key or a frame is over its limit.
    TooLarge = 11, "too_large";
    /// The two sides speak no common protocol version, or this version lacks the operation.
    Unsupported = 12, "unsupported";
    /// The caller cancelled the request.
    Cancelled = 13, "cancelled";
    /// A limit of simultaneous requests, connections or streams is reached; later it may work.
    Busy = 14, "busy";
    /// The node is stopping.
    ShuttingDown = 15, "shutting_down";
    /// Data failed its check: it is not what was stored.
    Corrupt = 16, "corrupt";
    /// A fault of the node itself; the log has more.
    Internal = 17, "internal";
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.as_str())
        } else {
            serializer.serialize_u16(self.number())
        }
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u16::deserialize(deserializer).map(Self::from_number);
        }
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|code| code.as_str() == text);
        Ok(known.copied().unwrap_or(ErrorCode::Internal))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it crosses a wire: a code for programs and a sentence for people, which says what to do next.
///
/// The message never holds details of other callers' data, secrets or paths of the host; those go to the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of error.
    pub code: ErrorCode,
    /// One or two sentences for a person, without a final newline.
    pub message: String,
}

impl ApiError {
    /// An error of this kind with this message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Shorthand for [`ErrorCode::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }
}

/// The result of everything a node answers.
pub type ApiResult<T> = Result<T, ApiError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_numbers_and_names() {
        for (i, &code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), i + 1);
            assert_eq!(ErrorCode::from_number(code.number()), code);
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
        }
        assert_eq!(ErrorCode::from_number(999), ErrorCode::Internal);
        assert_eq!(
            serde_json::from_str::<ErrorCode>("\"of_tomorrow\"").unwrap(),
            ErrorCode::Internal
        );
        assert_eq!(
            serde_json::from_str::<ErrorCode>("\"busy\"").unwrap(),
            ErrorCode::Busy
        );
    }
}
