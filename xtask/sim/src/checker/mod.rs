//! What nodes promise, looked for in the history of a run.
//!
//! Each value names the operation that wrote it, so that a read tells which write it saw. Each write has the version that its own node was seen to
//! record for it, the one by which nodes decide what is newer. `D` is [`History::known_after_ms`], after which a node knows of a write elsewhere:
//! an announcement interval and the longest delay. *Known to* a write `w` is a write `x` that was acknowledged on the same process before `w`
//! began; or, where `w` began in a calm time, one that was acknowledged `D` before that, on a process that had not ended by then.
//!
//! | rule | what it forbids | what it allows |
//! |---|---|---|
//! | [`Rule::Order`] | a write that has a lower version than one known to it | concurrent writes in either order; a write that a concurrent one beat at once |
//! | [`Rule::Stale`] | a read that sees an older version than a write acknowledged before it, on the same process at any time, on any node in a calm time; a deletion is such a write, so nothing deleted returns | for `D`, the older of two writes of which the newer's writer did not know |
//! | [`Rule::Missing`] | a read that finds nothing behind an acknowledged `set`, likewise | a deletion or an end of life since, of this value or of a newer one |
//! | [`Rule::Backwards`] | of two reads on one process the later one sees the older version | |
//! | [`Rule::Disagreement`] | two reads in a calm time with different answers, where the last write of the key was acknowledged `D` before both and none began between them | an end of life between them |
//! | [`Rule::Unwritten`] | a read that sees a value that nobody wrote, or writes only later | |
//! | [`Rule::Expired`] | a value that is read `D` after its life was over | |
//! | [`Rule::Refused`] | an operation that fails in a calm time | |
//! | [`Rule::Unended`] | an operation that takes longer than [`limits::OPERATION_MS_MAX`] and the pauses of its node | |
//! | [`Rule::Nonlinear`] | answers of the strict operations on one key in one calm time that no order explains | what the key held before the calm time is not known |
//! | [`Rule::Block`] | in a calm time, a stored block that is not found, or found behind its acknowledged `free`; other bytes at any time | |
//! | [`Rule::Listing`] | at the end, a node that does not list exactly the keys that can be read | |
//! | [`Rule::Accounts`] | at the end, a block that lies on a peer and that its owner does not know of, or the other way round; an account that is not the sum of its blocks | blocks that an earlier process of the owner left |
//! | [`Rule::Link`] | a link that ends in a calm time; nodes that are not all connected in bounded time after the last fault | |
//! | [`Rule::Bytes`] | a byte of a stream that is not the one that was handed over for its place, at any time, whoever reads it | |
//! | [`Rule::Whole`] | a read that ends with other than all bytes of a finished stream, or a follower that ends where the stream does not; in a calm time, any failure to read one that is finished, pinned and neither freed nor over its life | after the end of a process: a part, or all of it, may have been there. Outside of calm times a link that is back before the answer makes an absence of what was away |
//! | [`Rule::Honest`] | an error that is none of those that can be the cause; a stream that is finished with another size than was placed, or a sum of chunks that is not its size; a chunk where it may not lie | |
//! | [`Rule::Room`] | a grant or a budget that is passed; more held of streams under way than the bounds allow | a grant that is lowered: what was there stays; 64 KiB of records |
//! | [`Rule::Leak`] | at the end, when all streams were freed: anything of them that is left anywhere | |
//! | [`Rule::Panic`] | any panic, among them those of the store's audit | |
//!
//! What a process had is gone with it. So nothing is said about a read where a write that is not older than what it should have seen
//! was lost with a process that ended since: its own, or the one that its value was placed on.

mod agreement;
mod blocks;
mod finale;
pub mod limits;
mod order;
mod reads;
mod streams;
mod strict;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::finale::Finale;
use crate::history::{At, History};

/// What was broken; see the table of the module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// See the module.
    Order,
    /// See the module.
    Stale,
    /// See the module.
    Missing,
    /// See the module.
    Backwards,
    /// See the module.
    Disagreement,
    /// See the module.
    Unwritten,
    /// See the module.
    Expired,
    /// See the module.
    Refused,
    /// See the module.
    Unended,
    /// See the module.
    Nonlinear,
    /// See the module.
    Block,
    /// See the module.
    Listing,
    /// See the module.
    Accounts,
    /// See the module.
    Link,
    /// See the module.
    Bytes,
    /// See the module.
    Whole,
    /// See the module.
    Honest,
    /// See the module.
    Room,
    /// See the module.
    Leak,
    /// See the module.
    Panic,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was seen, with the numbers of the operations.
    pub what: String,
}

impl Violation {
    fn new(rule: Rule, what: String) -> Self {
        Self { rule, what }
    }

    /// A panic.
    pub fn panicked(what: String) -> Self {
        Self::new(Rule::Panic, what)
    }

    /// More is used or held than may be.
    pub fn room(what: String) -> Self {
        Self::new(Rule::Room, what)
    }

    /// Something is left that nobody has.
    pub fn leaked(what: String) -> Self {
        Self::new(Rule::Leak, what)
    }

    /// Something that does not end.
    pub fn unended(what: String) -> Self {
        Self::new(Rule::Unended, what)
    }

    /// A link that did not hold though nothing was wrong.
    pub fn link_lost(from: At, to: At) -> Self {
        let what = format!(
            "not all nodes are connected at {} ms, though nothing was wrong since {} ms",
            to.ms, from.ms
        );
        Self::new(Rule::Link, what)
    }

    /// Nodes that do not find each other again.
    pub fn unhealed(after_ms: u64) -> Self {
        Self::new(
            Rule::Link,
            format!("not all nodes are connected {after_ms} ms after the last fault ended"),
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// All that a run has broken.
pub fn check(history: &History, finale: &Finale) -> Vec<Violation> {
    let mut violations = limits::check(history);
    for operations in by_key(history).into_values() {
        let key = order::Key::new(history, operations);
        violations.extend(order::check(&key));
        violations.extend(reads::check(&key));
        violations.extend(agreement::check(&key));
        violations.extend(strict::check(&key));
    }
    violations.extend(blocks::check(history));
    violations.extend(streams::check(history));
    violations.extend(finale::check(history, finale));
    violations
}

/// The numbers of the operations on each key.
fn by_key(history: &History) -> BTreeMap<&str, Vec<usize>> {
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, operation) in history.operations.iter().enumerate() {
        if let Some(key) = operation.key() {
            keys.entry(key).or_default().push(number);
        }
    }
    keys
}
