//! `trust list`, `trust key`, `trust add`, `trust remove`.

use std::time::{Duration, UNIX_EPOCH};

use memproto::control::{TrustAdded, TrustAddition, TrustedDevice};
use memsdk::MemCloud;
use serde::Serialize;

use crate::cli::{TrustAddArgs, TrustRemoveArgs};
use crate::commands::consent::ask;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::printable;
use crate::size::show_size;
use crate::table;

/// Lists the devices that are trusted for good.
pub(super) async fn list(context: &Context) -> Outcome {
    let devices = context.connect().await?.trusted().await?;
    context
        .output
        .show(&devices, || show_devices(&devices, table::width()))
}

/// What `trust key --json` prints.
#[derive(Serialize)]
struct Key<'a> {
    name: &'a str,
    node_id: memproto::NodeId,
    public_key: &'a str,
}

/// Prints the key of this machine's node, alone, for scripts.
pub(super) async fn key(context: &Context) -> Outcome {
    let status = context.connect().await?.status().await?;
    let key = Key {
        name: &status.name,
        node_id: status.node_id,
        public_key: &status.public_key,
    };
    context.output.show(&key, || status.public_key.clone())
}

/// Trusts a device by its key.
pub(super) async fn add(args: TrustAddArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let addition = TrustAddition {
        public_key: args.key,
        name: args.name,
        quota_bytes: args.quota,
    };
    let added = cloud.trust(addition).await?;
    context.output.confirm(&added, || show_added(&added))
}

fn show_added(added: &TrustAdded) -> String {
    let device = &added.device;
    let quota = match device.quota_bytes {
        0 => "no memory".to_owned(),
        bytes => format!("up to {}", show_size(bytes)),
    };
    let what = if added.was_trusted {
        "was trusted already and is now known as"
    } else {
        "is trusted for good as"
    };
    format!(
        "{} {what} '{}'; it may use {quota} here",
        device.id.short(),
        printable(&device.name)
    )
}

/// Trusts a device no longer.
pub(super) async fn remove(args: TrustRemoveArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let free_data = match (args.free, args.keep) {
        (true, _) => true,
        (_, true) => false,
        _ => match stored_by(&cloud, &args.name).await? {
            // It stored nothing, or no such device is trusted, which the node says better.
            0 => false,
            bytes if context.output.can_ask() => {
                context.output.progress_line(&format!(
                    "'{}' has stored {} on this machine.",
                    args.name,
                    show_size(bytes)
                ));
                match ask("What is to become of it?", vec![KEEP, FREE], 0).await? {
                    Some(answer) => answer == FREE,
                    None => return Err(Failure::Interrupted("nothing was changed".to_owned())),
                }
            }
            bytes => {
                return Err(Failure::Usage(format!(
                    "'{}' has stored {} on this machine: say what is to become of it with --keep or --free",
                    args.name,
                    show_size(bytes)
                )));
            }
        },
    };
    let freed = cloud.distrust(&args.name, free_data).await?;
    context.output.confirm(&freed, || {
        let data = match (free_data, freed.blocks) {
            (false, _) => "; what it stored here, if anything, stays".to_owned(),
            (true, 0) => "; it had stored nothing here".to_owned(),
            (true, 1) => format!("; freed {} in one block", show_size(freed.bytes)),
            (true, blocks) => format!("; freed {} in {blocks} blocks", show_size(freed.bytes)),
        };
        format!("'{}' is no longer trusted{data}", printable(&args.name))
    })
}

/// How much of this node's memory the trusted device of this name uses; 0 where the name means none, or several.
async fn stored_by(cloud: &MemCloud, name: &str) -> Outcome<u64> {
    let devices = cloud.trusted().await?;
    // As the node resolves names: by name or by the first digits of the id.
    let prefix = name.to_ascii_lowercase();
    let mut meant = devices.iter().filter(|device| {
        device.name == name || (prefix.len() >= 4 && device.id.to_string().starts_with(&prefix))
    });
    let (Some(device), None) = (meant.next(), meant.next()) else {
        return Ok(0);
    };
    let peers = cloud.peers().await?;
    let peer = peers.iter().find(|peer| peer.id == Some(device.id));
    Ok(peer.and_then(|peer| peer.lent).map_or(0, |lent| lent.used_bytes))
}

const KEEP: &str = "Keep it";
const FREE: &str = "Free it";

fn show_devices(devices: &[TrustedDevice], width: u16) -> String {
    if devices.is_empty() {
        return "No device is trusted for good.".to_owned();
    }
    let rows = devices.iter().map(|device| {
        [
            printable(&device.name).into_owned(),
            device.id.short(),
            show_size(device.quota_bytes),
            show_date(device.trusted_at_unix_secs),
            device
                .addresses
                .first()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
        ]
    });
    table::table(
        ["NAME", "ID", "QUOTA", "SINCE", "LAST ADDRESS"],
        rows.collect(),
        width,
    )
}

/// The day, in UTC: `2026-11-03`.
fn show_date(unix_secs: u64) -> String {
    // Year 9999 is the last that humantime knows: a file edited by hand must not bring us down.
    let seconds = unix_secs.min(253_402_300_799);
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    time.chars().take_while(|&c| c != 'T').collect()
}

#[cfg(test)]
mod tests {
    use memproto::NodeId;

    use super::*;

    #[test]
    fn devices_are_listed_with_what_they_may_use() {
        let device = TrustedDevice {
            id: NodeId::from_bytes([0xb2; 16]),
            public_key: "00".repeat(32),
            name: "NodeB".to_owned(),
            quota_bytes: 2 << 30,
            trusted_at_unix_secs: 1_793_700_000,
            addresses: vec!["10.0.0.2:8080".parse().unwrap()],
        };
        assert_eq!(
            show_devices(&[device], 80),
            "\
NAME   ID        QUOTA    SINCE       LAST ADDRESS
NodeB  b2b2b2b2  2.0 GiB  2026-11-03  10.0.0.2:8080"
        );
        assert_eq!(show_devices(&[], 80), "No device is trusted for good.");
    }

    #[test]
    fn what_was_trusted_is_told_with_what_it_may_use() {
        let device = TrustedDevice {
            id: NodeId::from_bytes([0xb2; 16]),
            public_key: "00".repeat(32),
            name: "desk".to_owned(),
            quota_bytes: 2 << 30,
            trusted_at_unix_secs: 0,
            addresses: Vec::new(),
        };
        let mut added = TrustAdded {
            device,
            was_trusted: false,
        };
        assert_eq!(
            show_added(&added),
            "b2b2b2b2 is trusted for good as 'desk'; it may use up to 2.0 GiB here"
        );
        added.was_trusted = true;
        added.device.quota_bytes = 0;
        assert_eq!(
            show_added(&added),
            "b2b2b2b2 was trusted already and is now known as 'desk'; it may use no memory here"
        );
    }

    #[test]
    fn any_number_is_a_date() {
        assert_eq!(show_date(0), "1970-01-01");
        assert_eq!(show_date(u64::MAX), "9999-12-31");
    }
}
