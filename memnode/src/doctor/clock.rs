//! The clock of this machine, beside those of the peers.

use std::time::{Duration, SystemTime};

use memproto::control::{Check, CheckSubject};
use memproto::version::CLOCK_SKEW_MAX_MS;

use super::{about, ok, problem, warning};
use crate::peer::{ClockOffset, ClockSet};

/// How far the clocks of two machines may differ before it is worth a word: of two writes in so short a time a person does
/// not know the order either.
const CLOCK_OFFSET_TOLD: Duration = Duration::from_secs(2);

/// For how long it is worth telling that the wall clock was set.
const CLOCK_SET_TOLD_FOR: Duration = Duration::from_secs(60 * 60);

/// The clock of this machine, beside those of the connected peers.
pub(super) fn clock(clock_set: Option<ClockSet>, peers: &[ClockOffset]) -> Vec<Check> {
    const SUBJECT: CheckSubject = CheckSubject::Clock;
    let set_the_clock = match std::env::consts::OS {
        "linux" => "on the one that is wrong: sudo timedatectl set-ntp true",
        "macos" => {
            "on the one that is wrong: System Settings, General, Date & Time, Set time and date automatically"
        }
        _ => "let the system of the one that is wrong set its clock by the network",
    };
    let mut checks = Vec::new();
    if let Some(set) = clock_set
        && let Ok(ago) = SystemTime::now().duration_since(set.at)
        && ago < CLOCK_SET_TOLD_FOR
    {
        checks.push(warning(
            SUBJECT,
            format!(
                "the clock of this machine was set {} by {}, {} ago",
                if set.forward { "forward" } else { "back" },
                rounded(set.by),
                rounded(ago)
            ),
            "if that was no correction, set it right: of two writes of a key the one with the later time stays",
        ));
    }
    for peer in peers {
        let by = peer.ahead.max(peer.behind);
        if by < CLOCK_OFFSET_TOLD {
            continue;
        }
        let (machine, direction) = match peer.ahead.is_zero() {
            false => ("its clock", "ahead of"),
            true => ("its clock", "behind"),
        };
        let found = format!("{machine} is {} {direction} that of this machine", rounded(by));
        let check = match by.as_millis() > u128::from(CLOCK_SKEW_MAX_MS) {
            true => problem(
                SUBJECT,
                format!("{found}, so that the one that is behind refuses what the other one writes"),
                set_the_clock,
            ),
            false => warning(
                SUBJECT,
                format!(
                    "{found}: of two writes of a key the one with the later time stays, whichever came last"
                ),
                set_the_clock,
            ),
        };
        checks.push(about(&peer.name, check));
    }
    if checks.is_empty() {
        checks.push(match peers.len() {
            0 => ok(
                SUBJECT,
                "the clock of this machine was not set while the node ran",
            ),
            _ => ok(
                SUBJECT,
                "the clocks of all connected peers agree with that of this machine",
            ),
        });
    }
    checks
}

fn rounded(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use memproto::control::CheckResult;

    use super::*;

    #[test]
    fn clocks_that_part_are_told_with_their_distance() {
        let offset = |ahead_secs: u64, behind_secs: u64| ClockOffset {
            name: "b".to_owned(),
            ahead: Duration::from_secs(ahead_secs),
            behind: Duration::from_secs(behind_secs),
        };
        let results = |offsets: &[ClockOffset]| -> Vec<CheckResult> {
            clock(None, offsets).iter().map(|check| check.result).collect()
        };
        assert_eq!(results(&[]), [CheckResult::Ok]);
        assert_eq!(results(&[offset(1, 0), offset(0, 1)]), [CheckResult::Ok]);
        assert_eq!(
            results(&[offset(60, 0), offset(0, 100_000)]),
            [CheckResult::Warning, CheckResult::Problem]
        );
        assert!(clock(None, &[offset(0, 60)])[0].found.contains("1m behind"));
        let set = ClockSet {
            at: SystemTime::now(),
            by: Duration::from_secs(3_600),
            forward: false,
        };
        assert!(clock(Some(set), &[])[0].found.contains("set back by 1h"));
    }
}
