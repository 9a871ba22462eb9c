//! One part of the entries: what a single lock guards. Map, queues, moments and sums change together here.
//!
//! A shard holds the keys whose hash falls to it with all that they name, and the blocks without a key whose ids fall to it. It gives out ids
//! that fall to it, so that a key and the id of its value are always under one lock.
//!
//! What entries cost and who pays for them is in `costs`, what goes where room is needed in `eviction`.

#[cfg(any(test, fuzzing, feature = "simulation"))]
mod audit;
mod costs;
mod eviction;
mod noting;

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::SeedableRandomState;
use memproto::{BlockClass, BlockId, NodeId, Version};
use slab::Slab;

use super::Owner;
use super::arena::{Arena, Handle, SLOT_LEN_MAX, slot_len};
use super::charges::Charge;
use super::chunks::ChunkIndex;
use super::entry::{Entry, EntryMut, HEADER_LEN, Kind, Lane, OUTSIDE_LEN, Parts};
use super::index::Index;
use super::ledger::Ledger;
use super::lent::Lent;
use super::notes::Notes;
use super::numbers::NodeNumbers;
use super::outside::Outside;
use super::pages::PagePool;
use super::queues::Queues;
use super::records::{BlockMeta, Found, KeyRecord, KeyValue, Lookup, Object, Place, Removed};
use crate::expiry::{Expiry, Moment, Queue};
use crate::ids::BlockIds;
pub(super) use costs::{Lack, cost_of_lent, entry_cost};

/// How many places of a list without entries stay.
const OUTSIDE_KEPT_MAX: usize = 1024;

/// Sums over the entries of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sums {
    pub(super) blocks: u64,
    pub(super) keys: u64,
    pub(super) streams: u64,
    pub(super) remote_bytes: u64,
    pub(super) evictions: u64,
}

/// What all shards have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) here: NodeId,
    pub(super) ledger: Arc<Ledger>,
    pub(super) expiry: Arc<Expiry>,
    pub(super) hasher: SeedableRandomState,
    pub(super) numbers: Arc<NodeNumbers>,
    pub(super) chunks: Arc<ChunkIndex>,
}

/// A name that is looked for: a key with its hash.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) hash: u64,
}

impl Key<'_> {
    /// What the index has of the hash.
    pub(super) fn tag(self) -> u32 {
        self.hash as u32
    }
}

/// What an entry that is added is to be.
#[derive(Clone, Copy)]
pub(super) struct New<'a> {
    pub(super) key: Option<Key<'a>>,
    pub(super) id: Option<BlockId>,
    pub(super) time: u64,
    pub(super) expires: Option<Moment>,
    pub(super) class: BlockClass,
    pub(super) kind: Kind,
    pub(super) payload: &'a [u8],
}

impl New<'_> {
    fn parts(&self) -> Parts<'_> {
        Parts {
            id: self.id,
            time: self.time,
            expires: self.expires,
            class: self.class,
            kind: self.kind,
            key: self.key.map_or(&[], |key| key.bytes),
            payload: self.payload,
        }
    }

    /// What the entry itself costs, where it is none of a peer.
    pub(super) fn cost(&self) -> u64 {
        let has_moment = self.expires.is_some();
        let parts = self.parts();
        entry_cost(
            parts.len(),
            self.key.is_some(),
            self.id.is_some(),
            self.class,
            has_moment,
        )
    }
}

/// Whether a value lies next to its entry.
pub(super) fn fits_inline(key_len: usize, value_len: usize) -> bool {
    HEADER_LEN + key_len + value_len <= SLOT_LEN_MAX
}

/// The system has no memory for another page.
#[derive(Debug)]
pub(super) struct NoPage;

/// What a write displaced, and what of it is to be dropped outside of the lock.
#[derive(Default)]
pub(super) struct Displaced {
    /// What is free of the budget once it was dropped and nobody reads it.
    pub(super) freed: u64,
    pub(super) removed: Option<Removed>,
    pub(super) outside: Option<Outside>,
}

/// A key that a scan meets, and its value, for as long as the look at it lasts.
pub struct Scanned<'a> {
    shard: &'a Shard,
    entry: Entry<'a>,
    /// The key.
    pub key: &'a str,
}

