//! What `memcli` says and how it ends where no node is needed.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home without a node.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memcli"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .env("MEMCLOUD_HOME", self.path().join("node"))
            .env("MEMCLOUD_API_PORT", "off")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Every command that needs a node.
const NEED_A_NODE: &[&[&str]] = &[
    &["node", "stop"],
    &["node", "restart"],
    &["node", "status"],
    &["set", "k", "v"],
    &["set", "k", "-"],
    &["get", "k"],
    &["del", "k"],
    &["mget", "k", "l"],
    &["mset", "k", "v", "l", "-1"],
    &["store", "v"],
    &["store", "-"],
    &["load", "1"],
    &["load", "1", "-o", "out"],
    &["free", "1"],
    &["ttl", "k"],
    &["expire", "k", "10m"],
    &["persist", "--id", "1"],
    &["keys", "*"],
    &["stats"],
    &["stats", "--follow"],
    &["stream", "-"],
    &["push", ".", "--name", "k"],
    &["pull", "k", "out"],
    &["bench"],
    &["connect", "nodeb"],
    &["peer", "list"],
    &["peer", "disconnect", "nodeb"],
    &["consent"],
    &["consent", "--allow", "nodeb"],
    &["trust", "list"],
    &["trust", "remove", "nodeb", "--keep"],
    &["trust", "remove", "nodeb"],
    &["trust", "key"],
    &["trust", "add", "00", "--name", "nodeb"],
    &["consent", "--wait"],
    &["peer", "list", "--follow"],
    &["flush"],
    &["flush", "--yes", "--peer", "nodeb"],
];

#[test]
fn with_the_node_down_every_command_says_so_in_one_line_and_how_to_start_it() {
    let home = Home::new();
    for arguments in NEED_A_NODE {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {output:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        let socket = home.path().join("node/memnode.sock");
        assert_eq!(
            stderr(&output),
            format!(
                "error: the node is not running (nothing answers at {}); start it with: memcli node start\n",
                socket.display()
            ),
            "{arguments:?}"
        );
    }
    assert!(!home.path().join("out").exists(), "nothing was written");
}

#[test]
fn with_json_the_error_is_one_object_on_stderr() {
    let home = Home::new();
    for arguments in NEED_A_NODE {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let output = home.run(&arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["code"], "not_running", "{arguments:?}");
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .contains("memcli node start")
        );
    }
}

#[test]
fn a_dead_socket_is_a_node_that_does_not_run() {
    let home = Home::new();
    let socket = home.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let output = home.run(&["get", "k", "--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains(socket.to_str().unwrap()), "{output:?}");
}

#[test]
fn the_socket_of_the_environment_is_used() {
    let home = Home::new();
    let output = home
        .command(&["get", "k"])
        .env("MEMCLOUD_SOCKET", "/nowhere/sock")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("/nowhere/sock"), "{output:?}");
    let output = home
        .command(&["get", "k"])
        .env_remove("MEMCLOUD_HOME")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("/.memcloud/memnode.sock"), "{output:?}");
}

#[test]
fn help_names_every_command_and_exit_code() {
    let output = Home::new().run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for word in [
        "node", "logs", "set", "get", "del", "mget", "mset", "store", "load", "free", "keys", "stats",
        "stream", "bench", "connect", "peer", "consent", "trust", "flush", "version",
    ] {
        assert!(
            stdout(&output).contains(&format!("\n  {word} ")),
            "{word}: {}",
            stdout(&output)
        );
    }
    assert!(stdout(&output).contains("Exit codes:"));
    assert!(stdout(&output).contains("NO_COLOR"));
    assert_eq!(Home::new().run(&["--version"]).status.code(), Some(0));
}

