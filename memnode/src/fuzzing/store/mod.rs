//! The body of the fuzz target of the store: whatever is done to it, in whatever order, it is what the model says.
//!
//! The model does not say what is evicted. It sees what is gone, and checks that it was allowed to go, was counted, and that room was needed.

mod blocks;
mod chunks;
mod keys;
mod model;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use memproto::error::ApiResult;
use memproto::version::VERSION_COUNTER_BITS;
use memproto::{ApiError, BlockClass, BlockId, ErrorCode, NodeId, Ttl, Version};

use super::script::Script;
use crate::expiry::Moment;
use crate::store::{Owner, Place, Removed, Reservation, Store, StoreConfig};
use model::{Known, Model, Orphan, What};

/// Room for a few of the largest blocks of a script, so that a short one meets the budget.
const BUDGET: u64 = 24 * 1024;

/// More than one, so that their turns matter.
const SHARDS: usize = 4;

/// The unit of a script's times: so long that the time which the script itself takes is nothing.
const HOUR: Duration = Duration::from_secs(3_600);

const HERE: NodeId = NodeId::from_bytes([9; 16]);

/// The peers of a script.
const PEERS: [NodeId; 2] = [NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16])];

/// Lengths of the keys of a script: so few that it meets one again, in one shard and in several.
const KEY_LENS: [usize; 8] = [1, 2, 3, 17, 60, 61, 300, 1_024];

/// Does the steps of a script to a store and to the model. After each of them the store has what the model has, and counts
/// what the model's sums are.
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
    known: Known,
}

/// How many bytes a step takes.
#[derive(Clone, Copy)]
struct Cost {
    of_budget: u64,
    of_grant: u64,
}

impl From<u64> for Cost {
    fn from(bytes: u64) -> Self {
        Self {
            of_budget: bytes,
            of_grant: bytes,
        }
    }
}

/// How many bytes a step lacks before it is done.
#[derive(Clone, Copy)]
struct Before {
    missing: u64,
    missing_of_grant: u64,
}

/// A store and its model.
struct Play {
    store: Store,
    model: Model,
    keys: Vec<String>,
    /// In the order of the model's `held`.
    held: Vec<Reservation>,
    readers: Vec<Reader>,
    /// Of chunks that are read by their hash, in the order of the model's `read_by_hash`: what is read, and what that must be.
    readers_by_hash: Vec<(Bytes, Bytes)>,
    /// Number of what was put in so far.
    serial: u64,
    /// Number of versions so far.
    ticks: u64,
}

impl Play {
    fn new() -> Self {
        let config = StoreConfig {
            budget_bytes: BUDGET,
            node_id: HERE,
            first_block_id: 0,
        };
        Self {
            store: Store::seeded(config, SHARDS, 7),
            model: Model {
                budget_bytes: BUDGET,
                ..Model::default()
            },
            keys: KEY_LENS
                .iter()
                .map(|&len| "key".repeat(len)[..len].to_owned())
                .collect(),
            held: Vec::new(),
            readers: Vec::new(),
            readers_by_hash: Vec::new(),
            serial: 0,
            ticks: 0,
        }
    }

    /// Takes a step off the script: its first byte chooses it, three more are its arguments.
    fn step(&mut self, script: &mut Script<'_>) {
        let [what, a, b, c] = script.take();
        let owner = owner(b);
        match what % 24 {
            0..=4 => self.set_small(a, b, c),
            5 | 6 => self.set_block(a, b, c),
            7 => self.set_object(a, b, c),
            8 => self.note(a, b, c),
            9 | 10 => self.store_small(b, c),
            11 | 12 if b & 0xc0 == 0xc0 => self.ask_for_chunk(a, owner, b, c),
            11 | 12 => self.insert(a, owner, b, c),
            13 => self.hold(owner, u64::from(c) * 32),
            14 => self.grow(a, u64::from(c) * 32),
            15 => self.let_go(a),
            16 | 17 => self.read(a, b),
            18 => self.stop_reading(a),
            19 => self.remove(a, b, c),
            20 => self.set_expiry(a, c),
            21 => self.pass_time(b, c),
            22 => self.forget(a, b, c),
            _ => self.grant(owner, b, c),
        }
    }

    /// The next version of this node.
    fn tick(&mut self) -> Version {
        self.ticks += 1;
        let unix_ms = self.model.now_hours * HOUR.as_millis() as u64 + 1;
        Version {
            time: (unix_ms << VERSION_COUNTER_BITS) + self.ticks,
            node: HERE,
        }
    }

