//! What stands in a slot: one entry, with its key and, where it is small, its value.
//!
//! ```text
//!  0        8        16        24     28     32          36        38      40
//! +--------+--------+---------+------+------+-----------+---------+-------+-----+---------+
//! |   id   |  time  | expires | newer| older| value len | key len | flags | key | payload |
//! |  u64   |  u64   |   u64   |  u32 |  u32 |    u32    |   u16   |  u16  |     |         |
//! +--------+--------+---------+------+------+-----------+---------+-------+-----+---------+
//! ```
//!
//! `id` is 0 where nothing but a key is known, `time` is that of the key's version, `expires` is 0 for never; `newer` and `older` are the
//! neighbours in a queue of what may be evicted. The payload depends on the [`Kind`]. Integers are in the order of the machine: they never
//! leave it.

use memproto::{BlockClass, BlockId, NodeId, Version};

use super::arena::Handle;
use crate::expiry::Moment;

/// Bytes in front of the key.
pub(super) const HEADER_LEN: usize = 40;

/// Bytes of the payload of a deletion: a node id.
pub(super) const DELETION_LEN: usize = 16;

/// Bytes of the payload of an entry whose value lies outside: its number there.
pub(super) const OUTSIDE_LEN: usize = 4;

const ID: usize = 0;
const TIME: usize = 8;
const EXPIRES: usize = 16;
const NEWER: usize = 24;
const OLDER: usize = 28;
const VALUE_LEN: usize = 32;
const KEY_LEN: usize = 36;
const FLAGS: usize = 38;

const KIND_MASK: u16 = 0b11;
const CACHE: u16 = 1 << 2;
const QUEUE_SHIFT: u32 = 3;
const QUEUE_MASK: u16 = 0b11 << QUEUE_SHIFT;
const HITS_SHIFT: u32 = 5;
const HITS_MASK: u16 = 0b11 << HITS_SHIFT;

/// What the payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The value itself.
    Inline,
    /// The number of what lies outside of the arena.
    Outside,
    /// A key that was deleted by the node that the payload names.
    Deleted,
}

/// In which queue an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    None,
    Small,
    Main,
}

/// What an entry is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) id: Option<BlockId>,
    pub(super) time: u64,
    pub(super) expires: Option<Moment>,
    pub(super) class: BlockClass,
    pub(super) kind: Kind,
    pub(super) key: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl Parts<'_> {
    pub(super) fn len(&self) -> usize {
        HEADER_LEN + self.key.len() + self.payload.len()
    }

    /// Writes an entry that stands in no queue.
    pub(super) fn write(&self, slot: &mut [u8]) {
        let mut entry = EntryMut(slot);
        entry.set_u64(ID, self.id.map_or(0, BlockId::as_u64));
        entry.set_u64(TIME, self.time);
        entry.set_expires(self.expires);
        entry.set_u32(VALUE_LEN, self.payload.len() as u32);
        entry.set_u16(KEY_LEN, self.key.len() as u16);
        let cache = if self.class == BlockClass::Cache { CACHE } else { 0 };
        entry.set_u16(FLAGS, self.kind as u16 | cache);
        let (key, payload) =
            slot[HEADER_LEN..][..self.key.len() + self.payload.len()].split_at_mut(self.key.len());
        key.copy_from_slice(self.key);
        payload.copy_from_slice(self.payload);
    }
}

/// An entry that is looked at.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a>(pub(super) &'a [u8]);

impl<'a> Entry<'a> {
    pub(super) fn id(self) -> Option<BlockId> {
        BlockId::new(self.u64(ID))
    }

    pub(super) fn time(self) -> u64 {
        self.u64(TIME)
    }

    pub(super) fn expires(self) -> Option<Moment> {
        Moment::from_micros(self.u64(EXPIRES))
    }

