//! The body of the fuzz target of the store: whatever is done to it, in whatever order, it is what the model says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use bytes::Bytes;
use memproto::control::Freed;
use memproto::{ApiError, BlockClass, BlockId, NodeId, Ttl};

use super::model::{Known, Model, charged};
use super::script::Script;
use crate::expiry::Moment;
use crate::store::{Block, Charge, InsertError, Owner, Reservation, SHARDS, Store, StoreConfig};

/// Room for a few of the largest blocks of a script, so that a short one meets the budget.
const BUDGET: u64 = 8 * 1024;

/// The largest block of a script in bytes.
const BLOCK_MAX: usize = 2 * 1024;

/// So few ids that a script meets one again, in one shard and in several.
const IDS: u64 = 12;

/// The unit of a script's times: so long that the time which the script itself takes is nothing.
const HOUR: Duration = Duration::from_secs(3_600);

/// The peers of a script.
const PEERS: [NodeId; 2] = [NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16])];

/// Does the steps of a script to a store and to a plain map. After each of them the store has what the map has, and counts
/// what the map's sums are.
pub fn store(data: &[u8]) {
    let mut play = Play::new();
    let mut script = Script::new(data);
    while !script.is_over() {
        play.step(&mut script);
        play.check();
    }
    play.end();
}

/// A reader that has not read to the end: what it holds, and whose bytes these must be.
struct Reader {
    bytes: Bytes,
    id: BlockId,
    known: Known,
}

/// A store and its model.
struct Play {
    store: Store,
    model: Model,
    /// In the order of the model's `held`.
    held: Vec<Held>,
    readers: Vec<Reader>,
    /// Number of blocks that were made so far.
    serial: u64,
}

/// Memory that was taken and is not a block.
enum Held {
    Reservation(Reservation),
    Charge(#[expect(dead_code, reason = "held until it is dropped")] Charge),
}

impl Play {
    fn new() -> Self {
        Self {
            store: Store::new(StoreConfig { budget_bytes: BUDGET }),
            model: Model {
                budget_bytes: BUDGET,
                ..Model::default()
            },
            held: Vec::new(),
            readers: Vec::new(),
            serial: 0,
        }
    }

    /// Takes a step off the script: its first byte chooses it, three more are its arguments.
    fn step(&mut self, script: &mut Script<'_>) {
        let [what, a, b, c] = script.take();
        let id = BlockId::new(u64::from(a) % IDS * 32 + 1).expect("it is small and positive");
        let owner = owner(b);
        match what % 16 {
            0..=3 => self.put(id, owner, b, c),
            4 => self.hold(owner, u64::from(c) * 16),
            5 => self.grow(a, u64::from(c) * 16),
            6 => self.fill(a, id, b),
            7 => self.let_go(a),
            8 => self.charge(u64::from(c)),
            9 => self.read(id),
            10 => self.stop_reading(a),
            11 => self.remove(id, b, c),
            12 => self.set_expiry(id, c),
            13 => self.pass_time(c),
            14 => self.remove_owned(owner, b),
            _ => self.grant(owner, c),
        }
    }

    fn put(&mut self, id: BlockId, owner: Owner, b: u8, c: u8) {
        let size = usize::from(c) * BLOCK_MAX / 255;
        let refusal = self.model.refusal(owner, charged(size as u64));
        match self.store.reserve(owner, size as u64) {
            Ok(reservation) => {
                assert_eq!(refusal, None, "{owner:?} got {size} bytes");
                assert_eq!((reservation.owner(), reservation.bytes()), (owner, size as u64));
                self.insert(id, owner, size, b, reservation);
            }
            Err(error) => assert_eq!(Some(error.code), refusal, "{error}"),
        }
    }

    /// Inserts with what was reserved, which may be more than enough or too little.
    fn insert(&mut self, id: BlockId, owner: Owner, size: usize, b: u8, reservation: Reservation) {
        let reserved = reservation.bytes();
        let ttl_hours = u64::from(b / 32 % 4);
        self.serial += 1;
        let known = Known {
            serial: self.serial,
            bytes: Bytes::from(vec![b ^ size as u8; size]),
            class: if b & 4 == 0 {
                BlockClass::Pinned
            } else {
                BlockClass::Cache
            },
            owner,
            chunk_of: (b & 8 != 0).then(|| BlockId::new(7).expect("it is small and positive")),
            expires_hours: (ttl_hours > 0).then_some(self.model.now_hours + ttl_hours),
        };
        let block = Block {
            bytes: known.bytes.clone(),
            class: known.class,
            chunk_of: known.chunk_of,
            expires: self.moment(ttl_hours),
        };
        let result = self.store.insert(id, block, reservation);
        let size = size as u64;
        if size > reserved {
            assert_eq!(result, Err(InsertError::NotReserved { size, reserved }));
            return;
        }
        match self.model.blocks.entry(id) {
            Entry::Occupied(_) => assert_eq!(result, Err(InsertError::AlreadyExists)),
            Entry::Vacant(vacant) => {
                assert_eq!(result, Ok(()));
                vacant.insert(known);
            }
        }
    }

