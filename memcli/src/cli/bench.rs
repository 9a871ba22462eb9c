//! What can be typed behind `bench`.

use std::time::Duration;

use clap::Args;
use memproto::local::BATCH_KEYS_MAX;

use crate::bench::Operation;
use crate::size::parse_size;

/// The most connections of `bench`. Each takes a descriptor here and one in the node, of 1,024 that programs usually have.
const CLIENTS_MAX: i64 = 1_000;

/// The most threads of `bench`: far more than help on any machine.
const THREADS_MAX: i64 = 256;

/// What stands at the end of `bench --help`.
const BENCH_HELP: &str = "\
The keys begin with memcli-bench: and lie on this node alone. They are deleted and
blocks are freed at the end, after Ctrl-C too. A del deletes each key once, so it ends
when its keys are gone. A store frees what it stored in between, which counts as time
but not as a request.
A time is that from the write of a request, with those that are in flight with it, to
its reply.";

/// `bench`
#[derive(Args, Debug)]
#[command(after_help = BENCH_HELP)]
pub(crate) struct BenchArgs {
    /// What to measure, in this order [default: all]
    #[arg(value_enum, value_name = "OPERATION")]
    pub(crate) operations: Vec<Operation>,

    /// The size of a value, or several sizes, such as 1kb,64kb,1mb
    #[arg(short = 'd', long, value_name = "SIZE", default_value = "1kb")]
    #[arg(value_delimiter = ',', value_parser = parse_size)]
    pub(crate) size: Vec<u64>,

    /// How many connections to open
    #[arg(short, long, value_name = "COUNT", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub(crate) clients: u32,

    /// How many requests to have in flight on each connection
    #[arg(short = 'P', long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pipeline: u32,

    /// How many requests to make of each operation
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 100_000,
        conflicts_with = "duration"
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,

    /// Measure each operation for this long instead, such as 10s
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,

    /// How many keys or blocks the requests are spread over [default: 10000, or what half of the free room holds]
    #[arg(short = 'r', long, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keyspace: Option<u64>,

    /// How many keys there are in one request of mset and mget
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=BATCH_KEYS_MAX as i64))]
    pub(crate) batch: u32,

    /// How many threads serve the connections [default: one for each core, at most one for each connection]
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=THREADS_MAX))]
    pub(crate) threads: Option<u32>,
}

/// A time that is not 0.
fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("the shortest time is 1ms".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
