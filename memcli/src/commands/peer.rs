//! `peer list`, `peer disconnect`.

use memproto::control::{PeerInfo, PeerState};

use crate::cli::PeerListArgs;
use crate::commands::connect::warning_text;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::printable;
use crate::panel::cut;
use crate::screen::follow;
use crate::size::{show_size, show_use};
use crate::table;

/// Lists the nodes that this one knows.
pub(super) async fn list(args: PeerListArgs, context: &Context) -> Outcome {
    let output = context.output;
    let cloud = context.connect().await?;
    if args.follow {
        return follow(
            output,
            args.interval,
            async || cloud.peers().await,
            |peers| show_all(peers),
            |peers| show_all(peers),
        )
        .await;
    }
    let peers = cloud.peers().await?;
    output.show(&peers, || show_peers(&peers, table::width()))?;
    notes(&peers).iter().for_each(|note| output.note(note));
    Ok(())
}

/// The table and what there is to say about it, in one text.
fn show_all(peers: &[PeerInfo]) -> String {
    let mut text = show_peers(peers, table::width());
    for note in notes(peers) {
        text.push_str("\nnote: ");
        text.push_str(&printable(&note));
    }
    text
}

/// What the table has no room for: why peers are not connected, what is odd about them, and what to do.
fn notes(peers: &[PeerInfo]) -> Vec<String> {
    let mut notes = Vec::new();
    if peers.is_empty() {
        notes.push("connect to one with: memcli connect HOST:PORT".to_owned());
    }
    for peer in peers {
        let id = peer.id.map(|id| format!(" ({})", id.short())).unwrap_or_default();
        if let Some(error) = why_not_connected(peer) {
            notes.push(format!("{}{id}: {error}", peer.name));
        }
        if let Some(warning) = peer.warning {
            notes.push(format!("{}{id}: {}", peer.name, warning_text(warning)));
        }
    }
    if peers.iter().any(asks_us) {
        notes.push("a node waits for your answer; see: memcli consent".to_owned());
    }
    notes
}

fn asks_us(peer: &PeerInfo) -> bool {
    peer.state == PeerState::WaitingForOurConsent
}

fn why_not_connected(peer: &PeerInfo) -> Option<&str> {
    peer.last_error
        .as_deref()
        .filter(|_| peer.state != PeerState::Connected)
}

/// Ends the connection to a node.
pub(super) async fn disconnect(name: &str, context: &Context) -> Outcome {
    let peer = context.connect().await?.disconnect_peer(name).await?;
    context
        .output
        .confirm(&peer, || format!("Disconnected '{}'", printable(&peer.name)))
}

/// What one line has where there is room for all of it.
const WIDE: [&str; 9] = [
    "NAME", "ID", "ADDRESS", "STATE", "RTT", "LENT", "BORROWED", "SENT", "RECEIVED",
];

/// What the first of two lines has.
const NARROW: [&str; 6] = ["NAME", "ID", "STATE", "RTT", "LENT", "BORROWED"];

/// The least columns of a name where the line is too wide: enough to tell most hosts apart. The id beside it always can.
const NAME_COLUMNS_MIN: usize = 12;

/// A table of peers. Where one line for each is wider than `width`, the address and what was moved stand below.
fn show_peers(peers: &[PeerInfo], width: u16) -> String {
    if peers.is_empty() {
        return "No other node is known yet.".to_owned();
    }
    let rows: Vec<[String; 9]> = peers.iter().map(row).collect();
    if table::natural_width(WIDE, &rows) <= usize::from(width) {
        return table::table(WIDE, rows, width);
    }
    let below: Vec<String> = peers.iter().map(second_line).collect();
    let mut rows: Vec<[String; 6]> = rows
        .into_iter()
        .map(|[name, id, _, state, round_trip, lent, borrowed, ..]| {
            [name, id, state, round_trip, lent, borrowed]
        })
        .collect();
    let natural = table::natural_width(NARROW, &rows);
    let over = natural.saturating_sub(width.into());
    if over > 0 {
        let longest = rows.iter().map(|row| columns(&row[0])).max().unwrap_or(0);
        let name_columns = longest.saturating_sub(over).max(NAME_COLUMNS_MIN);
        for row in &mut rows {
            row[0] = cut(&row[0], name_columns);
        }
    }
    // Wide enough that no cell is broken: then each row is one line, and another can stand below it.
    let table = table::table(NARROW, rows, u16::MAX);
    let mut lines = table.lines();
    let mut shown: Vec<&str> = lines.next().into_iter().collect();
    for (line, below) in lines.zip(&below) {
        shown.push(line);
        if !below.is_empty() {
            shown.push(below);
        }
    }
    shown.join("\n")
}

