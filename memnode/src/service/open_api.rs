//! Streams that are open across calls. Not carried out by this node yet: each call is answered so.

use std::fs::File;

use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::stream::{KnownChunk, StreamFinished, StreamOpened, StreamOptions, StreamStatus};

use super::{ByteRange, Loaded, Service, Stored, Written};
use crate::body::Body;

impl Service {
    /// Opens a stream.
    ///
    /// # Errors
    /// `Unsupported`, as of all that follow.
    pub async fn stream_open(&self, _options: StreamOptions) -> ApiResult<StreamOpened> {
        Err(not_yet())
    }

    /// Appends bytes to it.
    pub async fn stream_write(&self, _id: BlockId, _body: Body) -> ApiResult<Stored> {
        Err(not_yet())
    }

    /// Appends bytes of a file to it.
    pub async fn stream_file(&self, _id: BlockId, _file: File, _range: ByteRange) -> ApiResult<Stored> {
        Err(not_yet())
    }

    /// Appends chunks to it that need not be sent.
    pub async fn stream_known(&self, _id: BlockId, _chunks: Vec<KnownChunk>) -> ApiResult<Vec<bool>> {
        Err(not_yet())
    }

    /// Tells how far it has come.
    pub async fn stream_status(&self, _id: BlockId) -> ApiResult<StreamStatus> {
        Err(not_yet())
    }

    /// Ends it.
    pub async fn stream_finish(&self, _id: BlockId) -> ApiResult<StreamFinished> {
        Err(not_yet())
    }

    /// Reads it as it is written.
    pub async fn stream_follow(&self, _id: BlockId, _range: ByteRange) -> ApiResult<Loaded> {
        Err(not_yet())
    }

    /// Writes an object into a file.
    pub async fn load_into(
        &self,
        _id: BlockId,
        _range: ByteRange,
        _file: File,
        _at: u64,
    ) -> ApiResult<Written> {
        Err(not_yet())
    }
}

fn not_yet() -> ApiError {
    ApiError::new(
        ErrorCode::Unsupported,
        "this node does not keep streams open yet: send a stream in one, with STREAM, and read it with LOAD",
    )
}
