//! Everything that a node can be told: each setting once, with its type, default, unit and explanation.
//!
//! A field of [`Settings`] is at the same time the flag `--some-limit`, the variable `MEMCLOUD_SOME_LIMIT` and the key
//! `some_limit` of config.toml. [`crate::config`] puts the layers together.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ArgAction;
use clap::builder::BoolishValueParser;
use memproto::limits::NODE_NAME_LEN_MAX;
use memproto::{ApiError, Ttl};

use crate::budget::Ram;
use crate::interfaces::InterfaceRules;
use crate::local::{ApiPort, UserGroup};
use crate::memory_file::MEMORY_FILES_MAX_DEFAULT;
use crate::size::ByteSize;

/// The command line of `memnode`.
#[derive(clap::Parser, Debug)]
#[command(
    name = "memnode",
    version,
    about = "Lends a share of this machine's RAM to the pool, and serves the programs on it.",
    after_help = after_help()
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) settings: Settings,

    /// The same as --discovery=false.
    #[arg(long, conflicts_with = "discovery", help_heading = "Peers")]
    pub(crate) no_discovery: bool,
}

/// What holds for all settings.
pub const NOTES: &str = "\
Every setting is a flag, an environment variable, and a key of config.toml in the node's folder, such as
`default_grant = \"2gb\"`. A flag goes before the variable, the variable before the file.

Sizes are in bytes, or with kb, mb, gb, tb; all are binary: 1gb = 1GiB = 1024 * 1024 * 1024 bytes.
Times are written like 500ms, 5s, 10m, 1day.";

/// The exit codes of `memnode`, with what they say.
pub const EXIT_CODES: [(u8, &str); 3] = [
    (0, "stopped as asked"),
    (1, "failed"),
    (2, "wrong flags or settings"),
];

fn after_help() -> String {
    let codes = EXIT_CODES.map(|(code, meaning)| format!("{code} {meaning}"));
    format!("{NOTES}\n\nExit codes: {}.", codes.join(", "))
}

/// What a node was told, or the default. Made by [`Settings::load`].
#[derive(clap::Args, Clone, Debug, PartialEq)]
pub struct Settings {
    // Where a default below is in words, `config` computes it before the words are looked at.
    //
    /// The name of this node, 1 to 63 bytes. People use it to name the node, and two nodes may share one.
    #[arg(long, value_name = "NAME", default_value = "this host's name", value_parser = parse_name)]
    #[arg(help_heading = "Node")]
    pub name: String,

