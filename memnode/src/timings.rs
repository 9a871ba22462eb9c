//! How often each operation was asked for, and how long its answers took.
//!
//! A session counts the requests that it answers at once in an array of its own, and writes them down here once for each
//! batch, with one time for all of them: two looks at the clock and a few additions, whatever the batch's size. Measured, a request
//! costs 61 ns where it comes alone (of 17 us), 2 ns where 64 come together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memproto::control::OperationStats;
use memproto::local::Op;

/// The operations that are timed: those on data. Control operations are rare, and some of them wait for a person.
pub const TIMED: [Op; 18] = [
    Op::Set,
    Op::Get,
    Op::Del,
    Op::Store,
    Op::Load,
    Op::Free,
    Op::Stream,
    Op::Keys,
    Op::Mget,
    Op::Mset,
    Op::Mdel,
    Op::Ttl,
    Op::Expire,
    Op::Persist,
    Op::StreamWrite,
    Op::StreamFile,
    Op::StreamKnown,
    Op::LoadInto,
];

/// By the byte of an operation, its place among [`TIMED`]; their number where it is none of them. One that passes a descriptor counts as the
/// one that passes bytes.
static PLACES: [u8; 256] = {
    let mut places = [TIMED.len() as u8; 256];
    let mut place = 0;
    while place < TIMED.len() {
        places[TIMED[place].to_byte() as usize] = place as u8;
        place += 1;
    }
    places[Op::GetMapped.to_byte() as usize] = places[Op::Get.to_byte() as usize];
    places[Op::LoadMapped.to_byte() as usize] = places[Op::Load.to_byte() as usize];
    places[Op::SetMapped.to_byte() as usize] = places[Op::Set.to_byte() as usize];
    places[Op::StoreMapped.to_byte() as usize] = places[Op::Store.to_byte() as usize];
    places
};

/// The place of an operation among [`TIMED`].
fn place(op: u8) -> Option<usize> {
    let place = usize::from(PLACES[usize::from(op)]);
    (place < TIMED.len()).then_some(place)
}

/// The finest time that is told apart: below it is noise.
const UNIT_NS: u64 = 128;

/// Buckets of each power of two: a time is known to an eighth.
const PARTS: usize = 8;

/// Buckets of an operation, 2 KiB: up to 2^34 units, which is 36 minutes; the last one takes what is longer.
const BUCKETS: usize = 256;

/// Over how many of the last full seconds the rate is an average.
const RATE_SECS: u64 = 10;

/// Seconds that are kept apart; more than [`RATE_SECS`], so that the one that is being counted disturbs none of them.
const SLOTS: usize = 16;

/// The timings of a node. Relaxed: each is a figure of its own, no other memory hangs on it.
#[derive(Debug)]
pub struct Timings {
    since: Instant,
    operations: [Timing; TIMED.len()],
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            operations: std::array::from_fn(|_| Timing::default()),
        }
    }
}

/// Log-linear histogram of one operation, and its counts in the last seconds.
#[derive(Debug)]
struct Timing {
    buckets: [AtomicU64; BUCKETS],
    /// The second in the upper half, the count in the lower.
    seconds: [AtomicU64; SLOTS],
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            seconds: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// The requests of a batch that a session has answered and not written down yet.
#[derive(Debug, Default)]
pub struct Answered {
    counts: [u32; TIMED.len()],
    any: bool,
}

impl Answered {
    /// Notes an answer to this operation.
    pub fn note(&mut self, op: u8) {
        if let Some(place) = place(op) {
            self.counts[place] += 1;
            self.any = true;
        }
    }

    /// Writes them down as answered now, having been read at `read_at`.
    pub fn write_down(&mut self, read_at: Instant, timings: &Timings) {
        if !self.any {
            return;
        }
        let now = Instant::now();
        for (place, count) in self
            .counts
            .iter_mut()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            timings.add(place, now, now - read_at, u64::from(std::mem::take(count)));
        }
        self.any = false;
    }
}

impl Timings {
    /// Writes down one answer that took so long up to now.
    pub fn record(&self, op: u8, took: Duration) {
        if let Some(place) = place(op) {
            self.add(place, Instant::now(), took, 1);
        }
    }

    fn add(&self, place: usize, now: Instant, took: Duration, count: u64) {
        let timing = &self.operations[place];
        timing.buckets[bucket(took)].fetch_add(count, Ordering::Relaxed);
        let second = self.second(now);
        let slot = &timing.seconds[second as usize % SLOTS];
        // A later second is that of another thread, which was quicker: what it counted must not be lost.
        let counted = |slot: u64| match slot >> 32 >= second {
            true => Some(slot + count),
            false => Some(second << 32 | count),
        };
        // It always has a next value.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    /// Counted from 1, so that a slot of 0 belongs to no second. 32 bits of them are 136 years.
    fn second(&self, now: Instant) -> u64 {
        1 + (now - self.since).as_secs()
    }

    /// The figures of the operations that were asked for at all.
    pub fn stats(&self) -> Vec<OperationStats> {
        let second = self.second(Instant::now());
        let timed = TIMED.iter().zip(&self.operations);
        timed
            .filter_map(|(op, timing)| timing.stats(*op, second))
            .collect()
    }
}

impl Timing {
    fn stats(&self, op: Op, second: u64) -> Option<OperationStats> {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        let quantile = |per_mille: u64| {
            let rank = (count * per_mille).div_ceil(1_000).max(1);
            let mut seen = 0;
            let reached = |count: &u64| {
                seen += count;
                seen >= rank
            };
            upper_end_ns(counts.iter().position(reached).unwrap_or(BUCKETS - 1))
        };
        (count > 0).then(|| OperationStats {
            operation: op.as_str().to_ascii_lowercase(),
            count,
            per_second: self.per_second(second),
            p50_ns: quantile(500),
            p99_ns: quantile(990),
            p99_9_ns: quantile(999),
        })
    }

