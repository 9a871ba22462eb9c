//! A node that tells the desktop who asks for consent, with a program that stands in for the desktop's.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "this is all test code")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use support::NodeProcess;

/// After how long a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Puts a `notify-send` into a folder that writes its arguments into a pipe beside it.
fn stand_in(folder: &Path) {
    let program = folder.join("notify-send");
    fs::write(
        &program,
        "#!/bin/sh\nprintf '%s\\n' \"$@\" \"${NOTIFY_SOCKET-not told}\" >\"${0%/*}/told\"\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("told"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
}

/// Where a node accepts peers, as its log says.
fn peer_address(log: &str) -> &str {
    let (_, behind) = log.rsplit_once("peers=[").unwrap();
    behind.split([',', ']']).next().unwrap()
}

#[test]
fn the_desktop_is_told_who_asks_and_which_command_answers() {
    let folder = tempfile::tempdir().unwrap();
    let [asked, asking, bin] = ["asked", "asking", "bin"].map(|name| folder.path().join(name));
    fs::create_dir(&bin).unwrap();
    stand_in(&bin);
    let node = NodeProcess::start_with(
        &asked,
        &["--name=Asked"],
        &[("PATH", &bin), ("NOTIFY_SOCKET", &folder.path().join("nobody"))],
    );
    let address = peer_address(&node.log).to_owned();
    let (sender, told) = mpsc::channel();
    let pipe = bin.join("told");
    std::thread::spawn(move || sender.send(fs::read_to_string(pipe).unwrap()));
    let _other = NodeProcess::start(&asking, &["--name=Asking; $(x)", "--peers", &address]);
    let told = told.recv_timeout(PATIENCE).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[..3],
        ["--app-name=MemCloud", "--", "'Asking; $(x)' asks to connect"]
    );
    assert!(lines[3].starts_with("From 127.0.0.1, id "), "{told}");
    let command = format!("Answer with: memcli --home {} consent", asked.display());
    assert!(lines[3].ends_with(&command), "{told}");
    assert_eq!(
        lines[4..],
        ["not told"],
        "a program of the node could speak to the service manager in its name"
    );
}
