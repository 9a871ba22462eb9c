//! Streams that are written piece by piece.

use std::fs::File;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::mem;
use std::ops::RangeBounds;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::local::streams::{StreamFileRequest, StreamKnownRequest, StreamWriteRequest, decode_known};
use memproto::local::{KNOWN_CHUNKS_MAX, Op};
use memproto::stream::{
    Compress, KnownChunk, StreamFinished, StreamName, StreamOpened, StreamOptions, StreamPlacement,
    StreamStatus,
};
use memproto::{BlockClass, BlockId, ErrorCode, Placement, Ttl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::admission::Held;
use crate::connection::broken;
use crate::object::io_error;
use crate::put::stored;
use crate::range::Part;
use crate::socket::share;
use crate::{Error, MemCloud, Result, positioned, upload};

/// How much of a file is read at a time where its bytes have to be sent: a chunk.
const FILE_READ: usize = STREAM_CHUNK_SIZE;

/// How a stream is to be kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeping {
    pub(crate) options: StreamOptions,
    pub(crate) ttl: Option<Duration>,
}

impl Keeping {
    pub(crate) fn place(&mut self, placement: Placement) {
        self.options.placement = match placement {
            Placement::Auto => StreamPlacement::Auto,
            Placement::Local => StreamPlacement::Local,
            Placement::Remote => StreamPlacement::Remote,
            Placement::Peer(peer) => StreamPlacement::Peers(vec![peer]),
        };
    }

    pub(crate) fn place_on<P: Into<String>>(&mut self, peers: impl IntoIterator<Item = P>) {
        self.options.placement = StreamPlacement::Peers(peers.into_iter().map(Into::into).collect());
    }

    /// Opens the stream.
    pub(crate) async fn open(self, cloud: MemCloud) -> Result<StreamWriter> {
        let options = StreamOptions {
            ttl: self.ttl.map(Ttl::try_from).transpose()?,
            ..self.options
        };
        options.check()?;
        let StreamOpened { id } = cloud
            .control(Op::StreamOpen, Some(&options), cloud.timeout())
            .await?;
        Ok(StreamWriter::new(cloud, id))
    }
}

/// A stream that is to be opened; nothing happens until it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a stream is not opened unless this is awaited"]
pub struct StreamWriterBuilder {
    cloud: MemCloud,
    keeping: Keeping,
}

impl StreamWriterBuilder {
    /// The key that names the stream, once it is whole.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keeping.options.key = Some(key.into());
        self
    }

    /// Whether the key names the stream from its first byte on, so that others can read it by its name while it is written. Default: `false`.
    pub fn live(mut self, live: bool) -> Self {
        self.keeping.options.live = live;
        self
    }

    /// How long the stream lives, counted from when it is whole; at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.keeping.ttl = ttl.into();
        self
    }

    /// Whether the stream may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.keeping.options.class = class;
        self
    }

    /// Where the stream is to lie. Default: [`Placement::Auto`], on peers first.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.keeping.place(placement);
        self
    }

    /// The peers on which the stream is to lie, 1 to 64, and nowhere else: their names, ids or unambiguous prefixes of ids.
    pub fn peers<P: Into<String>>(mut self, peers: impl IntoIterator<Item = P>) -> Self {
        self.keeping.place_on(peers);
        self
    }

    /// Whether the stream is compressed on its way to where it lies. Default: [`Compress::Auto`].
    pub fn compress(mut self, compress: Compress) -> Self {
        self.keeping.options.compress = compress;
        self
    }
}

impl IntoFuture for StreamWriterBuilder {
    type Output = Result<StreamWriter>;
    type IntoFuture = BoxFuture<'static, Result<StreamWriter>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.keeping.open(self.cloud))
    }
}

