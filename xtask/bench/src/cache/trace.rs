//! Requests of published shapes, made from fixed seeds: the same in each run.

use std::collections::HashMap;
use std::ops::Range;

use super::policy::Object;
use crate::random::Random;

/// The size of objects where all have one, in bytes. It makes no difference to a policy, and keeps the replay small.
const SIZE: u32 = 256;

/// How many requests there are for each object that is asked for again.
const REQUESTS_PER_OBJECT: u64 = 5;

/// How often a loop goes round.
const ROUNDS: u64 = 20;

/// A sequence of requests, and with which capacities it is replayed.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) requests: Vec<Object>,
    /// Objects below this number are asked for again and again, the others once.
    pub(super) core: u64,
    /// Capacities as parts of the bytes of the core, with its keys and the cost of its entries.
    pub(super) capacities: &'static [f64],
}

impl Trace {
    /// Fills in what objects are charged, by their sizes.
    pub(super) fn charge(&mut self, mut charge_of: impl FnMut(u32) -> u32) {
        let mut charges = HashMap::new();
        for object in &mut self.requests {
            let charged = charges.entry(object.size);
            object.charged = *charged.or_insert_with(|| charge_of(object.size));
        }
    }
}

/// A hundredth and a tenth of the objects fit: the usual "small" and "large" cache of the literature (Yang et al.: FIFO Queues
/// are All You Need for Cache Eviction, SOSP 2023, has 0.1 % and 10 %; the smaller one would leave a shard ten blocks).
const SMALL_AND_LARGE: &[f64] = &[0.01, 0.1];

/// Half and most of a loop.
const PARTS_OF_A_LOOP: &[f64] = &[0.5, 0.8];

/// The makers of all traces, in the order of the table. Each takes the number of objects that most of the traces have.
pub(super) const ALL: [fn(u64) -> Trace; 10] = [
    |objects| zipf(objects, 0.6),
    |objects| zipf(objects, 0.8),
    |objects| zipf(objects, 1.0),
    |objects| zipf(objects, 1.2),
    one_hit_wonders,
    scans,
    cycle,
    shift,
    small_values,
    mixed_sizes,
];

/// Popularity by a power law, which is what caches of web objects and key-value stores see, with alpha from 0.6 to 1.2 and more
/// (Breslau et al.: Web Caching and Zipf-like Distributions, INFOCOM 1999; Yang et al.: A Large Scale Analysis of Hundreds of
/// In-memory Cache Clusters at Twitter, OSDI 2020).
fn zipf(objects: u64, alpha: f64) -> Trace {
    let mut random = Random::new(1);
    let zipf = Zipf::new(objects, alpha, &mut random);
    let requests = (0..objects * REQUESTS_PER_OBJECT).map(|_| of_one_size(zipf.next(&mut random)));
    Trace {
        name: format!("Zipf, alpha {alpha:.1}"),
        requests: requests.collect(),
        core: u64::MAX,
        capacities: SMALL_AND_LARGE,
    }
}

/// A popular core, and objects that are asked for once, each request as likely to be of the one kind as of the other: most objects
/// in a part of a production trace are asked for once in it (Yang et al., SOSP 2023, on one-hit wonders).
fn one_hit_wonders(objects: u64) -> Trace {
    let mut random = Random::new(2);
    let core = Zipf::new(objects, 1.0, &mut random);
    let mut fresh = objects..u64::MAX;
    let requests = (0..objects * REQUESTS_PER_OBJECT).map(|_| {
        of_one_size(if random.below(2) == 0 {
            core.next(&mut random)
        } else {
            next(&mut fresh)
        })
    });
    Trace {
        name: "Zipf 1.0 with one-hit wonders, 1:1".into(),
        requests: requests.collect(),
        core: objects,
        capacities: SMALL_AND_LARGE,
    }
}