    /// A new version, or one that is older than any.
    fn version(&mut self, b: u8) -> Version {
        let version = self.tick();
        if b & 0xc0 == 0xc0 {
            Version { time: 1, ..version }
        } else {
            version
        }
    }

    /// Something that is put in with these properties, without its names.
    fn make(&mut self, what: What, b: u8) -> Known {
        let ttl_hours = u64::from(b / 8 % 4);
        self.serial += 1;
        let may_be_cache = !matches!(what, What::At(..) | What::Stream(_));
        let is_cache = b & 4 != 0 && may_be_cache;
        Known {
            serial: self.serial,
            key: None,
            id: None,
            version: Version { time: 0, node: HERE },
            class: if is_cache {
                BlockClass::Cache
            } else {
                BlockClass::Pinned
            },
            expires_hours: (ttl_hours > 0).then_some(self.model.now_hours + ttl_hours),
            what,
        }
    }

    /// The moment at which it expires, half an hour early, so that it lies between two of the script's.
    fn moment_of(&self, known: &Known) -> Option<Moment> {
        self.moment(known.expires_hours? - self.model.now_hours)
    }

    /// The moment so many hours from now; 0 is never.
    fn moment(&self, hours: u64) -> Option<Moment> {
        let ttl = Ttl::try_from((HOUR * hours as u32).checked_sub(HOUR / 2)?);
        ttl.ok().map(|ttl| self.store.expiry().after(ttl))
    }

    /// Finds out what was evicted by a step that wanted so many bytes, and by how much they were missing before it. `displaced` is what the
    /// step displaced if it was not evicted. Returns whether it was.
    fn find_evicted(&mut self, missing_before: u64, displaced: Option<u64>) -> bool {
        let store = &self.store;
        let is_gone = |id: BlockId| store.meta(id).is_none() && !store.has_expired(id);
        let is_gone = |known: &Known| self.model.may_go(known) && known.id.is_some_and(is_gone);
        let cached = self.model.cache_bytes();
        let (gone, left): (Vec<Known>, Vec<Known>) = self.model.known.iter().cloned().partition(is_gone);
        let pinned_went = gone.iter().any(|known| !known.is_cached());
        self.model.known = left;
        let counted = self.store.usage().evictions - self.model.evictions;
        let others = gone
            .iter()
            .filter(|known| Some(known.serial) != displaced)
            .count() as u64;
        let was_evicted = counted > others;
        assert_eq!(
            counted - others,
            u64::from(was_evicted),
            "{counted} evictions, {others} are gone"
        );
        assert!(!was_evicted || gone.len() as u64 == counted);
        assert!(counted == 0 || missing_before > 0, "evicted without need");
        self.model.evictions += counted;
        self.find_orphans();
        // What somebody still reads gives no room.
        assert!(
            !pinned_went || missing_before > cached || !self.model.orphans.is_empty(),
            "what a peer left went while there was cached data enough"
        );
        was_evicted
    }

    /// A refusal is right where all that may be evicted would not have been enough, or where what was evicted is still read.
    fn check_refusal(&self, error: &ApiError, wanted: u64) {
        assert_eq!(error.code, ErrorCode::OutOfMemory, "{error}");
        let is_right = self.model.missing(wanted) > self.model.evictable_bytes() || self.model.is_read();
        assert!(is_right, "{error}, with {} missing", self.model.missing(wanted));
    }

    /// Checks a step that takes so many bytes of an owner, and nothing else, and gives the result where there is one.
    fn taken<R>(
        &mut self,
        owner: Owner,
        cost: impl Into<Cost>,
        before: Before,
        result: ApiResult<R>,
    ) -> Option<R> {
        let Cost { of_budget, of_grant } = cost.into();
        let others = |play: &Self| {
            let others = play.model.known.iter().filter(|known| known.owner() != owner);
            others.filter(|known| known.is_cached()).count()
        };
        let others_before = others(self);
        self.find_evicted(before.missing + before.missing_of_grant, None);
        assert!(
            before.missing > 0 || others(self) == others_before,
            "data of others was evicted for the grant of {owner:?}"
        );
        match result {
            Ok(result) => {
                assert_eq!(
                    self.model.missing_of_grant(owner, of_grant),
                    0,
                    "{owner:?} got {of_grant} bytes"
                );
                assert_eq!(self.model.missing(of_budget), 0, "{of_budget} bytes were given");
                Some(result)
            }
            Err(error) if error.code == ErrorCode::QuotaExceeded => {
                let missing = self.model.missing_of_grant(owner, of_grant);
                let is_right = missing > self.model.cache_bytes_of(owner) || self.model.is_read();
                assert!(missing > 0 && is_right, "{error}, with {missing} missing");
                None
            }
            Err(error) => {
                self.check_refusal(&error, of_budget);
                None
            }
        }
    }

