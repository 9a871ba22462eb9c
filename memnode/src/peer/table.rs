//! The table of peers: who is known, where, in which state, and over which link.
//!
//! Synchronous and without sockets or a clock: [`super::Peers`] holds it under one short lock and carries out what the
//! table decides. `L` is the handle of a link.
//!
//! Three rules keep exactly one link between two nodes, see [`Table::admit`]: a process that restarted replaces its old
//! link at once; of two processes that have the same identity, for a home was copied, the one that is here stays; and of two links that come of both sides dialling at once, both keep the one that the lower node id
//! began.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memproto::NodeId;
use memproto::error::ErrorCode;
use memproto::peer::Goodbye;

use super::config::ADDRESSES_MAX;
use super::entry::{Carried, Ended, Ending, Entry, Grant, LinkFacts, Purpose, Slot, note_address, printable};

/// How many links and entries there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableLimits {
    pub(super) peers_max: usize,
    pub(super) known_max: usize,
    pub(super) simultaneous_dial_window: Duration,
}

/// The table of peers.
#[derive(Debug)]
pub(super) struct Table<L> {
    own_id: NodeId,
    limits: TableLimits,
    entries: BTreeMap<NodeId, Entry<L>>,
    /// How many of the links are agreed, for those who ask without the lock of the table.
    agreed: Arc<AtomicUsize>,
    touches: u64,
}

impl<L> Table<L> {
    pub(super) fn new(own_id: NodeId, limits: TableLimits) -> Self {
        Self {
            own_id,
            limits,
            entries: BTreeMap::new(),
            agreed: Arc::default(),
            touches: 0,
        }
    }

    /// How many links are agreed, to be asked at any time.
    pub(super) fn agreed_links(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.agreed)
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Entry<L>> {
        self.entries.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Entry<L>> {
        self.entries.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<L>> {
        self.entries.values()
    }

    /// The links, agreed or not.
    pub(super) fn links(&self) -> impl Iterator<Item = &Slot<L>> {
        self.entries.values().filter_map(|entry| entry.link.as_ref())
    }

    /// The link with this serial number, if it still has its place.
    pub(super) fn slot_mut(&mut self, id: NodeId, serial: u64) -> Option<&mut Slot<L>> {
        self.entries
            .get_mut(&id)?
            .link
            .as_mut()
            .filter(|slot| slot.facts.serial == serial)
    }

    /// Peers whose agreed link broke and which did not say that they end.
    pub(super) fn unreachable(&self) -> Vec<NodeId> {
        self.entries
            .values()
            .filter(|entry| entry.unreachable)
            .map(|entry| entry.id)
            .collect()
    }

    /// Notes a trusted device. `reached` are the addresses known from before.
    pub(super) fn trust(&mut self, id: NodeId, name: &str, reached: &[SocketAddr]) {
        if let Some(entry) = self.entry(id, name, true) {
            entry.trusted = true;
            for address in reached.iter().rev() {
                note_address(&mut entry.reached, *address);
            }
        }
    }

    /// Notes that a device is trusted no longer.
    pub(super) fn distrust(&mut self, id: NodeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.trusted = false;
            entry.unreachable = false;
            if entry.link.is_none() && entry.announced.is_empty() {
                self.entries.remove(&id);
            }
        }
    }

    /// Notes that mDNS announced a peer. Its name counts only while nothing better is known.
    pub(super) fn announced(&mut self, id: NodeId, name: &str, addresses: Vec<SocketAddr>) {
        let name = printable(name);
        let Some(entry) = self.entry(id, &name, false) else {
            return;
        };
        entry.announced = addresses;
        entry.announced.truncate(ADDRESSES_MAX);
        if !entry.trusted && entry.link.is_none() {
            entry.name = name;
        }
    }

    /// Notes that a peer is announced no longer. Where that was all that was known of it, it is forgotten.
    pub(super) fn gone(&mut self, id: NodeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.announced.clear();
            if entry.is_forgettable() && !entry.unreachable {
                self.entries.remove(&id);
            }
        }
    }

