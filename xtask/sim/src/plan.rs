//! What a seed stands for: the network, the clocks, the keys, and which faults come when.

use std::fmt;

use memnode::service::ANNOUNCE_INTERVAL;

use crate::defect::Defect;
use crate::network::Delays;
use crate::random::Random;
use crate::streams::plan::{Resources, StreamsPlan};

/// Virtual time has steps of a millisecond, and each timer is rounded up to one: of these an announcement may meet several.
const ROUNDING_MS: u64 = 3;

/// How many programs ask in all: more of them find no more in a large pool, and take as long as they are many.
const PROGRAMS_MAX: usize = 16;

/// How much longer calm times are with streams.
const STREAMS_TAKE_LONGER: u64 = 3;

/// What a person may set for a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// What everything is drawn from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many episodes of faults at most, of those that the seed has.
    pub episodes_max: usize,
    /// How many operations programs begin at most.
    pub operations_max: usize,
    /// What every node does wrong, to see whether that is found.
    pub defect: Option<Defect>,
    /// Whether programs write streams, and no keys.
    pub streams: bool,
}

impl Setup {
    /// All of a seed.
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            episodes_max: usize::MAX,
            operations_max: usize::MAX,
            defect: None,
            streams: false,
        }
    }
}

/// Something that goes wrong, and ends by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Two groups of machines do not reach each other.
    Partition {
        /// One of the groups.
        side: Vec<usize>,
        /// For how long.
        for_ms: u64,
    },
    /// Nothing passes from one machine to another; the way back is whole.
    OneWay {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
        /// For how long.
        for_ms: u64,
    },
    /// The connections between two machines break.
    Reset {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
    /// A machine refuses whoever dials it.
    Refuse {
        /// Which.
        machine: usize,
        /// For how long.
        for_ms: u64,
    },
    /// A process is killed; its system closes its connections. Another one starts later.
    Kill {
        /// Where.
        machine: usize,
        /// After how long the next one starts.
        for_ms: u64,
    },
    /// A machine loses power, without a word.
    PowerLoss {
        /// Which.
        machine: usize,
        /// After how long it is back.
        for_ms: u64,
    },
    /// A process is stopped as a person would, and started again.
    Restart {
        /// Where.
        machine: usize,
        /// After how long the next one starts.
        for_ms: u64,
    },
    /// A process gets no turn.
    Pause {
        /// Where.
        machine: usize,
        /// For how long.
        for_ms: u64,
    },
    /// A wall clock is set to another time.
    ClockJump {
        /// Where.
        machine: usize,
        /// By how much.
        by_ms: i64,
    },
    /// A person lowers what a peer may use, and raises it again.
    LowerGrant {
        /// Where.
        machine: usize,
        /// For the node of which machine.
        peer: usize,
        /// To what.
        to_bytes: u64,
        /// For how long.
        for_ms: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Partition { side, for_ms } => write!(f, "{side:?} are cut off for {for_ms} ms"),
            Fault::OneWay { from, to, for_ms } => {
                write!(f, "nothing passes from n{from} to n{to} for {for_ms} ms")
            }
            Fault::Reset { a, b } => write!(f, "the connections of n{a} and n{b} break"),
            Fault::Refuse { machine, for_ms } => write!(f, "n{machine} refuses connections for {for_ms} ms"),
            Fault::Kill { machine, for_ms } => {
                write!(f, "n{machine} is killed and starts again after {for_ms} ms")
            }
            Fault::PowerLoss { machine, for_ms } => {
                write!(f, "n{machine} loses power and starts again after {for_ms} ms")
            }
            Fault::Restart { machine, for_ms } => {
                write!(f, "n{machine} is stopped and starts again after {for_ms} ms")
            }
            Fault::Pause { machine, for_ms } => write!(f, "n{machine} gets no turn for {for_ms} ms"),
            Fault::ClockJump { machine, by_ms } => write!(f, "the clock of n{machine} jumps by {by_ms} ms"),
            Fault::LowerGrant {
                machine,
                peer,
                to_bytes,
                for_ms,
            } => write!(f, "n{machine} grants n{peer} {to_bytes} bytes for {for_ms} ms"),
        }
    }
}

