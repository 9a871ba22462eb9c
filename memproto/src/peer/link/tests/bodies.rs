//! Bodies: windows, order, ends and failures.

use super::*;

#[test]
fn a_body_passes_whole_in_full_records() {
    let mut pair = Pair::agreed();
    let id = pair.links[0]
        .open_request(&store(), BodySpec::exact(1 << 20), None)
        .unwrap();
    let body = pattern(1 << 20, 3);
    assert!(pair.links[0].push_body(id, body.clone()));
    let mut lengths = Vec::new();
    loop {
        let records = pair.records(0);
        if records.is_empty() {
            break;
        }
        for record in records {
            lengths.push(record.len());
            pair.deliver(1, record).unwrap();
        }
    }
    assert_eq!(lengths.len(), 17, "{lengths:?}");
    assert!(lengths[..16].iter().all(|&len| len == record::RECORD_MAX));
    let events = pair.take_events(1);
    assert_eq!(data_of(&events, id), body);
    assert_eq!(events.last(), Some(&Event::BodyEnd { id }));
}

#[test]
fn an_unread_body_stops_at_its_window_and_goes_on_when_it_is_read() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::UNKNOWN);
    let body = pattern(5 << 20, 4);
    assert!(pair.links[0].push_body(id, body.clone()));
    assert_eq!(pair.links[0].body_room(id), Some(0));
    pair.settle();
    let mut received = data_of(&pair.take_events(1), id);
    assert_eq!(received.len() as u64, BODY_WINDOW);
    let mut consumed = 0;
    while received.len() < body.len() {
        assert!(received.len() > consumed, "the body stands still");
        pair.links[1].consume(id, (received.len() - consumed) as u64);
        consumed = received.len();
        pair.settle();
        received.extend(data_of(&pair.take_events(1), id));
        assert!((received.len() - consumed) as u64 <= BODY_WINDOW);
    }
    assert_eq!(received, body);
    assert_eq!(pair.take_events(0), [Event::BodyRoom { id }]);
    pair.links[0].finish_body(id);
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::BodyEnd { id }]);
    assert_eq!(pair.links[0].body_room(id), None);
}

#[test]
fn reading_in_small_steps_gives_all_credit_back() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::UNKNOWN);
    let body = pattern(9 << 20, 5);
    pair.links[0].push_body(id, body.clone());
    let mut received = Vec::new();
    loop {
        pair.settle();
        let events = pair.take_events(1);
        if events.is_empty() {
            break;
        }
        for event in events {
            if let Event::Data { bytes, .. } = event {
                received.extend_from_slice(&bytes);
                bytes
                    .chunks(1_000)
                    .for_each(|step| pair.links[1].consume(id, step.len() as u64));
            }
        }
    }
    assert_eq!(received, body);
}

#[test]
fn a_body_of_tiny_pieces_arrives_whole_where_it_is_read() {
    // More of them than one window pays for, of a body that it would cover as a whole.
    let body = pattern(1 << 20, 6);
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::exact(body.len() as u64));
    let mut received = Vec::new();
    for piece in body.chunks(100) {
        assert!(pair.links[0].push_body(id, body.slice_ref(piece)));
        pair.settle();
        let came = data_of(&pair.take_events(1), id);
        pair.links[1].consume(id, came.len() as u64);
        pair.settle();
        received.extend(came);
    }
    pair.settle();
    received.extend(data_of(&pair.take_events(1), id));
    assert_eq!(received, body);
}

#[test]
fn a_small_request_and_a_small_body_overtake_bulk() {
    let mut pair = Pair::agreed();
    let bulk = pair.ask(BodySpec::UNKNOWN);
    let asked = pair.links[1]
        .open_request(&store(), BodySpec::NONE, None)
        .unwrap();
    pair.settle();
    assert_eq!(pair.take_request(0), asked);
    pair.links[0].push_body(bulk, pattern(2 << 20, 6));
    pair.links[0].reply(
        asked,
        &PeerReply::Loaded {
            id: block(7),
            size: 1_024,
            length: 1_024,
            version: None,
        },
        BodySpec::exact(1_024),
    );
    pair.links[0].push_body(asked, pattern(1_024, 7));
    let first = pair.records(0).remove(0);
    pair.deliver(1, first).unwrap();
    let events = pair.take_events(1);
    assert!(matches!(events[0], Event::Reply { .. }), "{events:?}");
    assert_eq!(data_of(&events, asked), pattern(1_024, 7));
    assert_eq!(events[2], Event::BodyEnd { id: asked });
    assert!(matches!(events[3], Event::Data { id, .. } if id == bulk));
}

#[test]
fn large_bodies_take_turns_and_are_not_stopped_by_small_ones() {
    let mut pair = Pair::agreed();
    let bulk: Vec<_> = (0..4).map(|_| pair.ask(BodySpec::UNKNOWN)).collect();
    for &id in &bulk {
        pair.links[0].push_body(id, pattern(1 << 20, id.as_u64()));
    }
    // More small requests than fit a record.
    let long_key = PeerRequest::Read {
        offset: 0,
        length: 1,
        key: "k".repeat(1_024),
    };
    for _ in 0..200 {
        pair.links[0]
            .open_request(&long_key, BodySpec::NONE, None)
            .unwrap();
    }
    let records = pair.records(0);
    for record in records {
        pair.deliver(1, record).unwrap();
        let events = pair.take_events(1);
        assert!(
            events.iter().any(|event| matches!(event, Event::Data { .. })),
            "bulk waits for all small ones"
        );
    }
    pair.settle();
    let events = pair.take_events(1);
    for &id in &bulk {
        assert!(!data_of(&events, id).is_empty());
    }
}

