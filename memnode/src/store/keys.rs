//! Keys: which node has the newest value, and the value where it is this one's.

use std::time::Duration;

use memproto::error::ApiResult;
use memproto::peer::message::KeyVersion;
use memproto::version::VERSION_COUNTER_BITS;
use memproto::{BlockId, NodeId, Version};

use super::entry::Kind;
use super::prepared::Prepared;
use super::shard::{Displaced, NoPage};
use super::{
    Content, InsertError, KeyNote, KeyRecord, KeyValue, KeyWrite, Lookup, Owner, Place, SmallValue, Store,
    lock, small,
};

/// How a position in a scan is written as one number: the shard in the highest 6 bits, then how many entries with the tag were met in 26 (a
/// chance of 2^-32 for each pair of keys: more than a few do not occur), then the tag.
struct Cursor;

impl Cursor {
    fn put_together(shard: usize, (tag, met): (u32, u32)) -> u64 {
        (shard as u64) << 58 | u64::from(met & 0x03ff_ffff) << 32 | u64::from(tag)
    }

    fn take_apart(cursor: u64) -> (usize, (u32, u32)) {
        (
            (cursor >> 58) as usize,
            (cursor as u32, (cursor >> 32) as u32 & 0x03ff_ffff),
        )
    }
}

/// The outcome of [`Store::set_small`].
#[derive(Debug)]
pub struct SetSmall {
    /// The id of the new value. Where a newer version was known nobody can read it.
    pub id: BlockId,
    /// What the key held before, where that was no small value.
    pub displaced: Option<super::Removed>,
}

impl Store {
    /// What a key names, which counts as a read. `read` is called under the lock of a shard: it may copy a small value, and no more.
    pub fn look_up<R>(&self, key: &str, read: impl FnOnce(Lookup<'_>) -> R) -> R {
        let (key, shard) = self.place_of_key(key);
        read(lock(&self.inner.shards[shard]).look_up(key))
    }

    /// What is known of a key.
    pub fn key(&self, key: &str) -> Option<KeyRecord> {
        let (key, shard) = self.place_of_key(key);
        let shard = lock(&self.inner.shards[shard]);
        shard.find_key(key).map(|handle| shard.record(handle))
    }

    /// Sets a key to a small value of a program of this host, in the version that `tick` gives. Data of class cache makes room.
    ///
    /// # Errors
    /// `OutOfMemory`; the key holds what it held then.
    pub fn set_small(
        &self,
        key: &str,
        value: SmallValue<'_>,
        mut tick: impl FnMut() -> Version,
    ) -> ApiResult<(SetSmall, Version)> {
        let (key, shard) = self.place_of_key(key);
        let (id, displaced, version) = self.making_room_for_entry(|| {
            let mut shard = lock(&self.inner.shards[shard]);
            let version = tick();
            let old = shard.find_key(key);
            let id = shard.new_id();
            if old.is_some_and(|old| shard.record(old).version >= version) {
                return Ok((id, Displaced::default(), version));
            }
            let displaced = shard.set_small(old, small(value, Some(key), id, version.time))?;
            Ok((id, displaced, version))
        })?;
        let displaced = displaced
            .removed
            .filter(|removed| !matches!(removed.place, Place::Here));
        Ok((SetSmall { id, displaced }, version))
    }

    /// Sets a key to something under an id that [`new_id`](Self::new_id) gave for it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn set(
        &self,
        key: &str,
        version: Version,
        id: BlockId,
        content: Content,
    ) -> Result<KeyWrite, InsertError> {
        let prepared = match content {
            Content::Block(block, reservation) => Prepared::block(block, reservation, id, key.len())?,
            Content::Object(object) => self.prepare_object(object),
        };
        let (key, shard) = self.place_of_key(key);
        let mut shard = lock(&self.inner.shards[shard]);
        let old = shard.find_key(key);
        if let Some(record) = old
            .map(|old| shard.record(old))
            .filter(|record| record.version >= version)
        {
            drop(shard);
            return Ok(KeyWrite::Stale(record));
        }
        if shard.find_id(id).is_some() {
            drop(shard);
            return Err(InsertError::AlreadyExists);
        }
        let displaced = prepared.put(&mut shard, old, Some(key), id, version.time)?;
        drop(shard);
        Ok(KeyWrite::Recorded {
            displaced: displaced.removed,
        })
    }

    /// Records a version of a key that has no value of this node, if it is newer than what is known.
    ///
    /// Where the budget has no room for a record of a key that was not known, a peer's version is simply not remembered: the key is then
    /// found by asking.
    pub fn note(&self, key: &str, version: Version, note: KeyNote) -> KeyWrite {
        let (key, shard) = self.place_of_key(key);
        let nothing = KeyWrite::Recorded { displaced: None };
        // Looked at before the lock: it may evict.
        let has_room = self.reserve(Owner::Local, key.bytes.len() as u64).is_ok();
        let mut shard = lock(&self.inner.shards[shard]);
        let old = shard.find_key(key);
        match old.map(|old| shard.record(old)) {
            Some(record) if record.version >= version => return KeyWrite::Stale(record),
            None if !has_room => return nothing,
            _ => {}
        }
        // Without memory for the note nothing is known of the key, also not what is no longer true.
        let displaced = match (shard.put_note(old, key, version, note), old) {
            (Ok(displaced), _) => displaced,
            (Err(NoPage), Some(old)) => shard.remove(old),
            (Err(NoPage), None) => return nothing,
        };
        drop(shard);
        KeyWrite::Recorded {
            displaced: displaced.removed,
        }
    }