/// A calm time and the faults after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Episode {
    /// How long nothing is wrong.
    pub calm_ms: u64,
    /// What then goes wrong, each so many milliseconds after the end of the calm time.
    pub faults: Vec<(u64, Fault)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How the machines are linked.
    pub delays: Delays,
    /// By how much each wall clock is wrong at the beginning.
    pub clocks_wrong_by_ms: Vec<i64>,
    /// How many keys are written without `--strict`.
    pub keys: usize,
    /// How many keys are read and written with it alone.
    pub strict_keys: usize,
    /// The machines on which a program asks, some of them more than once.
    pub programs: Vec<usize>,
    /// How many of a hundred values live for a short time only.
    pub ttl_percent: u64,
    /// How many of a hundred values are placed on peers.
    pub placed_percent: u64,
    /// Calm and faults in turn; another calm time follows the last one.
    pub episodes: Vec<Episode>,
    /// How many operations programs begin at most.
    pub operations_max: usize,
    /// What every node does wrong.
    pub defect: Option<Defect>,
    /// What is asked of streams, where programs write some.
    pub streams: Option<StreamsPlan>,
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn of(setup: &Setup) -> Self {
        let Setup { seed, nodes, .. } = *setup;
        let mut random = Random::new(seed, "plan", 0);
        let delays = match random.index(4) {
            0 => (1, 1, 0),
            1 => (1, 3, 2),
            2 => (1, 8, 10),
            _ => (1, 30, 3),
        };
        let skew_ms = *random.pick(&[0, 20, 5_000]);
        let clock = |random: &mut Random| random.between(0..=2 * skew_ms) as i64 - skew_ms as i64;
        let mut plan = Self {
            seed,
            nodes,
            delays: Delays {
                base_ms: (delays.0, delays.1),
                jitter_ms: delays.2,
                bytes_per_ms: None,
            },
            clocks_wrong_by_ms: (0..nodes).map(|_| clock(&mut random)).collect(),
            keys: 1 + random.index(4),
            strict_keys: random.index(3),
            programs: Vec::new(),
            ttl_percent: *random.pick(&[0, 0, 20]),
            placed_percent: *random.pick(&[0, 10, 40]),
            episodes: Vec::new(),
            operations_max: setup.operations_max,
            defect: setup.defect,
            streams: setup.streams.then(|| StreamsPlan::of(seed, nodes)),
        };
        let programs = ((1 + random.index(3)) * nodes).min(PROGRAMS_MAX);
        let first = random.index(nodes);
        // Spread over all machines where there are more of them than programs.
        plan.programs = (0..programs)
            .map(|program| (first + program * nodes.div_ceil(programs)) % nodes)
            .collect();
        if let Some(streams) = &plan.streams {
            plan.delays.bytes_per_ms = Some(streams.bytes_per_ms);
            plan.programs.clear();
        }
        let episodes = random.index(4);
        for episode in 0..episodes.min(setup.episodes_max) {
            let mut random = Random::new(seed, "episode", episode as u64);
            let mut episode = Episode {
                calm_ms: random.between(300..=1_000),
                faults: faults(&mut random, nodes),
            };
            if plan.streams.is_some() {
                // A chunk takes as long as a thousand small values.
                episode.calm_ms *= STREAMS_TAKE_LONGER;
                if random.percent(50) {
                    episode.faults.push(lowered_grant(&mut random, nodes));
                }
            }
            plan.episodes.push(episode);
        }
        plan
    }

    /// What each node has.
    pub fn resources(&self) -> Resources {
        let streams = self.streams.as_ref();
        streams.map_or(Resources::AMPLE, |streams| streams.resources)
    }

    /// See [`History::known_after_ms`](crate::history::History::known_after_ms).
    pub fn known_after_ms(&self) -> u64 {
        ANNOUNCE_INTERVAL.as_millis() as u64 + self.delays.max_ms() + ROUNDING_MS
    }
}

fn faults(random: &mut Random, nodes: usize) -> Vec<(u64, Fault)> {
    let count = 1 + random.index(3);
    let mut faults = Vec::with_capacity(count);
    for _ in 0..count {
        let starts_ms = random.between(0..=2_000);
        faults.push((starts_ms, fault(random, nodes)));
    }
    faults
}

fn lowered_grant(random: &mut Random, nodes: usize) -> (u64, Fault) {
    let machine = random.index(nodes);
    let fault = Fault::LowerGrant {
        machine,
        peer: (machine + 1 + random.index(nodes - 1)) % nodes,
        to_bytes: random.between(0..=3) * 1024 * 1024,
        for_ms: random.between(500..=10_000),
    };
    (random.between(0..=2_000), fault)
}

fn fault(random: &mut Random, nodes: usize) -> Fault {
    let machine = random.index(nodes);
    let other = (machine + 1 + random.index(nodes - 1)) % nodes;
    // Shorter and longer than it takes until a silent link is given up.
    let for_ms = match random.index(10) {
        0..3 => random.between(20..=500),
        3..6 => random.between(500..=6_000),
        6..9 => random.between(6_000..=25_000),
        _ => random.between(25_000..=70_000),
    };
    match random.index(9) {
        0 => {
            let mut side: Vec<usize> = (0..nodes).filter(|_| random.percent(40)).collect();
            if side.is_empty() || side.len() == nodes {
                side = vec![machine];
            }
            Fault::Partition { side, for_ms }
        }
        1 => Fault::OneWay {
            from: machine,
            to: other,
            for_ms,
        },
        2 => Fault::Reset { a: machine, b: other },
        3 => Fault::Refuse { machine, for_ms },
        4 => Fault::Kill { machine, for_ms },
        5 => Fault::PowerLoss { machine, for_ms },
        6 => Fault::Restart { machine, for_ms },
        7 => Fault::Pause { machine, for_ms },
        _ => Fault::ClockJump {
            machine,
            by_ms: random.between(0..=10_000) as i64 - 5_000,
        },
    }
}
