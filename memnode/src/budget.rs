//! How much RAM a node may give away: a share of the machine's, and never more than fits under a limit of its control group.
//!
//! Where a container or a unit of systemd (`MemoryMax`) limits the process, the system ends it at the limit, and everything that it holds is
//! gone. So a share in percent, which the default is, stops below the limit; a size that somebody named is taken, with a warning.

use crate::args::Share;
use crate::platform;
use crate::size::ByteSize;

/// What a node needs beside its budget: the program itself, its threads, and the windows of its connections. A full node
/// stays below its budget, a tenth of it and this: `cargo xtask bench memory` holds it to that (docs/benchmarks.md).
const BESIDE_BUDGET_BYTES: u64 = 64 << 20;

/// The most of a limit that a budget takes, in percent: the control group also pays for what the kernel does for the process, such as the
/// buffers of sockets and the pages of files.
const CEILING_SHARE_PERCENT: u8 = 75;

/// What a budget takes of a limit that is hardly enough for a node, in percent: a small node is of more use than none.
const SMALL_CEILING_SHARE_PERCENT: u8 = 25;

/// The RAM of the machine and what this process may have of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ram {
    /// The machine's RAM in bytes.
    pub total_bytes: u64,
    /// The limit of the control group of this process, in bytes; `None` where there is none below the machine's RAM.
    pub ceiling_bytes: Option<u64>,
}

impl Ram {
    /// As the system tells; `None` where it does not.
    pub fn of_this_process() -> Option<Self> {
        let total_bytes = platform::total_memory_bytes()?;
        let ceiling_bytes = platform::memory_ceiling_bytes().filter(|&ceiling| ceiling < total_bytes);
        Some(Self {
            total_bytes,
            ceiling_bytes,
        })
    }

    /// The budget that so many percent of the machine's RAM are, or what fits under the limit where that is less.
    pub fn budget_bytes(self, percent: u8) -> u64 {
        let share = Share::Percent(percent).of(self.total_bytes);
        self.ceiling_bytes
            .map_or(share, |ceiling| share.min(fitting_bytes(ceiling)))
    }

    /// What is wrong with a budget, and what to do; `None` where it fits.
    pub fn warning(self, budget_bytes: u64) -> Option<String> {
        let budget = ByteSize(budget_bytes);
        if let Some(ceiling) = self.ceiling_bytes
            && budget_bytes > fitting_bytes(ceiling)
        {
            let (limit, fitting) = (ByteSize(ceiling), ByteSize(fitting_bytes(ceiling)));
            return Some(format!(
                "the budget of {budget} does not fit under the memory limit of this process, {limit} (of its container, or MemoryMax of its \
                 service): when it fills up, the system ends the node. Raise the limit, or give the node at most {fitting} with --memory"
            ));
        }
        (budget_bytes > self.total_bytes).then(|| {
            let total = ByteSize(self.total_bytes);
            format!(
                "the budget of {budget} is more than the RAM of this machine, {total}: when it fills up, the machine swaps, or the system ends \
                 the node. Give it less with --memory"
            )
        })
    }
}

/// The largest budget with which a node stays under this limit.
fn fitting_bytes(ceiling_bytes: u64) -> u64 {
    // What the budget, a tenth of it and the rest come to.
    let needed = ceiling_bytes.saturating_sub(BESIDE_BUDGET_BYTES) / 11 * 10;
    needed
        .min(Share::Percent(CEILING_SHARE_PERCENT).of(ceiling_bytes))
        .max(Share::Percent(SMALL_CEILING_SHARE_PERCENT).of(ceiling_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn ram(total_bytes: u64, ceiling_bytes: Option<u64>) -> Ram {
        Ram {
            total_bytes,
            ceiling_bytes,
        }
    }

    #[test]
    fn a_share_stops_below_the_limit() {
        assert_eq!(ram(16 * GIB, None).budget_bytes(25), 4 * GIB);
        assert_eq!(ram(16 * GIB, None).budget_bytes(100), 16 * GIB);
        assert_eq!(ram(16 * GIB, Some(8 * GIB)).budget_bytes(25), 4 * GIB);
        assert_eq!(ram(16 * GIB, Some(4 * GIB)).budget_bytes(25), 3 * GIB);
        assert_eq!(ram(16 * GIB, Some(4 * GIB)).budget_bytes(0), 0);
    }

    #[test]
    fn what_fits_leaves_room_for_the_node_itself() {
        for ceiling in [96 << 20, 128 << 20, 256 << 20, 366 << 20, GIB, 5 * GIB, 700 * GIB] {
            let budget = ram(1 << 50, Some(ceiling)).budget_bytes(100);
            assert!(
                budget + budget / 10 + BESIDE_BUDGET_BYTES <= ceiling,
                "{budget} of {ceiling}"
            );
        }
        assert_eq!(
            ram(GIB, Some(64 << 20)).budget_bytes(100),
            16 << 20,
            "too small a limit still gives a node"
        );
    }

    #[test]
    fn a_budget_that_does_not_fit_is_warned_of_with_one_that_does() {
        let limited = ram(16 * GIB, Some(4 * GIB));
        assert_eq!(limited.warning(3 * GIB), None);
        let warning = limited.warning(3 * GIB + 1).unwrap();
        assert!(
            warning.contains("limit of this process, 4.0 GiB") && warning.contains("at most 3.0 GiB"),
            "{warning}"
        );
        assert_eq!(ram(16 * GIB, None).warning(16 * GIB), None);
        let warning = ram(16 * GIB, None).warning(17 * GIB).unwrap();
        assert!(
            warning.contains("17.0 GiB is more than the RAM of this machine, 16.0 GiB"),
            "{warning}"
        );
    }
}
