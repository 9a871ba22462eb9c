//! Consent, requests, deadlines, keepalive and the end of a link.

use super::*;
use crate::peer::codec::MESSAGE_MAX;
use crate::peer::message::KeyVersion;
use crate::version::Version;

#[test]
fn nothing_but_consent_passes_until_both_sides_agreed() {
    let mut pair = Pair::new();
    let ask = |pair: &mut Pair| {
        pair.links[0]
            .open_request(&store(), BodySpec::NONE, None)
            .map_err(|e| e.code)
    };
    assert_eq!(ask(&mut pair), Err(ErrorCode::ConsentPending));
    pair.links[0].set_consent(Consent::Agreed {
        quota_bytes: 10,
        for_good: false,
    });
    pair.settle();
    assert_eq!(
        pair.take_events(1),
        [Event::PeerConsent(Consent::Agreed {
            quota_bytes: 10,
            for_good: false
        })]
    );
    assert_eq!(ask(&mut pair), Err(ErrorCode::ConsentPending));
    pair.links[1].set_consent(Consent::Agreed {
        quota_bytes: 20,
        for_good: false,
    });
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::Agreed { quota_bytes: 10 }]);
    let told = [
        Event::PeerConsent(Consent::Agreed {
            quota_bytes: 20,
            for_good: false,
        }),
        Event::Agreed { quota_bytes: 20 },
    ];
    assert_eq!(pair.take_events(0), told);
    assert!(ask(&mut pair).is_ok());
    assert!(pair.links[0].is_agreed() && pair.links[1].is_agreed());
}

#[test]
fn a_grant_may_change_and_consent_does_not_go_back() {
    let mut pair = Pair::agreed();
    pair.links[0].set_consent(Consent::Agreed {
        quota_bytes: 5,
        for_good: false,
    });
    pair.links[0].set_consent(Consent::Waiting);
    pair.settle();
    assert_eq!(
        pair.take_events(1),
        [Event::PeerConsent(Consent::Agreed {
            quota_bytes: 5,
            for_good: false
        })]
    );
    assert!(pair.links[0].is_agreed());
}

#[test]
fn a_denial_ends_every_request_on_both_sides() {
    let mut pair = Pair::agreed();
    let asked = pair.ask(BodySpec::UNKNOWN);
    let other = pair.links[1]
        .open_request(&store(), BodySpec::NONE, None)
        .unwrap();
    pair.links[1].set_consent(Consent::Denied);
    pair.links[1].close(Goodbye::Denied);
    pair.settle();
    let failed = |events: &[Event], wanted| {
        events.iter().any(|event| matches!(event, Event::RequestFailed { id, error } if *id == wanted && error.code == ErrorCode::Denied))
    };
    let (events, others) = (pair.take_events(0), pair.take_events(1));
    assert_eq!(events[0], Event::PeerConsent(Consent::Denied));
    assert!(failed(&events, asked), "{events:?}");
    assert_eq!(
        events.last(),
        Some(&Event::Closed {
            reason: LinkError::ClosedByPeer(Goodbye::Denied)
        })
    );
    assert!(
        failed(&others, other) && others.contains(&Event::Cancelled { id: asked }),
        "{others:?}"
    );
    assert_eq!(
        pair.links[0].requests_in_flight() + pair.links[1].requests_in_flight(),
        0
    );
}

#[test]
fn a_request_gets_its_reply() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::NONE);
    assert!(pair.links[1].reply(id, &gone(), BodySpec::NONE));
    assert!(
        !pair.links[1].reply(id, &gone(), BodySpec::NONE),
        "a second reply"
    );
    pair.settle();
    assert_eq!(
        pair.take_events(0),
        [Event::Reply {
            id,
            reply: gone(),
            body: BodySpec::NONE
        }]
    );
    assert_eq!(
        pair.links[0].requests_in_flight() + pair.links[1].requests_in_flight(),
        0
    );
}

