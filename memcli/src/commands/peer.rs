//! `peer list`, `peer disconnect`.

use memproto::control::{PeerInfo, PeerState};

use crate::context::Context;
use crate::exit::Outcome;
use crate::output::printable;
use crate::size::show_use;
use crate::table;

/// Lists the nodes that this one knows.
pub(super) async fn list(context: &Context) -> Outcome {
    let output = context.output;
    let peers = context.connect().await?.peers().await?;
    output.show(&peers, || show_peers(&peers, table::width()))?;
    if peers.is_empty() {
        output.note("connect to one with: memcli connect HOST:PORT");
    }
    for peer in &peers {
        if let Some(error) = why_not_connected(peer) {
            output.note(&format!("{}: {error}", peer.name));
        }
    }
    if peers.iter().any(asks_us) {
        output.note("a node waits for your answer; see: memcli consent");
    }
    Ok(())
}

fn asks_us(peer: &PeerInfo) -> bool {
    peer.state == PeerState::WaitingForOurConsent
}

/// What the table has no room for.
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

/// A table of peers. Where one line for each is wider than `width`, the address stands below the name.
fn show_peers(peers: &[PeerInfo], width: u16) -> String {
    const HEADER: [&str; 7] = ["NAME", "ADDRESS", "ID", "STATE", "RTT", "LENT", "BORROWED"];
    if peers.is_empty() {
        return "No other node is known yet.".to_owned();
    }
    let rows: Vec<[String; 7]> = peers.iter().map(row).collect();
    if table::natural_width(HEADER, &rows) <= usize::from(width) {
        return table::table(HEADER, rows, width);
    }
    let stacked = rows.into_iter().map(|[name, address, rest @ ..]| {
        let name = if address == NONE || address == name {
            name
        } else {
            format!("{name}\n {address}")
        };
        let [id, state, round_trip, lent, borrowed] = rest;
        [name, id, state, round_trip, lent, borrowed]
    });
    table::table(
        ["NAME", "ID", "STATE", "RTT", "LENT", "BORROWED"],
        stacked.collect(),
        width,
    )
}

/// What stands in a cell without a value.
const NONE: &str = "-";

fn row(peer: &PeerInfo) -> [String; 7] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    [
        printable(&peer.name).into_owned(),
        or_none(peer.address.map(|address| address.to_string())),
        or_none(peer.id.map(|id| id.short())),
        short_state(peer.state).to_owned(),
        or_none(peer.round_trip_us.map(show_round_trip)),
        or_none(peer.lent.map(|lent| show_use(lent.used_bytes, lent.quota_bytes))),
        or_none(
            peer.borrowed
                .map(|borrowed| show_use(borrowed.used_bytes, borrowed.quota_bytes)),
        ),
    ]
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
    use memproto::control::GrantUse;

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
            sent_bytes: 0,
            received_bytes: 0,
            trusted: true,
            code: Some("482913".to_owned()),
            last_error: None,
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
    fn a_table_of_usual_peers_has_one_line_each_and_fits_80_columns() {
        let table = show_peers(&[example("MacBook", "192.168.1.20:8080")], 80);
        println!("{table}");
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("MacBook  192.168.1.20:8080  "), "{table}");
        assert!(lines[1].contains("connected  0.42 ms"), "{table}");
        assert!(lines[1].ends_with("0/1 GiB  1.5/2 GiB"), "{table}");
        assert!(lines.iter().all(|line| line.len() <= 80), "{table}");
    }

    #[test]
    fn long_names_and_addresses_do_not_break_the_table() {
        let table = show_peers(&strangers(), 80);
        println!("{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.contains("NodeB"), "{table}");
        assert!(table.contains("was asked"), "{table}");
        println!("{}", show_peers(&strangers(), 120));
        assert_eq!(show_peers(&[], 80), "No other node is known yet.");
    }

    #[test]
    fn round_trips_have_two_digits_that_count() {
        assert_eq!(show_round_trip(42), "0.04 ms");
        assert_eq!(show_round_trip(8_123), "8.1 ms");
        assert_eq!(show_round_trip(130_000), "130 ms");
    }
}
