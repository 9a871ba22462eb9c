//! For each rule a history that keeps it by a hair, and one that breaks it.

use memproto::{BlockId, ErrorCode, NodeId, Version};

use super::{Rule, check, limits};
use crate::finale::{Finale, NodeAtEnd};
use crate::history::{Action, At, Calm, History, Operation, Outcome, Pause, ProcessName};

/// What these histories say of when writes are known elsewhere.
const KNOWN_AFTER_MS: u64 = 10;

/// The last millisecond of the calm time that a history begins with.
const CALM_TO_MS: u64 = 10_000;

/// A history that is being written.
struct Made {
    history: History,
    finale: Finale,
}

fn at(ms: u64) -> At {
    At { number: ms, ms }
}

fn process(machine: usize) -> ProcessName {
    ProcessName {
        machine,
        generation: 0,
    }
}

fn version(time: u64) -> Version {
    Version {
        time,
        node: NodeId::from_bytes([0; 16]),
    }
}

fn key() -> String {
    "k".to_owned()
}

impl Made {
    fn calm() -> Self {
        let mut made = Self::troubled();
        made.history.calms.push(Calm {
            from: at(0),
            to: at(CALM_TO_MS),
        });
        made
    }

    fn troubled() -> Self {
        Self {
            history: History {
                known_after_ms: KNOWN_AFTER_MS,
                ..History::default()
            },
            finale: Finale::default(),
        }
    }

    fn add(&mut self, machine: usize, action: Action, span: (u64, u64), outcome: Outcome) -> usize {
        self.history.operations.push(Operation {
            at: process(machine),
            action,
            strict: false,
            began: at(span.0),
            ended: Some(at(span.1)),
            outcome,
            version: None,
            placed_on: None,
        });
        self.history.operations.len() - 1
    }

    fn set(&mut self, machine: usize, span: (u64, u64), time: u64) -> usize {
        let action = Action::Set {
            key: key(),
            ttl_ms: None,
        };
        let number = self.add(machine, action, span, Outcome::Done);
        self.history.operations[number].version = Some(version(time));
        number
    }

    fn set_for(&mut self, ttl_ms: u64, span: (u64, u64), time: u64) -> usize {
        let number = self.set(0, span, time);
        self.history.operations[number].action = Action::Set {
            key: key(),
            ttl_ms: Some(ttl_ms),
        };
        number
    }

    fn del(&mut self, machine: usize, span: (u64, u64), time: u64) {
        let number = self.add(machine, Action::Del { key: key() }, span, Outcome::Deleted);
        self.history.operations[number].version = Some(version(time));
    }

    fn get(&mut self, machine: usize, span: (u64, u64), found: impl Into<Option<usize>>) {
        let outcome = found.into().map_or(Outcome::Nothing, Outcome::Found);
        self.add(machine, Action::Get { key: key() }, span, outcome);
    }

    fn all_strict(mut self) -> Self {
        for operation in &mut self.history.operations {
            operation.strict = true;
        }
        self
    }

    fn end_process(&mut self, machine: usize, ms: u64) {
        self.history.ends.push((process(machine), at(ms)));
    }

    #[track_caller]
    fn keeps_all(&self) {
        let broken = check(&self.history, &self.finale);
        assert!(broken.is_empty(), "{broken:?}");
    }

    #[track_caller]
    fn breaks(&self, rule: Rule) {
        let broken = check(&self.history, &self.finale);
        assert!(
            broken.iter().any(|violation| violation.rule == rule),
            "{broken:?}"
        );
    }
}

#[test]
fn a_write_is_newer_than_what_its_node_knew() {
    for (began, keeps) in [(19, true), (20, false)] {
        let mut made = Made::calm();
        made.set(0, (5, 10), 7);
        made.set(1, (began, 30), 6);
        match keeps {
            true => made.keeps_all(),
            false => made.breaks(Rule::Order),
        }
    }
    // On one process there is no time to hear of it, and no need to.
    let mut made = Made::troubled();
    made.set(0, (5, 10), 7);
    made.set(0, (11, 12), 6);
    made.breaks(Rule::Order);
    // A third write, concurrent with the second, beat it.
    made.set(1, (11, 12), 8);
    made.keeps_all();
}

#[test]
fn an_older_value_is_not_seen_behind_an_acknowledgement() {
    for ended in [None, Some(25)] {
        let mut made = Made::calm();
        let old = made.set(0, (1, 2), 1);
        made.set(1, (20, 30), 2);
        made.get(2, (29, 40), old);
        made.keeps_all();
        made.get(2, (41, 42), old);
        made.breaks(Rule::Stale);
        // What the later write wrote may be lost with its process.
        if let Some(ended) = ended {
            made.end_process(1, ended);
            made.keeps_all();
        }
    }
}

