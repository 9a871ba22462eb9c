//! What can be typed: the clap definitions, and nothing of what the commands do.
//!
//! The behaviour of each noun lies in its own file under [`crate::commands`].

mod bench;
mod completions;
mod holders;
mod people;
mod tree;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::OsStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use memproto::{BlockClass, BlockId, Ttl};

pub(crate) use self::bench::BenchArgs;
pub(crate) use self::completions::{CompleteArgs, CompletionsArgs};
pub(crate) use self::holders::HolderArgs;
pub(crate) use self::people::{
    ConnectArgs, ConsentArgs, FlushArgs, PairArgs, PeerCommand, PeerListArgs, PeerUpdateArgs, TrustAddArgs,
    TrustCommand, TrustRemoveArgs,
};
pub(crate) use self::tree::{PullArgs, PushArgs};
use crate::completion::Names;
use crate::manual;
use crate::size::{parse_share, parse_size};

/// How many lines `logs` shows unless told otherwise.
pub(crate) const LOG_LINES: &str = "100";

/// The RAM of the machines around you as one store: start a node, store and load, connect machines.
#[derive(Parser, Debug)]
#[command(name = "memcli", version, after_help = manual::after_help(), arg_required_else_help = true)]
#[command(
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) globals: Globals,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Print one JSON value on stdout; errors are JSON on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print nothing but what was asked for: ids and data, no confirmations, hints or progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// When to use colours: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub(crate) color: ColorWhen,

    /// The socket of the node; where it is looked for stands at the end of "memcli --help"
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "MEMCLOUD_SOCKET",
        hide_env_values = true
    )]
    #[arg(value_hint = ValueHint::FilePath, value_parser = OsStringValueParser::new())]
    pub(crate) socket: Option<OsString>,

    /// The folder of the node's files [default: ~/.memcloud]
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "MEMCLOUD_HOME",
        hide_env_values = true
    )]
    #[arg(value_hint = ValueHint::DirPath, value_parser = OsStringValueParser::new())]
    pub(crate) home: Option<OsString>,
}

/// When to use colours.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands, in the order of the help.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start, stop or look at the node of this machine
    #[command(subcommand)]
    Node(NodeCommand),
    /// Show the node's log
    Logs(LogsArgs),
    /// Put a value under a key
    Set(SetArgs),
    /// Print the value of a key
    Get(GetArgs),
    /// Delete keys and free their values
    Del(DelArgs),
    /// Print the values of several keys
    Mget(MgetArgs),
    /// Put several values under their keys
    Mset(MsetArgs),
    /// Store a value without a key; prints the id of the new block
    Store(StoreArgs),
    /// Print a block or a stream
    Load(LoadArgs),
    /// Free blocks and streams, wherever they lie
    Free(FreeArgs),
    /// Tell how much longer a value is kept
    Ttl(TtlArgs),
    /// Keep a value for a time from now on, and no longer
    Expire(ExpireArgs),
    /// Keep a value for good, whatever its time was
    Persist(TtlArgs),
    /// List the keys that match patterns
    Keys(KeysArgs),
    /// Show what the node holds, what it did and how fast
    Stats(StatsArgs),
    /// Store a large file in chunks, on peers first
    Stream(StreamArgs),
    /// Store a folder with all that is in it, under a name
    Push(PushArgs),
    /// Write a folder that was pushed, or bring it up to date
    Pull(PullArgs),
    /// Measure how fast this machine's node is
    Bench(BenchArgs),
    /// Connect to another node, which is this side's consent
    Connect(ConnectArgs),
    /// Trust another node for good, and be trusted, by a code that one machine shows and the other is told
    Pair(PairArgs),
    /// List or disconnect the nodes around this one, or change what they may use
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Answer nodes that ask to connect to this one
    ///
    /// In a terminal it asks about each node that waits, and waits for others, until q or Ctrl-C. Elsewhere it lists them.
    Consent(ConsentArgs),
    /// Look at or change which devices are trusted for good
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Free all keys, blocks and streams that programs of this machine stored
    ///
    /// What other nodes stored on this machine stays.
    Flush(FlushArgs),
    /// Say why machines do not find or reach each other, and what to do
    Doctor(DoctorArgs),
    /// Print the script that makes a shell complete commands, and the names of keys and peers
    Completions(CompletionsArgs),
    /// Answer a script of "memcli completions": what may stand at the cursor
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
    /// Print the versions of memcli and of the running node
    Version,
}

/// `doctor`
#[derive(Args, Debug)]
#[command(after_help = "Exit code 1 says that a problem was found; warnings are none.")]
pub(crate) struct DoctorArgs {
    /// A peer's name, id or the first digits of its id, or HOST:PORT [default: all peers that should be connected]
    #[arg(value_name = "PEER|HOST:PORT", add = Names::Peers)]
    pub(crate) target: Option<String>,
}

