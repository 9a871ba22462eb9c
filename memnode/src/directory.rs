//! What this node knows of keys and of objects that are more than a plain block of its own store.
//!
//! Keys: for each key the newest version that this node has heard of, and whether the value is its own
//! responsibility, a peer's, or deleted. Objects: blocks that this node placed on a peer, streams whose manifest it holds,
//! and, for blocks that a key points to, which key it is. The bytes of blocks lie in [`crate::store`].
//!
//! The directory never talks to a peer and never frees a block: it says what was displaced, and the service acts.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memproto::peer::Manifest;
use memproto::peer::message::KeyVersion;
use memproto::{BlockId, NodeId, Version};

use crate::expiry::{Expiry, Moment, Queue};
use crate::store::Charge;

/// Number of shards of each map: with a lock held for well under a microsecond, far more than any host has cores.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// The bits of a hash that choose the shard.
const SHARD_BITS: u32 = 6;

/// What this node knows of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The newest version heard of.
    pub version: Version,
    /// What that version was.
    pub value: KeyValue,
}

/// The value of a key as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyValue {
    /// This node wrote it and answers for it: the object is in the store or among the objects here.
    Ours(BlockId),
    /// The node that wrote the version answers for it.
    Theirs,
    /// It was deleted.
    Deleted,
}

/// The outcome of [`Directory::write_key`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyWrite {
    /// The version is the newest now. The object that the key held here is to be freed.
    Recorded {
        /// The object that the key held here before.
        displaced: Option<BlockId>,
    },
    /// A version at least as new was known; nothing changed.
    Stale(KeyRecord),
}

/// Where an object lies.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this node's store.
    Here,
    /// On a peer, placed there by this node.
    At(NodeId),
    /// In chunks.
    Stream(Arc<Manifest>),
}

/// An object this node answers for.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its size in bytes.
    pub size: u64,
    /// Where it lies.
    pub place: Place,
    /// The key that points to it.
    pub key: Option<Arc<str>>,
    /// When it expires; of an object in this node's store the store alone knows.
    pub expires: Option<Moment>,
}

struct KeySlot {
    record: KeyRecord,
    written: Instant,
    _charge: Charge,
}

struct ObjectSlot {
    object: Object,
    _charge: Charge,
}

/// See the module's documentation.
pub struct Directory {
    hasher: RandomState,
    keys: Vec<Mutex<HashMap<Arc<str>, KeySlot>>>,
    objects: Vec<Mutex<Objects>>,
    expiry: Arc<Expiry>,
}

/// A part of the objects, and which of them expire.
#[derive(Default)]
struct Objects {
    slots: HashMap<BlockId, ObjectSlot>,
    expiring: Queue,
}

impl Directory {
    /// An empty directory, whose objects expire by this clock.
    pub fn new(expiry: Arc<Expiry>) -> Self {
        Self {
            hasher: RandomState::new(),
            keys: (0..SHARDS).map(|_| Mutex::default()).collect(),
            objects: (0..SHARDS).map(|_| Mutex::default()).collect(),
            expiry,
        }
    }

    /// What is known of a key.
    pub fn key(&self, key: &str) -> Option<KeyRecord> {
        self.key_shard(key).get(key).map(|slot| slot.record)
    }

    /// Records a version of a key, if it is newer than what is known.
    ///
    /// `charge` pays for a record where there is none yet. Where it gives `None` a peer's version is simply not
    /// remembered: the key is then found by asking.
    pub fn write_key(
        &self,
        key: &str,
        version: Version,
        value: KeyValue,
        charge: impl FnOnce() -> Option<Charge>,
    ) -> KeyWrite {
        let record = KeyRecord { version, value };
        let mut shard = self.key_shard(key);
        if let Some(slot) = shard.get_mut(key) {
            if slot.record.version >= version {
                return KeyWrite::Stale(slot.record);
            }
            let displaced = match slot.record.value {
                KeyValue::Ours(id) => Some(id),
                KeyValue::Theirs | KeyValue::Deleted => None,
            };
            slot.record = record;
            slot.written = Instant::now();
            return KeyWrite::Recorded { displaced };
        }
        if let Some(charge) = charge() {
            shard.insert(
                Arc::from(key),
                KeySlot {
                    record,
                    written: Instant::now(),
                    _charge: charge,
                },
            );
        }
        KeyWrite::Recorded { displaced: None }
    }

