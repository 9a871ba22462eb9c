//! A bare connection between two hosts: what the wire gives a file that nobody encrypts, checks or stores.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::lab::LabHost;

/// How much is read and written at a time.
const STEP: usize = 1 << 20;

/// How long a read or write may wait.
const STALL_MAX: Duration = Duration::from_secs(20);

/// Sends a file of one host into a file of another one. Returns the time from before the connection is opened until the last byte is written.
pub(super) fn copy(from: &LabHost, to: &LabHost, source: &Path, copy: &Path) -> Result<Duration> {
    let listener = to.in_network(|| TcpListener::bind((to.address(), 0)))?;
    let port = listener.local_addr()?.port();
    let start = Instant::now();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Result<()> {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(STALL_MAX))?;
            pass(stream, File::create(copy)?)
        });
        let sent = from.dial(to, port).and_then(|stream| {
            stream.set_write_timeout(Some(STALL_MAX))?;
            // Dropped at its end, which is the end for the receiver too.
            pass(File::open(source)?, stream)
        });
        sent.context("a bare connection did not send")?;
        receiver.join().expect("a receiver does not panic")
    })?;
    Ok(start.elapsed())
}

/// Moves all bytes. Unlike `io::copy` it never lets the kernel move them past this program, which no program that encrypts could do.
fn pass(mut from: impl Read, mut to: impl Write) -> Result<()> {
    let mut step = vec![0; STEP];
    loop {
        match from.read(&mut step)? {
            0 => return Ok(()),
            read => to.write_all(&step[..read])?,
        }
    }
}