#[test]
fn wrong_usage_ends_with_2_and_is_json_where_that_was_asked_for() {
    let home = Home::new();
    for arguments in [
        &["nonsense"][..],
        &[],
        &["get"],
        &["load", "0"],
        &["load", "nine"],
        &["connect", "a:1", "--quota", "lots"],
        &["store", "v", "--peer", "b", "--remote"],
        &["set", "", "v"],
        &["trust", "add", "00"],
        &["consent", "--wait", "--allow", "b"],
        &["consent", "--timeout", "1s"],
        &["peer", "list", "--interval", "1s"],
        &["mget"],
        &["stats", "--follow", "--interval", "0s"],
        &["stats", "--interval", "1s"],
        &["mset", "k"],
        &["mset", "k", "v", "l"],
        &["mset", "", "v"],
    ] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        let output = home.run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(
            ["usage", "invalid_argument"].contains(&error["error"]["code"].as_str().unwrap()),
            "{error}"
        );
        assert!(
            !error["error"]["message"].as_str().unwrap().is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_pattern_that_the_shell_expanded_is_recognised() {
    let home = Home::new();
    fs::write(home.path().join("a.txt"), "").unwrap();
    fs::write(home.path().join("b.txt"), "").unwrap();
    for (patterns, said) in [
        (
            &["a.txt", "b.txt"][..],
            Some("all 2 patterns are names of files here"),
        ),
        (&["a.txt"], Some("'a.txt' is the name of a file here")),
        (&["a.txt", "c.txt"], None),
        (&["*"], None),
        (&[], None),
    ] {
        let output = home.run(&[&["keys"], patterns].concat());
        let (hint, error) = stderr(&output).split_once("error: ").unwrap();
        assert!(error.contains("the node is not running"), "{output:?}");
        match said {
            None => assert_eq!(hint, "", "{patterns:?}"),
            Some(said) => {
                assert!(hint.starts_with("note: ") && hint.contains(said), "{output:?}");
                assert!(hint.contains("memcli keys '*'"), "{output:?}");
            }
        }
        assert!(!stderr(&home.run(&[&["keys", "-q"], patterns].concat())).contains("note"));
    }
}

#[test]
fn a_file_that_is_not_there_is_named_before_the_node_is_asked() {
    let output = Home::new().run(&["stream", "none.bin"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "error: cannot read 'none.bin': No such file or directory\n"
    );
}

#[test]
fn version_works_without_a_node() {
    let home = Home::new();
    let output = home.run(&["version"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        stdout(&output),
        format!("memcli  {}\nmemnode not running\n", env!("CARGO_PKG_VERSION"))
    );
    let output = home.run(&["version", "--json"]);
    let versions: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["memnode"], serde_json::Value::Null);
}

#[test]
fn logs_are_shown_whether_or_not_the_node_runs() {
    let home = Home::new();
    let output = home.run(&["logs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no log at"), "{output:?}");
    fs::create_dir(home.path().join("node")).unwrap();
    fs::write(home.path().join("node/memnode.log"), "one\ntwo\nthree\n").unwrap();
    assert_eq!(stdout(&home.run(&["logs"])), "one\ntwo\nthree\n");
    assert_eq!(stdout(&home.run(&["logs", "-n", "1"])), "three\n");
    let output = home.run(&["logs", "-n", "2", "--json"]);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["lines"], serde_json::json!(["two", "three"]));
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let home = Home::new();
    fs::create_dir(home.path().join("node")).unwrap();
    fs::write(home.path().join("node/memnode.log"), "line\n".repeat(100_000)).unwrap();
    let mut child = home
        .command(&["logs", "-n", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let home = Home::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = home
        .command(&["version"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("No space left on device"), "{output:?}");
}

#[test]
fn colours_are_only_for_terminals_unless_asked_for() {
    let home = Home::new();
    assert!(!stderr(&home.run(&["get", "k"])).contains('\u{1b}'));
    assert!(stderr(&home.run(&["get", "k", "--color", "always"])).contains('\u{1b}'));
    let output = home
        .command(&["get", "k", "--color", "never"])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(!stderr(&output).contains('\u{1b}'));
}

/// A program named `memnode` beside a copy of `memcli`, which the copy then starts.
#[test]
fn a_node_that_does_not_start_is_told_with_what_it_wrote() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::hard_link(env!("CARGO_BIN_EXE_memcli"), bin.join("memcli"))
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_memcli"), bin.join("memcli")).map(drop))
        .unwrap();
    let run = |arguments: &[&str]| {
        Command::new(bin.join("memcli"))
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .env("MEMCLOUD_HOME", home.path().join("node"))
            .env("MEMCLOUD_API_PORT", "off")
            .output()
            .unwrap()
    };

    let output = run(&["node", "start"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("install it beside memcli"), "{output:?}");

    let memnode = bin.join("memnode");
    fs::write(
        &memnode,
        "#!/bin/sh\necho \"got $*\"\necho 'port 8080 is in use' >&2\nexit $CODE\n",
    )
    .unwrap();
    fs::set_permissions(&memnode, fs::Permissions::from_mode(0o755)).unwrap();
    let output = run(&[
        "node",
        "start",
        "--port",
        "8080",
        "--memory",
        "1gb",
        "--",
        "--log-level",
        "debug",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with("error: the node did not start (exit status: "),
        "{text}"
    );
    assert!(
        text.contains("--port 8080 --memory 1073741824 --log-level debug\n"),
        "{text}"
    );
    assert!(text.ends_with("\n  port 8080 is in use\n"), "{text}");
}
