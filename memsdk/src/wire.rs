//! The shared state of a connection, and the task that writes and reads.

use std::io::IoSlice;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use memproto::flow::{ReceiveWindow, SendCredit};
use memproto::local::attached::{Arriving, Departing, cut};
use memproto::local::reply::{MappedReply, ReadReply};
use memproto::local::request::decode_credit;
use memproto::local::{FrameHeader, Input, Op, Output, data_cost};
use memproto::{ApiError, ErrorCode};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};
use tracing::debug;

use crate::admission::Limits;
use crate::slots::Slots;
use crate::socket::{Descriptor, ReadHalf, WriteHalf};
use crate::{Error, Result};

/// The most pieces of one vectored write.
const SLICES_MAX: usize = 128;

/// Values that are being sent add to the output while fewer than this many bytes wait in it, so that a small request
/// never waits behind more.
pub(crate) const BULK_LEVEL: usize = 256 * 1024;

/// Payloads up to this many bytes are copied out of the read buffer.
const COPY_MAX: usize = 16 * 1024;

/// A reply, or its beginning.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) payload: Bytes,
    /// The rest of the body, where there is more.
    pub(crate) pieces: Option<mpsc::UnboundedReceiver<Piece>>,
    /// What was attached to its frame.
    pub(crate) descriptor: Option<Descriptor>,
}

/// A part of the body of a reply.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    End,
    Failed(ApiError),
}

/// Credit of a value that is being sent.
#[derive(Debug)]
pub(crate) struct Credit {
    pub(crate) bytes: Mutex<SendCredit>,
    /// Told when there is more, or when none is needed any more.
    pub(crate) changed: Notify,
}

impl Credit {
    fn bytes(&self) -> MutexGuard<'_, SendCredit> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Credit that is there now.
    pub(crate) fn available(&self) -> u64 {
        self.bytes().available()
    }

    /// Takes the credit of a frame with this many bytes, which the caller saw to be available.
    pub(crate) fn take(&self, bytes: usize) {
        self.bytes().take(data_cost(bytes));
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) socket: WriteHalf,
    pub(crate) output: Mutex<Output>,
    /// The descriptors of frames in the output. Locked while the output is.
    pub(crate) departing: Mutex<Departing<Descriptor>>,
    /// Wakes the task: there is something to write.
    pub(crate) to_write: Notify,
    /// Wakes senders of values: the output has room.
    pub(crate) room: Notify,
    /// `None` once the connection is lost: no call can begin.
    pub(crate) slots: Mutex<Option<Slots>>,
    pub(crate) next_request: AtomicU64,
    /// Why the connection ended, where there is more to say than that it did.
    pub(crate) failure: OnceLock<Failure>,
    pub(crate) limits: OnceLock<Limits>,
}

#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Protocol(String),
    Fault(ApiError),
}

impl Shared {
    pub(crate) fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn departing(&self) -> MutexGuard<'_, Departing<Descriptor>> {
        self.departing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, Option<Slots>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame and sees that it is written: here and now where `now`, else by the task.
    pub(crate) fn send(
        &self,
        header: FrameHeader,
        args: impl FnOnce(&mut BytesMut),
        value: Bytes,
        now: bool,
    ) {
        self.send_attached(header, args, value, None, now);
    }

    /// Appends a frame, as [`send`](Self::send) does, with a descriptor attached to it.
    pub(crate) fn send_attached(
        &self,
        header: FrameHeader,
        args: impl FnOnce(&mut BytesMut),
        value: Bytes,
        descriptor: Option<Descriptor>,
        now: bool,
    ) {
        let mut output = self.output();
        if let Some(descriptor) = descriptor {
            self.departing().append(descriptor, output.len());
        }
        output.frame(header, args, value);
        if now {
            // What fails here fails for the task, too, which knows what to do.
            let _ = self.write_now(&mut output);
        }
        let rest = !output.is_empty();
        drop(output);
        if rest {
            self.to_write.notify_one();
        }
    }

    /// Tells the node that what came with the reply to this request is not mapped any more.
    pub(crate) fn unmapped(&self, request: u64) {
        // At once, where the socket takes it: the node may need the room, and a program that blocks has no task that runs now.
        self.send(FrameHeader::new(Op::Unmap, request), |_| {}, Bytes::new(), true);
    }

    /// Sends the next bytes of a value.
    pub(crate) fn send_data(&self, request: u64, more: bool, value: Bytes) {
        self.send(
            FrameHeader::new(Op::Data, request).with_more(more),
            |_| {},
            value,
            false,
        );
    }

