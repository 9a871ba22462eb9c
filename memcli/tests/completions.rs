//! What real shells insert when Tab is pressed behind `memcli`, with a real node that has keys and a peer.
//!
//! Where a command was completed it is run: that its value is printed shows that what was inserted is quoted rightly.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

mod support;

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::Person;
use support::terminal::Terminal;

/// Keys that shells would take apart, each with what it holds.
const KEYS: [(&str, &str); 5] = [
    ("build:42", "the build"),
    ("my key", "a space"),
    ("it's", "a quote"),
    ("cash$HOME", "a dollar"),
    ("wild*", "a star"),
];

/// How many keys begin with `user:`: more than a shell is told of.
const USERS: usize = 250;

/// A person at a shell.
struct Desk {
    ann: Person,
    _workshop: Person,
    /// The person's home, with a folder `bin` in which `memcli` lies.
    home: tempfile::TempDir,
}

impl Desk {
    /// A desk with a node that has keys, and is connected to one that is called Workshop.
    fn new() -> Self {
        let (ann, workshop) = (Person::new("Ann"), Person::new("Workshop"));
        ann.befriend(&workshop);
        for (key, value) in KEYS {
            ann.ok(&["set", key, value]);
        }
        let users: Vec<String> = (0..USERS)
            .flat_map(|user| [format!("user:{user}"), format!("user no. {user}")])
            .collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        ann.ok(&[&["mset"], &users[..]].concat());
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_memcli"), bin.join("memcli")).unwrap();
        fs::create_dir(home.path().join("some folder")).unwrap();
        fs::write(home.path().join("some file"), "x").unwrap();
        Self {
            ann,
            _workshop: workshop,
            home,
        }
    }

    /// A command that finds `memcli`, which finds the node and has time to ask it.
    fn command(&self, program: &PathBuf) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap();
        command
            .env_clear()
            .current_dir(self.home.path())
            .env("PATH", format!("{}/bin:{path}", self.home.path().display()))
            .env("HOME", self.home.path())
            .env("LC_ALL", "C.UTF-8")
            .env("MEMCLOUD_SOCKET", self.ann.socket())
            .env("MEMCLOUD_COMPLETION_TIMEOUT", "1min");
        command
    }

    /// The script of a shell, in a file.
    fn script(&self, shell: &str) -> PathBuf {
        let file = self.home.path().join(shell);
        fs::write(&file, self.ann.ok(&["completions", shell])).unwrap();
        file
    }
}

