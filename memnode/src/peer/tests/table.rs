//! The table alone: which link stays, who is forgotten, and which state follows from what happened.

use std::time::Instant;

use memproto::peer::{Consent, Goodbye};

use super::super::entry::{Ended, Ending, Entry, Grant, LinkFacts};
use super::super::table::{Table, TableLimits};
use super::*;

const WINDOW: Duration = Duration::from_secs(10);
const GRANT: Grant = Grant {
    quota_bytes: 5,
    named: false,
    keep: false,
};

fn id(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

/// The table of node 5, so that 1 is a lower and 9 a higher peer.
fn table() -> Table<u64> {
    let limits = TableLimits {
        peers_max: 2,
        known_max: 3,
        simultaneous_dial_window: WINDOW,
    };
    Table::new(id(5), limits)
}

fn facts(peer: u8, serial: u64, we_dialled: bool) -> LinkFacts {
    LinkFacts {
        serial,
        id: id(peer),
        public_key: [peer; 32],
        name: format!("Node{peer}"),
        address: ([192, 0, 2, peer], 8080).into(),
        incarnation: 1,
        we_dialled,
        code: "123456".to_owned(),
        offered_quota_bytes: 0,
    }
}

fn ending(ended: Ended) -> Ending {
    Ending {
        ended,
        data_is_gone: false,
        replaced: false,
        code: ErrorCode::PeerUnreachable,
        error: None,
    }
}

/// Puts one link behind the other. Returns which of the two stays.
fn survivor(peer: u8, old_we_dialled: bool, new_we_dialled: bool, after: Duration) -> u64 {
    let (mut table, now) = (table(), Instant::now());
    table.admit(facts(peer, 1, old_we_dialled), None, 1, now).unwrap();
    let admitted = table.admit(facts(peer, 2, new_we_dialled), None, 2, now + after);
    match admitted {
        Ok(replaced) => assert_eq!(replaced.unwrap().link, 1),
        Err(reason) => assert_eq!(reason, Goodbye::Replaced),
    }
    table.links().next().unwrap().link
}

#[test]
fn of_two_that_cross_the_lower_ids_stays() {
    let soon = Duration::from_secs(1);
    // This node's own link is there, the peer's arrives.
    assert_eq!(survivor(1, true, false, soon), 2, "the lower peer's");
    assert_eq!(survivor(9, true, false, soon), 1, "this node's, for 5 is below 9");
}

#[test]
fn a_redial_by_the_peer_replaces_what_the_peer_lost() {
    let (soon, late) = (Duration::from_secs(1), WINDOW);
    for peer in [1, 9] {
        assert_eq!(survivor(peer, false, false, soon), 2, "it dialled both times");
        assert_eq!(survivor(peer, true, false, late), 2, "no dials cross this late");
    }
}

#[test]
fn this_node_does_not_finish_a_dial_to_a_peer_that_is_there() {
    for peer in [1, 9] {
        for late in [Duration::ZERO, WINDOW] {
            assert_eq!(survivor(peer, false, true, late), 1);
            assert_eq!(survivor(peer, true, true, late), 1);
        }
    }
}

#[test]
fn a_restarted_process_always_replaces_and_loses_its_consent() {
    for we_dialled in [false, true] {
        let (mut table, now) = (table(), Instant::now());
        table.admit(facts(9, 1, true), Some(GRANT), 1, now).unwrap();
        let restarted = LinkFacts {
            incarnation: 2,
            ..facts(9, 2, we_dialled)
        };
        let replaced = table.admit(restarted, None, 2, now).unwrap();
        assert_eq!(replaced.unwrap().link, 1);
        assert_eq!(table.links().next().unwrap().ours, None);
    }
}

#[test]
fn what_was_agreed_once_ends_with_its_link_also_where_only_the_peer_has_noticed_that_it_ended() {
    let redialled = |we_dialled: bool, after: Duration| {
        let (mut table, now) = (table(), Instant::now());
        table.admit(facts(1, 1, we_dialled), Some(GRANT), 1, now).unwrap();
        assert!(table.agreed(id(1), 1));
        table.admit(facts(1, 2, false), None, 2, now + after).unwrap();
        table.links().next().unwrap().ours
    };
    assert_eq!(redialled(false, Duration::ZERO), None, "the peer dialled both");
    assert_eq!(redialled(true, WINDOW), None, "no dials cross this late");
    assert_eq!(
        redialled(true, Duration::from_secs(1)),
        Some(GRANT),
        "they crossed"
    );
}

#[test]
fn consent_follows_the_peer_from_a_link_to_the_one_that_replaces_it() {
    let (mut table, now) = (table(), Instant::now());
    table.admit(facts(1, 1, true), Some(GRANT), 1, now).unwrap();
    table.admit(facts(1, 2, false), None, 2, now).unwrap();
    assert_eq!(table.links().next().unwrap().ours, Some(GRANT));
    // Likewise where the peer's goodbye to the first link is faster than its second link.
    let replaced = Ending {
        replaced: true,
        ..ending(Ended::Lost)
    };
    table.ended(id(1), 2, replaced.clone(), now).unwrap();
    table.admit(facts(1, 3, false), None, 3, now).unwrap();
    assert_eq!(table.links().next().unwrap().ours, Some(GRANT));
    // But not for ever.
    table.ended(id(1), 3, replaced, now).unwrap();
    table.admit(facts(1, 4, false), None, 4, now + WINDOW).unwrap();
    assert_eq!(table.links().next().unwrap().ours, None);
}

#[test]
fn a_full_table_refuses_links_and_forgets_who_was_only_announced() {
    let (mut table, now) = (table(), Instant::now());
    table.trust(id(1), "Node1", &[]);
    table.announced(id(2), "Node2", vec![]);
    table.announced(id(3), "Node3", vec![]);
    table.announced(id(2), "Node2", vec![]);
    table.announced(id(4), "Node4", vec![]);
    assert!(
        table.get(id(3)).is_none(),
        "the one that was not heard of for longest"
    );
    assert!(table.get(id(1)).is_some() && table.get(id(2)).is_some());
    table.admit(facts(2, 1, false), None, 1, now).unwrap();
    table.admit(facts(4, 2, false), None, 2, now).unwrap();
    assert_eq!(
        table.admit(facts(1, 3, false), None, 3, now).unwrap_err(),
        Goodbye::Busy
    );
    table.announced(id(6), "Node6", vec![]);
    assert!(table.get(id(6)).is_none(), "all that is known matters");
    assert!(
        table.admit(facts(5, 4, false), None, 4, now).is_err(),
        "this node itself"
    );
}

#[test]
fn states_follow_from_what_happened() {
    let (mut table, now) = (table(), Instant::now());
    let address = ([192, 0, 2, 1], 8080).into();
    let state = |table: &Table<u64>| table.get(id(1)).map(Entry::state);
    table.announced(id(1), "Node\u{1b}1", vec![address]);
    assert_eq!(table.get(id(1)).unwrap().name, "Node?1");
    assert_eq!(state(&table), Some(PeerState::Discovered));
    assert!(
        !table.get(id(1)).unwrap().wants_dial(),
        "strangers are not dialled"
    );
    table.connecting_begins(id(1));
    assert_eq!(state(&table), Some(PeerState::Connecting));
    table.admit(facts(1, 1, true), Some(GRANT), 1, now).unwrap();
    table.connecting_ends(id(1));
    assert_eq!(state(&table), Some(PeerState::WaitingForTheirConsent));
    table.slot_mut(id(1), 1).unwrap().theirs = Some(Consent::Waiting);
    assert!(table.agreed(id(1), 1));
    assert_eq!(state(&table), Some(PeerState::Connected));
    table.trust(id(1), "Node1", &[]);
    table.ended(id(1), 1, ending(Ended::Lost), now).unwrap();
    assert_eq!(state(&table), Some(PeerState::Lost));
    assert_eq!(table.unreachable(), [id(1)]);
    assert!(table.get(id(1)).unwrap().wants_dial());
    table.release(id(1));
    assert_eq!(state(&table), Some(PeerState::Discovered));
    assert!(table.unreachable().is_empty() && !table.get(id(1)).unwrap().wants_dial());
    table.gone(id(1));
    assert!(table.get(id(1)).is_some(), "a trusted peer is remembered");
    table.distrust(id(1));
    assert_eq!(state(&table), None);
}

#[test]
fn a_goodbye_removes_a_discovered_peer_without_a_link() {
    let (mut table, now) = (table(), Instant::now());
    table.announced(id(1), "Node1", vec![]);
    table.announced(id(2), "Node2", vec![]);
    table.admit(facts(2, 1, false), None, 1, now).unwrap();
    table.gone(id(1));
    table.gone(id(2));
    assert!(table.get(id(1)).is_none());
    assert!(table.get(id(2)).is_some());
}

#[test]
fn agreed_links_are_counted_whatever_becomes_of_them() {
    let (mut table, now) = (table(), Instant::now());
    let agreed = table.agreed_links();
    let count = || agreed.load(Ordering::Relaxed);
    table.admit(facts(1, 1, true), None, 1, now).unwrap();
    assert_eq!(count(), 0);
    // Told twice, it is one link.
    assert!(table.agreed(id(1), 1) && table.agreed(id(1), 1));
    table.admit(facts(2, 2, true), None, 2, now).unwrap();
    assert!(table.agreed(id(2), 2));
    assert_eq!(count(), 2);
    // The peer restarted: its new link takes the place of the old one, and nobody has agreed to it.
    let restarted = LinkFacts {
        incarnation: 2,
        ..facts(1, 3, false)
    };
    assert!(table.admit(restarted, None, 3, now).unwrap().is_some());
    assert_eq!(count(), 1);
    assert!(!table.agreed(id(1), 1), "the old link has no place");
    assert!(table.ended(id(2), 2, ending(Ended::Lost), now).is_some());
    assert!(table.ended(id(1), 3, ending(Ended::Lost), now).is_some());
    assert_eq!(count(), 0);
}

#[test]
fn of_two_processes_with_one_identity_the_one_that_is_here_stays() {
    let (mut table, now) = (table(), Instant::now());
    let mut serial = 0;
    let mut admit = |table: &mut Table<u64>, incarnation| {
        serial += 1;
        let facts = LinkFacts {
            incarnation,
            ..facts(9, serial, false)
        };
        table.admit(facts, None, serial, now).map(|_| serial)
    };
    // Nobody can know better than that the second one is a restart.
    admit(&mut table, 1).unwrap();
    let second = admit(&mut table, 2).unwrap();
    assert_eq!(table.get(id(9)).unwrap().shared, None);
    for _ in 0..3 {
        assert_eq!(admit(&mut table, 1), Err(Goodbye::SharedIdentity));
        assert_eq!(table.links().next().unwrap().link, second);
    }
    assert!(table.get(id(9)).unwrap().shared.is_some());
    // When that one goes, the other one is as good.
    table.ended(id(9), second, ending(Ended::Lost), now).unwrap();
    let first = admit(&mut table, 1).unwrap();
    assert_eq!(admit(&mut table, 2), Err(Goodbye::SharedIdentity));
    // A restart is one, whatever was before.
    table.ended(id(9), first, ending(Ended::Lost), now).unwrap();
    admit(&mut table, 3).unwrap();
}
