//! One connection that speaks JSON lines.
//!
//! One task serves it: it takes lines, works on their requests side by side, and writes each reply when it is there. A
//! program that does not read its replies gets no more lines taken, so that it makes the node hold no more.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::operation;
use super::request::{self, Operation, line_too_long};
use super::{FIRST_LINE_MAX, HELD_MAX, IN_FLIGHT_MAX, LINE_MAX, OUTPUT_MAX};
use crate::local::backend::Backend;
use crate::local::gate::Gate;
use crate::local::session::{End, HELLO_TIMEOUT, LAST_WRITE_TIMEOUT, panicked, shutting_down};

/// The room in bytes that is offered to a read once the token came.
const READ_MIN: usize = 16 * 1024;

/// A reply that failed, as a line.
pub(in crate::local) fn error_line(id: &Value, error: &ApiError) -> Vec<u8> {
    line(&json!({"id": id, "error": error}))
}

fn line(reply: &Value) -> Vec<u8> {
    let mut line = reply.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A request that is being worked on.
type Call = Pin<Box<dyn Future<Output = Finished> + Send>>;

struct Finished {
    held: usize,
    line: Vec<u8>,
}

/// The state of one connection.
pub(in crate::local) struct JsonSession<B, S> {
    backend: Arc<B>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    /// Gone once the token came.
    gate: Option<Gate>,
    input: BytesMut,
    /// So many bytes of the input have no end of a line.
    scanned: usize,
    is_half_closed: bool,
    output: BytesMut,
    calls: FuturesUnordered<Call>,
    held: usize,
    /// A call that waits for others to end, with what it will hold.
    next: Option<(usize, Call)>,
}

impl<B: Backend, S: AsyncRead + AsyncWrite + Send> JsonSession<B, S> {
    /// A session on a socket that anybody on this host may open. `read` was read from it already.
    pub(in crate::local) fn new(backend: Arc<B>, socket: S, gate: Gate, read: BytesMut) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        Self {
            backend,
            reader,
            writer,
            gate: Some(gate),
            input: read,
            scanned: 0,
            is_half_closed: false,
            output: BytesMut::new(),
            calls: FuturesUnordered::new(),
            held: 0,
            next: None,
        }
    }

    /// Serves the connection until it ends or `stop` is cancelled. All its calls end with it.
    pub(in crate::local) async fn run(mut self, stop: CancellationToken) {
        let served = async {
            match tokio::time::timeout(HELLO_TIMEOUT, self.greet()).await {
                Ok(greeted) => greeted?,
                Err(_) => return Err(ApiError::new(ErrorCode::Timeout, "no hello came in time").into()),
            }
            self.serve().await
        };
        let end = tokio::select! {
            biased;
            end = served => end,
            () = stop.cancelled() => Err(End::Fault(shutting_down())),
        };
        match end {
            Ok(()) => debug!("closed"),
            Err(End::Gone(error)) => return debug!(?error, "broken"),
            Err(End::Fault(fault)) => {
                debug!(code = %fault.code, message = fault.message, "closing");
                self.output.extend_from_slice(&error_line(&Value::Null, &fault));
            }
        }
        self.calls.clear();
        let written = self.writer.write_all_buf(&mut self.output);
        // A program that does not read its last words in time does not get them.
        let _ = tokio::time::timeout(LAST_WRITE_TIMEOUT, written).await;
    }

    /// Waits for the first line and checks its token.
    async fn greet(&mut self) -> Result<(), End> {
        let line = loop {
            if let Some(line) = self.take_line(FIRST_LINE_MAX)? {
                break line;
            }
            if self.is_half_closed {
                return Err(End::Gone(None));
            }
            self.read().await?;
        };
        let (id, operation) = request::parse(&line);
        let Ok(Operation::Hello(hello)) = operation else {
            let message =
                "the first line is no hello with the token: {\"id\":1,\"op\":\"hello\",\"token\":\"...\"}";
            return Err(ApiError::new(ErrorCode::Denied, message).into());
        };
        if let Some(gate) = &self.gate {
            gate.check(&hello.token)?;
        }
        self.gate = None;
        debug!(client = hello.name, "greeted");
        self.reply(&id, Ok(operation::greeting(&*self.backend)));
        Ok(())
    }

    /// Serves requests until the program has closed its side and all is answered.
    async fn serve(&mut self) -> Result<(), End> {
        loop {
            self.take_requests().await?;
            let is_idle = self.calls.is_empty() && self.next.is_none() && self.output.is_empty();
            if is_idle && self.is_half_closed && self.input.is_empty() {
                return Ok(());
            }
            let has_room = self.output.len() < OUTPUT_MAX;
            self.input.reserve(READ_MIN);
            let may_read = has_room && self.next.is_none() && !self.is_half_closed;
            tokio::select! {
                Some(finished) = self.calls.next(), if has_room => self.finish(&finished),
                written = self.writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    if written.map_err(gone)? == 0 {
                        return Err(End::Gone(None));
                    }
                }
                read = self.reader.read_buf(&mut self.input), if may_read => {
                    self.is_half_closed = read.map_err(gone)? == 0;
                }
            }
        }
    }

    /// Begins the requests whose lines are there, while there is room for them.
    async fn take_requests(&mut self) -> Result<(), End> {
        while self.output.len() < OUTPUT_MAX {
            let (held, mut call) = match self.next.take() {
                Some(next) => next,
                None => match self.take_line(LINE_MAX)? {
                    Some(line) => match self.begin(&line) {
                        Some(next) => next,
                        None => continue,
                    },
                    None => break,
                },
            };
            // One request always has room, however much it holds.
            let is_full = self.calls.len() >= IN_FLIGHT_MAX || self.held + held > HELD_MAX;
            if is_full && !self.calls.is_empty() {
                self.next = Some((held, call));
                break;
            }
            self.held += held;
            // Most need not wait, and are answered in the order of their lines.
            match futures_util::poll!(call.as_mut()) {
                std::task::Poll::Ready(finished) => self.finish(&finished),
                std::task::Poll::Pending => self.calls.push(call),
            }
        }
        Ok(())
    }

    /// The call of a line, or `None` where the line was answered already.
    fn begin(&mut self, line: &[u8]) -> Option<(usize, Call)> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let (id, operation) = request::parse(line);
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => {
                self.reply(&id, Err(error));
                return None;
            }
        };
        let held = line.len() + operation.held();
        let (timed_as, read_at) = (operation.timed_as(), Instant::now());
        let backend = Arc::clone(&self.backend);
        let call = async move {
            let run = operation::run(Arc::clone(&backend), operation);
            let result = AssertUnwindSafe(run)
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Err(panicked(&*panic)));
            if let Some(op) = timed_as {
                backend.timings().record(op.to_byte(), read_at.elapsed());
            }
            let line = reply_line(&id, result);
            Finished { held, line }
        };
        Some((held, Box::pin(call)))
    }

    fn finish(&mut self, finished: &Finished) {
        self.held -= finished.held;
        self.output.extend_from_slice(&finished.line);
    }

    fn reply(&mut self, id: &Value, result: ApiResult<Value>) {
        self.output.extend_from_slice(&reply_line(id, result));
    }

    /// Takes the first line, without its end. What a program sent before it closed its side is a line too.
    fn take_line(&mut self, line_max: usize) -> Result<Option<BytesMut>, End> {
        let end = self.input[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| self.scanned + at);
        if end.unwrap_or(self.input.len()) > line_max {
            return Err(line_too_long(line_max).into());
        }
        let Some(end) = end else {
            self.scanned = self.input.len();
            if self.is_half_closed && !self.input.is_empty() {
                self.scanned = 0;
                return Ok(Some(self.input.split()));
            }
            return Ok(None);
        };
        let line = self.input.split_to(end);
        self.input.advance(1);
        self.scanned = 0;
        Ok(Some(line))
    }

    async fn read(&mut self) -> Result<(), End> {
        self.input.reserve(FIRST_LINE_MAX);
        let read = self.reader.read_buf(&mut self.input).await.map_err(gone)?;
        self.is_half_closed = read == 0;
        Ok(())
    }
}

fn reply_line(id: &Value, result: ApiResult<Value>) -> Vec<u8> {
    match result {
        Ok(result) => line(&json!({"id": id, "result": result})),
        Err(error) => error_line(id, &error),
    }
}

fn gone(error: io::Error) -> End {
    End::Gone(Some(error))
}
