//! Steps on blocks, reservations, and what an id names.

use bytes::Bytes;
use memproto::control::Freed;
use memproto::{ApiError, BlockClass, BlockId, NodeId, Ttl};

use super::chunks::chunk;
use super::model::{Known, What};
use super::{HOUR, Play, Reader, nth};
use crate::store::{
    Block, Chunk, ENTRY_OVERHEAD, Found, InsertError, KeyRecord, KeyValue, Lookup, Owner, Reservation,
    SmallValue, Store,
};

/// The largest block of a script in bytes.
const BLOCK_MAX: usize = 4 * 1024;

/// Ids that others made, so few that a script meets one again.
const IDS: u64 = 8;

impl Play {
    pub(super) fn store_small(&mut self, b: u8, c: u8) {
        let bytes = vec![b ^ c; usize::from(c) * usize::from(c) / 8];
        let mut known = self.make(What::Small(bytes.clone().into()), b);
        let cost = known.entry_cost();
        let value = SmallValue {
            bytes: &bytes,
            class: known.class,
            expires: self.moment_of(&known),
        };
        let before = self.before_taking(Owner::Local, cost);
        let result = self.store.store_small(value);
        if let Some(id) = self.taken(Owner::Local, cost, before, result) {
            assert!(self.model.of_id(id).is_none(), "{id} was in use");
            known.id = Some(id);
            self.model.known.push(known);
        }
    }

    pub(super) fn reserve(&mut self, owner: Owner, bytes: u64) -> Option<Reservation> {
        let cost = reserved(owner, bytes);
        let before = self.before_taking(owner, cost);
        let result = self.store.reserve(owner, bytes);
        let reservation = self.taken(owner, cost, before, result)?;
        assert_eq!((reservation.owner(), reservation.bytes()), (owner, bytes));
        Some(reservation)
    }

    pub(super) fn insert(&mut self, a: u8, owner: Owner, b: u8, c: u8) {
        let size = usize::from(c) * BLOCK_MAX / 255;
        let (bytes, chunk) = content(owner, b, c, size);
        // More than enough, or now and then too little.
        let reserved = (bytes.len() + usize::from(a / 16)).saturating_sub(1) as u64;
        if let Some(reservation) = self.reserve(owner, reserved) {
            self.insert_with(reservation, a, b, bytes, chunk);
        }
    }

    pub(super) fn any_new_id(&self, a: u8) -> BlockId {
        match u64::from(a) % 16 {
            known @ 0..IDS => BlockId::new(known * 1_001 + 1).expect("it is small and positive"),
            _ => self.store.new_id(None),
        }
    }

    fn insert_with(&mut self, reservation: Reservation, a: u8, b: u8, bytes: Bytes, chunk: Option<Chunk>) {
        let (owner, reserved, size) = (reservation.owner(), reservation.bytes(), bytes.len());
        let id = self.any_new_id(a);
        // What does not fit what was reserved is not looked at.
        let held = chunk.filter(|_| size as u64 <= reserved);
        let held = held.map_or(0, |chunk| self.hold_chunk(&chunk, &bytes));
        let what = if owner == Owner::Local && chunk.is_none() && Store::is_small(0, size) {
            What::Small(bytes.clone())
        } else {
            What::Block {
                bytes: bytes.clone(),
                owner,
                chunk: chunk.map(|chunk| (chunk, held)),
            }
        };
        let mut known = self.make(what, b);
        let block = Block {
            bytes: bytes.into(),
            class: known.class,
            chunk,
            expires: self.moment_of(&known),
        };
        let result = self.store.insert(id, block, reservation);
        let size = size as u64;
        if size > reserved {
            assert_eq!(result, Err(InsertError::NotReserved { size, reserved }));
        } else if self.model.of_id(id).is_some() {
            assert_eq!(result, Err(InsertError::AlreadyExists));
        } else {
            assert_eq!(result, Ok(()));
            known.id = Some(id);
            self.model.known.push(known);
        }
    }

    pub(super) fn hold(&mut self, owner: Owner, bytes: u64) {
        if let Some(reservation) = self.reserve(owner, bytes) {
            self.held.push(reservation);
            self.model.held.push((owner, reserved(owner, bytes)));
        }
    }