    pub(super) fn key(self) -> &'a [u8] {
        &self.0[HEADER_LEN..][..self.key_len()]
    }

    pub(super) fn payload(self) -> &'a [u8] {
        &self.0[HEADER_LEN + self.key_len()..][..self.u32(VALUE_LEN) as usize]
    }

    pub(super) fn kind(self) -> Kind {
        match self.flags() & KIND_MASK {
            0 => Kind::Inline,
            1 => Kind::Outside,
            _ => Kind::Deleted,
        }
    }

    pub(super) fn class(self) -> BlockClass {
        if self.flags() & CACHE != 0 {
            BlockClass::Cache
        } else {
            BlockClass::Pinned
        }
    }

    pub(super) fn lane(self) -> Lane {
        match (self.flags() & QUEUE_MASK) >> QUEUE_SHIFT {
            0 => Lane::None,
            1 => Lane::Small,
            _ => Lane::Main,
        }
    }

    /// How often it was read since it last moved in a queue, 3 for more.
    pub(super) fn hits(self) -> u16 {
        (self.flags() & HITS_MASK) >> HITS_SHIFT
    }

    pub(super) fn newer(self) -> Option<Handle> {
        Handle::from_u32(self.u32(NEWER))
    }

    pub(super) fn older(self) -> Option<Handle> {
        Handle::from_u32(self.u32(OLDER))
    }

    /// The number of what lies outside.
    pub(super) fn outside(self) -> Option<usize> {
        let number = *self.payload().first_chunk::<OUTSIDE_LEN>()?;
        (self.kind() == Kind::Outside).then(|| u32::from_ne_bytes(number) as usize)
    }

    /// The version of the key; `here` wrote what is no deletion.
    pub(super) fn version(self, here: NodeId) -> Version {
        let node = match self.kind() {
            Kind::Inline | Kind::Outside => here,
            Kind::Deleted => {
                let node = self.payload().first_chunk::<DELETION_LEN>();
                NodeId::from_bytes(*node.expect("a deletion names a node"))
            }
        };
        Version {
            time: self.time(),
            node,
        }
    }

    /// Its length in bytes.
    pub(super) fn len(self) -> usize {
        HEADER_LEN + self.key_len() + self.u32(VALUE_LEN) as usize
    }

    fn key_len(self) -> usize {
        u16::from_ne_bytes(*self.field(KEY_LEN)).into()
    }

    fn flags(self) -> u16 {
        u16::from_ne_bytes(*self.field(FLAGS))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(*self.field(at))
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(*self.field(at))
    }

    fn field<const N: usize>(self, at: usize) -> &'a [u8; N] {
        self.0[at..]
            .first_chunk()
            .expect("a slot is longer than the header")
    }
}

/// An entry that is being changed.
pub(super) struct EntryMut<'a>(pub(super) &'a mut [u8]);

impl EntryMut<'_> {
    pub(super) fn set_time(&mut self, time: u64) {
        self.set_u64(TIME, time);
    }

    pub(super) fn set_expires(&mut self, expires: Option<Moment>) {
        self.set_u64(EXPIRES, expires.map_or(0, Moment::as_micros));
    }

    pub(super) fn set_newer(&mut self, handle: Option<Handle>) {
        self.set_u32(NEWER, handle.map_or(0, Handle::to_u32));
    }

    pub(super) fn set_older(&mut self, handle: Option<Handle>) {
        self.set_u32(OLDER, handle.map_or(0, Handle::to_u32));
    }

    /// Puts it into a queue, or out of one, as one that was not read.
    pub(super) fn set_lane(&mut self, lane: Lane) {
        let flags = Entry(self.0).flags() & !(QUEUE_MASK | HITS_MASK);
        self.set_u16(FLAGS, flags | (lane as u16) << QUEUE_SHIFT);
    }

    pub(super) fn set_hits(&mut self, hits: u16) {
        let flags = Entry(self.0).flags() & !HITS_MASK;
        self.set_u16(FLAGS, flags | hits << HITS_SHIFT);
    }

    fn set_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
}