/// The same core, and now and then a scan through objects that nobody wants again, as a backup or a build does.
fn scans(objects: u64) -> Trace {
    let mut random = Random::new(3);
    let core = Zipf::new(objects, 1.0, &mut random);
    let mut fresh = objects..u64::MAX;
    let count = objects * REQUESTS_PER_OBJECT;
    // A scan is as long as the larger cache, and comes once in four times its length.
    let scan = objects / 10;
    let requests = (0..count).map(|number| {
        of_one_size(if number % (4 * scan) < scan {
            next(&mut fresh)
        } else {
            core.next(&mut random)
        })
    });
    Trace {
        name: "Zipf 1.0 with scans, 3:1".into(),
        requests: requests.collect(),
        core: objects,
        capacities: SMALL_AND_LARGE,
    }
}

/// Round and round through more than fits: the case in which the recently used are the wrong ones to keep.
fn cycle(objects: u64) -> Trace {
    let length = objects / 10;
    let requests = (0..length * ROUNDS).map(|number| of_one_size(number % length));
    Trace {
        name: "loop".into(),
        requests: requests.collect(),
        core: u64::MAX,
        capacities: PARTS_OF_A_LOOP,
    }
}

/// Popularity by a power law among objects that change: with each hundredth of the requests the most popular tenth goes out
/// of use, and what comes behind it moves up.
fn shift(objects: u64) -> Trace {
    let mut random = Random::new(4);
    let count = objects * REQUESTS_PER_OBJECT;
    let window = objects / 10;
    let zipf = Zipf::new(window, 1.0, &mut random);
    let requests = (0..count).map(|number| {
        // A tenth of the window each time, until all objects had their turn.
        let moved = number * 100 / count * (window / 10);
        of_one_size(moved + zipf.rank(&mut random))
    });
    Trace {
        name: "Zipf 1.0 whose popular objects change".into(),
        requests: requests.collect(),
        core: u64::MAX,
        capacities: SMALL_AND_LARGE,
    }
}

/// The sizes of values in Facebook's largest memcached pool (ETC), as a generalised Pareto distribution with these parameters
/// (Atikoglu et al.: Workload Analysis of a Large-Scale Key-Value Store, SIGMETRICS 2012; what it says of sizes below 15 bytes is left
/// out), cut at 1 MiB, memcached's usual limit.
fn small_values(objects: u64) -> Trace {
    const SCALE: f64 = 214.476;
    const SHAPE: f64 = 0.348_238;
    const SIZE_MAX: f64 = 1_048_576.0;
    let size = |random: &mut Random| {
        // The inverse of its distribution function.
        let size = SCALE / SHAPE * ((1.0 - random.unit()).powf(-SHAPE) - 1.0);
        size.clamp(1.0, SIZE_MAX) as u32
    };
    sized("Zipf 1.0, sizes of Facebook's ETC", objects, size)
}

/// Sizes from 64 bytes to 256 KiB, log-normal with a median of 2 KiB and a deviation of a factor of e^1.5: build artifacts, thumbnails
/// and the like beside small records. The shape is that of files and web objects (Downey: The Structural Cause of File Size
/// Distributions, MASCOTS 2001).
fn mixed_sizes(objects: u64) -> Trace {
    const MEDIAN: f64 = 2048.0;
    const DEVIATION: f64 = 1.5;
    let size = |random: &mut Random| {
        let size = MEDIAN * (DEVIATION * random.normal()).exp();
        size.clamp(64.0, 262_144.0) as u32
    };
    // Fewer objects, for they are larger.
    sized("Zipf 1.0, log-normal sizes", objects / 10, size)
}

/// Popularity by a power law, and a size for each object that has nothing to do with it.
fn sized(name: &str, objects: u64, size: impl Fn(&mut Random) -> u32) -> Trace {
    let mut random = Random::new(5);
    let zipf = Zipf::new(objects, 1.0, &mut random);
    let sizes: Vec<u32> = (0..objects).map(|_| size(&mut random)).collect();
    let requests = (0..objects * REQUESTS_PER_OBJECT).map(|_| {
        let id = zipf.next(&mut random);
        of_size(id, sizes[id as usize])
    });
    Trace {
        name: name.into(),
        requests: requests.collect(),
        core: u64::MAX,
        capacities: SMALL_AND_LARGE,
    }
}