    pub(super) fn grow(&mut self, which: u8, bytes: u64) {
        let Some(at) = nth(self.held.len(), which) else {
            return;
        };
        let (owner, cost) = self.model.held.swap_remove(at);
        let mut reservation = self.held.swap_remove(at);
        let grown = reservation.bytes() + bytes;
        let more = reserved(owner, grown) - cost;
        self.model.held.push((owner, cost));
        let before = self.before_taking(owner, more);
        let result: Result<(), ApiError> = self.store.grow(&mut reservation, bytes);
        let mut left = reservation.bytes();
        if self.taken(owner, more, before, result).is_some() {
            assert_eq!(left, grown);
        }
        // Back to what it was, and then some: a smaller one stays as it is.
        if bytes.is_multiple_of(96) {
            left = left.min(bytes);
            reservation.shrink_to(bytes);
        }
        assert_eq!(reservation.bytes(), left);
        self.held.push(reservation);
        if let Some(last) = self.model.held.last_mut() {
            last.1 = reserved(owner, left);
        }
    }

    /// Lets a reservation go, or makes a block of it.
    pub(super) fn let_go(&mut self, which: u8) {
        let Some(at) = nth(self.held.len(), which) else {
            return;
        };
        let reservation = self.held.swap_remove(at);
        self.model.held.swap_remove(at);
        if which & 0x80 == 0 {
            let charge = reservation.keep();
            assert!(charge.bytes() >= ENTRY_OVERHEAD);
        } else {
            let size = reservation.bytes() as usize;
            let (bytes, chunk) = content(reservation.owner(), which, which, size);
            self.insert_with(reservation, which, which, bytes, chunk);
        }
    }

    /// Reads what a key or an id names.
    pub(super) fn read(&mut self, a: u8, b: u8) {
        let now = self.model.now_hours;
        if b & 1 == 0 {
            let key = self.keys[usize::from(a) % self.keys.len()].clone();
            let known = self.model.of_key(&key).cloned();
            let read = self.store.look_up(&key, |lookup| match lookup {
                Lookup::Ours(version, found) => {
                    assert_eq!(known.as_ref().map(|known| known.version), Some(version));
                    let id = id_of(&found);
                    let bytes =
                        Self::check_found(Some(found), known.as_ref().filter(|known| known.is_live(now)));
                    assert_eq!(known.as_ref().and_then(|known| known.id), Some(id));
                    bytes
                }
                Lookup::Absent => {
                    assert!(known.as_ref().is_none_or(|known| !known.is_live(now)));
                    None
                }
                Lookup::Theirs(version) => {
                    let value = KeyValue::Theirs;
                    assert_eq!(
                        known.as_ref().map(Known::record),
                        Some(KeyRecord { version, value })
                    );
                    None
                }
                Lookup::Deleted(version) => {
                    let value = KeyValue::Deleted;
                    assert_eq!(
                        known.as_ref().map(Known::record),
                        Some(KeyRecord { version, value })
                    );
                    None
                }
            });
            self.readers.extend(read);
        } else if let Some(known) = self.model.any_id(a).cloned() {
            let live = Some(&known).filter(|known| known.is_live(now));
            let id = known.id.expect("it was chosen by its id");
            let read = self.store.look_up_id(id, |found| Self::check_found(found, live));
            self.readers.extend(read);
        } else {
            let nobody = BlockId::new(5).expect("it is small and positive");
            assert!(self.store.block(nobody).is_none());
        }
    }

    /// Compares what was found, and gives a reader where it holds memory.
    fn check_found(found: Option<Found<'_>>, known: Option<&Known>) -> Option<Reader> {
        assert_eq!(found.is_some(), known.is_some(), "{known:?}");
        let (found, known) = (found?, known?);
        match (found, &known.what) {
            (Found::Small(_, value), What::Small(bytes)) => {
                assert_eq!(value, bytes);
                None
            }
            (Found::Block(_, value), What::Block { bytes, .. }) => {
                assert_eq!(value.as_ref(), bytes);
                Some(Reader {
                    bytes: value.bytes(),
                    known: known.clone(),
                })
            }
            (Found::Object(_, object), What::At(..) | What::Stream(_)) => {
                assert_eq!(object.size, known.size());
                None
            }
            (found, _) => panic!("{found:?} is no {known:?}"),
        }
    }

