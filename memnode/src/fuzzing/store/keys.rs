//! Steps on keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use memproto::ChunkHash;
use memproto::peer::{Manifest, PlacedChunk};
use memproto::{BlockId, Version};

use super::model::{Known, What};
use super::{HERE, HOUR, PEERS, Play};
use crate::store::{
    Block, Content, ENTRY_OVERHEAD, InsertError, KeyNote, KeyWrite, Object, Owner, Place, SmallValue, Store,
};

/// The largest value of a script in bytes: more than fits next to an entry.
const VALUE_MAX: usize = 9_000;

impl Play {
    fn key(&self, a: u8) -> String {
        self.keys[usize::from(a) % self.keys.len()].clone()
    }

    pub(super) fn set_small(&mut self, a: u8, b: u8, c: u8) {
        let key = self.key(a);
        let size = usize::from(c) * usize::from(c) / 8;
        if !Store::is_small(key.len(), size) {
            return self.set_block(a, b, c);
        }
        let version = self.version(b);
        let old = self.model.of_key(&key).cloned();
        let known = self.make(What::Small(vec![b ^ c; size].into()), b);
        let mut known = Known {
            key: Some(key.clone()),
            version,
            ..known
        };
        let is_stale = old.as_ref().is_some_and(|old| old.version >= version);
        // What lies outside of the old one comes back later, when nobody reads it.
        let more = |old: Option<&Known>| {
            known
                .entry_cost()
                .saturating_sub(old.map_or(0, Known::entry_cost))
        };
        let wanted = if is_stale { 0 } else { more(old.as_ref()) };
        let missing = if wanted == 0 {
            0
        } else {
            self.model.missing(wanted)
        };
        let value = SmallValue {
            bytes: &vec![b ^ c; size],
            class: known.class,
            expires: self.moment_of(&known),
        };
        match self.store.set_small(&key, value, || version) {
            Ok((set, by)) => {
                assert_eq!(by, version);
                if is_stale {
                    self.find_evicted(missing, None);
                    assert!(set.displaced.is_none());
                    return;
                }
                self.find_evicted(missing, old.as_ref().map(|old| old.serial));
                let elsewhere = old.as_ref().filter(|old| !old.is_block() && !old.is_note());
                Self::check_removed(set.displaced.as_ref(), elsewhere);
                self.model.known.retain(|known| known.key.as_ref() != Some(&key));
                assert!(self.model.of_id(set.id).is_none(), "{} was in use", set.id);
                known.id = Some(set.id);
                self.model.known.push(known);
                assert!(
                    wanted == 0 || self.model.missing(0) == 0,
                    "it was given {wanted} bytes"
                );
            }
            Err(error) => {
                self.find_evicted(missing, None);
                // The old one is there, unless it was evicted.
                let wanted = more(self.model.of_key(&key));
                self.check_refusal(&error, wanted);
            }
        }
    }

    pub(super) fn set_block(&mut self, a: u8, b: u8, c: u8) {
        let key = self.key(a);
        let size = usize::from(c) * VALUE_MAX / 255;
        let Some(reservation) = self.reserve(Owner::Local, size as u64) else {
            return;
        };
        let bytes = bytes::Bytes::from(vec![b ^ c; size]);
        let what = if Store::is_small(key.len(), size) {
            What::Small(bytes.clone())
        } else {
            What::Block {
                bytes: bytes.clone(),
                owner: Owner::Local,
                chunk: None,
            }
        };
        let known = self.make(what, b);
        let block = Block {
            bytes: bytes.into(),
            class: known.class,
            chunk: None,
            expires: self.moment_of(&known),
        };
        self.set(&key, known, b, Content::Block(block, reservation));
    }