fn of_one_size(id: u64) -> Object {
    of_size(id, SIZE)
}

/// What it is charged comes later, see [`Trace::charge`].
fn of_size(id: u64, size: u32) -> Object {
    Object { id, size, charged: 0 }
}

fn next(numbers: &mut Range<u64>) -> u64 {
    numbers.next().expect("there are 2^64 numbers")
}

/// Numbers of which the one of rank r, counted from 1, is as likely as r^-alpha.
struct Zipf {
    /// How likely a rank, or one before it, is; rank 0 is the most popular one.
    cumulative: Vec<f64>,
    /// Which object has which rank: popular ones are not neighbours.
    objects: Vec<u64>,
}

impl Zipf {
    fn new(objects: u64, alpha: f64, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let weights = (1..=objects).map(|rank| {
            sum += (rank as f64).powf(-alpha);
            sum
        });
        let mut cumulative: Vec<f64> = weights.collect();
        cumulative.iter_mut().for_each(|weight| *weight /= sum);
        let mut objects: Vec<u64> = (0..objects).collect();
        random.shuffle(&mut objects);
        Self { cumulative, objects }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let point = random.unit();
        let rank = self.cumulative.partition_point(|&up_to| up_to <= point);
        rank.min(self.cumulative.len() - 1) as u64
    }

    fn next(&self, random: &mut Random) -> u64 {
        self.objects[self.rank(random) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(trace: &Trace) -> HashMap<u64, u64> {
        let mut counts = HashMap::new();
        for object in &trace.requests {
            *counts.entry(object.id).or_default() += 1;
        }
        counts
    }

    #[test]
    fn a_power_law_has_its_exponent() {
        let mut counts: Vec<u64> = counts(&zipf(1000, 1.0)).into_values().collect();
        counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
        // Of 5,000 requests, rank r gets 5,000 / (r * 7.485): the sum of 1 / r to 1000.
        for (rank, expected) in [(1, 668), (2, 334), (10, 67)] {
            let count = counts[rank - 1];
            assert!(
                count.abs_diff(expected) < expected / 4,
                "rank {rank}: {count}, not {expected}"
            );
        }
    }

    #[test]
    fn traces_are_the_same_each_time_and_have_what_their_names_say() {
        for make in ALL {
            let (one, two) = (make(1000), make(1000));
            assert_eq!(one.requests, two.requests, "{}", one.name);
            assert!(!one.requests.is_empty() && !one.capacities.is_empty());
        }
        let once = counts(&one_hit_wonders(1000));
        let wonders = once.iter().filter(|&(&id, _)| id >= 1000);
        assert!(wonders.clone().all(|(_, &count)| count == 1));
        assert!((2250..2750).contains(&wonders.count()));
        assert!(counts(&cycle(1000)).values().all(|&count| count == ROUNDS));
    }

    #[test]
    fn sizes_have_the_published_mean_and_median() {
        let trace = small_values(20_000);
        let mut sizes: HashMap<u64, u32> = HashMap::new();
        sizes.extend(trace.requests.iter().map(|object| (object.id, object.size)));
        let mut sizes: Vec<u32> = sizes.into_values().collect();
        sizes.sort_unstable();
        // Of the distribution: the mean is scale / (1 - shape), the median scale / shape * (2^shape - 1).
        let mean = sizes.iter().map(|&size| f64::from(size)).sum::<f64>() / sizes.len() as f64;
        assert!((mean - 329.0).abs() < 30.0, "{mean}");
        assert!(sizes[sizes.len() / 2].abs_diff(168) < 15);
    }
}