/// A stream that is open: an [`AsyncWrite`], and more.
///
/// It is stored in **chunks** of at most 1 MiB, each known by its hash: equal chunks travel and are kept once. What is written through
/// [`AsyncWrite`] is gathered into whole chunks, and [`flush`](tokio::io::AsyncWriteExt::flush) ends one before it is full, so that others can read so far: small chunks
/// cost more than large ones, so flush where somebody waits. Each call of [`write_bytes`](Self::write_bytes), [`write_from`](Self::write_from) and
/// [`write_file`](Self::write_file) ends a chunk too.
///
/// The stream is whole with [`finish`](Self::finish), or [`shutdown`](tokio::io::AsyncWriteExt::shutdown), which does the same. Dropped before, it stays unfinished on the
/// node: it can be read as far as it has come, [resumed](MemCloud::resume_stream), or freed by its id; where nothing of this happens the node frees it after
/// a while (`unfinished_streams_kept` in its settings, ten minutes unless said otherwise). What was not flushed is lost then. A lost connection is no end either.
pub struct StreamWriter {
    cloud: MemCloud,
    id: BlockId,
    /// What was written and not sent yet, less than a chunk.
    gathered: BytesMut,
    state: State,
}

enum State {
    Open,
    /// A chunk is on its way.
    Sending(Sending),
    /// One of what was gathered did not arrive: what would come behind it would be in a wrong place.
    Broken,
    Finishing(BoxFuture<'static, Result<StreamFinished>>),
    Finished(StreamFinished),
}

/// A chunk on its way, which is given up when this is dropped.
struct Sending(JoinHandle<Result<()>>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter")
            .field("id", &self.id)
            .field("gathered", &self.gathered.len())
            .field("is_finished", &matches!(self.state, State::Finished(_)))
            .finish_non_exhaustive()
    }
}

impl StreamWriter {
    fn new(cloud: MemCloud, id: BlockId) -> Self {
        Self {
            cloud,
            id,
            gathered: BytesMut::new(),
            state: State::Open,
        }
    }

    /// The id, under which the stream can be read, also while it is written.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Appends bytes, and ends a chunk behind them. Returns the size of the stream so far.
    ///
    /// # Errors
    /// [`Error::Api`] with `NotFound` where the stream is finished or was freed, `Busy` where another call appends to it; with `OutOfMemory` or `QuotaExceeded` where no node
    /// has room, and the stream is freed then. Else it stays open with what it took, which [`status`](Self::status) tells.
    ///
    /// # Cancel safety
    /// Dropped, it may have appended some of the bytes.
    pub async fn write_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<u64> {
        let bytes = bytes.into();
        self.settle().await?;
        send_chunk(self.cloud.clone(), self.id, bytes).await
    }

    /// Appends what a reader yields up to its end, and ends a chunk behind it. Returns the size of the stream so far.
    ///
    /// # Errors
    /// As [`write_bytes`](Self::write_bytes), and [`Error::Io`] where the reader fails: what it had yielded before is appended, or part of it.
    ///
    /// # Cancel safety
    /// As [`write_bytes`](Self::write_bytes).
    pub async fn write_from<R: AsyncRead + Send + Unpin>(&mut self, reader: R) -> Result<u64> {
        self.append(reader, None).await
    }

    /// As [`write_from`](Self::write_from), of a reader of which `size` bytes are wanted where that is known.
    pub(crate) async fn append<R: AsyncRead + Send + Unpin>(
        &mut self,
        reader: R,
        size: Option<u64>,
    ) -> Result<u64> {
        self.settle().await?;
        let args = write_args(self.id);
        let reply = upload::send_reader(&self.cloud, Op::StreamWrite, args, reader, size).await?;
        Ok(stored(&reply)?.size)
    }

    /// Appends a range of a file's bytes, `..` for all of them, and ends a chunk behind it. Returns the size of the stream so far.
    ///
    /// On Linux the node reads the file itself: its bytes pass through no socket, and a file of any size takes one call, which fails where nothing moved for
    /// twice the time of [`Builder::timeout`](crate::Builder::timeout). Elsewhere, and on TCP, the bytes are read here and sent. The file's own position is neither used nor moved.
    /// Nobody should change the file meanwhile: what is appended is what is there when it is read.
    ///
    /// # Errors
    /// As [`write_bytes`](Self::write_bytes); `InvalidArgument` where it is no regular file, is not opened for reading, or ends before the range does.
    ///
    /// # Cancel safety
    /// As [`write_bytes`](Self::write_bytes).
    pub async fn write_file(&mut self, file: File, range: impl RangeBounds<u64>) -> Result<u64> {
        let part = Part::of(range);
        self.settle().await?;
        if let Some(size) = self.pass_file(&file, part).await? {
            return Ok(size);
        }
        let size = Some(part.length).filter(|&length| length != u64::MAX);
        self.append(FileReader::new(file, part), size).await
    }

