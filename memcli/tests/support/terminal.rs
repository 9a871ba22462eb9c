//! A program in a terminal of 80 columns and 24 lines, seen and typed to as by a person.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::PATIENCE;

/// The arrow keys.
pub(crate) const DOWN: &str = "\x1b[B";
/// Ctrl-C.
pub(crate) const CTRL_C: &str = "\x03";

/// A program in a terminal. It is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    /// Kept open, so that the terminal is there when the program has ended.
    line: File,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet expected, without sequences.
    shown: String,
}

impl Terminal {
    /// Starts a command in a terminal of its own.
    pub(crate) fn start(command: &mut Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits() as i32)
            .open(name.to_str().unwrap())
            .unwrap();
        let child = command
            .env("TERM", "xterm")
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line.try_clone().unwrap())
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut piece) {
                if sender.send(piece[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keyboard,
            line,
            screen,
            shown: String::new(),
        }
    }

    /// Waits until this text was shown, and forgets what came before its end.
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(piece) => self.see(&piece),
                Err(_) => panic!("'{text}' was not shown, but: {}", self.shown),
            }
        }
    }

    /// Types keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the program has ended, and left the terminal as it was. Returns its exit code and all that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        // What it wrote before it ended has gone through the terminal, perhaps not yet through the thread that reads.
        self.line.write_all(b"(ended)").unwrap();
        let mut shown = self.shown.clone();
        while !shown.contains("(ended)") {
            let piece = self.screen.recv_timeout(PATIENCE).unwrap();
            self.see(&piece);
            shown.clone_from(&self.shown);
        }
        (code, shown)
    }

    fn see(&mut self, piece: &[u8]) {
        // A character may be cut in two; no test looks for one of more than a byte.
        self.shown.push_str(&String::from_utf8_lossy(piece));
        self.shown = without_sequences(&self.shown);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text without control sequences (ECMA-48, 5.4). One that is cut off stays for the next look.
fn without_sequences(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at..];
        let end = sequence.get(2..).and_then(|parameters| {
            parameters
                .find(|c: char| ('\x40'..='\x7e').contains(&c))
                .map(|end| end + 3)
        });
        match end {
            Some(end) => rest = &sequence[end..],
            None => {
                plain.push_str(sequence);
                return plain;
            }
        }
    }
    plain.push_str(rest);
    plain
}