#[test]
fn both_sides_ask_at_once_and_replies_come_in_any_order() {
    let mut pair = Pair::agreed();
    let mut asked = Vec::new();
    for side in [0, 1, 0, 1, 0] {
        asked.push((
            side,
            pair.links[side]
                .open_request(&store(), BodySpec::NONE, None)
                .unwrap(),
        ));
    }
    pair.settle();
    for &(side, id) in asked.iter().rev() {
        assert!(pair.links[1 - side].reply(id, &gone(), BodySpec::NONE));
    }
    pair.settle();
    for (side, count) in [(0, 3), (1, 2)] {
        let events = pair.take_events(side);
        assert_eq!(
            events
                .iter()
                .filter(|event| matches!(event, Event::Reply { .. }))
                .count(),
            count
        );
    }
    let mut ids: Vec<u64> = asked.iter().map(|(_, id)| id.as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}

/// A message of 300 KiB takes several records; one too large is refused before it is sent.
#[test]
fn long_messages_span_records() {
    let key = |n: usize| KeyVersion {
        key: format!("{n:01024}"),
        version: Version {
            time: n as u64,
            node: crate::NodeId::from_bytes([n as u8; 16]),
        },
        deleted: false,
    };
    let long = PeerRequest::Reconcile {
        keys: (0..256).map(key).collect(),
        complete: false,
        clock: 0,
    };
    let mut pair = Pair::agreed();
    let id = pair.links[0].open_request(&long, BodySpec::NONE, None).unwrap();
    let small = pair.links[0]
        .open_request(&store(), BodySpec::NONE, None)
        .unwrap();
    pair.settle();
    let body = BodySpec::NONE;
    let expected = [
        Event::Request {
            id,
            request: long,
            body,
        },
        Event::Request {
            id: small,
            request: store(),
            body,
        },
    ];
    assert_eq!(pair.take_events(1), expected);
    let reply = PeerReply::Reconciled {
        newer: (0..MESSAGE_MAX / 1_024).map(key).collect(),
        clock: 0,
    };
    assert!(pair.links[1].reply(id, &reply, BodySpec::exact(5)));
    pair.settle();
    let [
        Event::Reply {
            reply: PeerReply::Failed(error),
            body,
            ..
        },
    ] = &pair.take_events(0)[..]
    else {
        panic!("a reply that is too large becomes a failure")
    };
    assert_eq!((error.code, *body), (ErrorCode::TooLarge, BodySpec::NONE));
    let huge = PeerRequest::Reconcile {
        keys: (0..MESSAGE_MAX / 1_024).map(key).collect(),
        complete: false,
        clock: 0,
    };
    let refused = pair.links[0].open_request(&huge, BodySpec::NONE, None);
    assert_eq!(refused.unwrap_err().code, ErrorCode::TooLarge);
}

#[test]
fn a_request_over_a_limit_is_refused_and_the_link_goes_on() {
    let mut pair = Pair::agreed();
    let many = PeerRequest::Free {
        ids: vec![block(1); 4_097],
    };
    let id = pair.links[0]
        .open_request(&many, BodySpec::exact(3), None)
        .unwrap();
    pair.links[0].push_body(id, Bytes::from_static(b"abc"));
    pair.settle();
    assert_eq!(pair.take_events(1), []);
    let [
        Event::Reply {
            reply: PeerReply::Failed(error),
            ..
        },
    ] = &pair.take_events(0)[..]
    else {
        panic!("a failure was expected")
    };
    assert_eq!(error.code, ErrorCode::TooLarge);
    pair.ask(BodySpec::NONE);
}

#[test]
fn the_number_of_requests_in_flight_is_bounded() {
    let mut pair = Pair::agreed();
    let ids: Vec<_> = (0..REQUESTS_MAX)
        .map(|_| {
            pair.links[0]
                .open_request(&store(), BodySpec::NONE, None)
                .unwrap()
        })
        .collect();
    let open = |pair: &mut Pair| pair.links[0].open_request(&store(), BodySpec::NONE, None);
    assert_eq!(open(&mut pair).unwrap_err().code, ErrorCode::Busy);
    pair.settle();
    assert_eq!(pair.take_events(1).len(), REQUESTS_MAX);
    // A place that is free here is free there: at once after a cancellation and after a reply.
    pair.links[0].cancel(ids[0]);
    assert!(pair.links[1].reply(ids[1], &gone(), BodySpec::NONE));
    pair.settle();
    assert!(open(&mut pair).is_ok() && open(&mut pair).is_ok() && open(&mut pair).is_err());
    pair.settle();
    assert!(!pair.links[1].is_closed());
}

#[test]
fn a_cancelled_request_is_forgotten_on_both_sides() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::UNKNOWN);
    pair.links[0].push_body(id, pattern(100, 1));
    pair.links[0].cancel(id);
    assert!(!pair.links[0].push_body(id, pattern(100, 1)));
    // The reply is under way already.
    assert!(pair.links[1].reply(id, &gone(), BodySpec::exact(10)));
    pair.links[1].push_body(id, pattern(10, 1));
    let late = pair.records(1);
    pair.settle();
    assert_eq!(
        pair.take_events(1),
        [],
        "the answer was out before the cancellation came"
    );
    for record in late {
        pair.deliver(0, record).unwrap();
    }
    assert_eq!(pair.take_events(0), []);
    assert!(!pair.links[1].reply(id, &gone(), BodySpec::NONE));
    assert_eq!(
        pair.links[0].requests_in_flight() + pair.links[1].requests_in_flight(),
        0
    );
    let id = pair.ask(BodySpec::UNKNOWN);
    pair.links[0].cancel(id);
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::Cancelled { id }]);
    assert!(!pair.links[1].reply(id, &gone(), BodySpec::NONE));
    assert_eq!(
        pair.links[0].requests_in_flight() + pair.links[1].requests_in_flight(),
        0
    );
}

