//! Who pays, and what is refused.

use super::*;

#[test]
fn a_reservation_grows_shrinks_and_goes_back() {
    let store = store();
    let mut reservation = store.reserve(Owner::Local, 0).unwrap();
    store.grow(&mut reservation, 1_000).unwrap();
    assert_eq!(
        (reservation.bytes(), store.usage().used_bytes),
        (1_000, 1_000 + ENTRY_OVERHEAD)
    );
    for too_much in [BUDGET, u64::MAX] {
        assert_eq!(
            store.grow(&mut reservation, too_much).unwrap_err().code,
            ErrorCode::OutOfMemory
        );
        assert_eq!(
            store.reserve(Owner::Local, too_much).unwrap_err().code,
            ErrorCode::OutOfMemory
        );
    }
    reservation.shrink_to(10);
    reservation.shrink_to(20);
    assert_eq!(
        (reservation.bytes(), store.usage().used_bytes),
        (10, 10 + ENTRY_OVERHEAD)
    );
    let charge = reservation.keep();
    assert_eq!(
        (charge.bytes(), charge.owner()),
        (10 + ENTRY_OVERHEAD, Owner::Local)
    );
    assert_eq!(store.usage().pinned_bytes, charge.bytes());
    drop(charge);
    drop(store.reserve(Owner::Local, 7).unwrap());
    assert_eq!(store.usage().used_bytes, 0);
}

#[test]
fn a_full_budget_refuses_with_figures_and_advice() {
    let store = store();
    put(&store, Owner::Local, 1, 8_192).unwrap();
    let _rest = fill(&store);
    assert_eq!(store.usage().used_bytes, BUDGET);
    let advice = "the node has 16.0 KiB of budget, 16.0 KiB used (16.0 KiB pinned, 0 bytes cache). Free \
         blocks with `memcli free ID`, or start the node with a larger --memory";
    let error = store.reserve(Owner::Local, 1024).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert_eq!(error.message, format!("1.0 KiB more do not fit: {advice}"));
    let error = set(&store, "k", &[0; 4], 1).unwrap_err();
    let cost = Store::cost_of_small(1, 4, BlockClass::Pinned, false);
    assert_eq!(error.message, format!("{cost} bytes more do not fit: {advice}"));
}

#[test]
fn a_peer_keeps_to_its_grant_and_a_stranger_gets_nothing() {
    let (store, [peer, stranger]) = (store(), PEERS);
    let error = store.reserve(Owner::Peer(stranger), 0).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(error.message.contains("there is no grant"), "{error}");

    let size = 200;
    let quota_bytes = Store::cost_of_lent(size, BlockClass::Pinned);
    store.set_quota(peer, Some(quota_bytes));
    put(&store, Owner::Peer(peer), 1, size as usize).unwrap();
    let full = GrantUse {
        quota_bytes,
        used_bytes: quota_bytes,
    };
    assert_eq!(store.grant_use(peer), full);
    assert_eq!(store.usage().peers_used_bytes, full.used_bytes);
    let error = put(&store, Owner::Peer(peer), 2, 0).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(
        error.message.contains(&format!(
            "the grant: {quota_bytes} bytes, {quota_bytes} bytes of it used"
        )),
        "{error}"
    );

    // The grant goes, the block stays until somebody frees it; then nothing is remembered of the peer.
    store.set_quota(peer, None);
    assert_eq!(
        store.grant_use(peer),
        GrantUse {
            quota_bytes: 0,
            ..full
        }
    );
    let freed = store.remove_owned(Owner::Peer(peer), |_, _| true);
    assert_eq!(
        freed,
        Freed {
            blocks: 1,
            bytes: size
        }
    );
    assert_eq!(store.grant_use(peer), GrantUse::default());
    store.set_quota(stranger, None);
    assert!(!format!("{:?}", store.ledger()).contains("Peer("));
}

#[test]
fn what_is_still_read_is_still_paid() {
    let (store, [peer, _]) = (store(), PEERS);
    store.set_quota(peer, Some(Store::cost_of_lent(1_000, BlockClass::Pinned)));
    put(&store, Owner::Peer(peer), 1, 1_000).unwrap();
    let reader = store.block(id(1)).unwrap().bytes().slice(10..20);
    store.remove(id(1)).unwrap();
    assert_eq!(
        (store.usage().blocks, store.usage().used_bytes),
        (0, 1_000 + ENTRY_OVERHEAD)
    );
    let error = put(&store, Owner::Peer(peer), 2, 1_000).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    drop(reader);
    put(&store, Owner::Peer(peer), 2, 1_000).unwrap();
}

#[test]
fn threads_together_never_pass_budget_or_grant() {
    let (store, [peer, _]) = (store(), PEERS);
    let grant = BUDGET / 3;
    store.set_quota(peer, Some(grant));
    // The entry of what was reserved is paid when it is put in.
    let slack = 4 * Store::cost_of_outside(0, BlockClass::Pinned, false);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..2_000_u64 {
                    let at = 1 + (round * 7 + thread) % 40;
                    let owner = [Owner::Local, Owner::Peer(peer)][round as usize % 2];
                    if put(store, owner, at, (round % 900) as usize).is_err() {
                        store.remove(id(at));
                    }
                    let usage = store.usage();
                    assert!(usage.used_bytes <= BUDGET + slack, "{usage:?}");
                    assert!(store.grant_use(peer).used_bytes <= grant);
                }
            });
        }
    });
    store.audit();
    (1..=40).for_each(|at| drop(store.remove(id(at))));
    assert_eq!(store.usage(), nothing(BUDGET));
    let grant_use = GrantUse {
        quota_bytes: grant,
        used_bytes: 0,
    };
    assert_eq!(store.grant_use(peer), grant_use);
}