    /// The folder of the node's files: config.toml, identity.key, trusted_devices.json, token, memnode.pid. It is made where it is
    /// missing, for this user alone. Not a key of config.toml.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "~/.memcloud",
        help_heading = "Node"
    )]
    pub home: PathBuf,

    /// The configuration file, for one that does not lie in the node's folder. It must exist where it is named here. A service of systemd
    /// finds its own in its ConfigurationDirectory. Not a key of config.toml.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "config.toml in the folder",
        help_heading = "Node"
    )]
    pub config: PathBuf,

    /// Leave the terminal: run in a session of its own and log to memnode.log in the folder. `memcli node start` uses it.
    #[arg(long, help_heading = "Node")]
    pub background: bool,

    /// The RAM that this node gives to the pool, in bytes or as a share of the machine's RAM in percent. Blocks, keys and
    /// the cost of their entries count. A quarter leaves the machine to its owner: the rest of the node takes some 10 MiB. Where the process
    /// may have less RAM (a container, MemoryMax of a service), a share is at most what fits: three quarters of the limit.
    #[arg(long, value_name = "SIZE", default_value = "25%", value_parser = parse_memory, help_heading = "Memory")]
    pub memory: u64,

    /// How much of --memory one peer may use where nobody names a figure, in bytes or in percent of it. Grants may add up to
    /// more than the memory; the memory decides. With half, no peer fills a node on its own.
    #[arg(long, value_name = "SIZE", default_value = "50%", help_heading = "Memory")]
    pub default_grant: Share,

    /// The most blocks that lie in memory files, from which programs of this host read them without a copy. Each takes an
    /// open file; there are fewer where the system lets a process have fewer, and none with 0. Other blocks lie in ordinary memory.
    #[arg(long, value_name = "N", default_value_t = MEMORY_FILES_MAX_DEFAULT, help_heading = "Memory")]
    pub memory_files_max: usize,

    /// How long a deletion is remembered, so that a peer that was away does not bring the key back. Each takes the room of its key meanwhile; a day
    /// outlasts a night.
    #[arg(long, value_name = "TIME", default_value = "1day", value_parser = humantime::parse_duration)]
    #[arg(help_heading = "Memory")]
    pub deletions_kept: Duration,

    /// For how long writes of keys are collected before peers are told of them. Longer is fewer messages, and a later moment at
    /// which two nodes that write one key know of each other. At most 1s.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = parse_announce_interval)]
    #[arg(help_heading = "Peers")]
    pub announce_interval: Duration,

    /// How long a stream is kept that nobody goes on writing, so that another attempt sends only what is missing; likewise the chunks of a peer's
    /// unfinished stream when that peer goes away.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_timeout, help_heading = "Memory")]
    pub unfinished_streams_kept: Duration,

    /// How long the pinned data of a peer that is away is kept whatever happens. Behind that it may be evicted, the oldest first, for what would
    /// find no room otherwise, until the peer is back. An hour outlasts a restart, a way between two networks and a lid that is closed
    /// over lunch.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_ttl, help_heading = "Memory")]
    pub absent_peers_data_kept: Ttl,

    /// The IP address on which peers are accepted. `::` is every address of the machine, IPv4 and IPv6; one address keeps to the network that it
    /// belongs to.
    #[arg(long, value_name = "IP", default_value = "::", help_heading = "Peers")]
    pub listen: IpAddr,

    /// The TCP port on which peers are accepted, and which a firewall has to let in. Each node announces its own, so that they need not be the
    /// same. 0 takes a free one, which `memcli node status` shows.
    #[arg(long, value_name = "PORT", default_value_t = 8080, help_heading = "Peers")]
    pub port: u16,

    /// Whether to announce this node by mDNS and to look for others. Without it peers are those that --peers names, or whoever dials this node; its name is
    /// not told to the network.
    #[arg(long, value_name = "BOOL", default_value = "true", help_heading = "Peers")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub discovery: bool,

    /// A network interface on which to announce this node and look for others, such as eth0 or 'en*'; then no other one is used. With
    /// '!' in front, one to leave out. It may be repeated, or hold several separated by commas; the last that matches decides. Unless
    /// named, those of containers, virtual machines and tunnels are left out. mDNS alone looks at it: peers are accepted everywhere
    /// on --listen.
    #[arg(
        long = "interface",
        alias = "interfaces",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[arg(value_parser = parse_interface, help_heading = "Peers")]
    pub interfaces: Vec<String>,

    /// Peers to dial from the start, separated by commas. It is no consent: they must be trusted, or `memcli connect`
    /// must name them.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_host_port)]
    #[arg(help_heading = "Peers")]
    pub peers: Vec<String>,

    /// The most links to peers. Each costs a connection and some hundred KiB of buffers; who comes behind them is refused.
    #[arg(long, value_name = "N", default_value = "256", value_parser = parse_limit, help_heading = "Peers")]
    pub peers_max: usize,

    /// The most peers that are remembered, connected or not. Anybody in the network can announce nodes that do not exist: what is forgotten first are
    /// those that were only announced.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = parse_limit, help_heading = "Peers")]
    pub peers_known_max: usize,

    /// The most connections of peers whose handshake is under way. When one more comes, the one that has waited longest is closed, so that silent connections
    /// keep out nobody but each other.
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_limit, help_heading = "Peers")]
    pub handshakes_max: usize,

    /// The most connections from one IP address whose handshake is under way: one machine that misbehaves does not push out the others.
    #[arg(long, value_name = "N", default_value = "16", value_parser = parse_limit, help_heading = "Peers")]
    pub handshakes_per_address_max: usize,

    /// How long a handshake may take. It is two round trips, which fit even on a bad wireless link; who says nothing for longer is cut off.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout, help_heading = "Peers")]
    pub handshake_timeout: Duration,

    /// How long to wait for a connection to a peer, at each of its addresses. In a LAN it takes milliseconds; longer is for networks that lose packets.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_timeout, help_heading = "Peers")]
    pub connect_timeout: Duration,

    /// The longest pause between two attempts to reach a trusted peer. The first one is 250ms, and each doubles: a peer that is back is found within
    /// this time, where mDNS does not tell of it.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_timeout, help_heading = "Peers")]
    pub redial_pause_max: Duration,

    /// The most peers that wait for the consent of the person at this machine: nobody looks through more, and strangers can ask as often as they like.
    #[arg(long, value_name = "N", default_value = "32", value_parser = parse_limit, help_heading = "Peers")]
    pub consents_max: usize,

    /// The most peers from one IP address that wait for the consent. Several nodes may run there.
    #[arg(long, value_name = "N", default_value = "8", value_parser = parse_limit, help_heading = "Peers")]
    pub consents_per_address_max: usize,

    /// How long a peer waits for the consent: the time to walk to the other machine.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_timeout, help_heading = "Peers")]
    pub consent_timeout: Duration,

    /// How long a code of `memcli pair` is good: the time to walk to the other machine and type it. It serves for one attempt.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_timeout, help_heading = "Peers")]
    pub pair_timeout: Duration,

    /// Whether to show a notification on the desktop when a peer asks for consent: with `notify-send`, on macOS with `osascript`.
    /// Nothing is shown where there is no such program.
    #[arg(long, value_name = "BOOL", default_value = "true", help_heading = "Peers")]
    #[arg(num_args = 0..=1, require_equals = false, default_missing_value = "true")]
    #[arg(action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub notify: bool,

    /// The trusted peers that may free all that this host's programs stored (`memcli flush --peer`), by name, id or the first digits of the
    /// id, separated by commas; `all` is every connected peer. A peer chooses its name itself: an id is certain.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Peers")]
    pub allow_flush: Vec<String>,

    /// The Unix socket of the local API. Its folder is made where it is missing, for this user alone.
    #[arg(long, value_name = "FILE", help_heading = "Local API")]
    #[arg(
        default_value = "memnode.sock in --home where that is given, else memcloud/memnode.sock in $XDG_RUNTIME_DIR"
    )]
    pub socket: PathBuf,

    /// A group of users whose members may use this node as its owner does, by name or number; Linux only. The socket is then the
    /// group's, too (mode 0660), and so is its folder where the node makes it. Without it the owner and root alone are let in.
    #[arg(long, value_name = "GROUP", value_parser = parse_group, help_heading = "Local API")]
    pub socket_group: Option<UserGroup>,

    /// The most connections of programs of this host; a program has one, unless it asks for more. Behind them programs are refused.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = parse_limit, help_heading = "Local API")]
    pub local_connections_max: usize,

    /// How long the node looks for the next request of a program that has been quick, before it sleeps, and twice as long for what a quick peer
    /// says: that saves the time of being woken, at the price of some processor time while programs or peers ask. At most 1ms; 0s is not at all.
    #[arg(long, value_name = "TIME", default_value = "50us", value_parser = parse_look_again, help_heading = "Local API")]
    pub look_again: Duration,

    /// The TCP port of the local API, for programs that have no Unix sockets. `auto` is 7070, and no TCP where another
    /// program has that port; 0 takes a free one, which `memcli node status` shows; `off` is no TCP.
    #[arg(long, value_name = "PORT", default_value = "auto", help_heading = "Local API")]
    pub api_port: ApiPort,

    /// The address of the local API on TCP. It is a loopback address, since what is said there is not encrypted.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", value_parser = parse_loopback)]
    #[arg(help_heading = "Local API")]
    pub api_listen: IpAddr,

    /// What to log: error, warn, info, debug or trace, also for parts alone, such as `info,memnode::peer=debug`. With debug
    /// it also tells of each attempt, handshake and link.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_log_level, help_heading = "Log")]
    pub log_level: String,

    /// Log to this file instead of stderr. `memcli node start` names memnode.log in the folder; a service of the system keeps what comes on stderr.
    #[arg(long, value_name = "FILE", help_heading = "Log")]
    pub log_file: Option<PathBuf>,

    /// The size at which a log file is put aside and a new one begun, 4 KiB or more.
    #[arg(long, value_name = "SIZE", default_value = "10mb", value_parser = parse_log_size, help_heading = "Log")]
    pub log_file_size: u64,

    /// How many log files that were put aside are kept. With --log-file-size they are what the log may take on the disk.
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Log")]
    pub log_files_kept: usize,

    /// The other flags where `--background` is among them: what starts the node again. `None` also where one is not UTF-8.
    #[arg(skip)]
    pub started_with: Option<Vec<String>>,
}