#[test]
fn of_two_concurrent_writes_the_older_one_may_be_seen_for_a_moment() {
    let mut made = Made::calm();
    let older = made.set(0, (20, 25), 1);
    made.set(1, (20, 30), 2);
    made.get(2, (30 + KNOWN_AFTER_MS, 50), older);
    made.keeps_all();
    made.get(2, (31 + KNOWN_AFTER_MS, 51), older);
    made.breaks(Rule::Stale);
}

#[test]
fn nothing_deleted_returns() {
    let mut made = Made::calm();
    let set = made.set(0, (1, 2), 1);
    made.del(1, (20, 30), 2);
    made.get(2, (31, 40), None);
    made.keeps_all();
    made.get(2, (50, 60), set);
    made.breaks(Rule::Stale);
}

#[test]
fn while_something_is_wrong_a_process_still_sees_what_it_wrote() {
    let mut made = Made::troubled();
    let old = made.set(1, (1, 2), 1);
    made.set(0, (20, 30), 2);
    made.get(1, (50, 60), old);
    made.keeps_all();
    made.get(0, (50, 60), old);
    made.breaks(Rule::Stale);
}

#[test]
fn what_was_acknowledged_is_there() {
    let mut made = Made::calm();
    made.get(1, (29, 40), None);
    made.set(0, (20, 30), 1);
    made.keeps_all();
    made.get(1, (31, 40), None);
    made.breaks(Rule::Missing);
    made.del(2, (39, 45), 2);
    made.keeps_all();
    // A deletion that the set knew of does not explain it.
    let mut made = Made::calm();
    made.del(2, (1, 2), 1);
    made.set(0, (20, 30), 2);
    made.get(1, (31, 40), None);
    made.breaks(Rule::Missing);
    made.end_process(0, 35);
    made.keeps_all();
}

#[test]
fn a_life_that_is_over_explains_an_absence_and_nothing_else_does() {
    let mut made = Made::calm();
    let set = made.set_for(100, (20, 30), 1);
    made.get(1, (110, 119), None);
    made.breaks(Rule::Missing);
    made.history.operations.pop();
    made.get(1, (110, 120), None);
    made.get(1, (130 + KNOWN_AFTER_MS, 150), set);
    made.keeps_all();
    made.get(1, (131 + KNOWN_AFTER_MS, 150), set);
    made.breaks(Rule::Expired);
}

#[test]
fn no_read_goes_back_on_one_process() {
    let mut made = Made::troubled();
    let older = made.set(1, (1, 2), 1);
    let newer = made.set(2, (1, 3), 2);
    made.get(0, (50, 60), newer);
    made.get(3, (70, 80), older);
    made.keeps_all();
    made.get(0, (70, 80), older);
    made.breaks(Rule::Backwards);
    made.end_process(2, 65);
    made.keeps_all();
}

#[test]
fn all_say_the_same_of_a_key_that_nobody_writes() {
    let mut made = Made::calm();
    let one = made.set(0, (20, 30), 1);
    let other = made.set(1, (20, 30), 1);
    for number in [one, other] {
        // Nobody saw which version they got: agreement is all that is left to ask for.
        made.history.operations[number].version = None;
    }
    made.get(2, (30, 50), one);
    made.get(3, (30 + KNOWN_AFTER_MS, 50), other);
    made.keeps_all();
    made.get(2, (31 + KNOWN_AFTER_MS, 50), one);
    made.get(3, (31 + KNOWN_AFTER_MS, 50), other);
    made.breaks(Rule::Disagreement);
}

#[test]
fn what_nobody_wrote_is_not_read() {
    let mut made = Made::troubled();
    made.get(0, (1, 5), 1);
    made.set(1, (4, 8), 1);
    made.keeps_all();
    made.get(0, (6, 7), 99);
    made.breaks(Rule::Unwritten);
    let mut made = Made::troubled();
    made.get(0, (1, 3), 1);
    made.set(1, (4, 8), 1);
    made.breaks(Rule::Unwritten);
}

#[test]
fn nothing_fails_while_nothing_is_wrong() {
    let failed = Outcome::Failed(ErrorCode::Timeout);
    let mut made = Made::calm();
    made.add(0, Action::Get { key: key() }, (1, CALM_TO_MS + 1), failed);
    made.keeps_all();
    made.add(0, Action::Get { key: key() }, (1, CALM_TO_MS), failed);
    made.breaks(Rule::Refused);
}

