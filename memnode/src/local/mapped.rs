//! Values that cross a connection as the descriptor of a memory file, not as bytes.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::reply::{MappedReply, ReadReply};
use memproto::local::request::{PutRequest, decode_empty};
use memproto::local::{FrameHeader, Op};

use super::backend::Backend;
use super::operations::put_call;
use super::session::{self, Reply, Session};
use super::wire::Wire;
use crate::body::Body;
use crate::memory_file::{MAPPED_MIN, MemoryFile};
use crate::service::{Loaded, PutOptions};
use crate::value::Value;

impl<B: Backend, S: Wire> Session<B, S> {
    /// Passes descriptors from here on, where the socket can.
    pub(super) fn attach(&mut self, header: FrameHeader) {
        if let Err(error) = decode_empty(self.input.payload(&header)) {
            return self.refuse_frame(header, &error);
        }
        if !self.socket.attach() {
            let message = "no memory files can be passed on this connection: values go as bytes";
            return self.refuse_frame(header, &ApiError::new(ErrorCode::Unsupported, message));
        }
        self.descriptors.attach();
        self.input.skip(&header);
        self.reply(header, Ok(Reply::Empty));
    }

    /// Stores the memory file that is attached to the request.
    pub(super) fn put_mapped(&mut self, header: FrameHeader, op: Op, cx: &mut Context<'_>) {
        // In any case: a descriptor of a request that is refused is closed.
        let attached = self.descriptors.take(self.input.len());
        let put = PutRequest::decode(self.input.payload(&header), op == Op::SetMapped);
        let (size, key, options) = match put {
            Ok((put, [])) => {
                let options = PutOptions {
                    ttl: put.ttl,
                    class: put.class,
                    placement: put.placement,
                    strict: put.strict,
                };
                (put.size, put.key.map(str::to_owned), options)
            }
            Ok(_) => {
                return self.refuse_frame(header, &ApiError::invalid("bytes stand beside a memory file"));
            }
            Err(error) => return self.refuse_frame(header, &error),
        };
        let file = attached.and_then(|descriptor| self.backend.files().adopt(descriptor));
        let value = match file.and_then(|file| checked(file, size)) {
            Ok(value) => value,
            Err(error) => return self.refuse_frame(header, &error),
        };
        self.input.skip(&header);
        let held = u64::from(header.length);
        if self.admit(header, held) {
            let serial = self.next_serial();
            let backend = Arc::clone(&self.backend);
            let op = if op == Op::SetMapped { Op::Set } else { Op::Store };
            let call = put_call(backend, op, key, Body::from(value), options);
            self.begin(header, serial, held, session::Body::None, call, cx);
        }
    }

    /// Appends the reply to a read that asked for a descriptor: with one where the value lies in a memory file and the
    /// connection passes them, else with the bytes.
    pub(super) fn append_mapped(&mut self, header: FrameHeader, loaded: Loaded) {
        let Loaded { id, size, body } = loaded;
        let Some(length) = body.size() else {
            let error = ApiError::new(ErrorCode::Internal, "the length of the value is not known");
            return self.output.error(header, &error);
        };
        let read = ReadReply { id, size, length };
        let waiting = self.output.len();
        let attached = body
            .file()
            .filter(|(file, _)| self.descriptors.append(header.request, id, file, waiting));
        let reply = MappedReply {
            read,
            offset: attached.map(|(_, offset)| offset),
        };
        if reply.offset.is_some() {
            return self.output.frame_copied(header, |out| reply.encode(out), &[]);
        }
        let output = &mut self.output;
        self.outgoing
            .begin(header, |out| reply.encode(out), Some(length), body, output);
    }

    pub(super) fn refuse_frame(&mut self, header: FrameHeader, error: &ApiError) {
        self.input.skip(&header);
        self.output.error(header, error);
    }
}

/// The value in a program's file. One that is too small for a file of its own is copied, and the file closed.
///
/// # Errors
/// `InvalidArgument` where it has another size than the program said.
fn checked(file: MemoryFile, size: Option<u64>) -> ApiResult<Value> {
    if let Some(size) = size.filter(|&size| size != file.len() as u64) {
        return Err(ApiError::invalid(format!(
            "the value was said to have {size} bytes, its memory file has {}",
            file.len()
        )));
    }
    if file.len() < MAPPED_MIN {
        return Ok(Bytes::copy_from_slice(file.as_slice()).into());
    }
    Ok(Value::File(file.into()))
}
