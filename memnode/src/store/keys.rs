//! Keys: which node has the newest value, and the value where it is this one's.

use std::time::Duration;

use memproto::error::ApiResult;
use memproto::peer::message::KeyVersion;
use memproto::version::VERSION_COUNTER_BITS;
use memproto::{BlockId, NodeId, Version};

use super::arena::Handle;
use super::entry::Kind;
use super::prepared::Prepared;
use super::shard::{Displaced, NoPage, Shard};
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
    /// What was known of the key before.
    pub before: Option<KeyRecord>,
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
        let (id, displaced, before, version) = self.making_room_for_entry(|| {
            let mut shard = lock(&self.inner.shards[shard]);
            let version = tick();
            let old = shard.find_key(key);
            let before = old.map(|old| shard.record(old));
            let id = shard.new_id();
            if before.is_some_and(|before| before.version >= version) {
                return Ok((id, Displaced::default(), before, version));
            }
            let displaced = shard.set_small(old, small(value, Some(key), id, version.time))?;
            Ok((id, displaced, before, version))
        })?;
        let displaced = displaced
            .removed
            .filter(|removed| !matches!(removed.place, Place::Here));
        let set = SetSmall {
            id,
            displaced,
            before,
        };
        Ok((set, version))
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
        let before = old.map(|old| shard.record(old));
        if let Some(record) = before.filter(|record| record.version >= version) {
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
            before,
        })
    }

    /// Records a version of a key that has no value of this node, if it is newer than what is known.
    ///
    /// Where the budget has no room for a record of a key that was not known, a peer's version is simply not remembered: the key is then
    /// found by asking.
    pub fn note(&self, key: &str, version: Version, note: KeyNote) -> KeyWrite {
        let (key, shard) = self.place_of_key(key);
        // Looked at before the lock: it may evict.
        let has_room = self.reserve(Owner::Local, key.bytes.len() as u64).is_ok();
        let mut shard = lock(&self.inner.shards[shard]);
        let old = shard.find_key(key);
        let before = old.map(|old| shard.record(old));
        match before {
            Some(record) if record.version >= version => return KeyWrite::Stale(record),
            None if !has_room => return KeyWrite::NotKept,
            _ => {}
        }
        // Without memory for the note nothing is known of the key, also not what is no longer true.
        let displaced = match (shard.put_note(old, key, version, note), old) {
            (Ok(displaced), _) => displaced,
            (Err(NoPage), Some(old)) => shard.remove(old),
            (Err(NoPage), None) => return KeyWrite::NotKept,
        };
        drop(shard);
        KeyWrite::Recorded {
            displaced: displaced.removed,
            before,
        }
    }

    /// Gives what this node wrote or deleted in one version a later one of this node. False where something else is known of the key by now.
    pub fn raise(&self, key: &str, from: Version, to: Version) -> bool {
        let (key, shard) = self.place_of_key(key);
        let mut shard = lock(&self.inner.shards[shard]);
        let found = shard
            .find_key(key)
            .filter(|&handle| shard.record(handle).version == from && from < to);
        if let Some(handle) = found {
            shard.set_version(handle, to);
        }
        found.is_some()
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

    /// Versions of the keys that this node answers for, and of those that it knows to be deleted, about `max` of them, from a cursor on, 0 at the
    /// beginning. Returns the cursor to go on with, 0 at the end. What is there from the first call to the last comes at least once.
    pub fn versions(&self, cursor: u64, max: usize) -> (Vec<KeyVersion>, u64) {
        let mut versions = Vec::new();
        let next = self.walk(cursor, max, &mut |shard, handle| {
            let record = shard.record(handle);
            if let Ok(key) = str::from_utf8(shard.entry(handle).key())
                && record.value != KeyValue::Theirs
            {
                versions.push(KeyVersion {
                    key: key.to_owned(),
                    version: record.version,
                    deleted: record.value == KeyValue::Deleted,
                });
            }
            true
        });
        (versions, next)
    }

    /// Calls `each` with keys of this node and of its peers, from a cursor on, 0 at the beginning, until about `looked_at_max` entries were
    /// looked at or `each` says false. Returns the cursor to go on with, 0 at the end.
    ///
    /// A key that is there from the beginning to the end of a scan is met at least once. A shard is locked while its part of them is looked at.
    pub fn scan(&self, cursor: u64, looked_at_max: usize, each: &mut dyn FnMut(&str) -> bool) -> u64 {
        self.walk(cursor, looked_at_max, &mut |shard, handle| {
            let entry = shard.entry(handle);
            let is_listed = entry.kind() != Kind::Deleted && shard.is_live(handle);
            !is_listed || str::from_utf8(entry.key()).map_or(true, &mut *each)
        })
    }

    /// Goes through the entries with a key, as [`scan`](Self::scan) does.
    fn walk(&self, cursor: u64, looked_at_max: usize, each: &mut dyn FnMut(&Shard, Handle) -> bool) -> u64 {
        let (mut number, mut from) = Cursor::take_apart(cursor);
        let mut left = looked_at_max;
        while let Some(shard) = self.inner.shards.get(number) {
            let shard = lock(shard);
            let next = shard.scan_keyed(from, left, |handle| each(&shard, handle));
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