    pub(super) fn stop_reading(&mut self, which: u8) {
        if let Some(at) = nth(self.readers.len(), which) {
            let reader = self.readers.swap_remove(at);
            assert_eq!(Some(&reader.bytes), reader.known.bytes());
        } else if let Some(at) = nth(self.readers_by_hash.len(), which) {
            let (read, expected) = self.readers_by_hash.swap_remove(at);
            self.model.read_by_hash.swap_remove(at);
            assert_eq!(read, expected);
        }
    }

    pub(super) fn remove(&mut self, a: u8, b: u8, c: u8) {
        let Some(known) = self.model.any_id(a).cloned() else {
            return;
        };
        let id = known.id.expect("it was chosen by its id");
        let version = (b & 1 == 0).then(|| self.tick());
        let wanted = super::owner(c);
        let holds = b & 2 == 0 || known.owner() == wanted || !known.is_block();
        let removed = self
            .store
            .remove_recording(id, |_| version, |meta| b & 2 == 0 || meta.owner == wanted);
        if !holds {
            assert!(removed.is_none());
            return;
        }
        // Nobody is told of what had expired.
        let live = Some(&known).filter(|known| known.is_live(self.model.now_hours));
        Self::check_removed(removed.as_ref(), live);
        assert_eq!(
            removed.and_then(|removed| removed.key).as_deref(),
            live.and_then(|known| known.key.as_deref())
        );
        self.model.remove(known.serial);
        self.record_deletion(known, version);
    }

    /// A key whose value was taken out is known as deleted, where there is a version.
    fn record_deletion(&mut self, known: Known, version: Option<memproto::Version>) {
        if let (Some(key), Some(version)) = (known.key, version) {
            let note = self.make(What::Deleted, 0);
            self.model.known.push(Known {
                key: Some(key),
                version,
                ..note
            });
        }
    }

    pub(super) fn set_expiry(&mut self, a: u8, c: u8) {
        let Some(known) = self.model.any_id(a).cloned() else {
            return;
        };
        let id = known.id.expect("it was chosen by its id");
        let (hours, now) = (u64::from(c % 8), self.model.now_hours);
        let moment = self.moment(hours);
        let is_meant = |size: u64| size.is_multiple_of(2) || c < 128;
        let holds = if known.is_block() {
            let before = self.store.set_expiry(id, moment, |meta| is_meant(meta.size));
            let holds = known.is_live(now) && is_meant(known.size());
            assert_eq!(before.is_some(), holds);
            assert!(before.is_none_or(|meta| known.is(&meta)));
            holds
        } else {
            assert_eq!(self.store.set_expiry(id, moment, |_| true), None);
            self.store.set_object_expiry(id, moment);
            known.is_live(now)
        };
        for there in &mut self.model.known {
            if there.serial == known.serial && holds {
                there.expires_hours = (hours > 0).then_some(now + hours);
            }
        }
    }

    pub(super) fn pass_time(&mut self, b: u8, c: u8) {
        let hours = u64::from(c % 4);
        self.store.expiry().advance(HOUR * hours as u32);
        self.model.now_hours += hours;
        if c < 128 {
            return;
        }
        let mut taken = Vec::new();
        for shard in 0..self.store.shards() {
            let store = self.store.clone();
            taken.extend(store.take_expired(shard, |_| (b & 1 == 0).then(|| self.tick())));
        }
        let now = self.model.now_hours;
        let due: Vec<Known> = self
            .model
            .known
            .extract_if(.., |known| !known.is_live(now))
            .collect();
        assert_eq!(taken.len(), due.len());
        for known in due {
            let at = taken.iter().position(|(removed, _)| Some(removed.id) == known.id);
            let (removed, version) = taken.swap_remove(at.expect("it was due"));
            Self::check_removed(Some(&removed), Some(&known));
            assert_eq!(removed.key.as_deref(), known.key.as_deref());
            assert_eq!(version.is_some(), b & 1 == 0 && known.key.is_some());
            self.record_deletion(known, version);
        }
    }