#[test]
fn a_body_that_fails_tells_its_reader_why() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::UNKNOWN);
    pair.links[0].push_body(id, pattern(10, 1));
    pair.settle();
    let error = ApiError::new(ErrorCode::Cancelled, "x".repeat(5_000));
    pair.links[0].fail_body(id, &error);
    pair.settle();
    let events = pair.take_events(1);
    let [Event::Data { .. }, Event::BodyFailed { error, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((error.code, error.message.len()), (ErrorCode::Cancelled, 1_024));
    // The request is still owed its reply.
    assert!(pair.links[1].reply(id, &gone(), BodySpec::UNKNOWN));
    pair.links[1].fail_body(id, error);
    pair.settle();
    let events = pair.take_events(0);
    assert!(
        matches!(events[..], [Event::Reply { .. }, Event::BodyFailed { .. }]),
        "{events:?}"
    );
    assert_eq!(
        pair.links[0].requests_in_flight() + pair.links[1].requests_in_flight(),
        0
    );
}

#[test]
fn a_body_of_another_length_than_announced_fails() {
    for (pushed, expected_push) in [(4, true), (6, false)] {
        let mut pair = Pair::agreed();
        let id = pair.ask(BodySpec::exact(5));
        assert_eq!(pair.links[0].push_body(id, pattern(pushed, 1)), expected_push);
        pair.links[0].finish_body(id);
        pair.settle();
        let events = pair.take_events(1);
        let last = events.last();
        assert!(
            matches!(last, Some(Event::BodyFailed { error, .. }) if error.code == ErrorCode::Internal),
            "{events:?}"
        );
        assert!(!pair.links[1].is_closed());
    }
}

#[test]
fn an_early_reply_stops_the_body_of_the_request() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::exact(3 << 20));
    pair.links[0].push_body(id, pattern(3 << 20, 1));
    let under_way = pair.records(0);
    pair.links[1].reply(id, &gone(), BodySpec::NONE);
    for record in pair.records(1) {
        pair.deliver(0, record).unwrap();
    }
    for record in under_way {
        pair.deliver(1, record).unwrap();
    }
    assert!(!pair.links[0].push_body(id, pattern(1, 1)));
    assert_eq!(pair.links[0].body_room(id), None);
    pair.settle();
    assert_eq!(
        pair.take_events(1),
        [],
        "data of a request that was answered is dropped"
    );
    assert_eq!(
        pair.links[0].requests_in_flight() + pair.links[1].requests_in_flight(),
        0
    );
    pair.ask(BodySpec::NONE);
}

#[test]
fn what_bodies_of_the_peer_may_hold_is_bounded_in_sum() {
    let mut pair = Pair::agreed();
    let fitting = PEER_BODIES_MAX / BODY_WINDOW;
    let ids: Vec<_> = (0..=fitting)
        .map(|_| {
            pair.links[0]
                .open_request(&store(), BodySpec::UNKNOWN, None)
                .unwrap()
        })
        .collect();
    pair.settle();
    assert_eq!(pair.take_events(1).len() as u64, fitting);
    let events = pair.take_events(0);
    let [
        Event::Reply {
            id,
            reply: PeerReply::Failed(error),
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*id, error.code), (ids[fitting as usize], ErrorCode::Busy));
    // A small one fits no more either, but does when one ended.
    pair.links[1].reply(ids[0], &gone(), BodySpec::NONE);
    pair.settle();
    pair.take_events(0);
    pair.ask(BodySpec::exact(100));
}

#[test]
fn a_piece_that_is_taken_makes_no_event_and_gives_its_credit_back() {
    let mut pair = Pair::agreed();
    let id = pair.ask(BodySpec::UNKNOWN);
    let body = pattern(3 * BODY_WINDOW as usize, 8);
    pair.links[0].push_body(id, body.clone());
    pair.links[0].finish_body(id);
    let (mut taken, now) = (Vec::new(), pair.now);
    loop {
        let mut records = pair.records(0);
        if records.is_empty() {
            break;
        }
        for record in &mut records {
            let take = |of: RequestId, bytes: &[u8]| {
                assert_eq!(of, id);
                taken.extend_from_slice(bytes);
                true
            };
            pair.links[1].handle_record_with(record, now, take).unwrap();
        }
        // The credit.
        for record in pair.records(1) {
            pair.deliver(0, record).unwrap();
        }
    }
    assert!(taken == body);
    assert_eq!(pair.take_events(1), [Event::BodyEnd { id }]);
}

#[test]
fn no_piece_of_a_record_overtakes_one_that_was_not_taken() {
    let mut pair = Pair::agreed();
    let ids = [1, 2, 3].map(|_| pair.ask(BodySpec::exact(1_000)));
    for id in ids {
        pair.links[0].push_body(id, pattern(1_000, id.as_u64()));
    }
    let [mut record] = <[Vec<u8>; 1]>::try_from(pair.records(0)).unwrap();
    let (mut offered, now) = (Vec::new(), pair.now);
    let take = |id: RequestId, _: &[u8]| {
        offered.push(id);
        id == ids[0]
    };
    pair.links[1].handle_record_with(&mut record, now, take).unwrap();
    // The first was taken and the second was not: then the third is not offered, whose place may have been found meanwhile.
    assert_eq!(offered, ids[..2]);
    let events = pair.take_events(1);
    assert_eq!(data_of(&events, ids[0]), b"");
    for id in &ids[1..] {
        assert_eq!(data_of(&events, *id), pattern(1_000, id.as_u64()));
    }
    let ends = events
        .iter()
        .filter(|event| matches!(event, Event::BodyEnd { .. }));
    assert_eq!(ends.count(), 3);
}
