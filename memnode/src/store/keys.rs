//! Keys: which node has the newest value, and the value where it is this one's.

use std::time::Duration;

use memproto::error::ApiResult;
use memproto::listing::OWN_CURSOR_BITS;
use memproto::peer::message::KeyVersion;
use memproto::version::VERSION_COUNTER_BITS;
use memproto::{BlockId, NodeId, Version};

use super::arena::Handle;
use super::entry::Kind;
use super::prepared::Prepared;
use super::shard::{Displaced, Key, NoPage, Shard};
use super::{
    Content, InsertError, KeyNote, KeyRecord, KeyValue, KeyWrite, Lookup, Owner, Place, SHARDS_MAX, Scanned,
    SmallValue, Store, lock, small,
};

/// How a position in a scan is written as one number below 2^[`OWN_CURSOR_BITS`], which grows while the scan gets on: the shard in the highest 4
/// bits, then the tag in 32, then how many entries with this tag were met. A chance of 2^-32 for each pair of keys is that of equal tags: more than a few do
/// not occur.
struct Cursor;

const SHARD_SHIFT: u32 = 40;
const TAG_SHIFT: u32 = 8;
const MET_MAX: u32 = 0xff;
const _: () = assert!(SHARDS_MAX <= 1 << (OWN_CURSOR_BITS - SHARD_SHIFT));

impl Cursor {
    fn put_together(shard: usize, (tag, met): (u32, u32)) -> u64 {
        // Rather on with the next tag than the same entries once more, for good.
        let (tag, met) = if met > MET_MAX {
            (tag.saturating_add(1), 0)
        } else {
            (tag, met)
        };
        (shard as u64) << SHARD_SHIFT | u64::from(tag) << TAG_SHIFT | u64::from(met)
    }

    fn take_apart(cursor: u64) -> (usize, (u32, u32)) {
        (
            (cursor >> SHARD_SHIFT) as usize,
            ((cursor >> TAG_SHIFT) as u32, cursor as u32 & MET_MAX),
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
        lock(&self.inner.shards[shard]).known(key)
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
            let before = shard.known(key);
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
            Content::Block(block, reservation) => {
                Prepared::block(&self.inner.common.chunks, block, reservation, id, key.len())?
            }
            Content::Object(object) => self.prepare_object(object),
        };
        let (key, shard) = self.place_of_key(key);
        let mut shard = lock(&self.inner.shards[shard]);
        let old = shard.find_key(key);
        let before = shard.known(key);
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

    /// Records a version of a key that has no value of this node, if it is newer than what is known. An older value of this node is no longer reachable
    /// then, be there room to remember the version or not.
    pub fn note(&self, key: &str, version: Version, note: KeyNote) -> KeyWrite {
        let (key, shard) = self.place_of_key(key);
        match note {
            KeyNote::Theirs => self.note_theirs(key, shard, version),
            KeyNote::Deleted => self.note_deleted(key, shard, version),
        }
    }

    fn note_theirs(&self, key: Key<'_>, shard: usize, version: Version) -> KeyWrite {
        let mut before = None;
        let mut displaced: Option<Displaced> = None;
        let kept = self.making_room_for_entry(|| {
            let mut shard = lock(&self.inner.shards[shard]);
            let known = shard.known(key);
            if let Some(record) = known.filter(|record| record.version >= version) {
                return Ok(Err(record));
            }
            before = before.or(known);
            if let Some(old) = shard.find_key(key)
                && shard.entry(old).kind() != Kind::Deleted
            {
                displaced = Some(shard.remove(old));
            }
            let kept = shard.keep_note(key, version);
            drop(shard);
            // Outside of the lock, and before more room is made: it may be enough.
            if let Some(displaced) = &mut displaced {
                displaced.outside = None;
            }
            kept.map(Ok)
        });
        let displaced = displaced.map(|displaced| displaced.removed);
        match (kept, displaced) {
            (Ok(Err(record)), None) => KeyWrite::Stale(record),
            // Where something newer came while room was made, what was displaced before is displaced.
            (Ok(Ok(true) | Err(_)), displaced) => KeyWrite::Recorded {
                displaced: displaced.flatten(),
                before,
            },
            // A deletion that was known stays: that what is older must not come back is still true.
            (Ok(Ok(false)) | Err(_), displaced) => KeyWrite::NotKept {
                displaced: displaced.flatten(),
                before,
            },
        }
    }

    fn note_deleted(&self, key: Key<'_>, shard: usize, version: Version) -> KeyWrite {
        // Looked at before the lock: it may evict.
        let has_room = self.reserve(Owner::Local, key.bytes.len() as u64).is_ok();
        let mut shard = lock(&self.inner.shards[shard]);
        let before = shard.known(key);
        if let Some(record) = before.filter(|record| record.version >= version) {
            return KeyWrite::Stale(record);
        }
        let old = shard.find_key(key);
        let recorded = if has_room || old.is_some() {
            shard.put_deletion(old, key, version)
        } else {
            Err(NoPage)
        };
        // Without memory for the record nothing is known of the key, also not what is no longer true.
        let (kept, displaced) = match (recorded, old) {
            (Ok(displaced), _) => (true, displaced),
            (Err(NoPage), Some(old)) => (false, shard.remove(old)),
            (Err(NoPage), None) => {
                shard.drop_note(key);
                (false, Displaced::default())
            }
        };
        drop(shard);
        let displaced = displaced.removed;
        if kept {
            KeyWrite::Recorded { displaced, before }
        } else {
            KeyWrite::NotKept { displaced, before }
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
            if shard.known(key)?.version >= version {
                return None;
            }
            let Some(handle) = shard.find_key(key) else {
                shard.drop_note(key);
                return None;
            };
            shard.remove(handle)
        };
        displaced.removed
    }

    /// Forgets a key whose record still is this one, if it is no value of this node.
    pub fn forget_key(&self, key: &str, record: KeyRecord) {
        let (key, shard) = self.place_of_key(key);
        let mut shard = lock(&self.inner.shards[shard]);
        if shard.known(key) != Some(record) || matches!(record.value, KeyValue::Ours(_)) {
            return;
        }
        match shard.find_key(key) {
            Some(handle) => drop(shard.remove(handle)),
            None => drop(shard.drop_note(key)),
        }
    }

    /// Forgets deletions that are older than this at the time `unix_ms`, and gives their memory back.
    pub fn forget_deletions(&self, older_than: Duration, unix_ms: u64) {
        let oldest_ms = unix_ms.saturating_sub(u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX));
        for shard in &self.inner.shards {
            let mut shard = lock(shard);
            let is_old = |handle: &_| {
                let entry = shard.entry(*handle);
                entry.kind() == Kind::Deleted && entry.time() >> VERSION_COUNTER_BITS <= oldest_ms
            };
            let old = shard.keyed().into_iter().filter(is_old);
            let keys: Vec<Box<[u8]>> = old.map(|handle| shard.entry(handle).key().into()).collect();
            for bytes in keys {
                let hash = super::hash_of_key(&self.inner.common.hasher, &bytes);
                // Removing one may move another.
                if let Some(handle) = shard.find_key(Key { bytes: &bytes, hash }) {
                    shard.remove(handle);
                }
            }
        }
    }