#[test]
fn a_request_that_was_not_sent_is_simply_not_sent() {
    let mut pair = Pair::agreed();
    let id = pair.links[0]
        .open_request(&store(), BodySpec::NONE, None)
        .unwrap();
    pair.links[0].cancel(id);
    assert_eq!(pair.records(0).len(), 0);
}

#[test]
fn a_deadline_fails_the_request_and_tells_the_peer() {
    let mut pair = Pair::agreed();
    let deadline = pair.now + Duration::from_secs(1);
    let id = pair.links[0]
        .open_request(&store(), BodySpec::NONE, Some(deadline))
        .unwrap();
    pair.settle();
    pair.take_request(1);
    assert_eq!(pair.links[0].poll_timeout(), Some(deadline));
    pair.pass(Duration::from_millis(999));
    assert_eq!(pair.take_events(0), []);
    pair.pass(Duration::from_millis(1));
    let [Event::RequestFailed { id: failed, error }] = &pair.take_events(0)[..] else {
        panic!("one failure")
    };
    assert_eq!((*failed, error.code), (id, ErrorCode::Timeout));
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::Cancelled { id }]);
}

#[test]
fn progress_moves_a_deadline_and_behind_the_reply_it_fails_the_body() {
    let mut pair = Pair::agreed();
    let deadline = pair.now + Duration::from_secs(1);
    let id = pair.links[0]
        .open_request(&store(), BodySpec::NONE, Some(deadline))
        .unwrap();
    pair.settle();
    pair.take_request(1);
    pair.links[0].set_deadline(id, Some(deadline + Duration::from_secs(1)));
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.take_events(0), []);
    pair.links[1].reply(id, &gone(), BodySpec::UNKNOWN);
    pair.settle();
    pair.take_events(0);
    pair.pass(Duration::from_secs(1));
    let [Event::BodyFailed { error, .. }] = &pair.take_events(0)[..] else {
        panic!("one failure")
    };
    assert_eq!(error.code, ErrorCode::Timeout);
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::Cancelled { id }]);
}

