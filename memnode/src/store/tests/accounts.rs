//! Random operations on the store, compared with plain maps and sums at every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One step of the property test. Small numbers, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Put {
        at: u64,
        owner: usize,
        size: u16,
        spare: u16,
        cache: bool,
        ttl: Option<u64>,
    },
    Hold {
        owner: usize,
        size: u16,
    },
    GiveBack {
        which: usize,
    },
    Grow {
        which: usize,
        size: u16,
    },
    Shrink {
        which: usize,
        size: u16,
    },
    Keep {
        which: usize,
    },
    Read {
        at: u64,
    },
    StopReading {
        which: usize,
    },
    Remove {
        at: u64,
    },
    RemoveOwned {
        owner: usize,
        odd: bool,
    },
    SetQuota {
        peer: usize,
        quota: Option<u16>,
    },
    SetExpiry {
        at: u64,
        ttl: Option<u64>,
    },
    Advance {
        by: u64,
    },
    TakeExpired,
}

fn step() -> impl Strategy<Value = Step> {
    let (at, owner, which) = (1..12_u64, 0..3_usize, 0..8_usize);
    // In hours: what the test itself takes does not matter.
    let ttl = proptest::option::of(1..4_u64);
    prop_oneof![
        6 => (at.clone(), owner.clone(), 0..3_000_u16, 0..500_u16, any::<bool>(), ttl.clone())
            .prop_map(|(at, owner, size, spare, cache, ttl)| Step::Put { at, owner, size, spare, cache, ttl }),
        2 => (owner.clone(), 0..3_000_u16).prop_map(|(owner, size)| Step::Hold { owner, size }),
        1 => which.clone().prop_map(|which| Step::GiveBack { which }),
        1 => (which.clone(), 0..3_000_u16).prop_map(|(which, size)| Step::Grow { which, size }),
        1 => (which.clone(), 0..3_000_u16).prop_map(|(which, size)| Step::Shrink { which, size }),
        1 => which.clone().prop_map(|which| Step::Keep { which }),
        2 => at.clone().prop_map(|at| Step::Read { at }),
        2 => which.prop_map(|which| Step::StopReading { which }),
        3 => at.clone().prop_map(|at| Step::Remove { at }),
        1 => (at, ttl).prop_map(|(at, ttl)| Step::SetExpiry { at, ttl }),
        1 => (1..3_u64).prop_map(|by| Step::Advance { by }),
        1 => Just(Step::TakeExpired),
        1 => (owner, any::<bool>()).prop_map(|(owner, odd)| Step::RemoveOwned { owner, odd }),
        1 => (0..2_usize, proptest::option::of(0..9_000_u16)).prop_map(|(peer, quota)| Step::SetQuota { peer, quota }),
    ]
}

/// What the store is compared with: plain maps and sums over them.
#[derive(Default)]
struct Model {
    /// Owner, size, whether cache, and a number that is this block's alone.
    blocks: BTreeMap<u64, (usize, u64, bool, u64)>,
    /// Reservations (with their guard) and charges.
    held: Vec<(usize, u64, Option<Reservation>, Option<Charge>)>,
    /// Readers of blocks: the block's number, its owner and size.
    readers: Vec<(u64, usize, u64, Bytes)>,
    quotas: [u64; 2],
    made: u64,
    /// When which block expires, in hours.
    expires: BTreeMap<u64, u64>,
    now: u64,
}

const OWNERS: [Owner; 3] = [Owner::Local, Owner::Peer(PEERS[0]), Owner::Peer(PEERS[1])];

fn moment_in(store: &Store, ttl_hours: u64) -> Moment {
    store.expiry().after(hours(ttl_hours).try_into().unwrap())
}

impl Model {
    /// What an owner uses: its blocks, what it holds, and its removed blocks that are still read, each once.
    fn used(&self, owner: usize) -> u64 {
        let mut paid: BTreeMap<u64, u64> = BTreeMap::new();
        paid.extend(
            self.blocks
                .values()
                .filter(|block| block.0 == owner)
                .map(|block| (block.3, block.1)),
        );
        paid.extend(
            self.readers
                .iter()
                .filter(|reader| reader.1 == owner)
                .map(|reader| (reader.0, reader.2)),
        );
        let blocks: u64 = paid.values().map(|size| size + ENTRY_OVERHEAD).sum();
        let held: u64 = self
            .held
            .iter()
            .filter(|held| held.0 == owner)
            .map(|held| held.1 + ENTRY_OVERHEAD)
            .sum();
        blocks + held
    }

