//! Where the chunks of a stream are to lie, as it is typed.

use clap::{Args, ValueEnum};
use memproto::Placement;
use memproto::stream::Compress;
use memsdk::StreamWriterBuilder;

use crate::completion::Names;

/// Where a stream is to lie, and how.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct HolderArgs {
    /// Store it on this peer and nowhere else: its name, its id or the first digits of its id; several peers share it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["remote", "local"], add = Names::Connected)]
    pub(crate) peer: Vec<String>,

    /// Store it on peers, whichever have room, and not on this machine
    #[arg(long, conflicts_with = "local")]
    pub(crate) remote: bool,

    /// Store it on this machine alone
    #[arg(long)]
    pub(crate) local: bool,

    /// When to compress: auto (where it makes the transfer shorter), always, never
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub(crate) compress: CompressWhen,
}

impl HolderArgs {
    /// A stream as the options ask for it.
    pub(crate) fn apply(&self, stream: StreamWriterBuilder) -> StreamWriterBuilder {
        let stream = stream.compress(self.compress.into());
        match self {
            Self { peer, .. } if !peer.is_empty() => stream.peers(peer),
            Self { remote: true, .. } => stream.placement(Placement::Remote),
            Self { local: true, .. } => stream.placement(Placement::Local),
            Self { .. } => stream,
        }
    }
}

/// When to compress, as it is typed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum CompressWhen {
    /// Where it makes the transfer shorter
    #[default]
    Auto,
    /// Wherever it makes it smaller
    Always,
    /// Never
    Never,
}

impl From<CompressWhen> for Compress {
    fn from(when: CompressWhen) -> Self {
        match when {
            CompressWhen::Auto => Compress::Auto,
            CompressWhen::Always => Compress::Always,
            CompressWhen::Never => Compress::Never,
        }
    }
}
