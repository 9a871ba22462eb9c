//! What a seed stands for in a run with streams.

use std::time::Duration;

use crate::random::Random;

/// What each node has for the others and for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resources {
    /// The budget of each node.
    pub budget_bytes: u64,
    /// What each node grants each other one.
    pub grant_bytes: u64,
    /// How long a stream is kept that nobody goes on writing.
    pub abandoned_grace: Duration,
}

const MIB: u64 = 1024 * 1024;

/// A budget that a run does not fill: what is refused or evicted is not what is looked at then.
const BUDGET_BYTES: u64 = 256 * MIB;

impl Resources {
    /// Those of a run without streams.
    pub const AMPLE: Resources = Resources {
        budget_bytes: BUDGET_BYTES,
        grant_bytes: 16 * MIB,
        abandoned_grace: memnode::service::UNFINISHED_KEPT,
    };
}

/// See the module.
#[derive(Clone, Debug)]
pub struct StreamsPlan {
    /// What nodes have.
    pub resources: Resources,
    /// Whether there is always room.
    pub has_room: bool,
    /// The machines on which a program writes streams.
    pub writers: Vec<usize>,
    /// The machines on which a program follows them.
    pub followers: Vec<usize>,
    /// How many of a hundred appends are broken off.
    pub break_off_percent: u64,
    /// How many bytes a machine sends in a millisecond.
    pub bytes_per_ms: u64,
}

impl StreamsPlan {
    /// Draws the plan of a seed.
    pub fn of(seed: u64, nodes: usize) -> Self {
        let mut random = Random::new(seed, "streams", 0);
        let has_room = random.percent(60);
        let (budget_bytes, grant_bytes) = match has_room {
            true => (BUDGET_BYTES, 64 * MIB),
            false => (random.between(4..=24) * MIB, random.between(1..=8) * MIB),
        };
        let mut machines = |count: usize| -> Vec<usize> { (0..count).map(|_| random.index(nodes)).collect() };
        Self {
            writers: machines(4),
            followers: machines(2),
            resources: Resources {
                budget_bytes,
                grant_bytes,
                // Shorter than some faults last.
                abandoned_grace: Duration::from_secs(random.between(15..=40)),
            },
            has_room,
            break_off_percent: *random.pick(&[0, 15, 40]),
            // A tenth of 1 Gbit/s to all of it.
            bytes_per_ms: *random.pick(&[12_500, 50_000, 125_000]),
        }
    }
}