    /// Notes that a person's attempt to connect begins.
    pub(super) fn connecting_begins(&mut self, id: NodeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.connecting += 1;
            entry.last_error = None;
        }
        self.want(id);
    }

    /// Notes that the person wants a link to a peer, also where they said something else before: a trusted peer that does
    /// not answer now is dialled again.
    pub(super) fn want(&mut self, id: NodeId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && matches!(entry.ended, Ended::Released | Ended::Denied)
        {
            entry.ended = Ended::Never;
        }
    }

    /// Notes that a person's attempt to connect is over.
    pub(super) fn connecting_ends(&mut self, id: NodeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.connecting = entry.connecting.saturating_sub(1);
        }
    }

    /// Gives a link its place. Returns the one that was there before, which is to be closed.
    ///
    /// A link that this side began comes here before the last message of the handshake, from which the other side learns
    /// who this side is. Where there is a link to the same process already it is refused, that message is never sent, and
    /// the other side has no reason to drop the link that there is.
    ///
    /// `ours` is the consent of this side. A link that takes the place of another one to the same process keeps the
    /// consent that was given to that one while that one was not agreed, or where both sides dialled at once: the person's
    /// answer was about the peer. Where the peer dials again after both had agreed, its old link has ended, and a consent that
    /// was for that link alone with it.
    ///
    /// # Errors
    /// The reason with which the link is to be closed.
    pub(super) fn admit(
        &mut self,
        facts: LinkFacts,
        ours: Option<Grant>,
        link: L,
        now: Instant,
    ) -> Result<Option<Slot<L>>, Goodbye> {
        if facts.id == self.own_id {
            return Err(Goodbye::Other);
        }
        let (own_id, limits) = (self.own_id, self.limits);
        let links = self.links().count();
        let trusted = self.entries.get(&facts.id).is_some_and(|entry| entry.trusted);
        let Some(entry) = self.entry(facts.id, &facts.name, trusted) else {
            return Err(Goodbye::Busy);
        };
        let carried = entry.carried.take().filter(|carried| {
            carried.incarnation == facts.incarnation
                && now.duration_since(carried.since) < limits.simultaneous_dial_window
        });
        let mut ours = ours.or(carried.map(|carried| carried.ours));
        let comes_back = entry.comes_back(facts.incarnation);
        if comes_back {
            entry.shared = Some((now, facts.address));
        }
        match &entry.link {
            // Two processes that replaced each other's links would do so for ever: the one that is here stays.
            Some(_) if comes_back => return Err(Goodbye::SharedIdentity),
            Some(old) if !replaces(own_id, &facts, old, now, limits.simultaneous_dial_window) => {
                return Err(Goodbye::Replaced);
            }
            Some(old) if old.facts.incarnation == facts.incarnation => {
                let crossed = old.facts.we_dialled != facts.we_dialled
                    && now.duration_since(old.since) < limits.simultaneous_dial_window;
                ours = ours.or(old.ours.filter(|_| crossed || !old.agreed));
            }
            None if links >= limits.peers_max => return Err(Goodbye::Busy),
            _ => {}
        }
        entry.name.clone_from(&facts.name);
        entry.last_error = None;
        entry.note_process(facts.incarnation);
        if facts.we_dialled {
            note_address(&mut entry.reached, facts.address);
        }
        let slot = Slot {
            link,
            facts,
            ours,
            theirs: None,
            agreed: false,
            purpose: Purpose::Consent,
            since: now,
        };
        let old = entry.link.replace(slot);
        if old.as_ref().is_some_and(|old| old.agreed) {
            self.agreed.fetch_sub(1, Ordering::Release);
        }
        Ok(old)
    }

    /// Notes that both sides agreed on a link. Returns false where it has lost its place.
    pub(super) fn agreed(&mut self, id: NodeId, serial: u64) -> bool {
        let Some(slot) = self.slot_mut(id, serial) else {
            return false;
        };
        if !std::mem::replace(&mut slot.agreed, true) {
            self.agreed.fetch_add(1, Ordering::Release);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.unreachable = false;
            entry.ended = Ended::Never;
            entry.attempts = 0;
        }
        true
    }

    /// Takes a link out of its place. Returns it where it had one.
    pub(super) fn ended(&mut self, id: NodeId, serial: u64, ending: Ending, now: Instant) -> Option<Slot<L>> {
        self.slot_mut(id, serial)?;
        let entry = self.entries.get_mut(&id)?;
        let slot = entry.link.take()?;
        if slot.agreed {
            self.agreed.fetch_sub(1, Ordering::Release);
        }
        let broke = ending.ended == Ended::Lost && !ending.data_is_gone;
        entry.unreachable = broke && (entry.unreachable || slot.agreed);
        entry.ended = ending.ended;
        entry.last_error = ending.error;
        entry.last_code = ending.code;
        entry.carried = slot.ours.filter(|_| ending.replaced).map(|ours| Carried {
            ours,
            incarnation: slot.facts.incarnation,
            since: now,
        });
        Some(slot)
    }

    /// Lets every peer be dialled without a pause, for the network is another one than before.
    pub(super) fn forget_attempts(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.attempts = 0);
    }

    /// Notes that the person at this machine wants no link to a peer that has none.
    pub(super) fn release(&mut self, id: NodeId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.link.is_none()
        {
            entry.ended = Ended::Released;
            entry.unreachable = false;
        }
    }

    /// The entry of a peer, made where there is none. `None` where the table is full of peers that matter.
    fn entry(&mut self, id: NodeId, name: &str, matters: bool) -> Option<&mut Entry<L>> {
        if id == self.own_id {
            return None;
        }
        self.touches += 1;
        let touched = self.touches;
        if !self.entries.contains_key(&id) && self.entries.len() >= self.limits.known_max {
            let oldest = self.entries.values().filter(|entry| entry.is_forgettable());
            let oldest = oldest.min_by_key(|entry| entry.touched).map(|entry| entry.id);
            match oldest {
                Some(oldest) => drop(self.entries.remove(&oldest)),
                None if matters => {}
                None => return None,
            }
        }
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            id,
            name: name.to_owned(),
            announced: Vec::new(),
            reached: Vec::new(),
            link: None,
            connecting: 0,
            ended: Ended::Never,
            unreachable: false,
            trusted: false,
            last_error: None,
            renamed: false,
            last_code: ErrorCode::PeerUnreachable,
            carried: None,
            processes: Vec::new(),
            shared: None,
            attempts: 0,
            touched,
        });
        entry.touched = touched;
        Some(entry)
    }
}

/// Whether a new link takes the place of the old one between the same two nodes.
///
/// Where both sides dialled at once, each has its own link in the table when the other one's arrives, and both come to the
/// same answer.
fn replaces<L>(own_id: NodeId, new: &LinkFacts, old: &Slot<L>, now: Instant, window: Duration) -> bool {
    if new.incarnation != old.facts.incarnation {
        return true;
    }
    if new.we_dialled {
        return false;
    }
    let crossed = old.facts.we_dialled && now.duration_since(old.since) < window;
    // Not crossed, the other side dials again because it knows that the old link is gone.
    !crossed || new.id < own_id
}
