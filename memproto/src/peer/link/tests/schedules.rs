//! Random bodies both ways under random schedules: whatever happens when, every byte arrives once and in order, every
//! request gets one reply, and no buffer passes its bound.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// What one side does beside its link.
#[derive(Default)]
struct Program {
    /// Bodies that this side still has to push: what is left, and whether the end is told apart from the size.
    sending: BTreeMap<RequestId, Bytes>,
    received: BTreeMap<RequestId, Vec<u8>>,
    /// Bytes that came and that the reader did not take yet.
    unread: BTreeMap<RequestId, u64>,
    /// Requests of the peer with the length of the reply's body that they ask for.
    handling: BTreeMap<RequestId, u64>,
    ended: Vec<RequestId>,
    replies: BTreeMap<RequestId, u32>,
    cancelled: Vec<RequestId>,
}

struct Simulation {
    links: [Link; 2],
    programs: [Program; 2],
    wires: [VecDeque<Vec<u8>>; 2],
    now: Instant,
    random: u64,
    known_sizes: bool,
}

impl Simulation {
    fn new(seed: u64, known_sizes: bool) -> Self {
        let pair = Pair::agreed();
        Self {
            links: pair.links,
            programs: Default::default(),
            wires: Default::default(),
            now: pair.now,
            random: seed | 1,
            known_sizes,
        }
    }