impl Settings {
    /// The grant of a peer for which nobody named one, in bytes.
    pub fn default_grant_bytes(&self) -> u64 {
        self.default_grant.of(self.memory)
    }
}

/// An amount of memory: a figure, or a part of a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the whole, 0 to 100.
    Percent(u8),
}

impl Share {
    /// The share in bytes.
    pub fn of(self, whole_bytes: u64) -> u64 {
        match self {
            Share::Bytes(bytes) => bytes,
            // In 128 bits, for a whole of 2^64 bytes times 100 does not fit 64.
            Share::Percent(percent) => (u128::from(whole_bytes) * u128::from(percent) / 100) as u64,
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(|ByteSize(bytes)| Share::Bytes(bytes));
        };
        match percent.trim().parse() {
            Ok(percent @ 0..=100) => Ok(Share::Percent(percent)),
            _ => Err(format!(
                "'{text}' is no share: percent are a whole number from 0 to 100"
            )),
        }
    }
}

fn parse_memory(text: &str) -> Result<u64, String> {
    match text.parse()? {
        Share::Bytes(bytes) => Ok(bytes),
        Share::Percent(percent) => {
            let ram = Ram::of_this_process()
                .ok_or("this system does not tell how much RAM there is: name a size, such as 4gb")?;
            Ok(ram.budget_bytes(percent))
        }
    }
}

