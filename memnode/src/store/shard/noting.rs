//! What a shard knows of keys that other nodes answer for.

use memproto::{NodeId, Version};

use super::{Key, KeyRecord, KeyValue, Kind, Lack, Shard};
use crate::store::ledger::NotesCharge;
use crate::store::notes::{NoPlace, Note, NoteHash};

impl Key<'_> {
    fn note_hash(self) -> NoteHash {
        NoteHash::new(self.hash)
    }
}

impl Shard {
    /// What is known of a key. An entry goes before a note: it has the whole key.
    pub(in crate::store) fn known(&self, key: Key<'_>) -> Option<KeyRecord> {
        match self.find_key(key) {
            Some(handle) => Some(self.record(handle)),
            None => self.noted(key).map(|version| KeyRecord {
                version,
                value: KeyValue::Theirs,
            }),
        }
    }

    /// The version of a key that another node wrote.
    pub(in crate::store) fn noted(&self, key: Key<'_>) -> Option<Version> {
        let note = self.notes.find(key.note_hash())?;
        Some(Version {
            time: note.time,
            node: self.common.numbers.node(note.node),
        })
    }

    /// Keeps a note of a version that another node wrote, in the place of what else was known of the key but a value. Returns whether there was
    /// room for it.
    ///
    /// # Errors
    /// How many bytes the budget lacks; nothing has changed then.
    pub(in crate::store) fn keep_note(&mut self, key: Key<'_>, version: Version) -> Result<bool, Lack> {
        let Some(node) = self.common.numbers.take(version.node) else {
            return Ok(false);
        };
        let note = Note {
            time: version.time,
            node,
        };
        let ledger = &self.common.ledger;
        let bytes_before = self.notes.bytes();
        let kept = self
            .notes
            .set(key.note_hash(), note, |more| match ledger.charge_notes(more) {
                NotesCharge::Taken => Ok(()),
                NotesCharge::NoShare => Err(None),
                NotesCharge::NoRoom => Err(Some(Lack::OfBudget(more))),
            });
        let given_back = match kept {
            Ok(before) => before.map(|before| before.node),
            Err(_) => Some(node),
        };
        if let Some(number) = given_back {
            self.common.numbers.give_back(number, 1);
        }
        match kept {
            Ok(_) => {
                self.refund_notes(bytes_before);
                if let Some(deletion) = self.find_key(key) {
                    debug_assert_eq!(self.entry(deletion).kind(), Kind::Deleted);
                    self.remove(deletion);
                }
                Ok(true)
            }
            Err(NoPlace::Unpaid(Some(lack))) => Err(lack),
            Err(NoPlace::Unpaid(None) | NoPlace::NoMemory) => Ok(false),
        }
    }

    /// Forgets that another node answers for a key. Returns whether there was a note of it.
    pub(in crate::store) fn drop_note(&mut self, key: Key<'_>) -> bool {
        let bytes_before = self.notes.bytes();
        let Some(note) = self.notes.remove(key.note_hash()) else {
            return false;
        };
        self.common.numbers.give_back(note.node, 1);
        self.refund_notes(bytes_before);
        true
    }

    /// Forgets all keys for which a node answers.
    pub(in crate::store) fn drop_notes_of(&mut self, node: NodeId) {
        let Some(number) = self.common.numbers.number_of(node) else {
            return;
        };
        let bytes_before = self.notes.bytes();
        let dropped = self.notes.remove_node(number) as u64;
        if dropped > 0 {
            self.common.numbers.give_back(number, dropped);
        }
        self.refund_notes(bytes_before);
    }

    /// Gives back what the table was charged, as far as it is smaller than before.
    fn refund_notes(&self, bytes_before: u64) {
        let less = bytes_before.saturating_sub(self.notes.bytes());
        self.common.ledger.give_back_notes(less);
    }
}
