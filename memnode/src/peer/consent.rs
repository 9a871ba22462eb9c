//! Questions for the person at this machine: who waits for an answer, how many may, and for how long.
//!
//! A question is a link in the table to which this side has not consented yet; there is no second list to fall out of
//! step with it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use memproto::NodeId;
use memproto::control::{ConsentRequest, ConsentWarning, TrustedDevice};

use super::entry::{Purpose, Slot};
use super::table::Table;

/// How many may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsentLimits {
    pub(super) waiting_max: usize,
    pub(super) waiting_per_address_max: usize,
    pub(super) timeout: Duration,
}

impl ConsentLimits {
    /// Whether one more may wait that comes from this address.
    pub(super) fn has_room<L>(&self, table: &Table<L>, address: SocketAddr) -> bool {
        let waiting: Vec<IpAddr> = waiting(table)
            .map(|slot| slot.facts.address.ip().to_canonical())
            .collect();
        let from_there = waiting
            .iter()
            .filter(|ip| **ip == address.ip().to_canonical())
            .count();
        waiting.len() < self.waiting_max && from_there < self.waiting_per_address_max
    }

    /// A number below 2^53 that changes when other links wait. It is made of their serial numbers, so that nothing has to
    /// count along, and of the process's own random number, so that one of an earlier process does not pass for it.
    pub(super) fn revision<L>(table: &Table<L>, incarnation: u64) -> u64 {
        let mut serials: Vec<u64> = asking(table).map(|slot| slot.facts.serial).collect();
        serials.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&incarnation.to_le_bytes());
        for serial in serials {
            hasher.update(&serial.to_le_bytes());
        }
        let [a, b, c, d, e, f, g, ..] = *hasher.finalize().as_bytes();
        // JSON keeps integers up to 2^53 exact.
        u64::from_le_bytes([a, b, c, d, e, f, g & 0x1f, 0])
    }

    /// When the next question expires.
    pub(super) fn next_expiry<L>(&self, table: &Table<L>) -> Option<Instant> {
        waiting(table).map(|slot| slot.since + self.timeout).min()
    }

    /// The links whose question has expired.
    pub(super) fn expired<L: Clone>(&self, table: &Table<L>, now: Instant) -> Vec<L> {
        waiting(table)
            .filter(|slot| now >= slot.since + self.timeout)
            .map(|slot| slot.link.clone())
            .collect()
    }

    /// The questions, the oldest first.
    pub(super) fn requests<L>(
        &self,
        table: &Table<L>,
        trusted: &[TrustedDevice],
        default_quota_bytes: u64,
        now: Instant,
    ) -> Vec<ConsentRequest> {
        let mut slots: Vec<&Slot<L>> = asking(table).collect();
        slots.sort_by_key(|slot| slot.since);
        slots
            .into_iter()
            .map(|slot| self.request(slot, trusted, default_quota_bytes, now))
            .collect()
    }

    fn request<L>(
        &self,
        slot: &Slot<L>,
        trusted: &[TrustedDevice],
        default_quota_bytes: u64,
        now: Instant,
    ) -> ConsentRequest {
        let facts = &slot.facts;
        let age = now.duration_since(slot.since);
        ConsentRequest {
            id: facts.id,
            name: facts.name.clone(),
            address: facts.address,
            fingerprint: facts.id.fingerprint(),
            code: facts.code.clone(),
            offered_quota_bytes: facts.offered_quota_bytes,
            default_quota_bytes,
            age_secs: age.as_secs(),
            expires_in_secs: self.timeout.saturating_sub(age).as_secs(),
            warning: warning(trusted, facts.id, &facts.name),
        }
    }
}

fn waiting<L>(table: &Table<L>) -> impl Iterator<Item = &Slot<L>> {
    table.links().filter(|slot| slot.ours.is_none())
}

/// Those of them that are questions for the person.
fn asking<L>(table: &Table<L>) -> impl Iterator<Item = &Slot<L>> {
    waiting(table).filter(|slot| slot.purpose == Purpose::Consent)
}

