//! The command line of a host, as a person types it, and what it takes.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use memproto::BlockId;
use serde::Deserialize;
use xtask::host::Host;
use xtask::process::{self, Finished};

/// How long any one transfer may take.
pub(crate) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(600);

/// What `stream --json` prints, as far as it is needed.
#[derive(Deserialize)]
struct Made {
    id: BlockId,
}

/// `memcli stream FILE --peer NAME...`. Returns the id and the time from the start of the command to its end.
pub(crate) fn stream(host: &Host, file: &Path, peers: &[&str]) -> Result<(BlockId, Duration)> {
    made(&run(host, &stream_args(file, peers))?)
}

/// What a `stream --json` that has ended made, and the time from its start to its end.
pub(crate) fn made(finished: &Finished) -> Result<(BlockId, Duration)> {
    let made: Made = finished.json()?;
    Ok((made.id, finished.took))
}

/// The arguments of that.
pub(crate) fn stream_args(file: &Path, peers: &[&str]) -> Vec<OsString> {
    let peers = peers.iter().flat_map(|peer| ["--peer".into(), peer.into()]);
    ["--json".into(), "stream".into(), file.into()]
        .into_iter()
        .chain(peers)
        .collect()
}

/// `memcli load ID -o FILE`. Returns the time from the start of the command to its end.
pub(crate) fn load(host: &Host, id: BlockId, file: &Path) -> Result<Duration> {
    Ok(run(host, &load_args(id, file))?.took)
}

/// The arguments of that.
pub(crate) fn load_args(id: BlockId, file: &Path) -> Vec<OsString> {
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
pub(crate) fn free(host: &Host, id: BlockId) -> Result<()> {
    run(host, &["free", &id.to_string()]).map(drop)
}

/// Runs a command of `memcli` to its end, which must be a success.
pub(crate) fn run<S: AsRef<OsStr>>(host: &Host, args: &[S]) -> Result<Finished> {
    process::run(&mut host.memcli_command(args), TRANSFER_TIMEOUT)?.ok()
}
