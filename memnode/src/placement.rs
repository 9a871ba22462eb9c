//! Which peer a block goes to.

use std::sync::Arc;
use std::time::Duration;

use memproto::Placement;
use memproto::control::GrantUse;
use memproto::error::{ApiError, ApiResult, ErrorCode};

use crate::peer::{PeerLink, Peers};

/// A round trip below which peers count as equally near: on a wired LAN the difference says nothing.
const ROUND_TRIP_FLOOR: Duration = Duration::from_millis(1);

/// Peers that may take a block, best first.
///
/// # Errors
/// For a named peer, why it cannot be used; without a name, `PeerUnreachable` where no peer is connected at all.
pub fn candidates(peers: &Peers, placement: &Placement) -> ApiResult<Vec<Arc<PeerLink>>> {
    match placement {
        Placement::Peer(name) => Ok(vec![peers.resolve_link(name)?]),
        Placement::Local => Ok(Vec::new()),
        Placement::Auto => Ok(by_room(peers.connected())),
        Placement::Remote => {
            let connected = by_room(peers.connected());
            if connected.is_empty() {
                return Err(ApiError::new(
                    ErrorCode::PeerUnreachable,
                    "no peer is connected: see `memcli peer list`, and connect one with `memcli connect NAME`",
                ));
            }
            Ok(connected)
        }
    }
}

fn by_room(mut links: Vec<Arc<PeerLink>>) -> Vec<Arc<PeerLink>> {
    links.sort_by_cached_key(|link| {
        let weight = room_weight(link.borrowed(), link.round_trip());
        (std::cmp::Reverse(weight), link.id())
    });
    links
}

/// Free grant in bytes, divided by the round trip in units of [`ROUND_TRIP_FLOOR`].
fn room_weight(borrowed: GrantUse, round_trip: Duration) -> u64 {
    let distance = round_trip.max(ROUND_TRIP_FLOOR).as_micros() / ROUND_TRIP_FLOOR.as_micros();
    borrowed.free_bytes() / u64::try_from(distance).unwrap_or(u64::MAX)
}

/// The refusal when neither this node (`here`, where it was asked) nor any of the tried peers has room.
pub fn out_of_memory(here: Option<ApiError>, tried: &[(String, ApiError)], size: u64) -> ApiError {
    let mut parts: Vec<String> = here.into_iter().map(|error| error.message).collect();
    parts.extend(
        tried
            .iter()
            .map(|(name, error)| format!("'{name}': {}", error.message)),
    );
    if tried.is_empty() {
        parts.push(format!(
            "no connected peer grants {size} bytes: see `memcli peer list`, or ask for a larger grant there"
        ));
    }
    ApiError::new(ErrorCode::OutOfMemory, parts.join("; "))
}

/// Whether another place may still take what this one refused.
pub fn is_refusal_for_room(error: &ApiError) -> bool {
    matches!(
        error.code,
        ErrorCode::OutOfMemory | ErrorCode::QuotaExceeded | ErrorCode::PeerUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_room_and_a_shorter_way_weigh_more() {
        let grant = |free| GrantUse {
            quota_bytes: free,
            used_bytes: 0,
        };
        let near = Duration::from_micros(200);
        let far = Duration::from_millis(20);
        assert!(room_weight(grant(2_000), near) > room_weight(grant(1_000), near));
        assert!(room_weight(grant(2_000), near) > room_weight(grant(2_000), far));
        assert_eq!(
            room_weight(grant(2_000), near),
            room_weight(grant(2_000), near * 2)
        );
        assert_eq!(
            room_weight(
                GrantUse {
                    quota_bytes: 1,
                    used_bytes: 5
                },
                near
            ),
            0
        );
    }
}