#[test]
fn everything_ends_in_time() {
    let mut made = Made::troubled();
    let span = |more: u64| (10, 10 + limits::OPERATION_MS_MAX + more);
    made.get(0, span(0), None);
    made.keeps_all();
    made.get(0, span(50), None);
    made.breaks(Rule::Unended);
    made.history.pauses.push(Pause {
        machine: 0,
        length_ms: 50,
        from: at(20),
    });
    made.keeps_all();
    let unanswered = made.history.operations.last_mut().unwrap();
    (unanswered.ended, unanswered.outcome) = (None, Outcome::Cut);
    made.keeps_all();
    made.history.operations.last_mut().unwrap().outcome = Outcome::Pending;
    made.breaks(Rule::Unended);
}

#[test]
fn strict_operations_have_an_order() {
    // A read that sees the new value, and one behind it that still sees the old one.
    let mut made = Made::calm();
    let old = made.set(0, (1, 2), 1);
    let new = made.set(1, (20, 60), 2);
    made.get(2, (25, 30), new);
    made.get(3, (26, 40), old);
    let mut made = made.all_strict();
    made.keeps_all();
    made.history.operations[3].began = at(31);
    made.breaks(Rule::Nonlinear);
    // The same is no promise without it.
    for operation in &mut made.history.operations {
        operation.strict = false;
    }
    made.keeps_all();
}

#[test]
fn a_strict_read_that_finds_nothing_needs_a_deletion() {
    let mut made = Made::calm();
    // What was there before the calm time nobody knows.
    made.get(0, (1, 2), None);
    made.set(0, (3, 4), 1);
    made.del(1, (5, 50), 2);
    made.get(2, (20, 30), None);
    let mut made = made.all_strict();
    made.keeps_all();
    made.get(2, (35, 40), 1);
    made.history.operations.last_mut().unwrap().strict = true;
    made.breaks(Rule::Nonlinear);
}

#[test]
fn blocks_are_there_until_they_are_freed() {
    let id = BlockId::new(7).unwrap();
    let load = Action::Load { stored_by: 0 };
    let mut made = Made::calm();
    made.add(0, Action::Store, (1, 2), Outcome::Stored(id));
    made.add(1, load.clone(), (3, 4), Outcome::Found(0));
    made.add(1, load.clone(), (9, 12), Outcome::Nothing);
    made.breaks(Rule::Block);
    made.add(2, Action::Free { stored_by: 0 }, (11, 15), Outcome::Done);
    made.keeps_all();
    made.add(1, load.clone(), (16, 17), Outcome::Found(0));
    made.breaks(Rule::Block);
    made.history.operations.pop();
    made.add(1, load, (3, 4), Outcome::Found(1));
    made.breaks(Rule::Block);
}

fn node_at_end(machine: usize) -> NodeAtEnd {
    NodeAtEnd {
        machine,
        id: Some(NodeId::from_bytes([machine as u8; 16])),
        ..NodeAtEnd::default()
    }
}

#[test]
fn what_is_listed_can_be_read() {
    let mut made = Made::calm();
    let set = made.set(0, (1, 2), 1);
    made.get(0, (20, 30), set);
    made.finale.nodes.push(node_at_end(0));
    made.breaks(Rule::Listing);
    made.finale.nodes[0].keys.insert(key());
    made.keeps_all();
    made.finale.nodes[0].keys.insert("other".to_owned());
    made.breaks(Rule::Listing);
}

#[test]
fn owners_and_holders_know_the_same_blocks() {
    let id = BlockId::new(7).unwrap();
    let mut made = Made::calm();
    let (mut owner, mut holder) = (node_at_end(0), node_at_end(1));
    let (owner_id, holder_id) = (owner.id.unwrap(), holder.id.unwrap());
    holder.lent.push((owner_id, id, 100));
    holder.accounts.insert(owner_id, 100);
    owner.placed.push((holder_id, id));
    made.finale.nodes = vec![owner, holder];
    made.keeps_all();
    made.finale.nodes[1].accounts.insert(owner_id, 90);
    made.breaks(Rule::Accounts);
    made.finale.nodes[1].accounts.insert(owner_id, 100);
    made.finale.nodes[0].placed.clear();
    made.breaks(Rule::Accounts);
    made.finale.nodes[0].restarts = 1;
    made.keeps_all();
    made.finale.nodes[0].placed = vec![(holder_id, id), (holder_id, BlockId::new(8).unwrap())];
    made.breaks(Rule::Accounts);
}
