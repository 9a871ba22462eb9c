//! The command line of a host, as a person types it, and what it takes.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use memproto::BlockId;
use serde::Deserialize;
use xtask::host::Host;
use xtask::process::{self, Finished};

use super::TRANSFER_TIMEOUT;

/// What `stream --json` prints, as far as it is needed.
#[derive(Deserialize)]
struct Made {
    id: BlockId,
}

/// `memcli stream FILE --peer NAME...`. Returns the id and the time from the start of the command to its end.
pub(super) fn stream(host: &Host, file: &Path, peers: &[&str]) -> Result<(BlockId, Duration)> {
    let finished = run(host, &stream_args(file, peers))?;
    let made: Made = finished.json()?;
    Ok((made.id, finished.took))
}

/// The arguments of that.
pub(super) fn stream_args(file: &Path, peers: &[&str]) -> Vec<OsString> {
    let peers = peers.iter().flat_map(|peer| ["--peer".into(), peer.into()]);
    ["--json".into(), "stream".into(), file.into()]
        .into_iter()
        .chain(peers)
        .collect()
}

/// `memcli load ID -o FILE`. Returns the time from the start of the command to its end.
pub(super) fn load(host: &Host, id: BlockId, file: &Path) -> Result<Duration> {
    Ok(run(host, &load_args(id, file))?.took)
}

/// The arguments of that.
pub(super) fn load_args(id: BlockId, file: &Path) -> Vec<OsString> {
    [
        "--json".into(),
        "load".into(),
        id.to_string().into(),
        "-o".into(),
        file.into(),
    ]
    .into()
}

/// `memcli free ID`.
pub(super) fn free(host: &Host, id: BlockId) -> Result<()> {
    run(host, &["free", &id.to_string()]).map(drop)
}

/// Runs a command of `memcli` to its end, which must be a success.
pub(super) fn run<S: AsRef<OsStr>>(host: &Host, args: &[S]) -> Result<Finished> {
    process::run(&mut host.memcli_command(args), TRANSFER_TIMEOUT)?.ok()
}
