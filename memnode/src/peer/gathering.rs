//! Small bodies, gathered until they are whole.
//!
//! Whoever waits for a message with a small body gets both at once, and the body in one piece: nothing is woken for each part of it, there is
//! no queue to make for pieces that are there already, and what is answered goes on in one frame. A body mostly comes in the record of its
//! message; one that does not costs at most [`SMALL_BODY_MAX`] bytes for each of the requests that the link may have in flight,
//! however small the pieces are in which the peer sends it.

use bytes::{Bytes, BytesMut};
use memproto::error::ApiError;
use memproto::peer::link::SMALL_BODY_MAX;
use memproto::peer::{BodySpec, PeerReply, PeerRequest};

use crate::body::Body;

/// A message whose small body is on its way.
pub(super) struct Gathering {
    pub(super) message: Message,
    size: u64,
    /// The body, where it came in one piece.
    whole: Bytes,
    /// What came so far, where it did not.
    parts: BytesMut,
}

/// What the body belongs to.
pub(super) enum Message {
    Request(PeerRequest),
    Reply(PeerReply),
}

impl Gathering {
    /// Whether a body is gathered.
    pub(super) fn is_for(body: BodySpec) -> bool {
        body.has_body() && body.size.is_some_and(|size| size <= SMALL_BODY_MAX)
    }

    /// For a body of this size, which [`is_for`](Self::is_for) said yes to.
    pub(super) fn new(message: Message, body: BodySpec) -> Self {
        Self {
            message,
            size: body.size.unwrap_or(SMALL_BODY_MAX),
            whole: Bytes::new(),
            parts: BytesMut::new(),
        }
    }

    /// Takes the next piece. The machine lets no more come than the size.
    pub(super) fn take(&mut self, piece: Bytes) {
        if piece.len() as u64 == self.size {
            self.whole = piece;
            return;
        }
        if self.parts.is_empty() {
            self.parts.reserve(self.size as usize);
        }
        self.parts.extend_from_slice(&piece);
    }

    /// The message and the body, behind its last piece.
    pub(super) fn finish(self) -> (Message, Body) {
        let bytes = if self.parts.is_empty() {
            self.whole
        } else {
            self.parts.freeze()
        };
        (self.message, Body::from(bytes))
    }

    /// The message with a body that fails where it was to be read.
    pub(super) fn fail(self, error: ApiError) -> (Message, Body) {
        let (sender, body) = Body::channel(Some(self.size), |_| {});
        sender.fail(error);
        (self.message, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memproto::peer::PeerReply;

    fn gathering(size: u64) -> Gathering {
        Gathering::new(Message::Reply(PeerReply::Missing), BodySpec::exact(size))
    }

    #[test]
    fn a_body_is_one_piece_however_it_came() {
        let mut whole = gathering(5);
        let piece = Bytes::from_static(b"abcde");
        whole.take(piece.clone());
        let whole = whole.finish().1.as_whole().unwrap();
        // It was not copied.
        assert_eq!((&whole, whole.as_ptr()), (&piece, piece.as_ptr()));

        let mut parts = gathering(5);
        for part in ["a", "bcd", "e"] {
            parts.take(Bytes::from_static(part.as_bytes()));
        }
        assert_eq!(parts.finish().1.as_whole().unwrap(), "abcde");
    }

    #[test]
    fn only_small_bodies_of_known_size_are_gathered() {
        assert!(Gathering::is_for(BodySpec::exact(1)));
        assert!(Gathering::is_for(BodySpec::exact(SMALL_BODY_MAX)));
        assert!(!Gathering::is_for(BodySpec::exact(SMALL_BODY_MAX + 1)));
        assert!(!Gathering::is_for(BodySpec::NONE));
        assert!(!Gathering::is_for(BodySpec::UNKNOWN));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_fails_its_reader() {
        let mut gathering = gathering(5);
        gathering.take(Bytes::from_static(b"ab"));
        let (_, mut body) = gathering.fail(ApiError::invalid("broken off"));
        assert_eq!(body.next().await.unwrap().unwrap_err().message, "broken off");
        assert!(body.next().await.is_none());
    }
}