    fn hold(&mut self, owner: Owner, bytes: u64) {
        let refusal = self.model.refusal(owner, charged(bytes));
        match self.store.reserve(owner, bytes) {
            Ok(reservation) => {
                assert_eq!(refusal, None);
                self.held.push(Held::Reservation(reservation));
                self.model.held.push((owner, charged(bytes)));
            }
            Err(error) => assert_eq!(Some(error.code), refusal),
        }
    }

    fn grow(&mut self, which: u8, bytes: u64) {
        let Some(at) = nth(self.held.len(), which) else {
            return;
        };
        let Held::Reservation(reservation) = &mut self.held[at] else {
            return;
        };
        let (owner, cost) = self.model.held[at];
        let refusal = self.model.refusal(owner, bytes);
        let grown = reservation.grow(bytes).map_err(|error: ApiError| error.code);
        assert_eq!(grown.err(), refusal);
        if refusal.is_none() {
            self.model.held[at] = (owner, cost + bytes);
            // Back to what it was, and then some: a smaller one stays as it is.
            if bytes.is_multiple_of(3) {
                reservation.shrink_to(bytes);
                let left = (cost + bytes).min(charged(bytes));
                self.model.held[at] = (owner, left);
            }
        }
    }

    /// Makes a block of a reservation that was held.
    fn fill(&mut self, which: u8, id: BlockId, b: u8) {
        let Some(at) = nth(self.held.len(), which) else {
            return;
        };
        let (owner, cost) = self.model.held.swap_remove(at);
        match self.held.swap_remove(at) {
            Held::Reservation(reservation) => {
                let size = (cost - charged(0)) as usize;
                // One byte more than there is room for, now and then.
                let size = if b & 16 == 0 { size } else { size + 1 };
                self.insert(id, owner, size, b, reservation);
            }
            Held::Charge(_) => {}
        }
    }

    fn let_go(&mut self, which: u8) {
        if let Some(at) = nth(self.held.len(), which) {
            let (owner, cost) = self.model.held.swap_remove(at);
            match self.held.swap_remove(at) {
                // Kept for a key or a tombstone, it costs the same.
                Held::Reservation(reservation) if which & 1 == 0 => {
                    let charge = reservation.keep();
                    assert_eq!((charge.owner(), charge.bytes()), (owner, cost));
                    self.held.push(Held::Charge(charge));
                    self.model.held.push((owner, cost));
                }
                held => drop(held),
            }
        }
    }

    fn charge(&mut self, bytes: u64) {
        self.held.push(Held::Charge(self.store.charge(bytes)));
        self.model.held.push((Owner::Local, charged(bytes)));
    }

    fn read(&mut self, id: BlockId) {
        let found = self.store.block(id);
        let known = self.model.live(id);
        assert_eq!(found.as_ref(), known.map(|known| &known.bytes));
        if let (Some(bytes), Some(known)) = (found, known) {
            let known = known.clone();
            self.readers.push(Reader { bytes, id, known });
        }
    }

    fn stop_reading(&mut self, which: u8) {
        if let Some(at) = nth(self.readers.len(), which) {
            let reader = self.readers.swap_remove(at);
            assert_eq!(reader.bytes, reader.known.bytes);
        }
    }

    fn remove(&mut self, id: BlockId, b: u8, c: u8) {
        let wanted = owner(c);
        let condition = |known: Owner| b & 1 == 0 || known == wanted;
        let removed = self.store.remove_if(id, |meta| condition(meta.owner));
        let now = self.model.now_hours;
        match self
            .model
            .blocks
            .get(&id)
            .filter(|known| condition(known.owner))
            .cloned()
        {
            Some(known) if known.is_live(now) => assert!(removed.is_some_and(|meta| known.is(&meta))),
            // It is gone, and nobody is told that it was there.
            _ => assert_eq!(removed, None),
        }
        self.model
            .blocks
            .retain(|&other, known| other != id || !condition(known.owner));
    }