/// Where a program lies. Without it the test has nothing to say, and says so.
fn shell(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// What is typed, what stands there when Tab was pressed, and what the command prints then.
fn check(terminal: &mut Terminal, typed: &str, completed: &str, printed: &str) {
    terminal.press(&format!("memcli {typed}\t"));
    terminal.expect(&format!("memcli {completed}"));
    terminal.press("\r");
    terminal.expect(printed);
    terminal.expect("ready>");
}

/// What holds in shells that are typed to.
fn check_all(terminal: &mut Terminal) {
    for (typed, completed, printed) in [
        ("get build:4", "get build:42 ", "the build"),
        ("get my", "get my\\ key ", "a space"),
        ("get 'my", "get 'my key' ", "a space"),
        ("get \"my k", "get \"my key\" ", "a space"),
        ("get it", "get it\\'s ", "a quote"),
        ("get cash", "get cash\\$HOME ", "a dollar"),
        ("get wil", "get wild\\* ", "a star"),
        (
            "set other v --peer=Wor",
            "set other v --peer=Workshop ",
            "Set 'other'",
        ),
        (
            "set other v --peer Wor",
            "set other v --peer Workshop ",
            "Set 'other'",
        ),
        (
            "peer update --quota 1mb Wor",
            "peer update --quota 1mb Workshop ",
            "'Workshop' may use",
        ),
        (
            "set file - < some\\ fi",
            "set file - < some\\ file ",
            "Set 'file'",
        ),
        ("get file -o some\\ fi", "get file -o some\\ file ", "some file"),
    ] {
        check(terminal, typed, completed, printed);
    }
    // Of many keys the next step is offered, and no space stands behind it.
    terminal.press("memcli get us\t");
    terminal.expect("memcli get user:");
    terminal.press("7\r");
    terminal.expect("user no. 7");
    terminal.expect("ready>");
}

#[test]
fn bash_completes_keys_peers_and_files_and_quotes_them() {
    let Some(bash) = shell("bash") else { return };
    let desk = Desk::new();
    let script = desk.script("bash");
    let mut command = desk.command(&bash);
    command
        .args(["--noprofile", "--norc", "-i"])
        .env("INPUTRC", "/dev/null")
        .env("PS1", "ready>");
    let mut terminal = Terminal::start(&mut command);
    terminal.expect("ready>");
    terminal.press(&format!("source '{}'\r", script.display()));
    terminal.expect("ready>");
    check_all(&mut terminal);
    terminal.press("exit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn zsh_completes_keys_peers_and_files_and_quotes_them() {
    let Some(zsh) = shell("zsh") else { return };
    let desk = Desk::new();
    let script = desk.script("zsh");
    let mut command = desk.command(&zsh);
    // Without the marks that zsh puts behind a line without an end, and without the list that it shows below the line.
    command
        .args(["-f", "-i", "-o", "no_prompt_sp", "-o", "no_auto_list"])
        .env("PS1", "ready>");
    let mut terminal = Terminal::start(&mut command);
    terminal.expect("ready>");
    terminal.press("autoload -Uz compinit && compinit -D -u\r");
    terminal.expect("ready>");
    terminal.press(&format!("source '{}'\r", script.display()));
    terminal.expect("ready>");
    check_all(&mut terminal);
    terminal.press("exit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn fish_is_offered_keys_peers_and_files() {
    let Some(fish) = shell("fish") else { return };
    let desk = Desk::new();
    let script = desk.script("fish");
    let offered = |line: &str| {
        let mut command = desk.command(&fish);
        let program = format!("source '{}'; complete --do-complete $argv[1]", script.display());
        let output = command
            .args(["--no-config", "-c", &program, line])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{line}: {output:?}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text
            .lines()
            .map(|line| line.split('\t').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    for (line, names) in [
        ("memcli conn", "connect"),
        ("memcli get build:4", "build:42"),
        ("memcli get my", "my key"),
        ("memcli get 'my k", "my key"),
        ("memcli get \"my k", "my key"),
        ("memcli get my\\ ", "my key"),
        ("memcli get it\\'", "it's"),
        ("memcli get cash", "cash$HOME"),
        ("memcli get us", "user:"),
        ("memcli set other v --peer Wor", "Workshop"),
        ("memcli set other v --peer=Wor", "--peer=Workshop"),
        ("memcli get file -o some\\ fi", "some file"),
        ("memcli push some", "some folder/"),
    ] {
        assert_eq!(offered(line), [names], "{line}");
    }
}

#[test]
fn where_no_node_answers_nothing_is_said() {
    let ann = Person::new("Ann");
    let line = "memcli --socket /nonexistent/memnode.sock get k";
    let output = ann.run(
        &[
            &["__complete", "zsh", "--"][..],
            &line.split(' ').collect::<Vec<_>>(),
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "names\n");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn powershell_asks_on_stdin() {
    let ann = Person::new("Ann");
    ann.ok(&["set", "my key", "v"]);
    let mut command = ann.command(&["__complete", "powershell"]);
    let mut typed = tempfile::tempfile().unwrap();
    write!(typed, "memcli\n--socket\n{}\nget\nmy\n", ann.socket().display()).unwrap();
    typed.rewind().unwrap();
    let output = command
        .stdin(typed)
        .env("MEMCLOUD_COMPLETION_TIMEOUT", "1min")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "names\nmy key\n");
}
