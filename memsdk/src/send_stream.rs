//! A stream from what a reader yields, in one call.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::BoxFuture;
use memproto::stream::{Compress, StreamFinished, StreamPlacement};
use memproto::{BlockClass, BlockId, Placement};
use tokio::io::AsyncRead;
use tokio::runtime::Handle;

use crate::put::{PutOptions, Target, stored};
use crate::stream_writer::Keeping;
use crate::{MemCloud, Result, Stored, upload};

/// A stream of what a reader yields; nothing happens until it is awaited.
///
/// The reader is read no faster than the node takes the bytes. Where it fails, or this is dropped, nothing is kept of it. For a stream that is to be read while it is
/// written, or gone on with, see [`MemCloud::stream_writer`].
#[derive(Debug)]
#[must_use = "a write does nothing unless it is awaited"]
pub struct SendStream<R> {
    cloud: MemCloud,
    keeping: Keeping,
    reader: R,
    size: Option<u64>,
}

impl<R> SendStream<R> {
    pub(crate) fn new(cloud: &MemCloud, reader: R) -> Self {
        Self {
            cloud: cloud.clone(),
            keeping: Keeping::default(),
            reader,
            size: None,
        }
    }

    /// The key that names the stream, once it is whole. What it named before is freed.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keeping.options.key = Some(key.into());
        self
    }

    /// Where the bytes are to lie. Default: [`Placement::Auto`], on peers first.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.keeping.place(placement);
        self
    }

    /// The peers on which the bytes are to lie, 1 to 64, and nowhere else: their names, ids or unambiguous prefixes of ids.
    pub fn peers<P: Into<String>>(mut self, peers: impl IntoIterator<Item = P>) -> Self {
        self.keeping.place_on(peers);
        self
    }

    /// Whether the bytes are compressed on their way to where they lie. Default: [`Compress::Auto`].
    pub fn compress(mut self, compress: Compress) -> Self {
        self.keeping.options.compress = compress;
        self
    }

    /// How long the bytes live, counted from when the node has stored it all; at least 1 ms. Default: `None`,
    /// for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.keeping.ttl = ttl.into();
        self
    }

    /// Whether the bytes may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.keeping.options.class = class;
        self
    }

    /// The number of bytes to take from the reader, where it is known. No more is read than this; a reader that ends before is an error and nothing
    /// is stored.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// How it goes in one request; `None` where that has no room for what is wanted.
    fn in_one(&self) -> Option<PutOptions> {
        let options = &self.keeping.options;
        let placement = match &options.placement {
            StreamPlacement::Auto => Placement::Auto,
            StreamPlacement::Local => Placement::Local,
            StreamPlacement::Remote => Placement::Remote,
            StreamPlacement::Peers(peers) => match &peers[..] {
                [peer] => Placement::Peer(peer.clone()),
                _ => return None,
            },
        };
        let is_plain = options.key.is_none() && options.compress == Compress::Auto;
        is_plain.then(|| PutOptions {
            ttl: self.keeping.ttl,
            class: options.class,
            placement,
            ..PutOptions::new(&self.cloud, Target::Stream)
        })
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> IntoFuture for SendStream<R> {
    type Output = Result<Stored>;
    type IntoFuture = BoxFuture<'static, Result<Stored>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(send(self))
    }
}

async fn send<R: AsyncRead + Send + Unpin>(send: SendStream<R>) -> Result<Stored> {
    let in_one = send.in_one();
    let SendStream {
        cloud,
        keeping,
        reader,
        size,
    } = send;
    if let Some(options) = in_one {
        let (op, args) = options.encode(size)?;
        return stored(&upload::send_reader(&cloud, op, args, reader, size).await?);
    }
    let mut writer = keeping.open(cloud.clone()).await?;
    let unfinished = Unfinished {
        cloud: Some(cloud),
        id: writer.id(),
    };
    writer.append(reader, size).await?;
    let StreamFinished { id, size_bytes, .. } = writer.finish().await?;
    unfinished.keep();
    Ok(Stored { id, size: size_bytes })
}

/// Frees a stream that was not finished.
struct Unfinished {
    /// Gone once it was.
    cloud: Option<MemCloud>,
    id: BlockId,
}

impl Unfinished {
    fn keep(mut self) {
        self.cloud = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let id = self.id;
        // Without a runtime the node frees it by itself, later.
        if let (Some(cloud), Ok(runtime)) = (self.cloud.take(), Handle::try_current()) {
            runtime.spawn(async move { cloud.free(id).await });
        }
    }
}