#[test]
fn a_silent_link_is_pinged_and_stays_alive() {
    let mut pair = Pair::agreed();
    for _ in 0..100 {
        let due = pair.links.iter().filter_map(Link::poll_timeout).min().unwrap();
        assert!(due > pair.now && due <= pair.now + PING_AFTER);
        pair.pass(due - pair.now);
        pair.settle();
    }
    assert!(!pair.links[0].is_closed() && !pair.links[1].is_closed());
    assert_eq!(pair.links[0].round_trip(), Some(Duration::ZERO));
}

#[test]
fn the_round_trip_is_measured() {
    let mut pair = Pair::new();
    assert_eq!(pair.links[0].round_trip(), None);
    let ping = pair.records(0);
    pair.now += Duration::from_millis(40);
    for record in ping {
        pair.deliver(1, record).unwrap();
    }
    pair.settle();
    assert_eq!(pair.links[0].round_trip(), Some(Duration::from_millis(40)));
}

#[test]
fn a_peer_in_doubt_has_to_answer_a_new_ping() {
    const WITHIN: Duration = Duration::from_secs(2);
    let mut pair = Pair::agreed();
    // One that answers stays, however often it is asked.
    for _ in 0..3 {
        pair.links[0].check(pair.now, WITHIN);
        pair.settle();
        pair.pass(WITHIN);
        assert!(!pair.links[0].is_closed());
    }
    // The answer to a ping from before the doubt may have waited in the socket: it is no sign of life.
    pair.pass(PING_AFTER);
    let ping = pair.records(0);
    for record in ping {
        pair.deliver(1, record).unwrap();
    }
    let pong = pair.records(1);
    pair.links[0].check(pair.now, WITHIN);
    for record in pong {
        pair.deliver(0, record).unwrap();
    }
    assert!(!pair.records(0).is_empty(), "a ping that nobody answers");
    assert_eq!(pair.links[0].poll_timeout(), Some(pair.now + WITHIN));
    pair.now += WITHIN;
    pair.links[0].note_received(pair.now);
    pair.links[0].handle_timeout(pair.now);
    let closed = Event::Closed {
        reason: LinkError::TimedOut(WITHIN),
    };
    assert_eq!(pair.take_events(0), [closed]);
}

#[test]
fn a_dead_peer_is_given_up_after_ten_seconds() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::NONE);
    pair.now += Duration::from_secs(9);
    pair.links[0].note_received(pair.now);
    pair.pass(Duration::from_secs(9));
    assert!(
        !pair.links[0].is_closed(),
        "bytes of a record that is not whole yet count"
    );
    assert!(pair.links[1].is_closed());
    pair.pass(Duration::from_secs(1));
    let events = pair.take_events(0);
    let [
        Event::RequestFailed { id: failed, error },
        Event::Closed { reason },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*failed, error.code), (id, ErrorCode::PeerUnreachable));
    assert_eq!(reason, &LinkError::TimedOut(DEAD_AFTER));
    assert_eq!(pair.links[0].poll_timeout(), None);
    assert!(pair.records(0).is_empty());
}

#[test]
fn a_goodbye_overtakes_all_and_ends_every_request() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::UNKNOWN);
    pair.links[0].push_body(id, pattern(1 << 20, 1));
    pair.links[0].close(Goodbye::Stopping);
    let records = pair.records(0);
    assert_eq!(records.len(), 1);
    let result = pair.deliver(1, records[0].clone());
    assert_eq!(result, Err(LinkError::ClosedByPeer(Goodbye::Stopping)));
    let closed = Event::Closed {
        reason: LinkError::ClosedByPeer(Goodbye::Stopping),
    };
    assert_eq!(pair.take_events(1), [Event::Cancelled { id }, closed]);
    let [Event::RequestFailed { error, .. }, Event::Closed { .. }] = &pair.take_events(0)[..] else {
        panic!("the request fails, then the link is closed")
    };
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    let again = pair.links[0].open_request(&store(), BodySpec::NONE, None);
    assert_eq!(again.unwrap_err().code, ErrorCode::PeerUnreachable);
    assert!(pair.records(0).is_empty() && pair.records(1).is_empty());
}