    fn set_expiry(&mut self, id: BlockId, c: u8) {
        let hours = u64::from(c % 8);
        let before = self
            .store
            .set_expiry(id, self.moment(hours), |meta| meta.size % 2 == 0 || c < 128);
        let now = self.model.now_hours;
        let known = self.model.blocks.get_mut(&id);
        let known = known.filter(|known| known.is_live(now) && (known.size() % 2 == 0 || c < 128));
        match known {
            Some(known) => {
                assert!(before.is_some_and(|meta| known.is(&meta)));
                known.expires_hours = (hours > 0).then_some(now + hours);
            }
            None => assert_eq!(before, None),
        }
    }

    fn pass_time(&mut self, c: u8) {
        let hours = u64::from(c % 4);
        self.store.expiry().advance(HOUR * hours as u32);
        self.model.now_hours += hours;
        if c < 128 {
            return;
        }
        let mut taken: Vec<BlockId> = (0..SHARDS)
            .flat_map(|shard| self.store.take_expired(shard))
            .collect();
        taken.sort_unstable();
        let (now, blocks) = (self.model.now_hours, &mut self.model.blocks);
        let due: Vec<BlockId> = blocks
            .extract_if(.., |_, known| !known.is_live(now))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(taken, due);
    }

    fn remove_owned(&mut self, owner: Owner, b: u8) {
        let is_meant = |chunk_of: Option<BlockId>| b & 2 == 0 || chunk_of.is_some();
        let freed = self.store.remove_owned(owner, |_, meta| is_meant(meta.chunk_of));
        let blocks = &mut self.model.blocks;
        let meant = blocks.extract_if(.., |_, known| known.owner == owner && is_meant(known.chunk_of));
        let expected = meant.fold(Freed::default(), |sum, (_, known)| Freed {
            blocks: sum.blocks + 1,
            bytes: sum.bytes + known.size(),
        });
        assert_eq!(freed, expected);
    }

    fn grant(&mut self, owner: Owner, c: u8) {
        let Owner::Peer(node) = owner else { return };
        let quota = (c > 0).then(|| u64::from(c) * 32);
        self.store.set_quota(node, quota);
        self.model.quotas.insert(node, quota.unwrap_or(0));
    }

    /// The moment so many hours from now, half an hour early, so that it lies between two of the script's; 0 is never.
    fn moment(&self, hours: u64) -> Option<Moment> {
        let ttl = Ttl::try_from((HOUR * hours as u32).checked_sub(HOUR / 2)?);
        ttl.ok().map(|ttl| self.store.expiry().after(ttl))
    }

    /// Compares all that can be seen of the store with the model.
    fn check(&mut self) {
        self.find_orphans();
        assert_eq!(self.store.usage(), self.model.usage());
        for node in PEERS {
            assert_eq!(self.store.grant_use(node), self.model.grant_use(node));
        }
        for id in (0..IDS).map(|at| BlockId::new(at * 32 + 1).expect("it is small and positive")) {
            let (found, known) = (self.store.meta(id), self.model.live(id));
            assert_eq!(found.is_some(), known.is_some(), "{id:?}");
            if let (Some(meta), Some(known)) = (found, known) {
                assert!(known.is(&meta), "{meta:?} is no {known:?}");
            }
            let is_left = self.model.blocks.contains_key(&id) && known.is_none();
            assert_eq!(self.store.has_expired(id), is_left);
        }
    }

    /// Finds out anew which blocks were removed and are still read.
    fn find_orphans(&mut self) {
        let mut orphans = BTreeMap::new();
        for Reader { id, known, .. } in &self.readers {
            let there = self.model.blocks.get(id).map(|known| known.serial);
            if there != Some(known.serial) {
                orphans.insert(known.serial, (known.owner, charged(known.size())));
            }
        }
        self.model.orphans = orphans.into_values().collect();
    }

    /// Gives everything back: then nothing is used.
    fn end(mut self) {
        self.readers.clear();
        self.held.clear();
        for owner in [Owner::Local, Owner::Peer(PEERS[0]), Owner::Peer(PEERS[1])] {
            self.store.remove_owned(owner, |_, _| true);
        }
        let usage = self.store.usage();
        assert_eq!((usage.blocks, usage.used_bytes, usage.cache_bytes), (0, 0, 0));
    }
}

fn owner(byte: u8) -> Owner {
    match byte % 4 {
        0 | 1 => Owner::Local,
        other => Owner::Peer(PEERS[usize::from(other) - 2]),
    }
}

fn nth(len: usize, which: u8) -> Option<usize> {
    usize::from(which).checked_rem(len)
}
