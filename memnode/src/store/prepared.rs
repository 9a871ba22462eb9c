//! What is on its way into a shard: made ready outside of the lock, put in under it.

use std::sync::Arc;

use memproto::peer::Manifest;
use memproto::{BlockClass, BlockId};

use super::arena::Handle;
use super::charges::{Charge, Reservation};
use super::chunks::{CHUNK_OVERHEAD, ChunkIndex, HeldChunk};
use super::entry::{self, Kind};
use super::lent::Links;
use super::outside::{Outside, kept};
use super::records::{Block, Object, Place};
use super::shard::{Displaced, Key, New, NoPage, Shard, cost_of_lent, fits_inline};
use super::shares::Share;
use super::{InsertError, Owner, PLACED_CHUNK_COST, Store};
use crate::expiry::Moment;
use crate::value::Value;

/// Something that is ready to be put in under a lock.
pub(super) struct Prepared {
    what: What,
    class: BlockClass,
    expires: Option<Moment>,
}

enum What {
    /// It is copied next to its entry; the reservation is given back behind that.
    Inline(Value, Reservation),
    Outside(Outside),
    /// A block of a peer, and what pays for its entry.
    Lent(Outside, Charge),
}

impl What {
    fn chunk(id: BlockId, stream: BlockId, held: Arc<HeldChunk>, share: Share, entry: Charge) -> Self {
        let is_lent = entry.owner() != Owner::Local;
        let outside = Outside::Block {
            account: Arc::clone(share.account()),
            bytes: held.shared_with(share),
            chunk: Some((stream, held)),
            links: Links::new(id),
        };
        if is_lent {
            What::Lent(outside, entry)
        } else {
            What::Outside(outside)
        }
    }
}

impl Prepared {
    /// Outside of the lock, for it may copy. `id` and `key_len` are those with which it is going to be put in.
    pub(super) fn block(
        chunks: &Arc<ChunkIndex>,
        block: Block,
        mut reservation: Reservation,
        id: BlockId,
        key_len: usize,
    ) -> Result<Self, InsertError> {
        let (size, reserved) = (block.bytes.len() as u64, reservation.bytes());
        if size > reserved {
            return Err(InsertError::NotReserved { size, reserved });
        }
        let is_lent = reservation.owner() != Owner::Local;
        let entry_cost = if is_lent {
            cost_of_lent(key_len, block.class)
        } else {
            0
        };
        let what = match block.chunk {
            None if !is_lent && fits_inline(key_len, block.bytes.len()) => {
                What::Inline(block.bytes, reservation)
            }
            None => {
                reservation.shrink_to(size);
                let entry = is_lent.then(|| reservation.split_entry(entry_cost));
                let charge = reservation.keep();
                let outside = Outside::Block {
                    account: Arc::clone(charge.account()),
                    chunk: None,
                    links: Links::new(id),
                    bytes: kept(block.bytes, charge)?,
                };
                match entry {
                    Some(entry) => What::Lent(outside, entry),
                    None => What::Outside(outside),
                }
            }
            Some(chunk) => {
                reservation.shrink_to(size);
                let mut entry = reservation.split_entry(entry_cost + CHUNK_OVERHEAD);
                let of_chunk = entry.split_off(CHUNK_OVERHEAD);
                let mut charge = reservation.keep();
                charge.join(of_chunk);
                let (held, share) = chunks.hold(&chunk, block.bytes, charge)?;
                What::chunk(id, chunk.stream, held, share, entry)
            }
        };
        Ok(Self {
            what,
            class: block.class,
            expires: block.expires,
        })
    }

    /// A chunk that is held, for an owner who has paid for it and, where it is a peer, with `entry` for its entry.
    pub(super) fn chunk(
        id: BlockId,
        stream: BlockId,
        held: Arc<HeldChunk>,
        (share, entry): (Share, Charge),
        (class, expires): (BlockClass, Option<Moment>),
    ) -> Self {
        Self {
            what: What::chunk(id, stream, held, share, entry),
            class,
            expires,
        }
    }

    pub(super) fn put(
        self,
        shard: &mut Shard,
        old: Option<Handle>,
        key: Option<Key<'_>>,
        id: BlockId,
        time: u64,
    ) -> Result<Displaced, NoPage> {
        let new = New {
            key,
            id: Some(id),
            time,
            expires: self.expires,
            class: self.class,
            kind: Kind::Outside,
            payload: &[0; entry::OUTSIDE_LEN],
        };
        match self.what {
            What::Outside(outside) => shard.put_outside(old, new, outside),
            What::Lent(outside, paid) => shard.put_lent(old, new, outside, paid),
            What::Inline(bytes, reservation) => {
                let new = New {
                    kind: Kind::Inline,
                    payload: bytes.as_ref(),
                    ..new
                };
                // In one step, so that nobody takes the room in between.
                reservation.pay_entry(new.cost());
                shard.put_paid(old, new)
            }
        }
    }
}

impl Store {
    /// A manifest as it is kept, with its charge.
    pub(super) fn stream(&self, manifest: Arc<Manifest>) -> Outside {
        let of_chunks = manifest.chunks().len() as u64 * PLACED_CHUNK_COST;
        let charge = self.ledger().charge(manifest.memory_len() as u64 + of_chunks);
        Outside::Stream {
            manifest,
            _charge: charge,
        }
    }

    /// Makes an object ready that lies elsewhere, or in chunks.
    pub(super) fn prepare_object(&self, object: Object) -> Prepared {
        let outside = match object.place {
            Place::At(holder) => Outside::At {
                holder,
                size: object.size,
                _charge: self.ledger().charge(0),
            },
            Place::Stream(manifest) => self.stream(manifest),
            Place::Here => unreachable!("what lies here is a block"),
        };
        Prepared {
            what: What::Outside(outside),
            class: BlockClass::Pinned,
            expires: object.expires,
        }
    }
}
