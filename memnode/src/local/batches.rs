//! MGET, MSET and MDEL: what lies here is answered there and then, the rest in one call of the backend.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use memproto::error::ApiResult;
use memproto::local::batch::{BatchAnswer, BatchKeys, BatchPairs, BatchReply};
use memproto::local::{FRAME_PAYLOAD_MAX, FrameHeader, INLINE_MAX};

use super::backend::Backend;
use super::session::{self, Reply, Session};
use super::wire::Wire;
use crate::service::{ByteRange, Here, Loaded, PutOptions};

type Entry = ApiResult<BatchAnswer>;

impl<B: Backend, S: Wire> Session<B, S> {
    pub(super) fn mget(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        let payload = self.input.take(&header);
        let (keys, strict) = match BatchKeys::decode(&payload) {
            Ok(BatchKeys { keys, strict }) => (keys, strict),
            Err(error) => return self.output.error(header, &error),
        };
        let room = BatchReply::room(keys.len());
        let mut elsewhere = Vec::new();
        let mut entries: Vec<Entry> = Vec::with_capacity(keys.len());
        for key in keys {
            let entry = |found: ApiResult<Option<Here<'_>>>| match found? {
                Some(here) => Ok(entry_of(here)),
                None => Err(BatchReply::missing()),
            };
            let now = (!strict).then(|| self.backend.get_now(key, ByteRange::ALL, entry));
            entries.push(match now.flatten() {
                Some(entry) => entry,
                None => {
                    elsewhere.push((entries.len(), key.to_owned()));
                    Err(BatchReply::missing())
                }
            });
        }
        if elsewhere.is_empty() {
            return self.reply(header, Ok(Reply::Batch(BatchReply { entries })));
        }
        // The values that come from elsewhere may wait for a program that does not read.
        let held = u64::from(header.length) + FRAME_PAYLOAD_MAX as u64;
        if !self.admit(header, held) {
            return;
        }
        let backend = Arc::clone(&self.backend);
        let serial = self.next_serial();
        let call = async move {
            let (places, keys): (Vec<usize>, Vec<String>) = elsewhere.into_iter().unzip();
            for (place, entry) in places.into_iter().zip(backend.mget(keys, room, strict).await) {
                entries[place] = entry;
            }
            Ok(Reply::Batch(BatchReply { entries }))
        };
        self.begin(header, serial, held, session::Body::None, call, cx);
    }

    pub(super) fn mset(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        let payload = self.input.take(&header);
        let BatchPairs {
            ttl,
            class,
            placement,
            strict,
            pairs,
        } = match BatchPairs::decode(&payload) {
            Ok(batch) => batch,
            Err(error) => return self.output.error(header, &error),
        };
        let options = PutOptions {
            ttl,
            class,
            placement,
            strict,
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
        for (key, value) in &pairs {
            // From the first that has to wait on, all do, so that of two values for one key the later one stays.
            match self.backend.set_now(key, value, &options) {
                Some(stored) => entries.push(stored.map(|_| done())),
                None => break,
            }
        }
        if entries.len() == pairs.len() {
            return self.reply(header, Ok(Reply::Batch(BatchReply { entries })));
        }
        let held = u64::from(header.length);
        if !self.admit(header, held) {
            return;
        }
        let rest: Vec<(String, Bytes)> = pairs[entries.len()..]
            .iter()
            .map(|&(key, value)| (key.to_owned(), payload.slice_ref(value)))
            .collect();
        let backend = Arc::clone(&self.backend);
        let serial = self.next_serial();
        let call = async move {
            let stored = backend.mset(rest, options).await.into_iter();
            entries.extend(stored.map(|stored| stored.map(|()| done())));
            Ok(Reply::Batch(BatchReply { entries }))
        };
        self.begin(header, serial, held, session::Body::None, call, cx);
    }

    pub(super) fn mdel(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        let decode = |payload: &[u8]| {
            let BatchKeys { keys, strict } = BatchKeys::decode(payload)?;
            Ok((keys.into_iter().map(str::to_owned).collect::<Vec<_>>(), strict))
        };
        self.call(
            header,
            0,
            decode,
            |backend, (keys, strict)| async move {
                let deleted = backend.mdel(keys, strict).await.into_iter();
                let entries = deleted.map(|deleted| match deleted {
                    Ok(true) => Ok(done()),
                    Ok(false) => Err(BatchReply::missing()),
                    Err(error) => Err(error),
                });
                Ok(Reply::Batch(BatchReply {
                    entries: entries.collect(),
                }))
            },
            cx,
        );
    }
}

fn done() -> BatchAnswer {
    BatchAnswer::Done(Bytes::new())
}

/// The entry of a value that was found here.
fn entry_of(here: Here<'_>) -> BatchAnswer {
    let Loaded { size, body, .. } = here.into();
    match body.as_whole() {
        Some(value) if value.len() <= INLINE_MAX => BatchAnswer::Done(value),
        _ => BatchAnswer::Later { size },
    }
}
