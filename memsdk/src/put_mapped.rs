//! Writes of memory files: `cloud.set_mapped("key", file).placement(...).await`.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use memproto::local::Op;
use memproto::{BlockClass, ErrorCode, Placement};
use tokio::runtime::Handle;

use crate::calls::within;
use crate::memory_file::Sealed;
use crate::put::{Put, PutOptions, Stored, Target, stored};
use crate::{Error, MemCloud, MemoryFile, Result};

/// A file from this size in bytes on is sealed on a thread of its own: the system looks at each of its pages, at some GiB in
/// 10 ms.
const SEAL_ELSEWHERE_MIN: usize = 16 * 1024 * 1024;

/// A write of a [`MemoryFile`]; nothing happens until it is awaited.
#[derive(Debug)]
#[must_use = "a write does nothing unless it is awaited"]
pub struct PutMapped {
    cloud: MemCloud,
    options: PutOptions,
    file: MemoryFile,
}

impl PutMapped {
    pub(crate) fn new(cloud: &MemCloud, target: Target, file: MemoryFile) -> Self {
        Self {
            cloud: cloud.clone(),
            options: PutOptions::new(cloud, target),
            file,
        }
    }

    /// Where the block is to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// How long the value lives, counted from when the node has stored it all; at least 1 ms. Default: `None`,
    /// for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.options.ttl = ttl.into();
        self
    }

    /// Whether the block may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.options.class = class;
        self
    }
}

impl IntoFuture for PutMapped {
    type Output = Result<Stored>;
    type IntoFuture = BoxFuture<'static, Result<Stored>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(give(self))
    }
}

async fn give(put: PutMapped) -> Result<Stored> {
    let PutMapped { cloud, options, file } = put;
    let sealed = match Handle::try_current() {
        Ok(runtime) if file.len() >= SEAL_ELSEWHERE_MIN => {
            let sealing = runtime.spawn_blocking(|| file.seal());
            sealing.await.map_err(std::io::Error::other)??
        }
        // Without a runtime the call fails in a moment.
        _ => file.seal()?,
    };
    let value = match sealed {
        Sealed::Own(bytes) => bytes,
        Sealed::Shared(descriptor, map) => {
            let (op, args) = options.encode(Some(map.as_slice().len() as u64))?;
            let op = if op == Op::Set {
                Op::SetMapped
            } else {
                Op::StoreMapped
            };
            let given = within(cloud.timeout(), async {
                let args = |out: &mut BytesMut| out.put_slice(&args);
                match cloud.begin_attached(op, &args, Some(descriptor)).await? {
                    Some(mut call) => stored(&call.reply().await?).map(Some),
                    None => Ok(None),
                }
            });
            match given.await {
                Ok(Some(stored)) => return Ok(stored),
                Ok(None) => {}
                // The node has as many files as it may have.
                Err(Error::Api(error)) if error.code == ErrorCode::Busy => {}
                Err(error) => return Err(error),
            }
            Bytes::from_owner(map)
        }
    };
    Put {
        cloud,
        options,
        value,
    }
    .await
}