    /// The code with which the store has to refuse, if it has to.
    fn refusal(&self, owner: usize, more: u64) -> Option<ErrorCode> {
        let all: u64 = (0..3).map(|owner| self.used(owner)).sum();
        if owner > 0 && self.used(owner) + more > self.quotas[owner - 1] {
            Some(ErrorCode::QuotaExceeded)
        } else {
            (all + more > BUDGET).then_some(ErrorCode::OutOfMemory)
        }
    }

    fn has_expired(&self, at: u64) -> bool {
        self.expires.get(&at).is_some_and(|&moment| moment <= self.now)
    }

    fn set_expiry(&mut self, at: u64, ttl: Option<u64>) {
        self.expires.remove(&at);
        self.expires.extend(ttl.map(|ttl| (at, self.now + ttl)));
    }

    fn check(&self, store: &Store) {
        let used: Vec<u64> = (0..3).map(|owner| self.used(owner)).collect();
        let cache = self
            .blocks
            .values()
            .filter(|block| block.2)
            .map(|block| block.1 + ENTRY_OVERHEAD)
            .sum();
        let all = used.iter().sum::<u64>();
        let expected = Usage {
            blocks: self.blocks.len() as u64,
            budget_bytes: BUDGET,
            used_bytes: all,
            pinned_bytes: all - cache,
            cache_bytes: cache,
            peers_used_bytes: used[1] + used[2],
        };
        assert_eq!(store.usage(), expected);
        for (peer, quota_bytes) in self.quotas.into_iter().enumerate() {
            let expected = GrantUse {
                quota_bytes,
                used_bytes: used[peer + 1],
            };
            assert_eq!(store.grant_use(PEERS[peer]), expected);
        }
        for at in 1..12 {
            let size = store
                .meta(id(at))
                .map(|meta| (meta.owner, meta.size, meta.class == BlockClass::Cache));
            assert_eq!(
                size,
                self.blocks
                    .get(&at)
                    .filter(|_| !self.has_expired(at))
                    .map(|block| (OWNERS[block.0], block.1, block.2))
            );
        }
    }