    /// The average of the last full seconds; while the node is younger, of those there were.
    fn per_second(&self, second: u64) -> u64 {
        let first = second.saturating_sub(RATE_SECS).max(1);
        let counts = self.seconds.iter().map(|slot| slot.load(Ordering::Relaxed));
        let recent = counts.filter(|slot| (first..second).contains(&(slot >> 32)));
        let sum: u64 = recent.map(|slot| slot & u64::from(u32::MAX)).sum();
        sum / (second - first).max(1)
    }
}

/// The bucket of a time: linear in the first [`PARTS`] units, then [`PARTS`] for each power of two.
fn bucket(took: Duration) -> usize {
    let units = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / UNIT_NS;
    let shift = units.max(1).ilog2().saturating_sub(PARTS.ilog2());
    let bucket = shift as usize * PARTS + (units >> shift) as usize;
    bucket.min(BUCKETS - 1)
}

/// The shortest time that is too long for a bucket, in nanoseconds.
fn upper_end_ns(bucket: usize) -> u64 {
    let shift = (bucket / PARTS).saturating_sub(1);
    let units = bucket - shift * PARTS + 1;
    ((units as u64) << shift) * UNIT_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_in_a_bucket_not_wider_than_an_eighth_of_it() {
        let mut ns: u64 = 1;
        while ns < 1 << 40 {
            for ns in [ns - 1, ns, ns + 1, ns + ns / 3] {
                let bucket = bucket(Duration::from_nanos(ns));
                let end = upper_end_ns(bucket);
                assert!(ns < end, "{ns} in {bucket}, which ends at {end}");
                assert!(
                    end <= ns + ns / 8 + UNIT_NS,
                    "{ns} in {bucket}, which ends at {end}"
                );
                assert!(bucket == 0 || upper_end_ns(bucket - 1) <= ns, "{ns}");
            }
            ns *= 2;
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert_eq!(size_of::<[AtomicU64; BUCKETS]>(), 2048);
    }

    #[test]
    fn every_timed_operation_has_its_place() {
        for op in Op::ALL {
            // One that passes a descriptor counts as the one that passes bytes.
            let counts_as = match op {
                Op::GetMapped => &Op::Get,
                Op::LoadMapped => &Op::Load,
                Op::SetMapped => &Op::Set,
                Op::StoreMapped => &Op::Store,
                op => op,
            };
            let at = TIMED.iter().position(|timed| timed == counts_as);
            assert_eq!(place(op.to_byte()), at, "{op:?}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_answers() {
        let timings = Timings::default();
        assert!(timings.stats().is_empty());
        let get = Op::Get.to_byte();
        for us in 1..=1_000 {
            timings.record(get, Duration::from_micros(us));
        }
        timings.record(Op::Stats.to_byte(), Duration::from_secs(1));
        let [stats] = &timings.stats()[..] else {
            panic!("one operation was asked for");
        };
        assert_eq!((&stats.operation[..], stats.count), ("get", 1_000));
        for (ns, us) in [(stats.p50_ns, 500), (stats.p99_ns, 990), (stats.p99_9_ns, 999)] {
            assert!((us * 1_000..=us * 1_126).contains(&ns), "{us} us: {ns}");
        }
    }

    #[test]
    fn a_batch_is_written_down_once_with_all_its_answers() {
        let timings = Timings::default();
        let mut answered = Answered::default();
        for op in [Op::Get, Op::Set, Op::Get, Op::Ping] {
            answered.note(op.to_byte());
        }
        for _ in 0..2 {
            answered.write_down(timings.since, &timings);
            let counts: Vec<_> = timings
                .stats()
                .into_iter()
                .map(|stats| (stats.operation, stats.count))
                .collect();
            assert_eq!(counts, [("set".to_owned(), 1), ("get".to_owned(), 2)]);
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_full_seconds() {
        let timings = Timings::default();
        let at = |secs| timings.since + Duration::from_secs(secs);
        let rate = |secs| timings.operations[1].per_second(timings.second(at(secs)));
        for secs in 0..40 {
            timings.add(1, at(secs), Duration::ZERO, 100 * (secs + 1));
        }
        // Seconds 30 to 39 had 3,100 to 4,000.
        assert_eq!(rate(40), 3_550);
        assert_eq!(rate(50), 0);
        timings.add(1, at(60), Duration::ZERO, 900);
        timings.add(1, at(60 - SLOTS as u64), Duration::ZERO, 100);
        assert_eq!((rate(60), rate(61)), (0, 100));
        assert_eq!(timings.operations[0].per_second(1), 0);
    }
}