    /// Lets the node read the file. `None` where it cannot.
    async fn pass_file(&self, file: &File, part: Part) -> Result<Option<u64>> {
        let Some(descriptor) = share(file)? else {
            return Ok(None);
        };
        let Part { offset, length } = part;
        let request = StreamFileRequest {
            id: self.id,
            offset,
            length,
            named: None,
        };
        let args = |out: &mut BytesMut| request.encode(out);
        let appended = async {
            let Some(mut call) = self
                .cloud
                .begin_attached(Op::StreamFile, &args, Some(descriptor))
                .await?
            else {
                return Ok(None);
            };
            stored(&call.reply().await?).map(|stored| Some(stored.size))
        };
        match while_it_moves(&self.cloud, self.id, appended).await {
            // Busy is a node without a descriptor to spare; where it is another call that appends, that is found out anew.
            Err(error) if matches!(error.api_code(), Some(ErrorCode::Unsupported | ErrorCode::Busy)) => {
                Ok(None)
            }
            appended => appended,
        }
    }

    /// Appends those of the chunks, in their order, whose bytes this node or a holder of the stream has already. Returns of each whether it was appended: the bytes
    /// of the others are needed. For several chunks whose order matters ask in parts: what comes behind a chunk that is needed is appended all the same.
    ///
    /// # Errors
    /// As [`write_bytes`](Self::write_bytes).
    pub async fn known(&mut self, chunks: &[KnownChunk]) -> Result<Vec<bool>> {
        self.settle().await?;
        let mut appended = Vec::with_capacity(chunks.len());
        for chunks in chunks.chunks(KNOWN_CHUNKS_MAX) {
            let args = |out: &mut BytesMut| StreamKnownRequest::encode(self.id, chunks, out);
            let held = Held::Bytes(mem::size_of_val(chunks));
            let asked = async {
                let mut call = self
                    .cloud
                    .begin(Op::StreamKnown, held, false, args, Bytes::new())
                    .await?;
                call.reply().await
            };
            let reply = while_it_moves(&self.cloud, self.id, asked).await?;
            appended.extend(decode_known(&reply.payload, chunks.len()).map_err(broken)?);
        }
        Ok(appended)
    }

    /// How far the stream has come, and where it lies. What was not flushed does not count.
    ///
    /// # Errors
    /// As [`MemCloud::stream_status`].
    pub async fn status(&self) -> Result<StreamStatus> {
        self.cloud.stream_status(self.id).await
    }

