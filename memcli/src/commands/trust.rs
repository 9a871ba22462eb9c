//! `trust list`, `trust remove`.

use std::time::{Duration, UNIX_EPOCH};

use memproto::control::TrustedDevice;

use crate::cli::TrustRemoveArgs;
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

/// Trusts a device no longer.
pub(super) async fn remove(args: TrustRemoveArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let free_data = match (args.free, args.keep) {
        (true, _) => true,
        (_, true) => false,
        _ if context.output.can_ask() => {
            match ask("What it stored on this machine:", vec![KEEP, FREE], 0).await? {
                Some(answer) => answer == FREE,
                None => return Err(Failure::Interrupted("nothing was changed".to_owned())),
            }
        }
        _ => {
            return Err(Failure::Usage(
                "say what is to become of what the device stored here: --keep or --free".to_owned(),
            ));
        }
    };
    let freed = cloud.distrust(&args.name, free_data).await?;
    context.output.confirm(&freed, || {
        let data = match (free_data, freed.blocks) {
            (false, _) => "; what it stored here stays".to_owned(),
            (true, 0) => "; it had stored nothing here".to_owned(),
            (true, blocks) => format!("; freed {} in {blocks} blocks", show_size(freed.bytes)),
        };
        format!("'{}' is no longer trusted{data}", printable(&args.name))
    })
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
    fn any_number_is_a_date() {
        assert_eq!(show_date(0), "1970-01-01");
        assert_eq!(show_date(u64::MAX), "9999-12-31");
    }
}
