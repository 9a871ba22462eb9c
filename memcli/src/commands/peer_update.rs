//! `peer update`.

use memproto::control::PeerUpdated;

use crate::cli::PeerUpdateArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::printable;
use crate::size::show_size;

/// Changes how much of this machine's budget a node may use.
pub(super) async fn update(args: PeerUpdateArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let updated = cloud.update_peer(&args.name, args.quota).await?;
    context.output.confirm(&updated, || show_change(&updated))?;
    if let Some(hint) = what_stays(&updated) {
        context.output.note(&hint);
    }
    Ok(())
}

fn show_change(updated: &PeerUpdated) -> String {
    let name = printable(&updated.name);
    let (before, now) = (updated.before_bytes, updated.lent.quota_bytes);
    let was = match before == now {
        true => ", as before".to_owned(),
        false => format!(" (before: {})", show_size(before)),
    };
    let until = if updated.trusted {
        ""
    } else {
        " until the connection ends"
    };
    let evicted = match updated.evicted.blocks {
        0 => String::new(),
        1 => format!(
            "; evicted 1 block of its cached data, {}",
            show_size(updated.evicted.bytes)
        ),
        blocks => format!(
            "; evicted {blocks} blocks of its cached data, {}",
            show_size(updated.evicted.bytes)
        ),
    };
    format!(
        "'{name}' may use {} of this machine{until}{was}; it uses {}{evicted}",
        show_size(now),
        show_size(updated.lent.used_bytes),
    )
}

/// What a person should know where the peer uses more than it is granted.
fn what_stays(updated: &PeerUpdated) -> Option<String> {
    let over = updated
        .lent
        .used_bytes
        .checked_sub(updated.lent.quota_bytes)
        .filter(|&over| over > 0)?;
    Some(format!(
        "that is {} more than it may: what it pinned stays until it frees it or it expires, and it can store nothing new until then",
        show_size(over)
    ))
}

#[cfg(test)]
mod tests {
    use memproto::NodeId;
    use memproto::control::{Freed, GrantUse};

    use super::*;

    fn updated(before_bytes: u64, quota_bytes: u64, used_bytes: u64, evicted: u64) -> PeerUpdated {
        PeerUpdated {
            id: NodeId::from_bytes([0xb2; 16]),
            name: "NodeB".to_owned(),
            before_bytes,
            lent: GrantUse {
                quota_bytes,
                used_bytes,
            },
            evicted: Freed {
                blocks: evicted,
                bytes: evicted << 20,
            },
            trusted: true,
        }
    }

    #[test]
    fn a_change_is_told_with_what_it_was_and_what_is_used() {
        assert_eq!(
            show_change(&updated(1 << 30, 2 << 30, 5 << 20, 0)),
            "'NodeB' may use 2.0 GiB of this machine (before: 1.0 GiB); it uses 5.0 MiB"
        );
        let once = PeerUpdated {
            trusted: false,
            ..updated(1 << 30, 1 << 30, 0, 0)
        };
        assert_eq!(
            show_change(&once),
            "'NodeB' may use 1.0 GiB of this machine until the connection ends, as before; it uses 0 B"
        );
        assert_eq!(what_stays(&once), None);
    }

    #[test]
    fn what_was_evicted_and_what_stays_is_told() {
        let lowered = updated(1 << 30, 1 << 20, 5 << 20, 3);
        assert!(
            show_change(&lowered).ends_with("it uses 5.0 MiB; evicted 3 blocks of its cached data, 3.0 MiB"),
            "{}",
            show_change(&lowered)
        );
        assert!(show_change(&updated(2, 1, 0, 1)).ends_with("evicted 1 block of its cached data, 1.0 MiB"));
        let hint = what_stays(&lowered).unwrap();
        assert!(hint.starts_with("that is 4.0 MiB more than it may"), "{hint}");
        assert_eq!(what_stays(&updated(2, 1, 1, 0)), None);
    }
}