    /// Ends the stream, once all of it lies where it is to stay.
    ///
    /// # Errors
    /// As [`write_bytes`](Self::write_bytes), and `PeerUnreachable` where parts of it have been lost with a peer. [`Error::Timeout`] where nothing moved for twice the time of
    /// [`Builder::timeout`](crate::Builder::timeout). It may be finished later, after [`MemCloud::resume_stream`].
    pub async fn finish(mut self) -> Result<StreamFinished> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Sends what was gathered, and waits for it.
    async fn settle(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_settle(cx)).await
    }

    /// Waits for the chunk that is on its way.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let error = match &mut self.state {
            State::Open => return Poll::Ready(Ok(())),
            State::Finishing(_) | State::Finished(_) => return Poll::Ready(Err(has_ended())),
            State::Broken => return Poll::Ready(Err(is_broken())),
            State::Sending(sending) => match ready!(Pin::new(&mut sending.0).poll(cx)) {
                Ok(Ok(())) => {
                    self.state = State::Open;
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => error,
                // The runtime ended.
                Err(_) => Error::ConnectionLost,
            },
        };
        // Nothing may be appended behind what is missing now.
        self.state = State::Broken;
        self.gathered.clear();
        Poll::Ready(Err(error))
    }

    /// Sends what was gathered. By a task of its own: it has taken room that other writers wait for, and must not wait until somebody writes here again.
    ///
    /// # Errors
    /// `NoRuntime` where there is none for it; nothing happened then.
    fn begin_chunk(&mut self) -> Result<()> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let chunk = self.gathered.split().freeze();
        let sending = send_chunk(self.cloud.clone(), self.id, chunk);
        let task = runtime.spawn(async move { sending.await.map(drop) });
        self.state = State::Sending(Sending(task));
        Ok(())
    }

    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_sent(cx))?;
        while !self.gathered.is_empty() {
            self.begin_chunk()?;
            ready!(self.poll_sent(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<StreamFinished>> {
        loop {
            match &mut self.state {
                State::Finished(finished) => return Poll::Ready(Ok(*finished)),
                State::Finishing(finishing) => match ready!(finishing.as_mut().poll(cx)) {
                    Ok(finished) => self.state = State::Finished(finished),
                    Err(error) => {
                        self.state = State::Open;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Open | State::Sending(_) | State::Broken => {
                    ready!(self.poll_settle(cx))?;
                    self.state = State::Finishing(Box::pin(finish(self.cloud.clone(), self.id)));
                }
            }
        }
    }
}

/// Bytes are gathered into chunks of 1 MiB, of which one is sent while the next is gathered: an error may be that of bytes that were taken before, and what was gathered
/// since is lost with them. The writer is of no use behind it; [`MemCloud::resume_stream`] makes another one. Errors are those
/// of [`StreamWriter::write_bytes`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back.
impl AsyncWrite for StreamWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        let sent = writer.poll_sent(cx).map_err(io_error)?;
        if writer.gathered.len() >= STREAM_CHUNK_SIZE {
            ready!(sent);
            writer.begin_chunk().map_err(io_error)?;
        }
        if writer.gathered.capacity() < STREAM_CHUNK_SIZE {
            writer.gathered.reserve(STREAM_CHUNK_SIZE - writer.gathered.len());
        }
        let taken = bytes.len().min(STREAM_CHUNK_SIZE - writer.gathered.len());
        writer.gathered.extend_from_slice(&bytes[..taken]);
        if writer.gathered.len() == STREAM_CHUNK_SIZE && matches!(writer.state, State::Open) {
            // Where it cannot, the next call says why.
            let _ = writer.begin_chunk();
        }
        Poll::Ready(Ok(taken))
    }

    /// Ends a chunk, so that what was written can be read.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_settle(cx).map_err(io_error)
    }

    /// Finishes the stream.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_finish(cx).map_ok(drop).map_err(io_error)
    }
}

/// Streams that are written piece by piece.
impl MemCloud {
    /// Opens a stream that is written piece by piece, and can be read meanwhile.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let cloud = memsdk::MemCloud::connect().await?;
    /// let mut log = cloud.stream_writer().key("log").live(true).await?;
    /// log.write_all(b"it begins\n").await?;
    /// log.flush().await?;
    /// log.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream_writer(&self) -> StreamWriterBuilder {
        StreamWriterBuilder {
            cloud: self.clone(),
            keeping: Keeping::default(),
        }
    }

    /// Goes on with a stream that was not finished, behind what the node has taken of it: `taken_bytes` of its [`status`](StreamWriter::status) says where.
    ///
    /// # Errors
    /// [`Error::Api`] with `NotFound` where there is none that is open.
    pub async fn resume_stream(&self, id: BlockId) -> Result<StreamWriter> {
        if self.stream_status(id).await?.finished {
            return Err(has_ended());
        }
        Ok(StreamWriter::new(self.clone(), id))
    }

    /// How far a stream has come, and where it lies.
    ///
    /// # Errors
    /// [`Error::Api`] with `NotFound` where this node has no such stream.
    pub async fn stream_status(&self, id: BlockId) -> Result<StreamStatus> {
        self.control(Op::StreamStatus, Some(&StreamName { id }), self.timeout())
            .await
    }
}

