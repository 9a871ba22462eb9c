//! The node's limits, kept on this side: a call waits here rather than be refused there.

use std::sync::Arc;

use memproto::local::reply::HelloReply;
use memproto::local::{BODY_WINDOW, FRAME_PAYLOAD_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Result};

/// Values count against the node's limit of held bytes in units of this many bytes. Smaller ones need not count:
/// the limit on requests holds them.
const HELD_UNIT: u64 = 4 * 1024;

/// The units of the largest request and of an answer as large.
const INLINE_UNITS_MAX: u32 = (2 * FRAME_PAYLOAD_MAX as u64 / HELD_UNIT) as u32;

/// What the node allows, shared out among the calls of this process.
#[derive(Debug)]
pub(crate) struct Limits {
    calls: Arc<Semaphore>,
    /// Half of the bytes that the node holds for us, for values that go in one frame, in units of [`HELD_UNIT`].
    inline: Arc<Semaphore>,
    /// The other half, for values in pieces: however many wait here, small ones go on.
    uploads: Arc<Semaphore>,
}

impl Limits {
    /// The limits that the node named.
    pub(crate) fn new(reply: &HelloReply) -> Self {
        let half = (reply.held_bytes_max / 2).min(1 << 40);
        let inline = (half / HELD_UNIT).max(INLINE_UNITS_MAX.into()) as usize;
        let uploads = (half / (BODY_WINDOW + FRAME_PAYLOAD_MAX as u64)).max(1) as usize;
        Self {
            calls: Arc::new(Semaphore::new(reply.in_flight_max.max(1) as usize)),
            inline: Arc::new(Semaphore::new(inline)),
            uploads: Arc::new(Semaphore::new(uploads)),
        }
    }

    /// Waits until the node has room for a call that makes it hold this much.
    pub(crate) async fn admit(&self, held: Held) -> Result<Admission> {
        let (semaphore, units) = match held {
            Held::Bytes(bytes) => (
                &self.inline,
                (bytes as u64 / HELD_UNIT).min(INLINE_UNITS_MAX.into()) as u32,
            ),
            Held::Upload => (&self.uploads, 1),
        };
        let _held = match units {
            0 => None,
            units => Some(acquire(semaphore, units).await?),
        };
        Ok(Admission {
            _held,
            _call: Some(acquire(&self.calls, 1).await?),
        })
    }
}

/// What a call makes the node hold until its reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// This many bytes.
    Bytes(usize),
    /// The window of a value in pieces.
    Upload,
}

/// Room for one call within the node's limits; given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    _call: Option<OwnedSemaphorePermit>,
    _held: Option<OwnedSemaphorePermit>,
}

async fn acquire(semaphore: &Arc<Semaphore>, units: u32) -> Result<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(semaphore).try_acquire_many_owned(units) {
        return Ok(permit);
    }
    // The semaphore is never closed.
    Arc::clone(semaphore)
        .acquire_many_owned(units)
        .await
        .map_err(|_| Error::ConnectionLost)
}