    /// Whether the output has room for bytes of a value.
    pub(crate) fn has_room(&self) -> bool {
        self.output().len() < BULK_LEVEL
    }

    /// Gives credit back for bytes that were taken out of a reply's body.
    pub(crate) fn consumed(&self, request: u64, window: &Mutex<ReceiveWindow>, bytes: usize) {
        let grant = window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .consume(data_cost(bytes));
        if let Some(grant) = grant {
            let args = |out: &mut BytesMut| out.extend_from_slice(&grant.to_le_bytes());
            self.send(FrameHeader::new(Op::Credit, request), args, Bytes::new(), false);
        }
    }

    /// Why calls fail now.
    pub(crate) fn lost_error(&self) -> Error {
        match self.failure.get() {
            Some(Failure::Protocol(what)) => Error::Protocol(what.clone()),
            // A node that stops or is full says so; the connection is lost all the same.
            Some(Failure::Fault(error)) => Error::Api(error.clone()),
            None => Error::ConnectionLost,
        }
    }

    /// Ends all calls. What they wait for is dropped, which they see.
    pub(crate) fn lose(&self) {
        let slots = self.slots().take();
        drop(slots);
        self.room.notify_waiters();
    }

    fn fail(&self, failure: Failure) {
        // The first reason is the reason.
        let _ = self.failure.set(failure);
    }

    /// The connection's task: writes and reads until the connection ends.
    pub(crate) async fn drive(&self, mut reader: ReadHalf) {
        let mut input = Input::default();
        let ended = tokio::select! {
            biased;
            read = self.read_all(&mut reader, &mut input) => Some(read),
            written = self.write_all() => {
                debug!(?written, "cannot write any more");
                None
            }
        };
        // Where the node closed, it may have said why: that is still to be read, and its end comes at once.
        let ended = match ended {
            Some(read) => read,
            None => self.read_all(&mut reader, &mut input).await,
        };
        if let Err(error) = ended {
            debug!(%error, "connection broken");
        }
    }