    /// What [`taken`](Self::taken) wants to know of before.
    fn before_taking(&self, owner: Owner, cost: impl Into<Cost>) -> Before {
        let Cost { of_budget, of_grant } = cost.into();
        Before {
            missing: self.model.missing(of_budget),
            missing_of_grant: self.model.missing_of_grant(owner, of_grant),
        }
    }

    /// Whether what the store says it took out is this.
    fn check_removed(removed: Option<&Removed>, known: Option<&Known>) {
        let Some(known) = known else {
            assert!(removed.is_none(), "{removed:?}");
            return;
        };
        let removed = removed.unwrap_or_else(|| panic!("{known:?} was not returned"));
        assert_eq!((Some(removed.id), removed.size), (known.id, known.size()));
        assert_eq!(removed.chunk, known.chunk());
        match (&removed.place, &known.what) {
            (Place::Here, What::Small(_) | What::Block { .. }) => {}
            (Place::At(holder), What::At(at, _)) => assert_eq!(holder, at),
            (Place::Stream(manifest), What::Stream(stream)) => assert_eq!(manifest, stream),
            _ => panic!("{removed:?} is no {known:?}"),
        }
    }

    /// Compares all that can be seen of the store with the model.
    fn check(&mut self) {
        self.find_orphans();
        let (usage, audit) = (self.store.usage(), self.store.audit());
        let noted = self
            .model
            .known
            .iter()
            .filter(|known| matches!(known.what, What::Theirs));
        // A shard has none, or a table that is large enough for all keys of a script.
        let noted = noted.count().min(SHARDS) as u64;
        let tables = u64::from(noted > 0)..=noted;
        assert!(audit.note_bytes.is_multiple_of(Store::COST_OF_FIRST_NOTES));
        assert!(tables.contains(&(audit.note_bytes / Store::COST_OF_FIRST_NOTES)));
        self.model.note_bytes = audit.note_bytes;
        assert_eq!(usage, self.model.usage());
        assert_eq!(audit.cache_bytes, usage.cache_bytes);
        let entries = self.model.known.iter().map(Known::entry_cost);
        assert_eq!(audit.entry_bytes, entries.sum::<u64>());
        for node in PEERS {
            assert_eq!(self.store.grant_use(node), self.model.grant_use(node));
        }
        for known in &self.model.known {
            let Some(id) = known.id else { continue };
            let is_live = known.is_live(self.model.now_hours);
            let (meta, object) = (self.store.meta(id), self.store.object(id));
            assert_eq!(meta.is_some(), is_live && known.is_block(), "{known:?}");
            assert_eq!(object.is_some(), is_live && !known.is_block(), "{known:?}");
            assert!(
                meta.is_none_or(|meta| known.is(&meta)),
                "{meta:?} is no {known:?}"
            );
            assert!(object.is_none_or(|object| object.size == known.size()));
            assert_eq!(self.store.has_expired(id), !is_live);
        }
        self.check_keys();
    }

    /// Finds out anew which blocks were removed and are still read.
    fn find_orphans(&mut self) {
        let mut orphans = BTreeMap::new();
        for Reader { known, .. } in &self.readers {
            let is_there = self.model.known.iter().any(|there| there.serial == known.serial);
            if let (false, Some(cost)) = (is_there, known.outside_cost()) {
                let orphan = Orphan {
                    owner: known.owner(),
                    cost,
                    held: known.held(),
                };
                orphans.insert(known.serial, orphan);
            }
        }
        self.model.orphans = orphans.into_values().collect();
    }

    /// Gives everything back: then nothing is used.
    fn end(mut self) {
        self.readers.clear();
        self.readers_by_hash.clear();
        self.held.clear();
        for known in &self.model.known {
            match (&known.key, known.id) {
                (_, Some(id)) => drop(self.store.remove(id)),
                (Some(key), None) => self.store.forget_key(key, known.record()),
                (None, None) => unreachable!("it has a name"),
            }
        }
        let usage = self.store.usage();
        assert_eq!((usage.blocks, usage.used_bytes, usage.cache_bytes), (0, 0, 0));
        assert_eq!((usage.peers_used_bytes, usage.shared_bytes), (0, 0));
        self.store.audit();
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