fn has_ended() -> Error {
    Error::Api(memproto::ApiError::new(
        ErrorCode::NotFound,
        "the stream is finished: nothing can be appended to it",
    ))
}

fn is_broken() -> Error {
    Error::Io(io::Error::other(
        "a write to the stream failed before: go on with MemCloud::resume_stream, behind what its status says was taken",
    ))
}

fn write_args(id: BlockId) -> BytesMut {
    let mut args = BytesMut::new();
    StreamWriteRequest { id }.encode(&mut args);
    args
}

async fn send_chunk(cloud: MemCloud, id: BlockId, bytes: Bytes) -> Result<u64> {
    let reply = upload::send_value(&cloud, Op::StreamWrite, write_args(id), bytes).await?;
    Ok(stored(&reply)?.size)
}

async fn finish(cloud: MemCloud, id: BlockId) -> Result<StreamFinished> {
    let name = StreamName { id };
    // What is still on its way to a slow peer may take its time.
    let finished = cloud.control(Op::StreamFinish, Some(&name), Duration::MAX);
    while_it_moves(&cloud, id, finished).await
}

/// Waits for a call on a stream as long as the stream gets on.
///
/// # Errors
/// `Timeout` where it did not for two times the time of a call, and `NoRuntime` where there is nothing that keeps time.
async fn while_it_moves<T>(
    cloud: &MemCloud,
    id: BlockId,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    if Handle::try_current().is_err() {
        return Err(Error::NoRuntime);
    }
    let mut call = pin!(call);
    let mut before = None;
    loop {
        if let Ok(done) = tokio::time::timeout(cloud.timeout(), &mut call).await {
            return done;
        }
        let status = cloud.stream_status(id).await?;
        let now = Some((status.taken_bytes, status.placed_bytes));
        if mem::replace(&mut before, now) == now {
            return Err(Error::Timeout);
        }
    }
}

/// A part of a file, read on threads that may block.
struct FileReader {
    part: Part,
    state: Reading,
}

enum Reading {
    /// What was read and not handed out.
    Ready(File, Bytes),
    Waiting(JoinHandle<(File, io::Result<Vec<u8>>)>),
    /// It failed.
    Gone,
}

impl FileReader {
    fn new(file: File, part: Part) -> Self {
        Self {
            part,
            state: Reading::Ready(file, Bytes::new()),
        }
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        loop {
            match mem::replace(&mut reader.state, Reading::Gone) {
                Reading::Gone => {
                    return Poll::Ready(Err(io::Error::other("the file could not be read before")));
                }
                Reading::Waiting(mut waiting) => {
                    let Poll::Ready(read) = Pin::new(&mut waiting).poll(cx) else {
                        reader.state = Reading::Waiting(waiting);
                        return Poll::Pending;
                    };
                    let (file, read) = read.map_err(io::Error::other)?;
                    let read = read?;
                    let ended = read.is_empty();
                    reader.part.offset += read.len() as u64;
                    reader.part.length -= read.len() as u64;
                    reader.state = Reading::Ready(file, read.into());
                    if ended {
                        return Poll::Ready(Ok(()));
                    }
                }
                Reading::Ready(file, mut read) if !read.is_empty() => {
                    let part = read.split_to(read.len().min(buffer.remaining()));
                    buffer.put_slice(&part);
                    reader.state = Reading::Ready(file, read);
                    return Poll::Ready(Ok(()));
                }
                Reading::Ready(file, _) => {
                    let Part { offset, length } = reader.part;
                    let len = usize::try_from(length).unwrap_or(usize::MAX).min(FILE_READ);
                    if len == 0 || buffer.remaining() == 0 {
                        reader.state = Reading::Ready(file, Bytes::new());
                        return Poll::Ready(Ok(()));
                    }
                    reader.state = Reading::Waiting(tokio::task::spawn_blocking(move || {
                        let mut bytes = vec![0; len];
                        let read = positioned::read_at(&file, &mut bytes, offset).map(|read| {
                            bytes.truncate(read);
                            bytes
                        });
                        (file, read)
                    }));
                }
            }
        }
    }
}
