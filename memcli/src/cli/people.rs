//! What can be typed about other nodes and their people.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_interval;
use crate::completion::Names;
use crate::size::parse_size;

/// How long `connect` waits for the other person: as long as a request for consent lives there.
const CONNECT_TIMEOUT: &str = "5m";

/// `connect`
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// A name or id from "memcli peer list", or HOST:PORT
    #[arg(add = Names::Peers)]
    pub(crate) target: String,

    /// How much of this machine's budget the other may use, such as 2gb; 0 for reading only [default: the node's setting default_grant]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) quota: Option<u64>,

    /// Agree for this connection only; otherwise the other node is trusted for good once it agreed
    #[arg(long)]
    pub(crate) once: bool,

    /// Go on where HOST:PORT leads to a node with the name of a trusted device, but with another key
    #[arg(long)]
    pub(crate) accept_new_key: bool,

    /// Do not wait until the other person answered
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) no_wait: bool,

    /// How long to wait for the other person, such as 30s or 5m
    #[arg(long, value_name = "TIME", default_value = CONNECT_TIMEOUT, value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// `pair`
#[derive(Args, Debug)]
#[command(after_help = "\
Run it without a code at one machine, and with the code that it shows at the other one. \
The code serves for one attempt, and for some minutes.
With --json the machine that shows the code prints two lines: the code, and how it ended.")]
pub(crate) struct PairArgs {
    /// The code that the other machine shows; without it this one shows a code and waits
    pub(crate) code: Option<String>,

    /// Where the code is offered, for machines that are not found by themselves: a name or id from "memcli peer list", or
    /// HOST:PORT
    #[arg(long, value_name = "NAME", requires = "code", add = Names::Peers)]
    pub(crate) at: Option<String>,

    /// How much of this machine's budget the other may use, such as 2gb; 0 for reading only [default: the node's setting default_grant]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) quota: Option<u64>,
}

/// `peer ...`
#[derive(Subcommand, Debug)]
pub(crate) enum PeerCommand {
    /// List the nodes that this one knows, with what is lent, borrowed, sent and received
    List(PeerListArgs),
    /// End the connection to a node; it is not dialled again by itself
    Disconnect {
        /// Its name, its id or the first digits of its id
        #[arg(add = Names::Connected)]
        name: String,
    },
    /// Change how much of this machine's budget a node may use
    Update(PeerUpdateArgs),
}

/// `peer update`
#[derive(Args, Debug)]
pub(crate) struct PeerUpdateArgs {
    /// Its name, its id or the first digits of its id
    #[arg(add = Names::Peers)]
    pub(crate) name: String,

    /// How much it may use from now on, such as 2gb; 0 for reading only. Where it uses more, its cached data is evicted until
    /// the rest fits; what it pinned stays
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) quota: u64,
}

/// `peer list`
#[derive(Args, Debug)]
pub(crate) struct PeerListArgs {
    /// Show them again and again until Ctrl-C: in place on a terminal, else one block, or with --json one line, each time
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// How long to wait in between, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval, requires = "follow")]
    pub(crate) interval: Duration,
}

/// `consent`
#[derive(Args, Debug)]
pub(crate) struct ConsentArgs {
    /// Allow this node until the connection ends
    #[arg(long, value_name = "ID", group = "answer", add = Names::Waiting)]
    pub(crate) allow: Option<String>,

    /// Trust this node for good
    #[arg(long, value_name = "ID", group = "answer", add = Names::Waiting)]
    pub(crate) trust: Option<String>,

    /// Refuse this node
    #[arg(long, value_name = "ID", group = "answer", add = Names::Waiting)]
    pub(crate) deny: Option<String>,

    /// How much of this machine's budget the node may use, such as 2gb; 0 for reading only [default: the node's setting default_grant]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "deny")]
    pub(crate) quota: Option<u64>,

    /// List those that wait for an answer as soon as there is one
    #[arg(long, conflicts_with = "answer")]
    pub(crate) wait: bool,

    /// How long to wait for one, such as 30s or 5m; without it for as long as it takes
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
}

/// `trust ...`
#[derive(Subcommand, Debug)]
pub(crate) enum TrustCommand {
    /// List the devices that are trusted for good
    List,
    /// Print the key of this machine's node, for "memcli trust add" on others
    Key,
    /// Trust a device for good by its key, also before it was ever met; the node must run
    Add(TrustAddArgs),
    /// Trust a device no longer and end its connection
    Remove(TrustRemoveArgs),
}

/// `trust add`
#[derive(Args, Debug)]
pub(crate) struct TrustAddArgs {
    /// Its key: the 64 digits that "memcli trust key" prints there
    pub(crate) key: String,

    /// The name by which it is known here until it is met
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,

    /// How much of this machine's budget it may use, such as 2gb; 0 for reading only [default: the node's setting default_grant]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) quota: Option<u64>,
}

/// `trust remove`
#[derive(Args, Debug)]
pub(crate) struct TrustRemoveArgs {
    /// Its name, its id or the first digits of its id
    #[arg(add = Names::Trusted)]
    pub(crate) name: String,

    /// Free what the device stored here
    #[arg(long, conflicts_with = "keep")]
    pub(crate) free: bool,

    /// Keep what the device stored here
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `flush`
#[derive(Args, Debug)]
pub(crate) struct FlushArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Flush this node instead, where its owner allows it (its setting allow_flush)
    #[arg(long, value_name = "NAME", add = Names::Connected)]
    pub(crate) peer: Option<String>,
}
