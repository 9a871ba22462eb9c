//! Asking peers and waiting for them on a thread that has little else to do.
//!
//! A program's request for what lies on a peer waits on the program's own thread. Two things make that quick:
//!
//! - What one turn of the thread asks for leaves [`together`]: many requests in one record and one write.
//! - The thread itself may look whether a reply has come ([`Looking`]), instead of being woken by the link's reader, which would be woken before.
//!   Whoever looks reads what is there for all who wait; the reader is not told of the few bytes of a reply meanwhile
//!   ([`Wire::looked_at`]), but for bulk and for the end of the connection it is. What is not for a waiter of this side goes to the reader as ever.
//!
//! What a thread has asked is known to itself alone. Who waits elsewhere is woken by the reader.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use super::wire::{LookedAt, Wire};

thread_local! {
    /// Whether requests of this thread leave together.
    static TOGETHER: Cell<bool> = const { Cell::new(false) };
    /// The links over which this thread has asked for something.
    static ASKED: RefCell<Vec<Asked>> = const { RefCell::new(Vec::new()) };
}

/// A link over which this thread has asked for something.
struct Asked {
    /// The thread does not keep a link that is over.
    wire: Weak<Wire>,
    /// Something was said that has not left.
    is_held: bool,
}

/// What a look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Something came: who waits may have it.
    Something,
    /// Nothing yet.
    Nothing,
    /// This thread waits for nobody, or cannot look.
    Nobody,
}

/// Runs something that does not wait. What it asks peers for leaves behind it, together.
pub fn together<R>(work: impl FnOnce() -> R) -> R {
    /// Also where `work` panics: what it asked for before is on its way.
    struct Departure;

    impl Drop for Departure {
        fn drop(&mut self) {
            TOGETHER.set(false);
            depart();
        }
    }

    if TOGETHER.replace(true) {
        return work();
    }
    let _departure = Departure;
    work()
}

/// Looks for the replies of peers to what this thread asked, without being told of them. It stays on its thread.
#[derive(Default)]
pub struct Looking {
    at: Vec<LookedAt>,
}

impl Looking {
    /// Looks once.
    pub fn hear(&mut self) -> Heard {
        if self.at.is_empty() {
            self.at = ASKED.with_borrow(|asked| {
                let wires = asked.iter().filter_map(|asked| asked.wire.upgrade());
                wires.filter_map(|wire| wire.looked_at()).collect()
            });
        }
        self.at.retain(|looked_at| looked_at.wire().is_awaited());
        let mut heard = Heard::Nobody;
        for looked_at in &self.at {
            heard = match looked_at.wire().look() {
                Some(Ok(1..)) => Heard::Something,
                // Who is told of an end acts on it; who reads at this moment hands out what came.
                _ if heard == Heard::Nobody => Heard::Nothing,
                _ => heard,
            };
        }
        heard
    }

    /// Looks no more: the readers of the links are told again of what arrives, and wake who waits.
    pub fn stop(&mut self) {
        self.at.clear();
    }
}

/// Notes that this thread asks for something. Returns whether that is to leave together with more.
pub(super) fn note_asked(wire: &Arc<Wire>) -> bool {
    if !TOGETHER.get() {
        return false;
    }
    ASKED.with_borrow_mut(|asked| {
        let known = asked
            .iter_mut()
            .find(|asked| std::ptr::eq(asked.wire.as_ptr(), Arc::as_ptr(wire)));
        match known {
            Some(asked) => asked.is_held = true,
            None => asked.push(Asked {
                wire: Arc::downgrade(wire),
                is_held: true,
            }),
        }
    });
    true
}

/// Sends what was held back, and forgets the links that have nothing more to answer.
fn depart() {
    ASKED.with_borrow_mut(|asked| {
        asked.retain_mut(|asked| {
            let Some(wire) = asked.wire.upgrade() else {
                return false;
            };
            if std::mem::take(&mut asked.is_held) {
                wire.flush();
            }
            wire.is_awaited()
        });
    });
}