    /// Forgets a key whose record still is this one.
    pub fn forget_key(&self, key: &str, record: KeyRecord) {
        let mut shard = self.key_shard(key);
        if shard.get(key).is_some_and(|slot| slot.record == record) {
            shard.remove(key);
        }
    }

    /// What a key pointed to is gone: it expired. The key is recorded as deleted in this version, or forgotten without
    /// one. Returns false, and changes nothing, where the key points elsewhere by now.
    pub fn end_key(&self, key: &str, id: BlockId, version: Option<Version>) -> bool {
        let mut shard = self.key_shard(key);
        let Some(slot) = shard
            .get_mut(key)
            .filter(|slot| slot.record.value == KeyValue::Ours(id))
        else {
            return false;
        };
        match version {
            Some(version) => {
                slot.record = KeyRecord {
                    version,
                    value: KeyValue::Deleted,
                };
                slot.written = Instant::now();
            }
            None => {
                shard.remove(key);
                if shard.len() < shard.capacity() / 8 {
                    shard.shrink_to_fit();
                }
            }
        }
        true
    }

    /// Forgets deletions that are older than this, and gives their memory back.
    pub fn forget_deletions(&self, older_than: Duration) {
        for shard in &self.keys {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|_, slot| {
                slot.record.value != KeyValue::Deleted || slot.written.elapsed() < older_than
            });
            if shard.len() < before / 2 {
                shard.shrink_to_fit();
            }
        }
    }

    /// Forgets what a peer answers for: it restarted, or is no longer trusted. Returns the objects that lay there,
    /// which are gone; of a stream one chunk is enough.
    pub fn forget_peer(&self, peer: NodeId) -> Vec<BlockId> {
        for shard in &self.keys {
            lock(shard)
                .retain(|_, slot| slot.record.value != KeyValue::Theirs || slot.record.version.node != peer);
        }
        let mut gone = Vec::new();
        for shard in &self.objects {
            let shard = lock(shard);
            gone.extend(
                shard
                    .slots
                    .iter()
                    .filter(|(_, slot)| slot.object.lies_on(peer))
                    .map(|(&id, _)| id),
            );
        }
        gone
    }

    /// The versions of all keys that this node answers for or deleted, one shard at a time: `shard` counts from 0,
    /// `None` is behind the last.
    pub fn versions(&self, shard: usize) -> Option<Vec<KeyVersion>> {
        let shard = lock(self.keys.get(shard)?);
        let told = shard
            .iter()
            .filter(|(_, slot)| slot.record.value != KeyValue::Theirs);
        let version = |(key, slot): (&Arc<str>, &KeySlot)| KeyVersion {
            key: key.to_string(),
            version: slot.record.version,
            deleted: slot.record.value == KeyValue::Deleted,
        };
        Some(told.map(version).collect())
    }

    /// Goes through the keys of this node and of its peers that are not deleted, in no order, a part at a time.
    ///
    /// `cursor` is 0 for the first part, and then what was returned. `each` is given the keys of the part, one after the
    /// other, and returns false to end it behind that key; it also ends when `looked_at_max` records were looked at.
    /// Returns the cursor of the next part, 0 behind the last. A key that is there from the first part to the last is
    /// given at least once; of two keys with the same hash of 64 bits, one may be passed over where a part ends between them.
    pub fn scan(&self, cursor: u64, looked_at_max: usize, each: &mut dyn FnMut(&str) -> bool) -> u64 {
        let mut left = looked_at_max.max(1);
        let mut position = cursor;
        while left > 0 {
            let Some(part) = self.part_from(position, left) else {
                return 0;
            };
            left = left.saturating_sub(part.len());
            for (at, key) in part {
                // Behind the greatest position is the end.
                position = at.wrapping_add(1);
                if key.is_some_and(|key| !each(&key)) || position == 0 {
                    return position;
                }
            }
        }
        position
    }

    /// The first records from a position on, in ascending order, at most `count_max` and all of one shard; `None` behind the
    /// last. A deleted key is left out, its record is not.
    fn part_from(&self, position: u64, count_max: usize) -> Option<Vec<(u64, Option<Arc<str>>)>> {
        let first_shard = (position >> (u64::BITS - SHARD_BITS)) as usize;
        self.keys[first_shard..].iter().find_map(|shard| {
            let shard = lock(shard);
            let mut part: Vec<_> = shard
                .iter()
                .map(|(key, slot)| (self.position_of(key), key, slot))
                .filter(|(at, ..)| *at >= position)
                .collect();
            if part.len() > count_max {
                part.select_nth_unstable_by_key(count_max - 1, |(at, ..)| *at);
                part.truncate(count_max);
            }
            part.sort_unstable_by_key(|(at, ..)| *at);
            let key = |key: &Arc<str>, slot: &KeySlot| {
                (slot.record.value != KeyValue::Deleted).then(|| Arc::clone(key))
            };
            let part = part.into_iter().map(|(at, name, slot)| (at, key(name, slot)));
            let part: Vec<_> = part.collect();
            (!part.is_empty()).then_some(part)
        })
    }

    /// Where a scan comes to a key: shard by shard, and in a shard by the rest of the hash.
    fn position_of(&self, key: &str) -> u64 {
        self.hasher.hash_one(key).rotate_right(SHARD_BITS)
    }

    /// Number of keys this node answers for, and of streams among its objects.
    pub fn counts(&self) -> (u64, u64) {
        let ours = |slot: &&KeySlot| matches!(slot.record.value, KeyValue::Ours(_));
        let keys = self
            .keys
            .iter()
            .map(|shard| lock(shard).values().filter(ours).count() as u64)
            .sum();
        let stream = |slot: &&ObjectSlot| matches!(slot.object.place, Place::Stream(_));
        let streams = self
            .objects
            .iter()
            .map(|shard| lock(shard).slots.values().filter(stream).count() as u64)
            .sum();
        (keys, streams)
    }

    /// Bytes that this node has on peers.
    pub fn remote_bytes(&self, here: NodeId) -> u64 {
        let object_bytes = |object: &Object| match &object.place {
            Place::Here => 0,
            Place::At(_) => object.size,
            Place::Stream(manifest) => {
                let remote = manifest
                    .chunks()
                    .iter()
                    .filter(|chunk| manifest.holder(chunk) != here);
                remote.map(|chunk| u64::from(chunk.length)).sum()
            }
        };
        let shard_bytes = |shard: &Mutex<Objects>| -> u64 {
            lock(shard)
                .slots
                .values()
                .map(|slot| object_bytes(&slot.object))
                .sum()
        };
        self.objects.iter().map(shard_bytes).sum()
    }

    /// An object this node answers for. One that has expired is not there.
    pub fn object(&self, id: BlockId) -> Option<Object> {
        let shard = self.object_shard(id);
        let slot = shard.slots.get(&id)?;
        (!self.is_past(slot)).then(|| slot.object.clone())
    }

    /// Whether an object has expired and was not taken out yet.
    pub fn has_expired(&self, id: BlockId) -> bool {
        let shard = self.object_shard(id);
        shard.slots.get(&id).is_some_and(|slot| self.is_past(slot))
    }

    /// Sets when an object expires; `None` is never. One that has expired, or is not there, stays as it is.
    pub fn set_expiry(&self, id: BlockId, expires: Option<Moment>) {
        let mut shard = self.object_shard(id);
        let Objects { slots, expiring } = &mut *shard;
        if let Some(slot) = slots.get_mut(&id)
            && !self.is_past(slot)
        {
            expiring.change(id, slot.object.expires, expires, &self.expiry);
            slot.object.expires = expires;
        }
    }

    /// Takes out objects of one shard, counted from 0, that have expired, at most
    /// [`BATCH_MAX`](crate::expiry::BATCH_MAX).
    pub fn take_expired(&self, shard: usize) -> Vec<(BlockId, Object)> {
        let mut shard = lock(&self.objects[shard]);
        let due = shard.expiring.take_due(&self.expiry);
        let taken = due
            .into_iter()
            .filter_map(|id| Some((id, shard.slots.remove(&id)?.object)));
        taken.collect()
    }

    /// Adds an object, paid by `charge`. Returns false, and changes nothing, where the id is taken.
    pub fn add_object(&self, id: BlockId, object: Object, charge: Charge) -> bool {
        let mut shard = self.object_shard(id);
        let Objects { slots, expiring } = &mut *shard;
        match slots.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                expiring.change(id, None, object.expires, &self.expiry);
                vacant.insert(ObjectSlot {
                    object,
                    _charge: charge,
                });
                true
            }
        }
    }

    /// Removes an object.
    pub fn remove_object(&self, id: BlockId) -> Option<Object> {
        let mut shard = self.object_shard(id);
        let object = shard.slots.remove(&id)?.object;
        shard.expiring.remove(id, object.expires);
        Some(object)
    }

    fn is_past(&self, slot: &ObjectSlot) -> bool {
        slot.object
            .expires
            .is_some_and(|moment| self.expiry.is_past(moment))
    }

    fn key_shard(&self, key: &str) -> MutexGuard<'_, HashMap<Arc<str>, KeySlot>> {
        lock(&self.keys[self.shard_of(key)])
    }

    fn object_shard(&self, id: BlockId) -> MutexGuard<'_, Objects> {
        lock(&self.objects[self.shard_of(&id)])
    }

    fn shard_of<T: Hash + ?Sized>(&self, value: &T) -> usize {
        self.hasher.hash_one(value) as usize % SHARDS
    }
}

