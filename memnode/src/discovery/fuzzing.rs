//! The body of the fuzz target of announcements. See [`crate::fuzzing`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mdns_sd::{ScopedIp, ServiceInfo};
use memproto::limits::NODE_NAME_LEN_MAX;

use super::{ANNOUNCED_ADDRESSES_MAX, SERVICE_TYPE, addresses_of, who};

/// Reads an announcement that anybody on the LAN may have made: its TXT record as in RFC 6763 (strings behind their lengths, each
/// `key=value`), then its addresses, 17 bytes each.
///
/// The first byte is the number of the strings.
pub fn mdns_txt(data: &[u8]) {
    let Some((&strings, mut rest)) = data.split_first() else {
        return;
    };
    let mut properties = Vec::new();
    for _ in 0..strings % 8 {
        let Some((&length, behind)) = rest.split_first() else {
            break;
        };
        let (string, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let mut halves = string.splitn(2, |&byte| byte == b'=');
        let key = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
        let value = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
        properties.push((key, value));
    }
    let announced = ServiceInfo::new(SERVICE_TYPE, "x", "x.local.", (), 8080, &properties[..]);
    // What does not fit DNS does not come out of it either.
    if let Ok(service) = announced {
        let service = service.as_resolved_service();
        for version in [1, 2] {
            if let Ok((id, name)) = who(&service, version) {
                assert!((1..=NODE_NAME_LEN_MAX).contains(&name.len()));
                let mut values = properties.iter().map(|(_, value)| value);
                assert!(values.clone().any(|value| *value == name));
                assert!(values.clone().any(|value| value.parse() == Ok(version)));
                assert!(values.any(|value| value.parse() == Ok(id)));
            }
        }
    }
    addresses(rest);
}

/// A byte that says which family, and 16 of the address.
fn addresses(bytes: &[u8]) {
    let ips: Vec<ScopedIp> = bytes
        .chunks_exact(17)
        .map(|chunk| {
            let v6: [u8; 16] = chunk[1..].try_into().expect("a chunk has 17 bytes");
            let v4: [u8; 4] = v6[..4].try_into().expect("4 of 16");
            if chunk[0].is_multiple_of(2) {
                ScopedIp::from(IpAddr::from(Ipv4Addr::from(v4)))
            } else {
                ScopedIp::from(IpAddr::from(Ipv6Addr::from(v6)))
            }
        })
        .collect();
    let found = addresses_of(&ips, 8080);
    assert!(found.len() <= ANNOUNCED_ADDRESSES_MAX && found.len() <= ips.len());
    assert!(found.is_empty() == ips.is_empty());
    let mut once: Vec<&SocketAddr> = found.iter().collect();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), found.len(), "an address stands there twice");
}