    pub(super) fn set_object(&mut self, a: u8, b: u8, c: u8) {
        let key = self.key(a);
        let what = if c & 1 == 0 {
            What::At(PEERS[usize::from(c / 2) % 2], u64::from(c) * 1_000)
        } else {
            let mut manifest = Manifest::new();
            for chunk in 0..1 + u64::from(c / 64) {
                let id = BlockId::new(1_000 + chunk).expect("it is small and positive");
                let holder = PEERS[(usize::from(c / 2) + chunk as usize) % 2];
                let hash = ChunkHash::from_bytes([chunk as u8; 32]);
                let chunk = PlacedChunk::raw(id, holder, 100_000, hash);
                manifest.push(chunk).expect("it is short");
            }
            What::Stream(Arc::new(manifest))
        };
        let known = self.make(what, b);
        let object = Object {
            size: known.size(),
            place: match &known.what {
                What::At(holder, _) => Place::At(*holder),
                What::Stream(manifest) => Place::Stream(Arc::clone(manifest)),
                _ => unreachable!("it was made above"),
            },
            expires: self.moment_of(&known),
        };
        self.set(&key, known, b, Content::Object(object));
    }

    fn set(&mut self, key: &str, known: Known, b: u8, content: Content) {
        let version = self.version(b);
        let old = self.model.of_key(key).cloned();
        let used_again = old.as_ref().and_then(|old| old.id).filter(|_| b & 0x22 == 0x22);
        let id = used_again.unwrap_or_else(|| self.store.new_id(Some(key)));
        let result = self.store.set(key, version, id, content);
        match old {
            Some(old) if old.version >= version => {
                assert!(
                    matches!(result, Ok(KeyWrite::Stale(record)) if record == old.record()),
                    "{result:?}"
                );
                return;
            }
            Some(_) if used_again.is_some() => {
                assert_eq!(result.err(), Some(InsertError::AlreadyExists));
                return;
            }
            Some(old) => {
                let Ok(KeyWrite::Recorded { displaced, before }) = result else {
                    panic!("{result:?}");
                };
                assert_eq!(before, Some(old.record()));
                Self::check_removed(displaced.as_ref(), (!old.is_note()).then_some(&old));
                self.model.remove(old.serial);
            }
            None => assert!(
                matches!(
                    result,
                    Ok(KeyWrite::Recorded {
                        displaced: None,
                        before: None
                    })
                ),
                "{result:?}"
            ),
        }
        self.model.known.push(Known {
            key: Some(key.to_owned()),
            id: Some(id),
            version,
            ..known
        });
    }

    pub(super) fn note(&mut self, a: u8, b: u8, c: u8) {
        let key = self.key(a);
        let (note, what) = if c & 1 == 0 {
            (KeyNote::Theirs, What::Theirs)
        } else {
            (KeyNote::Deleted, What::Deleted)
        };
        let version = self.version(b);
        let mut old = self.model.of_key(&key).cloned();
        let version = match &old {
            // At the same time as what is known: the greater node wins.
            Some(old) if b & 0xc0 == 0x80 => Version {
                node: PEERS[usize::from(c / 2) % 2],
                ..old.version
            },
            _ if b & 1 == 0 => Version {
                node: PEERS[usize::from(c / 2) % 2],
                ..version
            },
            _ => version,
        };
        let wanted = match note {
            KeyNote::Theirs => Store::COST_OF_FIRST_NOTES,
            KeyNote::Deleted => key.len() as u64 + ENTRY_OVERHEAD,
        };
        let missing = self.model.missing(wanted);
        let result = self.store.note(&key, version, note);
        if self.find_evicted(missing, old.as_ref().map(|old| old.serial)) {
            old = None;
        }
        let (displaced, before, is_kept) = match result {
            KeyWrite::Stale(record) => {
                let old = old.expect("nothing else is newer");
                assert!(old.version >= version && record == old.record());
                return;
            }
            KeyWrite::Recorded { displaced, before } => (displaced, before, true),
            KeyWrite::NotKept { displaced, before } => (displaced, before, false),
        };
        assert_eq!(before, old.as_ref().map(Known::record));
        Self::check_removed(displaced.as_ref(), old.as_ref().filter(|old| !old.is_note()));
        if let Some(old) = &old {
            assert!(old.version < version);
            let stays = !is_kept && matches!((&what, &old.what), (What::Theirs, What::Deleted));
            if !stays {
                self.model.remove(old.serial);
            }
        }
        if !is_kept {
            // It was not worth room that there is not.
            self.find_orphans();
            assert!(self.model.missing(wanted) > self.model.cache_bytes() || !self.model.orphans.is_empty());
            return;
        }
        let known = self.make(what, 0);
        self.model.known.push(Known {
            key: Some(key),
            version,
            ..known
        });
    }