    /// xorshift64 (Marsaglia 2003): enough to make a schedule, and the same for the same seed.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn spec(&self, len: u64) -> BodySpec {
        if self.known_sizes || len == 0 {
            BodySpec::exact(len)
        } else {
            BodySpec::UNKNOWN
        }
    }

    fn ask(&mut self, side: usize, len: u64, reply_len: u64) -> RequestId {
        let request = PeerRequest::Load {
            id: block(1),
            offset: len,
            length: reply_len,
            relay: false,
        };
        let id = self.links[side]
            .open_request(&request, self.spec(len), None)
            .unwrap();
        if len > 0 {
            self.programs[side]
                .sending
                .insert(id, pattern(len as usize, id.as_u64()));
        }
        id
    }

    fn step(&mut self) {
        let side = self.random(2) as usize;
        match self.random(5) {
            0 => self.push(side),
            1 => self.read(side),
            2 => self.answer(side),
            3 => self.transmit(side),
            _ => self.receive(side),
        }
        self.take_events(side);
    }

    fn pick<V>(&mut self, map: fn(&Program) -> &BTreeMap<RequestId, V>, side: usize) -> Option<RequestId> {
        let len = map(&self.programs[side]).len() as u64;
        if len == 0 {
            return None;
        }
        let at = self.random(len) as usize;
        map(&self.programs[side]).keys().nth(at).copied()
    }

    fn push(&mut self, side: usize) {
        let Some(id) = self.pick(|program| &program.sending, side) else {
            return;
        };
        let Some(room) = self.links[side].body_room(id) else {
            self.programs[side].sending.remove(&id);
            return;
        };
        let step = 1 + self.random(200_000);
        let rest = self.programs[side].sending.get_mut(&id).unwrap();
        if room > 0 {
            let piece = rest.split_to(step.min(room).min(rest.len() as u64) as usize);
            assert!(self.links[side].push_body(id, piece));
        }
        if rest.is_empty() {
            self.links[side].finish_body(id);
            self.programs[side].sending.remove(&id);
        }
    }

    fn read(&mut self, side: usize) {
        let Some(id) = self.pick(|program| &program.unread, side) else {
            return;
        };
        let share = 1 + self.random(4);
        let unread = self.programs[side].unread.get_mut(&id).unwrap();
        let taken = unread.div_ceil(share);
        *unread -= taken;
        if *unread == 0 {
            self.programs[side].unread.remove(&id);
        }
        self.links[side].consume(id, taken);
    }

    /// Answers a request whose body is there as a whole.
    fn answer(&mut self, side: usize) {
        let Some(id) = self.pick(|program| &program.handling, side) else {
            return;
        };
        if self.links[side].requests[&id.as_u64()].receive.is_some() {
            return;
        }
        let length = self.programs[side].handling.remove(&id).unwrap();
        let reply = PeerReply::Loaded {
            id: block(1),
            size: length,
            length,
            version: None,
        };
        assert!(self.links[side].reply(id, &reply, self.spec(length)));
        if length > 0 {
            self.programs[side]
                .sending
                .insert(id, pattern(length as usize, !id.as_u64()));
        }
    }

    fn transmit(&mut self, side: usize) {
        // A wire that holds a few hundred KiB, as a socket does.
        if self.wires[side].len() < 8 {
            let mut out = Vec::new();
            self.links[side].poll_transmit(self.now, &mut out);
            self.wires[side].extend(split(&out));
        }
    }

    fn receive(&mut self, side: usize) {
        if let Some(mut record) = self.wires[1 - side].pop_front() {
            self.links[side].handle_record(&mut record, self.now).unwrap();
        }
    }

    fn take_events(&mut self, side: usize) {
        let program = &mut self.programs[side];
        while let Some(event) = self.links[side].poll_event() {
            match event {
                Event::Request {
                    id,
                    request: PeerRequest::Load { length, .. },
                    ..
                } => {
                    program.handling.insert(id, length);
                }
                Event::Reply { id, .. } => *program.replies.entry(id).or_default() += 1,
                Event::Data { id, bytes } => {
                    program.received.entry(id).or_default().extend_from_slice(&bytes);
                    let unread = program.unread.entry(id).or_default();
                    *unread += bytes.len() as u64;
                    assert!(*unread <= BODY_WINDOW, "more is unread than the window allows");
                }
                Event::BodyEnd { id } => program.ended.push(id),
                Event::Cancelled { id } => {
                    program.handling.remove(&id);
                    program.sending.remove(&id);
                    program.cancelled.push(id);
                }
                Event::BodyRoom { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn run(&mut self) {
        let mut steps = 0;
        while self.links.iter().any(|link| link.requests_in_flight() > 0) {
            self.step();
            steps += 1;
            assert!(steps < 200_000, "the requests never end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_and_in_order(
        seed in any::<u64>(),
        known_sizes in any::<bool>(),
        bodies in proptest::collection::vec(
            (0_usize..2, prop_oneof![Just(0_u64), 1..20_000_u64, 1..3_000_000_u64], prop_oneof![Just(0_u64), 1..20_000_u64, 1..3_000_000_u64], 0_u8..8),
            1..12),
    ) {
        let mut simulation = Simulation::new(seed, known_sizes);
        let mut asked = Vec::new();
        for &(side, len, reply_len, fate) in &bodies {
            let id = simulation.ask(side, len, reply_len);
            asked.push((side, id, len, reply_len, fate == 0));
            for _ in 0..simulation.random(30) {
                simulation.step();
            }
        }
        for &(side, id, _, _, cancel) in &asked {
            if cancel {
                simulation.links[side].cancel(id);
                simulation.programs[side].sending.remove(&id);
            }
        }
        simulation.run();
        for (side, id, len, reply_len, cancel) in asked {
            if cancel {
                continue;
            }
            let [mine, theirs] = [side, 1 - side].map(|side| &simulation.programs[side]);
            prop_assert_eq!(mine.replies.get(&id), Some(&1), "one reply");
            let got = |program: &Program| program.received.get(&id).cloned().unwrap_or_default();
            prop_assert!(got(theirs) == pattern(len as usize, id.as_u64()));
            prop_assert!(got(mine) == pattern(reply_len as usize, !id.as_u64()));
            prop_assert_eq!(theirs.ended.contains(&id), len > 0);
            prop_assert_eq!(mine.ended.contains(&id), reply_len > 0);
        }
    }
}