    /// Writes what waits as far as the socket takes it. Returns whether all was written.
    fn write_now(&self, output: &mut Output) -> std::io::Result<bool> {
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = output.slices(&mut slices);
            let (len_max, descriptor) = self.departing().next_write();
            let (whole, part) = cut(&slices[..filled], len_max);
            let slices = part.as_ref().map_or(whole, std::slice::from_ref);
            let written = match descriptor {
                None => self.socket.try_write_vectored(slices),
                Some(descriptor) => self.socket.try_write_attached(slices, &descriptor),
            };
            match written {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    output.advance(written);
                    self.departing().note_written(written);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn write_all(&self) -> std::io::Result<()> {
        loop {
            let (done, has_room) = {
                let mut output = self.output();
                (self.write_now(&mut output)?, output.len() < BULK_LEVEL)
            };
            if has_room {
                self.room.notify_waiters();
            }
            if done {
                self.to_write.notified().await;
                // Whoever else is about to call does so now, and what all of them send leaves in one write. On a runtime of
                // several threads this task would else run right behind the first of them.
                tokio::task::yield_now().await;
            } else {
                self.socket.writable().await?;
            }
        }
    }

    async fn read_all(&self, reader: &mut ReadHalf, input: &mut Input) -> std::io::Result<()> {
        let mut arriving = Arriving::default();
        loop {
            let bytes = reader.read_buf(input.read_buffer()).await?;
            if bytes == 0 {
                return Ok(());
            }
            input.received(bytes);
            let noted = arriving.note_read(bytes, reader.take_arrived());
            let taken = noted
                .map_err(protocol)
                .and_then(|()| self.take_frames(reader, input, &mut arriving));
            if let Err(failure) = taken {
                debug!(?failure, "the node ended the connection");
                self.fail(failure);
                return Ok(());
            }
        }
    }

    fn take_frames(
        &self,
        reader: &mut ReadHalf,
        input: &mut Input,
        arriving: &mut Arriving<Descriptor>,
    ) -> Result<(), Failure> {
        while let Some(header) = input
            .peek()
            .map_err(|error| Failure::Protocol(format!("its frames are damaged: {error}")))?
        {
            match Op::from_byte(header.op) {
                Some(Op::Fault) => return Err(Failure::Fault(failure_of(&header, input.payload(&header)))),
                Some(Op::Credit) => {
                    let bytes = decode_credit(input.payload(&header)).map_err(protocol)?;
                    input.skip(&header);
                    self.credit(header.request, bytes).map_err(protocol)?;
                }
                op => {
                    let descriptor = match op {
                        Some(Op::GetMapped | Op::LoadMapped) => arriving.take(input.len()),
                        // The node attaches nothing before it said so.
                        Some(Op::Attach) if header.status == 0 => {
                            reader.attach();
                            None
                        }
                        _ => None,
                    };
                    // A small payload is copied: else it would keep the whole buffer that it came in.
                    let payload = if header.length as usize <= COPY_MAX {
                        let payload = Bytes::copy_from_slice(input.payload(&header));
                        input.skip(&header);
                        payload
                    } else {
                        input.take(&header)
                    };
                    let is_data = op == Some(Op::Data);
                    let taken = if is_data {
                        self.data(header, &payload)
                    } else {
                        self.reply(header, payload, descriptor)
                    };
                    taken.map_err(Failure::Protocol)?;
                }
            }
            arriving.check_taken(input.len()).map_err(protocol)?;
        }
        Ok(())
    }

    fn credit(&self, request: u64, bytes: u64) -> Result<(), ApiError> {
        let upload = self
            .slots()
            .as_ref()
            .and_then(|slots| slots.get(request)?.upload.clone());
        if let Some(upload) = upload {
            upload.bytes().grant(bytes)?;
            upload.changed.notify_one();
        }
        Ok(())
    }

    fn reply(
        &self,
        header: FrameHeader,
        payload: Bytes,
        descriptor: Option<Descriptor>,
    ) -> Result<(), String> {
        let mut slots = self.slots();
        let Some(slots) = slots.as_mut() else {
            return Ok(());
        };
        // A reply to a call that nobody waits for any more is no fault: it was cancelled, and a descriptor with it.
        let Some(slot) = slots.get_mut(header.request) else {
            return Ok(());
        };
        let Some(sender) = slot.reply.take() else {
            return Err("a request got two replies".to_owned());
        };
        if slot.op != header.op {
            return Err("a reply has another operation than its request".to_owned());
        }
        // The node has taken the value, or wants no more of it.
        if let Some(upload) = slot.upload.take() {
            upload.changed.notify_one();
        }
        let reply = if header.status != 0 {
            Err(Error::Api(failure_of(&header, &payload)))
        } else if header.more() {
            let args = match Op::from_byte(slot.op) {
                Some(Op::Get | Op::Load) => ReadReply::LEN,
                Some(Op::GetMapped | Op::LoadMapped) => MappedReply::LEN,
                _ => 0,
            };
            receive(&slot.window, payload.len().saturating_sub(args))?;
            let (pieces, receiver) = mpsc::unbounded_channel();
            slot.body = Some((pieces, Arc::clone(&slot.window)));
            Ok(Reply {
                payload,
                pieces: Some(receiver),
                descriptor,
            })
        } else {
            Ok(Reply {
                payload,
                pieces: None,
                descriptor,
            })
        };
        if slot.body.is_none() {
            slots.remove(header.request);
        }
        // Whoever dropped the call has no use for the reply.
        let unwanted = sender.send(reply).err();
        if matches!(
            unwanted,
            Some(Ok(Reply {
                descriptor: Some(_),
                ..
            }))
        ) {
            self.unmapped(header.request);
        }
        Ok(())
    }

    fn data(&self, header: FrameHeader, payload: &Bytes) -> Result<(), String> {
        let mut slots = self.slots();
        let Some(slots) = slots.as_mut() else {
            return Ok(());
        };
        let Some(slot) = slots.get_mut(header.request) else {
            return Ok(());
        };
        let Some((pieces, window)) = &slot.body else {
            return Err("bytes of a value came before the reply".to_owned());
        };
        let ends = header.status != 0 || !header.more();
        // Nobody may read any more: the call's drop takes the slot away.
        if header.status != 0 {
            let _ = pieces.send(Piece::Failed(failure_of(&header, payload)));
        } else {
            receive(window, payload.len())?;
            let _ = pieces.send(Piece::Bytes(payload.clone()));
            if ends {
                let _ = pieces.send(Piece::End);
            }
        }
        if ends {
            slots.remove(header.request);
        }
        Ok(())
    }
}

fn receive(window: &Mutex<ReceiveWindow>, bytes: usize) -> Result<(), String> {
    let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
    window.receive(data_cost(bytes)).map_err(|error| error.message)
}

fn protocol(error: ApiError) -> Failure {
    Failure::Protocol(error.message)
}

fn failure_of(header: &FrameHeader, message: &[u8]) -> ApiError {
    let message = String::from_utf8_lossy(message);
    ApiError::new(ErrorCode::from_number(header.status), message)
}