    pub(super) fn forget(&mut self, a: u8, b: u8, c: u8) {
        match b % 4 {
            0 => {
                let key = self.key(a);
                let Some(known) = self.model.of_key(&key).cloned() else {
                    return;
                };
                let mut record = known.record();
                record.version.time += u64::from(c & 1);
                self.store.forget_key(&key, record);
                if known.is_note() && c & 1 == 0 {
                    self.model.remove(known.serial);
                }
            }
            1 => {
                let hours = u64::from(c % 4);
                let now = self.model.now_hours;
                self.store
                    .forget_deletions(HOUR * hours as u32, now * HOUR.as_millis() as u64 + 1);
                let is_old = |known: &Known| known.version.time <= 1 || hour_of(known.version) + hours <= now;
                self.model
                    .known
                    .retain(|known| !matches!(known.what, What::Deleted) || !is_old(known));
            }
            2 => {
                let peer = PEERS[usize::from(c) % 2];
                let mut gone = self.store.forget_peer(peer);
                gone.sort();
                let is_theirs =
                    |known: &Known| matches!(known.what, What::Theirs) && known.version.node == peer;
                self.model.known.retain(|known| !is_theirs(known));
                let lie_there = self.model.known.iter().filter(|known| match &known.what {
                    What::At(holder, _) => *holder == peer,
                    What::Stream(manifest) => manifest.holders().contains(&peer),
                    _ => false,
                });
                let mut expected: Vec<BlockId> = lie_there.filter_map(|known| known.id).collect();
                expected.sort();
                assert_eq!(gone, expected);
            }
            _ => self.remove_owned(super::owner(c), c),
        }
    }

    /// Compares what the store knows of keys.
    pub(super) fn check_keys(&self) {
        for key in &self.keys {
            let record = self.model.of_key(key).map(Known::record);
            assert_eq!(self.store.key(key), record, "{key}");
        }
        let keyed = || self.model.known.iter().filter(|known| known.key.is_some());
        let mut told: BTreeMap<String, (Version, bool)> = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let (page, next) = self.store.versions(cursor, 3);
            told.extend(
                page.into_iter()
                    .map(|told| (told.key, (told.version, told.deleted))),
            );
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let expected = keyed()
            .filter(|known| !matches!(known.what, What::Theirs))
            .map(|known| {
                let is_deleted = matches!(known.what, What::Deleted);
                assert!(is_deleted || known.version.node == HERE);
                (known.key.clone().unwrap_or_default(), (known.version, is_deleted))
            });
        assert_eq!(told, expected.collect());
        let mut met = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = self.store.scan(cursor, 2, &mut |scanned| {
                met.push(scanned.key.to_owned());
                true
            });
            if cursor == 0 {
                break;
            }
        }
        met.sort();
        let listed = keyed().filter(|known| !known.is_note() && known.is_live(self.model.now_hours));
        let mut listed: Vec<String> = listed.filter_map(|known| known.key.clone()).collect();
        listed.sort();
        assert_eq!(
            met, listed,
            "nothing changed meanwhile, so that each key is met once"
        );
    }
}

/// The hour of a version on the script's clock.
fn hour_of(version: Version) -> u64 {
    (version.time >> memproto::version::VERSION_COUNTER_BITS) / HOUR.as_millis() as u64
}