/// What is odd about a peer, given whom the person trusts.
pub(super) fn warning(trusted: &[TrustedDevice], id: NodeId, name: &str) -> Option<ConsentWarning> {
    if let Some(device) = trusted.iter().find(|device| device.id == id) {
        return (device.name != name).then_some(ConsentWarning::KnownKeyNewName);
    }
    trusted
        .iter()
        .any(|device| device.name == name)
        .then_some(ConsentWarning::KnownNameNewKey)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Grant, LinkFacts};
    use super::super::table::TableLimits;
    use super::*;

    const LIMITS: ConsentLimits = ConsentLimits {
        waiting_max: 3,
        waiting_per_address_max: 2,
        timeout: Duration::from_secs(300),
    };

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn table() -> Table<u64> {
        let window = Duration::from_secs(10);
        Table::new(
            id(0),
            TableLimits {
                peers_max: 9,
                known_max: 9,
                simultaneous_dial_window: window,
            },
        )
    }

    fn ask(table: &mut Table<u64>, n: u8, address: &str, ours: Option<Grant>, now: Instant) {
        let facts = LinkFacts {
            serial: n.into(),
            id: id(n),
            public_key: [n; 32],
            name: format!("Node{n}"),
            address: address.parse().unwrap(),
            incarnation: 1,
            we_dialled: false,
            code: "123456".to_owned(),
            offered_quota_bytes: 7,
        };
        assert!(table.admit(facts, ours, n.into(), now).is_ok());
    }

    fn device(n: u8, name: &str) -> TrustedDevice {
        TrustedDevice {
            id: id(n),
            public_key: String::new(),
            name: name.to_owned(),
            quota_bytes: 0,
            trusted_at_unix_secs: 0,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn few_may_wait_and_fewer_from_one_address() {
        let (mut table, now) = (table(), Instant::now());
        let here = "192.0.2.1:1000".parse().unwrap();
        ask(&mut table, 1, "192.0.2.1:1001", None, now);
        ask(
            &mut table,
            2,
            "192.0.2.1:1002",
            Some(Grant {
                quota_bytes: 1,
                named: false,
                keep: false,
            }),
            now,
        );
        assert!(LIMITS.has_room(&table, here));
        ask(&mut table, 3, "[::ffff:192.0.2.1]:1003", None, now);
        assert!(!LIMITS.has_room(&table, here), "two of this address wait");
        assert!(LIMITS.has_room(&table, "192.0.2.2:1".parse().unwrap()));
        ask(&mut table, 4, "192.0.2.2:1004", None, now);
        assert!(
            !LIMITS.has_room(&table, "192.0.2.3:1".parse().unwrap()),
            "three wait"
        );
    }

    #[test]
    fn questions_expire_in_their_order() {
        let (mut table, start) = (table(), Instant::now());
        assert_eq!(LIMITS.next_expiry(&table), None);
        ask(&mut table, 1, "192.0.2.1:1", None, start);
        ask(
            &mut table,
            2,
            "192.0.2.1:1",
            None,
            start + Duration::from_secs(10),
        );
        assert_eq!(LIMITS.next_expiry(&table), Some(start + LIMITS.timeout));
        assert!(
            LIMITS
                .expired(&table, start + Duration::from_secs(299))
                .is_empty()
        );
        assert_eq!(LIMITS.expired(&table, start + Duration::from_secs(300)), [1]);
        let requests = LIMITS.requests(&table, &[], 42, start + Duration::from_secs(60));
        assert_eq!(
            requests.iter().map(|request| request.id).collect::<Vec<_>>(),
            [id(1), id(2)]
        );
        let first = &requests[0];
        assert_eq!((first.age_secs, first.expires_in_secs), (60, 240));
        assert_eq!((first.offered_quota_bytes, first.default_quota_bytes), (7, 42));
    }

    #[test]
    fn what_is_odd_is_told() {
        let trusted = [device(1, "NodeA"), device(2, "NodeB")];
        assert_eq!(warning(&trusted, id(3), "NodeC"), None);
        assert_eq!(
            warning(&trusted, id(3), "NodeA"),
            Some(ConsentWarning::KnownNameNewKey)
        );
        assert_eq!(
            warning(&trusted, id(1), "NodeB"),
            Some(ConsentWarning::KnownKeyNewName)
        );
        assert_eq!(warning(&trusted, id(1), "NodeA"), None);
    }
}
