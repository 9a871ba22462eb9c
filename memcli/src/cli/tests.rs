//! What is understood and what is refused.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
    Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_takes_the_global_options_behind_it() {
    for line in [
        "memcli node status --json",
        "memcli peer list --json -q",
        "memcli get k --socket /tmp/s --home /tmp/h",
        "memcli keys a* --color never",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    assert!(parse("memcli trust list --json").unwrap().globals.json);
}

#[test]
fn sizes_times_and_ids_are_checked_before_anything_happens() {
    let Command::Connect(args) = parse("memcli connect a:1 --quota 2gb --timeout 30s")
        .unwrap()
        .command
    else {
        panic!("connect")
    };
    assert_eq!(
        (args.quota, args.timeout),
        (Some(2 << 30), Duration::from_secs(30))
    );
    for line in [
        "memcli connect a:1 --quota lots",
        "memcli load 0",
        "memcli set k v --ttl 0s",
        "memcli expire k 0s",
        "memcli store v --ttl soon",
        "memcli stream --ttl 1000000years",
        "memcli free x",
        "memcli node start --port 65536",
        "memcli node start --memory 101%",
    ] {
        assert_eq!(
            parse(line).unwrap_err(),
            clap::error::ErrorKind::ValueValidation,
            "{line}"
        );
    }
}

#[test]
fn a_time_to_live_is_read() {
    let Command::Set(args) = parse("memcli set k v --ttl 1h30m").unwrap().command else {
        panic!("set")
    };
    assert_eq!(args.keep.ttl, Some(Duration::from_secs(90 * 60)));
    let Command::Stream(args) = parse("memcli stream f").unwrap().command else {
        panic!("stream")
    };
    assert_eq!(args.keep.ttl, None);
}

#[test]
fn the_mode_is_read_wherever_something_is_written() {
    let keeps = [
        "set k v",
        "mset k v l -1",
        "store v",
        "stream f",
        "push d --name k",
    ]
    .map(|line| {
        let line = format!("memcli {line} --mode cache --ttl 5s");
        match parse(&line).unwrap().command {
            Command::Set(args) => args.keep,
            Command::Mset(args) => args.keep,
            Command::Store(args) => args.keep,
            Command::Stream(args) => args.keep,
            Command::Push(args) => args.keep,
            _ => panic!("{line}"),
        }
    });
    for keep in keeps {
        assert_eq!((keep.mode, keep.ttl), (Mode::Cache, Some(Duration::from_secs(5))));
    }
    let Command::Mset(args) = parse("memcli mset --ttl 5s k v").unwrap().command else {
        panic!("mset")
    };
    assert_eq!((args.pairs.len(), args.keep.mode), (2, Mode::Pinned));
    assert!(parse("memcli set k v --mode volatile").is_err());
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    for line in [
        "memcli store x --peer b --remote",
        "memcli consent --allow a --deny b",
        "memcli consent --deny a --quota 1gb",
        "memcli trust remove a --free --keep",
        "memcli connect a --no-wait --timeout 3s",
        "memcli push d --name k --peer a --remote",
        "memcli push d --name k --local --peer a",
        "memcli push d --name k --remote --local",
    ] {
        assert_eq!(
            parse(line).unwrap_err(),
            clap::error::ErrorKind::ArgumentConflict,
            "{line}"
        );
    }
}

#[test]
fn a_dash_and_a_negative_number_are_values() {
    assert!(parse("memcli set k -").is_ok());
    assert!(parse("memcli store -5").is_ok());
    assert!(parse("memcli stream -").is_ok());
    assert!(parse("memcli stream").is_ok());
}

#[test]
fn a_tree_has_a_name_and_what_it_leaves_out() {
    let line = "memcli push d --name k --exclude -* --exclude !a --exclude-from f --peer a --peer b";
    let Command::Push(args) = parse(line).unwrap().command else {
        panic!("push")
    };
    assert_eq!(
        (
            args.exclude.len(),
            args.exclude_from.len(),
            args.holders.peer.len()
        ),
        (2, 1, 2)
    );
    assert!(parse("memcli push d").is_err() && parse("memcli pull k").is_err());
    assert!(parse("memcli pull k d --delete").is_ok());
}

#[test]
fn options_behind_two_dashes_go_to_memnode() {
    let cli = parse("memcli node start --name A -- --log-level debug").unwrap();
    let Command::Node(NodeCommand::Start(args)) = cli.command else {
        panic!("node start")
    };
    assert_eq!(args.rest, ["--log-level", "debug"]);
}
