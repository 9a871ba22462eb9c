//! Streams that are written piece by piece, and objects that are followed or loaded into a file of the program.
//!
//! A file is never looked at here: asking about one that lies behind a network may take as long as that does, and a session shares its
//! thread with others. The node's own runtime does that, and the backend all that is read and written.

use std::fs::File;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::request::ReadRequest;
use memproto::local::streams::{
    LoadIntoRequest, NamedFile, StreamFileRequest, StreamKnownRequest, StreamWriteRequest,
};
use memproto::local::{BODY_WINDOW, FrameHeader, Op};

use super::backend::Backend;
use super::incoming::Incoming;
use super::session::{self, Reply, Session};
use super::wire::Wire;
use crate::body::Body;
use crate::platform::{Access, Descriptor, Program, given_file};
use crate::service::ByteRange;

impl<B: Backend, S: Wire> Session<B, S> {
    /// Appends bytes to a stream.
    pub(super) fn stream_write(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        let (id, first_len) = match StreamWriteRequest::decode(self.input.payload(&header)) {
            Ok((write, first)) => (write.id, first.len()),
            Err(error) => return self.refuse_frame(header, &error),
        };
        let held = u64::from(header.length) + if header.more() { BODY_WINDOW } else { 0 };
        if !self.admit(header, held) {
            return self.input.skip(&header);
        }
        let payload = self.input.take(&header);
        let first = payload.slice(payload.len() - first_len..);
        let serial = self.next_serial();
        let (incoming, body) = if header.more() {
            match Incoming::begin(serial, header.request, None, first, self.grant_sender()) {
                Ok((incoming, body)) => (session::Body::Piped(incoming), body),
                Err(error) => return self.output.error(header, &error),
            }
        } else {
            (session::Body::None, whole(first))
        };
        let backend = Arc::clone(&self.backend);
        let call = async move { backend.stream_write(id, body).await.map(Reply::Stored) };
        self.begin(header, serial, held, incoming, call, cx);
    }

    /// Appends bytes of a file of the program to a stream.
    pub(super) fn stream_file(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        self.call_with_file(
            header,
            StreamFileRequest::decode,
            |request| request.named,
            Access::Read,
            |backend, file, request| async move {
                let range = ByteRange {
                    offset: request.offset,
                    length: request.length,
                };
                backend
                    .stream_file(request.id, file, range)
                    .await
                    .map(Reply::Stored)
            },
            cx,
        );
    }

    /// Appends chunks to a stream that need not be sent.
    pub(super) fn stream_known(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        self.call(
            header,
            0,
            StreamKnownRequest::decode,
            |backend, StreamKnownRequest { id, chunks }| async move {
                let count = chunks.len();
                let appended = backend.stream_known(id, chunks).await?;
                debug_assert_eq!(appended.len(), count, "each chunk has its answer");
                Ok(Reply::Known(appended))
            },
            cx,
        );
    }

    /// Writes an object, or a part of it, to the attached file.
    pub(super) fn load_into(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        self.call_with_file(
            header,
            LoadIntoRequest::decode,
            |_| None,
            Access::Write,
            |backend, file, request: LoadIntoRequest| async move {
                let range = ByteRange {
                    offset: request.offset,
                    length: request.length,
                };
                let written = backend.load_into(request.id, range, file, request.at).await;
                written.map(Reply::Written)
            },
            cx,
        );
    }

    /// Reads a stream as it is written. The frame of the request was taken out of the input.
    pub(super) fn follow(&mut self, header: FrameHeader, read: ReadRequest<BlockId>, cx: &mut Context<'_>) {
        let ReadRequest {
            offset,
            length,
            target,
            ..
        } = read;
        if self.admit(header, 0) {
            let backend = Arc::clone(&self.backend);
            let serial = self.next_serial();
            let call = async move {
                let range = ByteRange { offset, length };
                backend.follow(target, range).await.map(Reply::Followed)
            };
            self.begin(header, serial, 0, session::Body::None, call, cx);
        }
    }

    /// Begins a call of the backend with a file of the program: that which is attached to its request, or the one that `named` finds there.
    fn call_with_file<T, F>(
        &mut self,
        header: FrameHeader,
        decode: impl FnOnce(&[u8]) -> ApiResult<T>,
        named: impl FnOnce(&T) -> Option<NamedFile>,
        access: Access,
        run: impl FnOnce(Arc<B>, File, T) -> F + Send + 'static,
        cx: &mut Context<'_>,
    ) where
        T: Send + 'static,
        F: Future<Output = ApiResult<Reply>> + Send + 'static,
    {
        let request = decode(self.input.payload(&header));
        let file = match request.as_ref().ok().and_then(named) {
            Some(named) => self
                .socket
                .program()
                .map(|program| Given::Named(program, named))
                .map_err(|error| cannot_open(&error)),
            // Also where the request is refused: its descriptor is closed then.
            None => self.descriptors.take_file(self.input.len()).map(Given::Attached),
        };
        self.input.skip(&header);
        let held = u64::from(header.length);
        let (file, request) = match request.and_then(|request| Ok((file?, request))) {
            Ok(taken) if self.admit(header, held) => taken,
            Ok(_) => return,
            Err(error) => return self.output.error(header, &error),
        };
        let backend = Arc::clone(&self.backend);
        let call = async move { run(backend, file.open(access).await?, request).await };
        let serial = self.next_serial();
        self.begin(header, serial, held, session::Body::Attached, call, cx);
    }
}

/// A file of a program, which nobody has looked at yet.
enum Given {
    Attached(Descriptor),
    Named(Program, NamedFile),
}

impl Given {
    /// The file.
    ///
    /// # Errors
    /// `InvalidArgument` where it is none that can be read or filled, `Unsupported` where its bytes are to be sent instead.
    async fn open(self, access: Access) -> ApiResult<File> {
        let looked_at = tokio::task::spawn_blocking(move || match self {
            Given::Attached(descriptor) => given_file(descriptor, access),
            Given::Named(program, named) => program.open(named),
        });
        looked_at
            .await
            .map_err(|_| ApiError::new(ErrorCode::ShuttingDown, "the node is stopping"))?
            .map_err(|error| cannot_open(&error))
    }
}

/// Why a program's file is not taken.
fn cannot_open(error: &std::io::Error) -> ApiError {
    match error.kind() {
        std::io::ErrorKind::InvalidInput => ApiError::invalid(error.to_string()),
        std::io::ErrorKind::Unsupported => ApiError::new(ErrorCode::Unsupported, error.to_string()),
        _ => ApiError::invalid(format!("the file cannot be looked at: {error}")),
    }
}

/// A body that is there whole.
fn whole(bytes: Bytes) -> Body {
    if bytes.is_empty() {
        return Body::empty();
    }
    Body::from(bytes)
}

/// Why a LOAD_MAPPED cannot follow.
pub(super) fn cannot_follow() -> ApiError {
    let message = format!(
        "{} does not follow: ask for the bytes with LOAD",
        Op::LoadMapped.as_str()
    );
    ApiError::new(ErrorCode::Unsupported, message)
}