/// `node ...`
#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// Start the node in the background; returns when it answers
    Start(NodeStartArgs),
    /// Stop the node; what it holds in memory is gone
    Stop,
    /// Stop the node and start it again with the options it has; what it holds in memory is gone
    ///
    /// It takes the installed memnode, so that an upgrade comes into effect. A node that a service manager or a terminal looks after is restarted there.
    Restart,
    /// Show the node's name, addresses and budget
    Status,
}

/// `node start`
#[derive(Args, Debug)]
pub(crate) struct NodeStartArgs {
    /// The name by which people know this node [default: the host's name]
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The TCP port for peers; 0 takes a free one [default: 8080]
    #[arg(long)]
    pub(crate) port: Option<u16>,

    /// The RAM given to the pool, such as 4gb or 25% [default: 25%]
    #[arg(long, value_name = "SIZE", value_parser = parse_share)]
    pub(crate) memory: Option<String>,

    /// The address on which peers are accepted [default: all]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<IpAddr>,

    /// How much of that memory one peer may use unless someone says otherwise [default: 50%]
    #[arg(long, value_name = "SIZE", value_parser = parse_share)]
    pub(crate) default_grant: Option<String>,

    /// Neither announce this node by mDNS nor look for others
    #[arg(long)]
    pub(crate) no_discovery: bool,

    /// More options for memnode, behind --; memnode --help lists them
    #[arg(last = true, value_name = "MEMNODE OPTIONS")]
    pub(crate) rest: Vec<OsString>,
}

/// `logs`
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Go on with new lines as they are written
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// How many of the last lines to begin with
    #[arg(short = 'n', long, value_name = "COUNT", default_value = LOG_LINES)]
    pub(crate) lines: usize,
}

/// `set`
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The key: 1 to 1,024 bytes of UTF-8
    #[arg(add = Names::Keys)]
    pub(crate) key: String,

    /// The value; - reads it from stdin
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,

    /// How long it is kept.
    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Where it is to lie.
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,

    /// Whether all peers are asked.
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
}

/// `get`
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// The key
    #[arg(add = Names::Keys)]
    pub(crate) key: String,

    /// Write to this file instead of stdout; it appears when it is whole
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Whether all peers are asked.
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
}

/// Whether an operation on keys asks all connected peers first.
#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct StrictArgs {
    /// Ask all connected peers first: the newest value of all is read, and a write is done when every peer knows of it
    #[arg(long)]
    pub(crate) strict: bool,
}

impl StrictArgs {
    /// The client for it.
    pub(crate) fn of(self, cloud: &memsdk::MemCloud) -> memsdk::MemCloud {
        if self.strict {
            cloud.strict()
        } else {
            cloud.clone()
        }
    }
}

/// `del`
#[derive(Args, Debug)]
pub(crate) struct DelArgs {
    /// The keys
    #[arg(required = true, value_name = "KEY", add = Names::Keys)]
    pub(crate) keys: Vec<String>,

    /// Whether all peers are asked.
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
}

/// `mget`
#[derive(Args, Debug)]
pub(crate) struct MgetArgs {
    /// The keys; for each that is there a line is printed: the key, a tab, the value
    #[arg(required = true, value_name = "KEY", add = Names::Keys)]
    pub(crate) keys: Vec<String>,

    /// Whether all peers are asked.
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
}

/// `mset`
#[derive(Args, Debug)]
pub(crate) struct MsetArgs {
    /// A key and its value, as often as wanted; - as a value is a dash, not stdin
    #[arg(required = true, value_names = ["KEY", "VALUE"], num_args = 2.., allow_negative_numbers = true)]
    pub(crate) pairs: Vec<OsString>,

    /// How they are kept.
    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Where it is to lie.
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,

    /// Whether all peers are asked.
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
}

/// How new data is kept.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct KeepArgs {
    /// Keep it for this long, such as 30s, 10m or 2h; without it, it stays for good
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    pub(crate) ttl: Option<Duration>,

    /// What happens when room is needed: pinned data stays, cache data may be dropped to make it
    #[arg(
        long,
        value_name = "MODE",
        default_value = "pinned",
        hide_default_value = true
    )]
    pub(crate) mode: Mode,
}

/// The class of new data, as it is typed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Mode {
    /// It stays until it is freed, or its time is over (the default)
    #[default]
    Pinned,
    /// It may be dropped
    Cache,
}

impl From<Mode> for BlockClass {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Pinned => BlockClass::Pinned,
            Mode::Cache => BlockClass::Cache,
        }
    }
}