impl Scanned<'_> {
    /// The size of the value in bytes.
    pub fn size(&self) -> u64 {
        let outside = self.shard.outside_of(self.entry);
        outside.map_or(self.entry.payload().len() as u64, Outside::size)
    }

    /// The class; `None` where the bytes lie on a peer, which alone knows it.
    pub fn class(&self) -> Option<BlockClass> {
        (!matches!(self.place(), Place::At(_))).then(|| self.entry.class())
    }

    /// Where the bytes lie.
    pub fn place(&self) -> Place {
        let outside = self.shard.outside_of(self.entry);
        outside.map_or(Place::Here, Outside::place)
    }

    /// When the value expires; `None` is never.
    pub fn expires(&self) -> Option<Moment> {
        self.entry.expires()
    }
}

/// See the module's documentation.
pub(super) struct Shard {
    common: Common,
    arena: Arena,
    by_key: Index,
    by_id: Index,
    notes: Notes,
    outside: Slab<Outside>,
    queues: Queues,
    lent: Lent,
    expiring: Queue,
    ids: BlockIds,
    sums: Sums,
}

impl Shard {
    pub(super) fn new(common: Common, pool: Arc<PagePool>, ids: BlockIds) -> Self {
        Self {
            common,
            arena: Arena::new(pool),
            by_key: Index::default(),
            by_id: Index::default(),
            notes: Notes::default(),
            outside: Slab::new(),
            queues: Queues::default(),
            lent: Lent::default(),
            expiring: Queue::default(),
            ids,
            sums: Sums::default(),
        }
    }

    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    /// An id of this shard that is not in use. Only a peer with an equal home hint could have taken it.
    pub(super) fn new_id(&mut self) -> BlockId {
        loop {
            let id = self.ids.make();
            if self.find_id(id).is_none() {
                return id;
            }
        }
    }

    pub(super) fn find_key(&self, key: Key<'_>) -> Option<Handle> {
        self.by_key
            .find(key.tag(), |handle| self.entry(handle).key() == key.bytes)
    }

    pub(super) fn find_id(&self, id: BlockId) -> Option<Handle> {
        self.by_id
            .find(self.tag_of_id(id), |handle| self.entry(handle).id() == Some(id))
    }