/// Checks the name of a node: 1 to [`NODE_NAME_LEN_MAX`] bytes without control characters.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NODE_NAME_LEN_MAX {
        return Err(format!(
            "a name has 1 to {NODE_NAME_LEN_MAX} bytes, this one has {}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("the name {text:?} has control characters"));
    }
    if text.trim() != text {
        return Err(format!("the name '{text}' begins or ends with a space"));
    }
    Ok(text.to_owned())
}

fn parse_interface(text: &str) -> Result<String, String> {
    InterfaceRules::new(&[text])?;
    Ok(text.to_owned())
}

fn parse_group(text: &str) -> Result<UserGroup, String> {
    let id = crate::platform::group_id(text)
        .map_err(|error| format!("the group '{text}' cannot be used: {error}"))?;
    let id = id.ok_or_else(|| {
        format!("this machine has no group '{text}': make it with `sudo groupadd --system {text}`, or name another one")
    })?;
    Ok(UserGroup {
        name: text.to_owned(),
        id,
    })
}

fn parse_host_port(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is no HOST:PORT, such as 192.168.1.7:8080 or desk.local:8080");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    // An IPv6 address stands in brackets: without them its last group would pass for the port.
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_is_fine =
        !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains(char::is_whitespace);
    match port.parse::<u16>() {
        Ok(1..) if host_is_fine => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

fn parse_loopback(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => Ok(address),
        Ok(_) => Err(format!(
            "'{text}' can be reached from other hosts: the local API listens on a loopback address, such as 127.0.0.1 or ::1"
        )),
        Err(_) => Err(format!("'{text}' is no IP address")),
    }
}

fn parse_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit @ 1..=1_000_000) => Ok(limit),
        _ => Err(format!("'{text}' is no whole number from 1 to 1000000")),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a time of 0 leaves no time at all".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(format!(
            "'{text}' is no time ({error}): write it like 500ms, 5s or 10m"
        )),
    }
}

fn parse_ttl(text: &str) -> Result<Ttl, String> {
    parse_timeout(text)?
        .try_into()
        .map_err(|error: ApiError| error.message)
}

fn parse_look_again(text: &str) -> Result<Duration, String> {
    // Beyond that no program is quick, and others would notice.
    const LOOK_AGAIN_MAX: Duration = Duration::from_millis(1);
    match humantime::parse_duration(text) {
        Ok(time) if time <= LOOK_AGAIN_MAX => Ok(time),
        Ok(_) => Err(format!("'{text}' is too long: at most 1ms")),
        Err(error) => Err(format!(
            "'{text}' is no time ({error}): write it like 50us, or 0s for not at all"
        )),
    }
}

fn parse_announce_interval(text: &str) -> Result<Duration, String> {
    // A person would notice more.
    const ANNOUNCE_INTERVAL_MAX: Duration = Duration::from_secs(1);
    match humantime::parse_duration(text) {
        Ok(time) if time <= ANNOUNCE_INTERVAL_MAX => Ok(time),
        Ok(_) => Err(format!("'{text}' is too long: at most 1s")),
        Err(error) => Err(format!("'{text}' is no time ({error}): write it like 5ms")),
    }
}

fn parse_log_level(text: &str) -> Result<String, String> {
    // A word that is no level would pass for the name of a part, of which everything is then logged.
    for word in text.split(',').filter(|word| !word.contains('=')) {
        let level = word.trim().parse::<tracing_subscriber::filter::LevelFilter>();
        level.map_err(|_| format!("'{word}' is no level: error, warn, info, debug, trace or off"))?;
    }
    tracing_subscriber::EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn parse_log_size(text: &str) -> Result<u64, String> {
    // Below this a log would be put aside every few lines.
    const SIZE_MIN: u64 = 4096;
    match text.parse()? {
        ByteSize(size) if size < SIZE_MIN => Err(format!("a log file has at least {SIZE_MIN} bytes")),
        ByteSize(size) => Ok(size),
    }
}
