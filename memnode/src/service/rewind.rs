//! A value that is sent while it arrives, and that can be sent once more, from its beginning, where the first peer refused it.
//!
//! A peer that has no room says so before it takes anything, so that no more than the first window of the body has left by then. That much is
//! kept; when more is wanted the peer has taken the value, and what was kept is let go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use memproto::error::ApiResult;
use memproto::peer::link::BODY_WINDOW;

use super::lock;
use crate::body::Body;

/// See the module's documentation.
pub(super) struct Rewind {
    size: u64,
    left: Arc<Mutex<Left>>,
}

/// What the last body left behind.
struct Left {
    /// Everything that was taken out so far; `None` where that is no longer kept.
    begun: Option<VecDeque<Bytes>>,
    begun_bytes: u64,
    /// What was not taken out yet, while nobody is reading it.
    rest: Option<Body>,
}

impl Rewind {
    /// Of a body of exactly `size` bytes.
    pub(super) fn new(body: Body, size: u64) -> Self {
        Self {
            size,
            left: Arc::new(Mutex::new(Left {
                begun: Some(VecDeque::new()),
                begun_bytes: 0,
                rest: Some(body),
            })),
        }
    }

    /// The value from its beginning. `None` where it cannot be had once more, or is being read.
    pub(super) fn body(&self) -> Option<Body> {
        let replay = {
            let mut left = lock(&self.left);
            Replay {
                again: left.begun.clone()?,
                rest: Some(left.rest.take()?),
                left: Arc::clone(&self.left),
            }
        };
        Some(Body::pulled(
            Some(self.size),
            stream::unfold(replay, Replay::next).boxed(),
        ))
    }
}

impl Left {
    fn note(&mut self, piece: &ApiResult<Bytes>) {
        match (piece, &mut self.begun) {
            (Ok(piece), Some(begun)) => {
                self.begun_bytes += piece.len() as u64;
                begun.push_back(piece.clone());
            }
            // Its source failed: nobody gets it whole.
            (Err(_), _) => self.begun = None,
            (Ok(_), None) => {}
        }
    }
}

/// A body that is being read. Dropped, it leaves the rest behind.
struct Replay {
    again: VecDeque<Bytes>,
    rest: Option<Body>,
    left: Arc<Mutex<Left>>,
}

impl Replay {
    async fn next(mut self) -> Option<(ApiResult<Bytes>, Self)> {
        if let Some(piece) = self.again.pop_front() {
            return Some((Ok(piece), self));
        }
        self.forget_what_was_taken();
        let piece = self.rest.as_mut()?.next().await?;
        lock(&self.left).note(&piece);
        Some((piece, self))
    }

    /// Beyond the window more is only wanted where the reader gave credit, and so has taken the value.
    fn forget_what_was_taken(&self) {
        let mut left = lock(&self.left);
        if left.begun_bytes > BODY_WINDOW {
            left.begun = None;
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        lock(&self.left).rest = self.rest.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 300_000;

    fn pieces(count: usize) -> VecDeque<Bytes> {
        (0..count).map(|n| Bytes::from(vec![n as u8; PIECE])).collect()
    }

    fn rewind(count: usize) -> Rewind {
        Rewind::new(Body::from_pieces(pieces(count)), (count * PIECE) as u64)
    }

    async fn is_whole(body: Body, count: usize) -> bool {
        let whole: Vec<u8> = pieces(count).into_iter().flatten().collect();
        body.size() == Some(whole.len() as u64) && body.collect(u64::MAX).await.unwrap() == whole
    }

    #[tokio::test]
    async fn a_value_can_be_read_once_more_while_the_first_window_was_not_passed() {
        let rewind = rewind(20);
        for taken in [0, 1, 5, 3, 7] {
            let mut body = rewind.body().unwrap();
            assert!(rewind.body().is_none(), "it is being read");
            for _ in 0..taken {
                body.next().await.unwrap().unwrap();
            }
        }
        assert!(is_whole(rewind.body().unwrap(), 20).await);
        assert!(rewind.body().is_none(), "all of it was taken");
    }

    #[tokio::test]
    async fn no_more_than_the_window_is_kept() {
        let rewind = rewind(20);
        let mut body = rewind.body().unwrap();
        for _ in 0..=BODY_WINDOW as usize / PIECE {
            body.next().await.unwrap().unwrap();
            assert!(lock(&rewind.left).begun.is_some());
        }
        body.next().await.unwrap().unwrap();
        assert!(lock(&rewind.left).begun.is_none());
        drop(body);
        assert!(rewind.body().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_while_it_waits_loses_nothing() {
        let (sender, body) = Body::channel(Some(6), |_| {});
        let rewind = Rewind::new(body, 6);
        let mut first = rewind.body().unwrap();
        sender.send(Bytes::from_static(b"abc"));
        first.next().await.unwrap().unwrap();
        assert!(futures_util::poll!(Box::pin(first.next())).is_pending());
        drop(first);
        sender.send(Bytes::from_static(b"def"));
        sender.finish();
        assert_eq!(rewind.body().unwrap().collect(6).await.unwrap(), &b"abcdef"[..]);
    }

    #[tokio::test]
    async fn what_failed_is_not_tried_again() {
        let (sender, body) = Body::channel(Some(6), |_| {});
        let rewind = Rewind::new(body, 6);
        drop(sender);
        assert!(rewind.body().unwrap().collect(6).await.is_err());
        assert!(rewind.body().is_none());
    }
}