fn columns(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// What stands in a cell without a value.
const NONE: &str = "-";

fn row(peer: &PeerInfo) -> [String; 9] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let moved = |bytes: u64| or_none(is_up(peer).then(|| show_size(bytes)));
    [
        printable(&peer.name).into_owned(),
        or_none(peer.id.map(|id| id.short())),
        or_none(peer.address.map(|address| address.to_string())),
        short_state(peer.state).to_owned(),
        or_none(peer.round_trip_us.map(show_round_trip)),
        or_none(peer.lent.map(|lent| show_use(lent.used_bytes, lent.quota_bytes))),
        or_none(
            peer.borrowed
                .map(|borrowed| show_use(borrowed.used_bytes, borrowed.quota_bytes)),
        ),
        moved(peer.sent_bytes),
        moved(peer.received_bytes),
    ]
}

/// Whether what was sent and received says anything: it is counted for each link.
fn is_up(peer: &PeerInfo) -> bool {
    peer.state == PeerState::Connected
}

/// Where the peer is, and what was moved.
fn second_line(peer: &PeerInfo) -> String {
    let address = peer.address.map(|address| format!("  at {address}"));
    let moved = is_up(peer).then(|| {
        format!(
            "  sent {}, received {}",
            show_size(peer.sent_bytes),
            show_size(peer.received_bytes)
        )
    });
    format!("{}{}", address.unwrap_or_default(), moved.unwrap_or_default())
}

/// The state in a word or two, so that the table fits.
fn short_state(state: PeerState) -> &'static str {
    match state {
        PeerState::WaitingForOurConsent => "asks you",
        PeerState::WaitingForTheirConsent => "was asked",
        PeerState::Lost => "lost",
        other => other.as_words(),
    }
}