    /// Forgets a key, and takes out what it names, where that is older than this version.
    pub fn remove_key(&self, key: &str, version: Version) -> Option<super::Removed> {
        let (key, shard) = self.place_of_key(key);
        let displaced = {
            let mut shard = lock(&self.inner.shards[shard]);
            let handle = shard.find_key(key)?;
            if shard.record(handle).version >= version {
                return None;
            }
            shard.remove(handle)
        };
        displaced.removed
    }

    /// Forgets a key whose record still is this one, if it is no value of this node.
    pub fn forget_key(&self, key: &str, record: KeyRecord) {
        let (key, shard) = self.place_of_key(key);
        let mut shard = lock(&self.inner.shards[shard]);
        if let Some(handle) = shard.find_key(key)
            && shard.record(handle) == record
            && !matches!(record.value, KeyValue::Ours(_))
        {
            shard.remove(handle);
        }
    }

    /// Forgets deletions that are older than this at the time `unix_ms`, and gives their memory back.
    pub fn forget_deletions(&self, older_than: Duration, unix_ms: u64) {
        let oldest_ms = unix_ms.saturating_sub(u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX));
        self.forget_notes(|record| {
            record.value == KeyValue::Deleted && record.version.time >> VERSION_COUNTER_BITS <= oldest_ms
        });
    }

    /// Forgets what a peer answers for: it restarted, or is no longer trusted. Returns the objects that lay there,
    /// which are gone; of a stream one chunk is enough.
    pub fn forget_peer(&self, peer: NodeId) -> Vec<BlockId> {
        self.forget_notes(|record| record.value == KeyValue::Theirs && record.version.node == peer);
        let mut gone = Vec::new();
        for shard in &self.inner.shards {
            let shard = lock(shard);
            let lies_there = |place: Place| match place {
                Place::Here => false,
                Place::At(holder) => holder == peer,
                Place::Stream(manifest) => manifest.holders().contains(&peer),
            };
            for (handle, id) in shard.with_outside() {
                if shard.place_of(handle).is_some_and(lies_there) {
                    gone.push(id);
                }
            }
        }
        gone
    }

    /// The versions of all keys that this node answers for or deleted, one shard at a time: `shard` counts from 0,
    /// `None` is behind the last.
    pub fn versions(&self, shard: usize) -> Option<Vec<KeyVersion>> {
        let shard = lock(self.inner.shards.get(shard)?);
        let told = shard.keyed().into_iter().filter_map(|handle| {
            let record = shard.record(handle);
            let key = str::from_utf8(shard.entry(handle).key()).ok()?;
            (record.value != KeyValue::Theirs).then(|| KeyVersion {
                key: key.to_owned(),
                version: record.version,
                deleted: record.value == KeyValue::Deleted,
            })
        });
        Some(told.collect())
    }

    /// Calls `each` with keys of this node and of its peers, from a cursor on, 0 at the beginning, until about `looked_at_max` entries were
    /// looked at or `each` says false. Returns the cursor to go on with, 0 at the end.
    ///
    /// A key that is there from the beginning to the end of a scan is met at least once. A shard is locked while its part of them is looked at.
    pub fn scan(&self, cursor: u64, looked_at_max: usize, each: &mut dyn FnMut(&str) -> bool) -> u64 {
        let (mut number, mut from) = Cursor::take_apart(cursor);
        let mut left = looked_at_max;
        while let Some(shard) = self.inner.shards.get(number) {
            let shard = lock(shard);
            let next = shard.scan_keys(from, left, |key| str::from_utf8(key).map_or(true, &mut *each));
            if let Some(next) = next {
                return Cursor::put_together(number, next);
            }
            // At least so many were looked at.
            left = left.saturating_sub(shard.keys_known());
            (number, from) = (number + 1, (0, 0));
            if left == 0 && number < self.shards() {
                return Cursor::put_together(number, from);
            }
        }
        0
    }

    fn forget_notes(&self, is_forgotten: impl Fn(&KeyRecord) -> bool) {
        for shard in &self.inner.shards {
            let mut shard = lock(shard);
            let notes: Vec<Box<[u8]>> = shard
                .keyed()
                .into_iter()
                .filter(|&handle| {
                    matches!(shard.entry(handle).kind(), Kind::Theirs | Kind::Deleted)
                        && is_forgotten(&shard.record(handle))
                })
                .map(|handle| shard.entry(handle).key().into())
                .collect();
            for bytes in notes {
                let tag = super::hash_of_key(&self.inner.common.hasher, &bytes) as u32;
                // Removing one may move another.
                if let Some(handle) = shard.find_key(super::shard::Key { bytes: &bytes, tag }) {
                    shard.remove(handle);
                }
            }
        }
    }
}