impl Object {
    /// Whether any of it lies on this peer.
    pub fn lies_on(&self, peer: NodeId) -> bool {
        match &self.place {
            Place::Here => false,
            Place::At(holder) => *holder == peer,
            Place::Stream(manifest) => manifest.holders().contains(&peer),
        }
    }
}

/// A shard stays usable when a thread panicked with its lock: every change to it is a single call on the map.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreConfig};

    fn store() -> Store {
        Store::new(StoreConfig {
            budget_bytes: 1 << 30,
        })
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn version(time: u64, by: u8) -> Version {
        Version { time, node: node(by) }
    }

    fn id(number: u64) -> BlockId {
        BlockId::new(number).unwrap()
    }

    fn write(directory: &Directory, store: &Store, key: &str, version: Version, value: KeyValue) -> KeyWrite {
        directory.write_key(key, version, value, || Some(store.charge(key.len() as u64)))
    }

    #[test]
    fn the_newest_version_wins_in_whatever_order_it_arrives() {
        let (directory, store) = (Directory::new(Arc::default()), store());
        let newest = version(3, 1);
        assert_eq!(
            write(&directory, &store, "k", version(2, 2), KeyValue::Ours(id(7))),
            KeyWrite::Recorded { displaced: None }
        );
        assert_eq!(
            write(&directory, &store, "k", newest, KeyValue::Theirs),
            KeyWrite::Recorded {
                displaced: Some(id(7))
            }
        );
        let known = KeyRecord {
            version: newest,
            value: KeyValue::Theirs,
        };
        assert_eq!(
            write(&directory, &store, "k", version(3, 0), KeyValue::Deleted),
            KeyWrite::Stale(known)
        );
        assert_eq!(
            write(&directory, &store, "k", newest, KeyValue::Deleted),
            KeyWrite::Stale(known)
        );
        assert_eq!(directory.key("k"), Some(known));
    }

    #[test]
    fn equal_times_are_decided_by_the_node() {
        let (directory, store) = (Directory::new(Arc::default()), store());
        write(&directory, &store, "k", version(5, 1), KeyValue::Ours(id(1)));
        let by_the_greater_node = write(&directory, &store, "k", version(5, 2), KeyValue::Theirs);
        assert_eq!(
            by_the_greater_node,
            KeyWrite::Recorded {
                displaced: Some(id(1))
            }
        );
    }

    /// All keys, scanned in parts that end after so many records and so many keys.
    fn scanned(directory: &Directory, looked_at_max: usize, keys_max: usize) -> Vec<String> {
        let mut listed = Vec::new();
        let mut cursor = 0;
        loop {
            let before = listed.len();
            cursor = directory.scan(cursor, looked_at_max, &mut |key| {
                listed.push(key.to_owned());
                listed.len() - before < keys_max
            });
            assert!(listed.len() - before <= keys_max.min(looked_at_max));
            if cursor == 0 {
                return listed;
            }
        }
    }

    #[test]
    fn a_scan_leaves_out_no_key_however_it_is_cut() {
        let (directory, store) = (Directory::new(Arc::default()), store());
        assert_eq!(scanned(&directory, 1, 1), [""; 0]);
        for i in 0..1_000 {
            let value = match i % 3 {
                0 => KeyValue::Ours(id(i + 1)),
                1 => KeyValue::Theirs,
                _ => KeyValue::Deleted,
            };
            write(&directory, &store, &format!("key:{i:03}"), version(i, 1), value);
        }
        let expected: Vec<String> = (0..1_000)
            .filter(|i| i % 3 < 2)
            .map(|i| format!("key:{i:03}"))
            .collect();
        for (looked_at_max, keys_max) in [
            (1, 1),
            (2, 7),
            (100, 100),
            (100, 3),
            (10_000, 9),
            (10_000, 10_000),
        ] {
            let mut listed = scanned(&directory, looked_at_max, keys_max);
            listed.sort();
            assert_eq!(listed, expected, "{looked_at_max}, {keys_max}");
        }
    }

    #[test]
    fn a_key_that_stays_is_scanned_while_others_come_and_go() {
        let (directory, store) = (Directory::new(Arc::default()), store());
        for i in 0..500 {
            write(
                &directory,
                &store,
                &format!("stays:{i:03}"),
                version(i, 1),
                KeyValue::Theirs,
            );
        }
        let (mut listed, mut cursor, mut step) = (Vec::new(), 0, 0);
        loop {
            cursor = directory.scan(cursor, 10, &mut |key| {
                listed.push(key.to_owned());
                true
            });
            if cursor == 0 {
                break;
            }
            step += 1;
            let record = KeyRecord {
                version: version(step, 1),
                value: KeyValue::Theirs,
            };
            write(
                &directory,
                &store,
                &format!("goes:{step}"),
                record.version,
                record.value,
            );
            if step % 2 == 0 {
                directory.forget_key(&format!("goes:{step}"), record);
            }
        }
        listed.retain(|key| key.starts_with("stays"));
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), 500);
    }

    #[test]
    fn a_peer_that_is_forgotten_takes_its_keys_and_our_objects_there_with_it() {
        let (directory, store) = (Directory::new(Arc::default()), store());
        write(&directory, &store, "theirs", version(1, 2), KeyValue::Theirs);
        write(&directory, &store, "others", version(1, 3), KeyValue::Theirs);
        let mut manifest = Manifest::new();
        manifest.push(id(10), 5, node(3)).unwrap();
        manifest.push(id(11), 5, node(2)).unwrap();
        let places = [
            Place::Here,
            Place::At(node(2)),
            Place::At(node(3)),
            Place::Stream(Arc::new(manifest)),
        ];
        for (i, place) in places.into_iter().enumerate() {
            assert!(directory.add_object(
                id(i as u64 + 1),
                Object {
                    size: 10,
                    place,
                    key: None,
                    expires: None,
                },
                store.charge(0)
            ));
        }
        assert_eq!(directory.remote_bytes(node(1)), 30);
        let mut gone = directory.forget_peer(node(2));
        gone.sort();
        assert_eq!(gone, [id(2), id(4)]);
        assert_eq!(directory.key("theirs"), None);
        assert!(directory.key("others").is_some());
    }

    #[test]
    fn forgotten_records_give_their_memory_back() {
        let (directory, store) = (Directory::new(Arc::default()), store());
        write(&directory, &store, "dead", version(1, 1), KeyValue::Deleted);
        write(&directory, &store, "alive", version(1, 1), KeyValue::Theirs);
        let with_both = store.usage().used_bytes;
        directory.forget_deletions(Duration::ZERO);
        assert!(store.usage().used_bytes < with_both);
        assert_eq!(directory.key("dead"), None);
        assert!(directory.key("alive").is_some());
        let record = directory.key("alive").unwrap();
        directory.forget_key(
            "alive",
            KeyRecord {
                value: KeyValue::Deleted,
                ..record
            },
        );
        assert!(
            directory.key("alive").is_some(),
            "the record is another one by now"
        );
        directory.forget_key("alive", record);
        assert_eq!(store.usage().used_bytes, 0);
    }
}