/// A round trip in milliseconds with two digits that count: `0.42 ms`, `8.1 ms`, `130 ms`.
fn show_round_trip(microseconds: u64) -> String {
    let milliseconds = microseconds as f64 / 1000.0;
    match microseconds {
        0..1_000 => format!("{milliseconds:.2} ms"),
        1_000..100_000 => format!("{milliseconds:.1} ms"),
        _ => format!("{milliseconds:.0} ms"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use memproto::NodeId;
    use memproto::control::{ConsentWarning, GrantUse};

    use super::*;

    /// A connected peer.
    pub(in crate::commands) fn example(name: &str, address: &str) -> PeerInfo {
        PeerInfo {
            id: Some(NodeId::from_public_key(&[7; 32])),
            name: name.to_owned(),
            address: Some(address.parse().unwrap()),
            state: PeerState::Connected,
            round_trip_us: Some(420),
            borrowed: Some(GrantUse {
                quota_bytes: 2 << 30,
                used_bytes: 1536 << 20,
            }),
            lent: Some(GrantUse {
                quota_bytes: 1 << 30,
                used_bytes: 0,
            }),
            sent_bytes: 4 << 30,
            received_bytes: 512,
            trusted: true,
            trusts_us: Some(true),
            code: Some("482913".to_owned()),
            last_error: None,
            last_error_code: None,
            warning: None,
        }
    }

    fn strangers() -> Vec<PeerInfo> {
        let seen = PeerInfo {
            id: None,
            state: PeerState::WaitingForTheirConsent,
            round_trip_us: None,
            borrowed: None,
            lent: None,
            ..example(
                "a-host-with-a-long-name.in.a.long.example.org",
                "[fe80::1ff:fe23:4567:890a%2]:65535",
            )
        };
        vec![example("NodeB", "192.168.1.20:8080"), seen]
    }

    #[test]
    fn where_there_is_room_each_peer_has_one_line() {
        assert_eq!(
            show_peers(&[example("MacBook", "192.168.1.20:8080")], 120),
            "\
NAME     ID        ADDRESS            STATE      RTT      LENT     BORROWED   SENT     RECEIVED
MacBook  IDIDIDID  192.168.1.20:8080  connected  0.42 ms  0/1 GiB  1.5/2 GiB  4.0 GiB  512 B"
                .replace("IDIDIDID", &NodeId::from_public_key(&[7; 32]).short())
        );
    }

    #[test]
    fn in_80_columns_each_peer_has_two_lines() {
        let table = show_peers(&[example("MacBook", "192.168.1.20:8080")], 80);
        assert_eq!(
            table,
            "\
NAME     ID        STATE      RTT      LENT     BORROWED
MacBook  IDIDIDID  connected  0.42 ms  0/1 GiB  1.5/2 GiB
  at 192.168.1.20:8080  sent 4.0 GiB, received 512 B"
                .replace("IDIDIDID", &NodeId::from_public_key(&[7; 32]).short())
        );
    }

    #[test]
    fn whatever_peers_are_called_the_table_fits_80_columns() {
        let wide = example("机器".repeat(10).as_str(), "192.168.1.20:8080");
        let full = PeerInfo {
            lent: Some(GrantUse {
                quota_bytes: u64::MAX,
                used_bytes: (1023 << 30) + (900 << 20),
            }),
            borrowed: Some(GrantUse {
                quota_bytes: (1023 << 30) + (900 << 20),
                used_bytes: (1022 << 30) + (900 << 20),
            }),
            sent_bytes: u64::MAX,
            received_bytes: (1023 << 30) + (900 << 20),
            ..example(&"n".repeat(63), "[fe80::1ff:fe23:4567:890a%2]:65535")
        };
        let table = show_peers(&[&strangers()[..], &[wide, full]].concat(), 80);
        println!("{table}");
        for line in table.lines() {
            assert!(columns(line) <= 80, "{line}");
        }
        assert_eq!(table.lines().count(), 1 + 2 * 4);
        assert!(table.contains("nnn…"), "{table}");
        assert!(
            table.contains("at [fe80::1ff:fe23:4567:890a%2]:65535"),
            "an address is whole: {table}"
        );
        assert!(table.contains("was asked"), "{table}");
        assert_eq!(show_peers(&[], 80), "No other node is known yet.");
    }

    #[test]
    fn what_the_table_has_no_room_for_is_told() {
        let lost = PeerInfo {
            state: PeerState::Lost,
            last_error: Some("no route".to_owned()),
            ..example("Desk", "10.0.0.2:1")
        };
        let odd = PeerInfo {
            state: PeerState::WaitingForOurConsent,
            warning: Some(ConsentWarning::KnownNameNewKey),
            ..example("Desk", "10.0.0.3:1")
        };
        let id = NodeId::from_public_key(&[7; 32]).short();
        assert_eq!(
            notes(&[lost, odd]),
            [
                format!("Desk ({id}): no route"),
                format!(
                    "Desk ({id}): a trusted device has this name, but another key: make sure of the code"
                ),
                "a node waits for your answer; see: memcli consent".to_owned(),
            ]
        );
        assert_eq!(notes(&[]), ["connect to one with: memcli connect HOST:PORT"]);
    }

    #[test]
    fn round_trips_have_two_digits_that_count() {
        assert_eq!(show_round_trip(42), "0.04 ms");
        assert_eq!(show_round_trip(8_123), "8.1 ms");
        assert_eq!(show_round_trip(130_000), "130 ms");
    }
}