    pub(super) fn entry(&self, handle: Handle) -> Entry<'_> {
        Entry(self.arena.slot(handle))
    }

    pub(super) fn is_live(&self, handle: Handle) -> bool {
        let expires = self.entry(handle).expires();
        expires.is_none_or(|moment| !self.common.expiry.is_past(moment))
    }

    /// What a key names, which counts as a read.
    pub(super) fn look_up(&mut self, key: Key<'_>) -> Lookup<'_> {
        let Some(handle) = self.find_key(key) else {
            return self.noted(key).map_or(Lookup::Absent, Lookup::Theirs);
        };
        let entry = self.entry(handle);
        match entry.kind() {
            Kind::Deleted => Lookup::Deleted(entry.version(self.common.here)),
            Kind::Inline | Kind::Outside if !self.is_live(handle) => Lookup::Absent,
            Kind::Inline | Kind::Outside => {
                let version = entry.version(self.common.here);
                self.found(handle)
                    .map_or(Lookup::Absent, |found| Lookup::Ours(version, found))
            }
        }
    }

    /// What an id names, which counts as a read.
    pub(super) fn look_up_id(&mut self, id: BlockId) -> Option<Found<'_>> {
        let handle = self.find_id(id).filter(|&handle| self.is_live(handle))?;
        self.found(handle)
    }

    fn found(&mut self, handle: Handle) -> Option<Found<'_>> {
        if self.entry(handle).lane() != Lane::None {
            Queues::hit(&mut self.arena, handle);
        }
        let entry = self.entry(handle);
        let id = entry.id()?;
        Some(match self.outside_of(entry) {
            None => Found::Small(id, entry.payload()),
            Some(Outside::Block { bytes, .. }) => Found::Block(id, bytes.clone()),
            Some(outside) => Found::Object(
                id,
                Object {
                    size: outside.size(),
                    place: outside.place(),
                    expires: entry.expires(),
                },
            ),
        })
    }

    fn outside_of(&self, entry: Entry<'_>) -> Option<&Outside> {
        self.outside.get(entry.outside()?)
    }

    pub(super) fn record(&self, handle: Handle) -> KeyRecord {
        let entry = self.entry(handle);
        let value = match (entry.kind(), entry.id()) {
            (Kind::Inline | Kind::Outside, Some(id)) => KeyValue::Ours(id),
            _ => KeyValue::Deleted,
        };
        KeyRecord {
            version: entry.version(self.common.here),
            value,
        }
    }

    /// What is known of a block of this node's memory.
    pub(super) fn meta(&self, handle: Handle) -> Option<BlockMeta> {
        let entry = self.entry(handle);
        let outside = self.outside_of(entry);
        if outside.is_some_and(|outside| !matches!(outside, Outside::Block { .. })) {
            return None;
        }
        Some(BlockMeta {
            size: outside.map_or(entry.payload().len() as u64, Outside::size),
            class: entry.class(),
            owner: outside
                .and_then(Outside::account)
                .map_or(Owner::Local, |account| account.owner()),
            chunk: outside.and_then(Outside::chunk),
            expires: entry.expires(),
        })
    }

    /// The object of an entry that is no block of this node's memory.
    pub(super) fn object(&self, handle: Handle) -> Option<Object> {
        let entry = self.entry(handle);
        let outside = self.outside_of(entry)?;
        (!matches!(outside, Outside::Block { .. })).then(|| Object {
            size: outside.size(),
            place: outside.place(),
            expires: entry.expires(),
        })
    }

    /// Sets a key to a small value of its own, in the entry that it has where that is of the right size.
    ///
    /// # Errors
    /// How many bytes the budget lacks; nothing has changed then.
    pub(super) fn set_small(&mut self, old: Option<Handle>, new: New<'_>) -> Result<Displaced, Lack> {
        let cost = new.cost();
        let Some(old) = old else {
            self.pay(cost, 0)?;
            return self
                .add(new)
                .map(|_| Displaced::default())
                .map_err(|NoPage| self.refund(cost));
        };
        let entry = self.entry(old);
        let fits = slot_len(entry.len()) == slot_len(new.parts().len());
        if fits && entry.kind() == Kind::Inline && entry.class() == new.class {
            if entry.expires().is_some() != new.expires.is_some() {
                let old_cost = self.cost_of(entry);
                self.pay(cost, old_cost)?;
                self.count_change(old, old_cost, cost);
            }
            self.overwrite(old, new);
            return Ok(Displaced::default());
        }
        self.replace(old, new, cost)
    }

    /// Puts a new entry in the place of one with the same key.
    fn replace(&mut self, old: Handle, new: New<'_>, cost: u64) -> Result<Displaced, Lack> {
        let entry = self.entry(old);
        let is_ours = self.account_of(entry).peer().is_none();
        let old_cost = if is_ours { self.cost_of(entry) } else { 0 };
        let lane = entry.lane();
        self.pay(cost, old_cost)?;
        let handle = match self.add(new) {
            Ok(handle) => handle,
            Err(NoPage) => {
                // The old one stays, and pays again what it did.
                self.common.ledger.charge_to(self.common.ledger.local(), old_cost);
                return Err(self.refund(cost));
            }
        };
        // It is read and written as often as before.
        if lane == Lane::Main && self.entry(handle).lane() != Lane::None {
            let bytes = self.charged(self.entry(handle));
            self.queues.leave(&mut self.arena, handle, bytes);
            self.queues.enter_main(&mut self.arena, handle, bytes);
        }
        // Last of all, for it may move the new one.
        Ok(self.detach(old, !is_ours))
    }

    /// Adds what lies outside in an entry of its own, instead of one with the same key. The entry is paid whether there is room or not.
    pub(super) fn put_outside(
        &mut self,
        old: Option<Handle>,
        new: New<'_>,
        outside: Outside,
    ) -> Result<Displaced, NoPage> {
        let ledger = &self.common.ledger;
        ledger.charge_to(ledger.local(), new.cost());
        self.add_outside(new, outside).inspect_err(|NoPage| {
            self.refund(new.cost());
        })?;
        Ok(self.remove_old(old))
    }

    /// The same for a block of a peer, whose entry was paid by it.
    pub(super) fn put_lent(
        &mut self,
        old: Option<Handle>,
        new: New<'_>,
        outside: Outside,
        paid: Charge,
    ) -> Result<Displaced, NoPage> {
        self.add_outside(new, outside)?;
        paid.hand_over();
        Ok(self.remove_old(old))
    }

    /// Adds an entry, instead of one with the same key. It is paid whether there is room or not.
    pub(super) fn put(&mut self, old: Option<Handle>, new: New<'_>) -> Result<Displaced, NoPage> {
        let ledger = &self.common.ledger;
        ledger.charge_to(ledger.local(), new.cost());
        self.put_paid(old, new)
    }

    /// Adds an entry that was paid, instead of one with the same key.
    pub(super) fn put_paid(&mut self, old: Option<Handle>, new: New<'_>) -> Result<Displaced, NoPage> {
        self.add(new).inspect_err(|NoPage| {
            self.refund(new.cost());
        })?;
        Ok(self.remove_old(old))
    }

    fn remove_old(&mut self, old: Option<Handle>) -> Displaced {
        old.map_or_else(Displaced::default, |old| self.remove(old))
    }

    /// Puts an entry in that was paid, with what lies outside of it.
    fn add_outside(&mut self, new: New<'_>, outside: Outside) -> Result<Handle, NoPage> {
        let number = self.outside.insert(outside);
        let payload = (number as u32).to_ne_bytes();
        debug_assert_eq!(payload.len(), OUTSIDE_LEN);
        let new = New {
            payload: &payload,
            ..new
        };
        let handle = self.add(new).inspect_err(|NoPage| {
            self.outside.remove(number);
        })?;
        self.lent.enter(&mut self.outside, number, new.class);
        Ok(handle)
    }

    /// Records a deletion in the place of what is known of a key. The entry is paid whether there is room or not.
    pub(super) fn put_deletion(
        &mut self,
        old: Option<Handle>,
        key: Key<'_>,
        version: Version,
    ) -> Result<Displaced, NoPage> {
        let new = New {
            key: Some(key),
            id: None,
            time: version.time,
            expires: None,
            class: BlockClass::Pinned,
            kind: Kind::Deleted,
            payload: version.node.as_bytes(),
        };
        self.put(old, new)
    }

    /// Gives a key that this node wrote or deleted a later version.
    pub(super) fn set_version(&mut self, handle: Handle, version: Version) {
        debug_assert_eq!(version.node, self.common.here);
        EntryMut(self.arena.slot_mut(handle)).set_time(version.time);
    }

    /// Sets when an entry expires.
    pub(super) fn set_expiry(&mut self, handle: Handle, expires: Option<Moment>) {
        let entry = self.entry(handle);
        let (Some(id), before) = (entry.id(), entry.expires()) else {
            return;
        };
        let cost = self.cost_of(entry);
        self.expiring.change(id, before, expires, &self.common.expiry);
        EntryMut(self.arena.slot_mut(handle)).set_expires(expires);
        let changed = self.cost_of(self.entry(handle));
        if changed != cost {
            // Whether there is room or not, as for the entry of what lies outside: it is little, and a refusal could not be acted upon.
            let account = self.account_of(self.entry(handle));
            self.common
                .ledger
                .charge_to(account, changed.saturating_sub(cost));
            self.common
                .ledger
                .give_back(account, cost.saturating_sub(changed));
            self.count_change(handle, cost, changed);
        }
    }

    /// Puts another manifest in the place of that of a stream. False where the entry is none.
    pub(super) fn replace_stream(&mut self, handle: Handle, manifest: Outside) -> bool {
        let number = self.entry(handle).outside();
        let is_stream = |outside: &&mut Outside| matches!(outside, Outside::Stream { .. });
        let Some(number) =
            number.filter(|&number| self.outside.get_mut(number).as_ref().is_some_and(is_stream))
        else {
            return false;
        };
        self.count(handle, false);
        if let Some(outside) = self.outside.get_mut(number) {
            *outside = manifest;
        }
        self.count(handle, true);
        true
    }

    /// Counts a chunk to another stream.
    pub(super) fn set_stream(&mut self, handle: Handle, stream: BlockId) {
        let number = self.entry(handle).outside();
        if let Some(outside) = number.and_then(|number| self.outside.get_mut(number)) {
            outside.set_stream(stream);
        }
    }

    /// Takes an entry out and gives back what it was charged.
    pub(super) fn remove(&mut self, handle: Handle) -> Displaced {
        self.detach(handle, true)
    }

    /// Takes out what has expired, at most a batch. A key that named it is recorded as deleted in the version that `end` gives for that of
    /// the value, or forgotten where it gives none.
    pub(super) fn take_expired(
        &mut self,
        mut end: impl FnMut(Version) -> Option<Version>,
    ) -> Vec<(Displaced, Option<Version>)> {
        let due = self.expiring.take_due(&self.common.expiry);
        let mut taken = Vec::with_capacity(due.len());
        for id in due {
            let Some(handle) = self.find_id(id) else { continue };
            let mut ended = None;
            let displaced = self.remove_recording(handle, |version| {
                ended = end(version);
                ended
            });
            taken.push((displaced, ended));
        }
        taken
    }

    /// Takes an entry out and tells its key, which is recorded as deleted in the version that `end` gives for that of the value, or forgotten where it
    /// gives none.
    pub(super) fn remove_recording(
        &mut self,
        handle: Handle,
        end: impl FnOnce(Version) -> Option<Version>,
    ) -> Displaced {
        let Some(key) = str::from_utf8(self.entry(handle).key())
            .ok()
            .filter(|key| !key.is_empty())
        else {
            return self.remove(handle);
        };
        let key: Box<str> = key.into();
        let name = Key {
            hash: self.hash_of_key(key.as_bytes()),
            bytes: key.as_bytes(),
        };
        let version = self.entry(handle).version(self.common.here);
        let recorded = end(version).map(|version| self.put_deletion(Some(handle), name, version));
        let mut displaced = match recorded {
            Some(Ok(displaced)) => displaced,
            // Without memory for the record the key is forgotten instead.
            Some(Err(NoPage)) | None => self.remove(handle),
        };
        if let Some(removed) = &mut displaced.removed {
            removed.key = Some(key);
        }
        displaced
    }

    /// What a scan tells of an entry: nothing of a deletion, and of what has expired.
    pub(super) fn scanned(&self, handle: Handle) -> Option<Scanned<'_>> {
        let entry = self.entry(handle);
        let is_listed = entry.kind() != Kind::Deleted && self.is_live(handle);
        let key = str::from_utf8(entry.key()).ok().filter(|_| is_listed)?;
        Some(Scanned {
            shard: self,
            entry,
            key,
        })
    }

    /// Calls `each` with the entries that have a key, see [`Index::scan`].
    pub(super) fn scan_keyed(
        &self,
        from: (u32, u32),
        looked_at_max: usize,
        each: impl FnMut(Handle) -> bool,
    ) -> Option<(u32, u32)> {
        self.by_key.scan(from, looked_at_max, each)
    }

    /// Number of entries that have a key.
    pub(super) fn keyed_count(&self) -> usize {
        self.by_key.len()
    }

    /// All entries that have a key.
    pub(super) fn keyed(&self) -> Vec<Handle> {
        let mut all = Vec::with_capacity(self.by_key.len());
        self.by_key.scan((0, 0), usize::MAX, |handle| {
            all.push(handle);
            true
        });
        all
    }

    /// All entries that have an id, and what of them lies outside.
    pub(super) fn with_outside(&self) -> Vec<(Handle, BlockId)> {
        let mut all = Vec::new();
        self.by_id.scan((0, 0), usize::MAX, |handle| {
            let entry = self.entry(handle);
            if let (Kind::Outside, Some(id)) = (entry.kind(), entry.id()) {
                all.push((handle, id));
            }
            true
        });
        all
    }

    /// All entries that have an id.
    pub(super) fn identified(&self) -> Vec<(Handle, BlockId)> {
        let mut all = Vec::with_capacity(self.by_id.len());
        self.by_id.scan((0, 0), usize::MAX, |handle| {
            all.extend(self.entry(handle).id().map(|id| (handle, id)));
            true
        });
        all
    }

    pub(super) fn place_of(&self, handle: Handle) -> Option<Place> {
        self.outside_of(self.entry(handle)).map(Outside::place)
    }

    /// Puts an entry in that was paid.
    fn add(&mut self, new: New<'_>) -> Result<Handle, NoPage> {
        let parts = new.parts();
        let handle = self.arena.take(parts.len()).ok_or(NoPage)?;
        parts.write(self.arena.slot_mut(handle));
        if let Some(key) = new.key {
            self.by_key.insert(key.tag(), handle);
            self.drop_note(key);
        }
        if let Some(id) = new.id {
            self.by_id.insert(self.tag_of_id(id), handle);
            self.expiring.change(id, None, new.expires, &self.common.expiry);
        }
        let bytes = self.charged(self.entry(handle));
        if self.entry(handle).class() == BlockClass::Cache {
            let tag = new.key.map(Key::tag);
            self.queues.enter(&mut self.arena, handle, tag, bytes);
        }
        self.count(handle, true);
        Ok(handle)
    }

    /// Writes a new value into the slot of an old one of the same class.
    fn overwrite(&mut self, handle: Handle, new: New<'_>) {
        let entry = self.entry(handle);
        let (id, expires, lane, hits) = (entry.id(), entry.expires(), entry.lane(), entry.hits());
        let (newer, older) = (entry.newer(), entry.older());
        if let Some(id) = id {
            self.by_id.remove(self.tag_of_id(id), handle);
            self.expiring.remove(id, expires);
        }
        new.parts().write(self.arena.slot_mut(handle));
        if let Some(id) = new.id {
            self.by_id.insert(self.tag_of_id(id), handle);
            self.expiring.change(id, None, new.expires, &self.common.expiry);
        }
        if lane != Lane::None {
            let mut entry = EntryMut(self.arena.slot_mut(handle));
            entry.set_lane(lane);
            entry.set_hits(hits);
            entry.set_newer(newer);
            entry.set_older(older);
            Queues::hit(&mut self.arena, handle);
        }
    }

    /// Takes an entry out; what it was charged is given back with `refunds`, else it was settled already.
    fn detach(&mut self, handle: Handle, refunds: bool) -> Displaced {
        let shared = self.count(handle, false);
        let entry = self.entry(handle);
        let (id, expires, number, len) = (entry.id(), entry.expires(), entry.outside(), entry.len());
        let (cost, bytes, lane, class) = (
            self.cost_of(entry),
            self.charged(entry),
            entry.lane(),
            entry.class(),
        );
        let key_tag = (!entry.key().is_empty()).then(|| self.tag_of_key(entry.key()));
        let removed = id.map(|id| {
            let outside = self.outside_of(entry);
            Removed {
                id,
                size: outside.map_or(entry.payload().len() as u64, Outside::size),
                place: outside.map_or(Place::Here, Outside::place),
                key: None,
                chunk: outside.and_then(Outside::chunk),
            }
        });
        if let Some(tag) = key_tag {
            self.by_key.remove(tag, handle);
        }
        if let Some(id) = id {
            self.by_id.remove(self.tag_of_id(id), handle);
            self.expiring.remove(id, expires);
        }
        if lane != Lane::None {
            self.queues.leave(&mut self.arena, handle, bytes);
        }
        let outside = number.map(|number| {
            self.lent.leave(&mut self.outside, number, class);
            self.outside.remove(number)
        });
        if self.outside.is_empty() && self.outside.capacity() > OUTSIDE_KEPT_MAX {
            // A list of what has no order shrinks only when it is empty.
            self.outside = Slab::new();
        }
        self.arena.give_back(handle);
        if refunds {
            let account = outside.as_ref().and_then(Outside::account);
            let ledger = &self.common.ledger;
            ledger.give_back(account.unwrap_or(ledger.local()), cost);
        }
        self.empty_sparse_page(len);
        Displaced {
            freed: bytes - shared,
            removed,
            outside,
        }
    }

    /// Moves the entries of a page together with others, where that makes the page free.
    fn empty_sparse_page(&mut self, len: usize) {
        let Some(page) = self.arena.sparse_page(len) else {
            return;
        };
        for from in self.arena.begin_emptying(page) {
            let len = self.entry(from).len();
            let to = self
                .arena
                .take(len)
                .expect("sparse pages have free slots elsewhere");
            self.arena.copy(from, to);
            let entry = self.entry(to);
            let (id, key, lane) = (entry.id(), entry.key(), entry.lane());
            let key_tag = (!key.is_empty()).then(|| self.tag_of_key(key));
            if let Some(tag) = key_tag {
                self.by_key.relocate(tag, from, to);
            }
            if let Some(id) = id {
                self.by_id.relocate(self.tag_of_id(id), from, to);
            }
            if lane != Lane::None {
                self.queues.relocate(&mut self.arena, to);
            }
        }
        self.arena.finish_emptying(page);
    }

    /// By a hash that nobody outside knows: peers choose the ids of what they store here, and could let all of them fall to one place.
    fn tag_of_id(&self, id: BlockId) -> u32 {
        self.common.hasher.hash_one(id.as_u64()) as u32
    }

    fn tag_of_key(&self, key: &[u8]) -> u32 {
        self.hash_of_key(key) as u32
    }

    fn hash_of_key(&self, key: &[u8]) -> u64 {
        super::hash_of_key(&self.common.hasher, key)
    }
}

impl Sums {
    fn change(&mut self, by: Sums, comes: bool) {
        let sum = |sum: &mut u64, by: u64| *sum = if comes { *sum + by } else { *sum - by };
        sum(&mut self.blocks, by.blocks);
        sum(&mut self.keys, by.keys);
        sum(&mut self.streams, by.streams);
        sum(&mut self.remote_bytes, by.remote_bytes);
    }
}