    fn run(&mut self, store: &Store, step: &Step) {
        match *step {
            Step::Put {
                at,
                owner,
                size,
                spare,
                cache,
                ttl,
            } => {
                let (size, reserved) = (u64::from(size), u64::from(size) + u64::from(spare));
                let refusal = self.refusal(owner, reserved + ENTRY_OVERHEAD);
                let reservation = match store.reserve(OWNERS[owner], reserved) {
                    Ok(reservation) => reservation,
                    Err(error) => return assert_eq!(Some(error.code), refusal),
                };
                assert_eq!(refusal, None);
                let class = if cache {
                    BlockClass::Cache
                } else {
                    BlockClass::Pinned
                };
                let new = Block {
                    class,
                    expires: ttl.map(|ttl| moment_in(store, ttl)),
                    ..block(vec![at as u8; size as usize])
                };
                let expected = if self.blocks.contains_key(&at) {
                    Err(InsertError::AlreadyExists)
                } else {
                    Ok(())
                };
                assert_eq!(store.insert(id(at), new, reservation), expected);
                if expected.is_ok() {
                    self.made += 1;
                    self.blocks.insert(at, (owner, size, cache, self.made));
                    self.set_expiry(at, ttl);
                }
            }
            Step::Hold { owner, size } => {
                let refusal = self.refusal(owner, u64::from(size) + ENTRY_OVERHEAD);
                match store.reserve(OWNERS[owner], size.into()) {
                    Ok(reservation) => self.held.push((owner, size.into(), Some(reservation), None)),
                    Err(error) => assert_eq!(Some(error.code), refusal),
                }
            }
            Step::GiveBack { which } if which < self.held.len() => drop(self.held.swap_remove(which)),
            Step::Grow { which, size } => {
                let Some(&(owner, ..)) = self.held.get(which) else {
                    return;
                };
                let refusal = self.refusal(owner, size.into());
                let (_, bytes, Some(reservation), _) = &mut self.held[which] else {
                    return;
                };
                assert_eq!(
                    reservation.grow(size.into()).map_err(|error| error.code),
                    refusal.map_or(Ok(()), Err)
                );
                *bytes = reservation.bytes();
            }
            Step::Shrink { which, size } => {
                let Some((_, bytes, Some(reservation), _)) = self.held.get_mut(which) else {
                    return;
                };
                reservation.shrink_to(size.into());
                *bytes = (*bytes).min(size.into());
            }
            Step::Keep { which } => {
                let Some((_, _, reservation, charge)) = self.held.get_mut(which) else {
                    return;
                };
                *charge = charge.take().or(reservation.take().map(Reservation::keep));
            }
            Step::Read { at } => {
                let bytes = store.block(id(at)).map(|value| value.bytes());
                assert_eq!(
                    bytes.is_some(),
                    self.blocks.contains_key(&at) && !self.has_expired(at)
                );
                if let (Some(bytes), Some(&(owner, size, _, made))) = (bytes, self.blocks.get(&at)) {
                    assert!(bytes.len() as u64 == size && bytes.iter().all(|&byte| byte == at as u8));
                    self.readers.push((made, owner, size, bytes));
                }
            }
            Step::StopReading { which } if which < self.readers.len() => {
                drop(self.readers.swap_remove(which));
            }
            Step::GiveBack { .. } | Step::StopReading { .. } => {}
            Step::Remove { at } => {
                let removed = store.remove(id(at)).map(|meta| meta.size);
                let was_live = !self.has_expired(at);
                let expected = self.blocks.remove(&at).filter(|_| was_live);
                assert_eq!(removed, expected.map(|block| block.1));
                self.expires.remove(&at);
            }
            Step::RemoveOwned { owner, odd } => {
                let freed = store.remove_owned(OWNERS[owner], |id, _| id.as_u64() % 2 == u64::from(odd));
                let gone = |at: &u64, block: &mut (usize, u64, bool, u64)| {
                    block.0 == owner && at % 2 == u64::from(odd)
                };
                let mut expected = Freed::default();
                for (at, block) in self.blocks.extract_if(.., gone) {
                    self.expires.remove(&at);
                    expected.blocks += 1;
                    expected.bytes += block.1;
                }
                assert_eq!(freed, expected);
            }
            Step::SetQuota { peer, quota } => {
                store.set_quota(PEERS[peer], quota.map(u64::from));
                self.quotas[peer] = quota.unwrap_or(0).into();
            }
            Step::SetExpiry { at, ttl } => {
                let expires = ttl.map(|ttl| moment_in(store, ttl));
                let is_live = self.blocks.contains_key(&at) && !self.has_expired(at);
                assert_eq!(store.set_expiry(id(at), expires, |_| true).is_some(), is_live);
                if is_live {
                    self.set_expiry(at, ttl);
                }
            }
            Step::Advance { by } => {
                store.expiry().advance(hours(by));
                self.now += by;
            }
            Step::TakeExpired => {
                let mut taken = take_expired(store);
                taken.sort();
                let now = self.now;
                let due = self.expires.extract_if(.., |_, moment| *moment <= now);
                let due: Vec<BlockId> = due.map(|(at, _)| id(at)).collect();
                assert_eq!(taken, due);
                for at in due {
                    self.blocks.remove(&at.as_u64());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_accounts_are_exact_at_every_step(steps in proptest::collection::vec(step(), 1..200)) {
        let (store, mut model) = (store(), Model { quotas: [6_000, 9_000], ..Model::default() });
        for (peer, quota) in PEERS.into_iter().zip(model.quotas) {
            store.set_quota(peer, Some(quota));
        }
        for step in steps {
            model.run(&store, &step);
            model.check(&store);
        }
        for at in 1..12 {
            store.remove(id(at));
        }
        drop(model);
        prop_assert_eq!(store.usage(), Usage { budget_bytes: BUDGET, ..Usage::default() });
    }
}