    pub(super) fn remove_owned(&mut self, owner: Owner, c: u8) {
        let is_meant = |chunk: Option<Chunk>| c & 4 == 0 || chunk.is_some();
        let freed = self.store.remove_owned(owner, |_, meta| is_meant(meta.chunk));
        let meant = |known: &mut Known| known.is_block() && known.owner() == owner && is_meant(known.chunk());
        let expected = self
            .model
            .known
            .extract_if(.., meant)
            .fold(Freed::default(), |sum, known| Freed {
                blocks: sum.blocks + 1,
                bytes: sum.bytes + known.size(),
            });
        assert_eq!(freed, expected);
    }

    /// Changes the grant of a peer, with or without what follows from it, or lets the peer go away or come back.
    pub(super) fn grant(&mut self, owner: Owner, b: u8, c: u8) {
        let Owner::Peer(node) = owner else { return };
        match b / 16 % 4 {
            0 => self.go_away(node, u64::from(c % 4) + 1),
            1 => {
                self.store.note_back(node);
                self.model.absent.remove(&node);
            }
            what => {
                let quota = (c > 0).then(|| u64::from(c) * 64);
                self.store.set_quota(node, quota);
                self.model.quotas.insert(node, quota.unwrap_or(0));
                if what == 2 {
                    self.evict_over_grant(owner, node);
                }
            }
        }
    }

    fn go_away(&mut self, node: NodeId, hours: u64) {
        let grace = Ttl::try_from(HOUR * hours as u32 - HOUR / 2).expect("it is some hours");
        self.store.note_away(node, grace);
        let uses_any = |node: NodeId| self.model.grant_use(node).used_bytes > 0;
        let (is_there, now) = (uses_any(node), self.model.now_hours);
        let mut absent = self.model.absent.clone();
        absent.retain(|&there, _| there != node && uses_any(there));
        if is_there {
            absent.insert(node, now + hours);
        }
        self.model.absent = absent;
    }

    /// Evicts what a peer has over its grant: then it has no more than that, or nothing more that may go for it.
    fn evict_over_grant(&mut self, owner: Owner, node: NodeId) {
        let over = self.model.missing_of_grant(owner, 0);
        let before: Vec<Known> = self.model.known.clone();
        let mut freed = Freed::default();
        while let one @ Freed { blocks: 1.., .. } = self.store.evict_over_grant(node, u64::MAX) {
            freed.blocks += one.blocks;
            freed.bytes += one.bytes;
        }
        self.find_evicted(over, None);
        let is_there = |gone: &Known| self.model.known.iter().any(|there| there.serial == gone.serial);
        let gone: Vec<Known> = before.into_iter().filter(|known| !is_there(known)).collect();
        assert!(gone.iter().all(|gone| gone.owner() == owner && gone.is_cached()));
        let bytes = gone.iter().map(Known::size).sum::<u64>();
        assert_eq!((gone.len() as u64, bytes), (freed.blocks, freed.bytes));
        let is_met = self.model.missing_of_grant(owner, 0) == 0;
        assert!(is_met || self.model.cache_bytes_of(owner) == 0 || self.model.is_read());
    }
}

/// The bytes of a block, and what it is as a chunk.
fn content(owner: Owner, b: u8, c: u8, size: usize) -> (Bytes, Option<Chunk>) {
    if b & 0x40 == 0 {
        return (Bytes::from(vec![b ^ size as u8; size]), None);
    }
    let (bytes, chunk) = chunk(owner, c);
    (bytes, Some(chunk))
}

/// What is taken for a block of so many bytes before it is there.
fn reserved(owner: Owner, bytes: u64) -> u64 {
    match owner {
        Owner::Local => Store::cost_of_memory(bytes),
        Owner::Peer(_) => Store::cost_of_lent(bytes, BlockClass::Pinned),
    }
}

fn id_of(found: &Found<'_>) -> BlockId {
    match found {
        Found::Small(id, _) | Found::Block(id, _) | Found::Object(id, _) => *id,
    }
}