    /// Forgets what a peer answers for: it restarted, or is no longer trusted. Returns the objects that lay there,
    /// which are gone; of a stream one chunk is enough.
    pub fn forget_peer(&self, peer: NodeId) -> Vec<BlockId> {
        let mut gone = Vec::new();
        for shard in &self.inner.shards {
            let mut shard = lock(shard);
            shard.drop_notes_of(peer);
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

    /// The nodes of which it is known that they answer for keys, in no order.
    pub fn noted_nodes(&self) -> Vec<NodeId> {
        self.inner.common.numbers.nodes()
    }

    /// Versions of the keys that this node answers for, and of those that it knows to be deleted, about `max` of them, from a cursor on, 0 at the
    /// beginning. Returns the cursor to go on with, 0 at the end. What is there from the first call to the last comes at least once.
    pub fn versions(&self, cursor: u64, max: usize) -> (Vec<KeyVersion>, u64) {
        let mut versions = Vec::new();
        let next = self.walk(cursor, max, &mut |shard, handle| {
            let record = shard.record(handle);
            if let Ok(key) = str::from_utf8(shard.entry(handle).key()) {
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

    /// Calls `each` with keys that this node answers for, from a cursor on, 0 at the beginning, until about `looked_at_max` entries were
    /// looked at or `each` says false. Returns the cursor to go on with, 0 at the end.
    ///
    /// A key that is there from the beginning to the end of a scan is met at least once. A shard is locked while its part of them is looked at.
    pub fn scan(&self, cursor: u64, looked_at_max: usize, each: &mut dyn FnMut(Scanned<'_>) -> bool) -> u64 {
        self.walk(cursor, looked_at_max, &mut |shard, handle| {
            shard.scanned(handle).is_none_or(&mut *each)
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
            left = left.saturating_sub(shard.keyed_count());
            (number, from) = (number + 1, (0, 0));
            if left == 0 && number < self.shards() {
                return Cursor::put_together(number, from);
            }
        }
        0
    }
}