/// Where new data is to lie.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct PlacementArgs {
    /// Store it on this peer and nowhere else: its name, its id or the first digits of its id
    #[arg(long, value_name = "NAME", conflicts_with = "remote", add = Names::Connected)]
    pub(crate) peer: Option<String>,

    /// Store it on a peer, whichever has room, and not on this machine
    #[arg(long)]
    pub(crate) remote: bool,
}

/// `store`
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    /// The value; - reads it from stdin
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,

    /// How long it is kept.
    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Where it is to lie.
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,
}

/// What stands at the end of `load --help`.
const LOAD_HELP: &str = "\
A range is two positions with a dash between them, the second one not included; either
may be left out: 1gb-1.5gb, 500mb-, -64kb for the first 64 KiB.

Broken off in the middle, what came of a large object is kept beside the file, and the
same command fetches the rest.";

/// `load`
#[derive(Args, Debug)]
#[command(after_help = LOAD_HELP)]
pub(crate) struct LoadArgs {
    /// The id that set, store or stream printed
    pub(crate) id: BlockId,

    /// Write to this file instead of stdout; it appears when it is whole
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Only a part of it, such as 1gb-1.5gb
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range, allow_hyphen_values = true)]
    pub(crate) range: Option<(u64, u64)>,

    /// Of a stream that is still being written: go on until it ends
    #[arg(long, conflicts_with = "range")]
    pub(crate) follow: bool,
}

/// A range of bytes: where it begins, and how many there are at most.
fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text
        .split_once('-')
        .ok_or_else(|| "a range is two positions with a dash between them, such as 1gb-1.5gb".to_owned())?;
    let from = match from {
        "" => 0,
        from => parse_size(from)?,
    };
    match to {
        "" => Ok((from, u64::MAX)),
        to => parse_size(to)?
            .checked_sub(from)
            .map(|length| (from, length))
            .ok_or_else(|| "the range ends before it begins".to_owned()),
    }
}

/// `free`
#[derive(Args, Debug)]
pub(crate) struct FreeArgs {
    /// The ids of blocks or streams
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<BlockId>,
}

/// `ttl` and `persist`
#[derive(Args, Debug)]
pub(crate) struct TtlArgs {
    /// The key, or with --id the id of a block or stream
    #[arg(add = Names::Keys)]
    pub(crate) name: String,

    /// The name is an id
    #[arg(long)]
    pub(crate) id: bool,
}

/// `expire`
#[derive(Args, Debug)]
pub(crate) struct ExpireArgs {
    /// What is to expire.
    #[command(flatten)]
    pub(crate) value: TtlArgs,

    /// How long it is kept from now on, such as 30s, 10m or 2h
    #[arg(value_name = "TIME", value_parser = parse_ttl)]
    pub(crate) ttl: Duration,
}

/// `keys`
#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    /// Patterns with *, ? and [a-z], in quotes so that the shell leaves them alone; a key that matches any is listed
    #[arg(default_value = "*", value_name = "PATTERN", num_args = 1..)]
    pub(crate) patterns: Vec<String>,

    /// List at most so many keys: whichever are found first, not the first by name
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,

    /// List only keys that were set on this machine
    #[arg(long)]
    pub(crate) local: bool,

    /// Show with each key the size, class and time to live of its value, and on which machine it lies
    #[arg(short, long)]
    pub(crate) long: bool,
}

/// `stats`
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Show them again and again until Ctrl-C: in place on a terminal, else one block, or with --json one line, each time
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// How long to wait in between, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval, requires = "follow")]
    pub(crate) interval: Duration,
}

/// A time from 100 ms on: shorter ones show nothing that could be read, and cost the node.
fn parse_interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= Duration::from_millis(100) => Ok(interval),
        Ok(_) => Err("the shortest interval is 100ms".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What stands at the end of `stream --help`.
const STREAM_HELP: &str = "\
Broken off, by Ctrl-C, a lost peer or a full stop, it keeps what it has for ten minutes: run
it again, and only what is missing is sent. What comes through a pipe can be read while
it grows:

    tail -f access.log | memcli stream
    memcli load ID --follow";

/// `stream`
#[derive(Args, Debug)]
#[command(after_help = STREAM_HELP)]
pub(crate) struct StreamArgs {
    /// The file; - reads stdin
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// The key under which it can be read with get, once it is whole
    #[arg(long, value_name = "KEY", add = Names::Keys)]
    pub(crate) name: Option<String>,

    /// Let the key name the stream from its first byte on, not only once it is whole
    #[arg(long, requires = "name")]
    pub(crate) live: bool,

    /// How long it is kept.
    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Where it is to lie.
    #[command(flatten)]
    pub(crate) holders: HolderArgs,
}

/// A time to live: a time that is neither 0 nor longer than the node can count.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match Ttl::try_from(ttl) {
        Ok(_) => Ok(ttl),
        Err(error) => Err(error.message),
    }
}

#[cfg(test)]
mod tests;
