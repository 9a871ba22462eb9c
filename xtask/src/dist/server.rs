//! A web server on loopback that has a release, and hands it out well or badly: what tests of the installer take it from.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a client may take to ask for what it is expected to.
const PATIENCE: Duration = Duration::from_secs(60);

/// How archives are handed out; other files always come whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Whole.
    Whole,
    /// The connection ends after half of what was announced.
    Broken,
    /// Half, without saying how much there is.
    Cut,
    /// Half, and then nothing more for as long as the other side waits.
    Stuck,
    /// They are not there.
    Missing,
}

/// A server. Its threads end with the process; they hold nothing.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Server {
    /// Serves the files of a folder on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(release: &Path, manner: Manner) -> Result<Self> {
        Self::with_listener(TcpListener::bind("127.0.0.1:0")?, release, manner)
    }

    /// Serves the files of a folder where somebody listens already, such as in another network.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn with_listener(listener: TcpListener, release: &Path, manner: Manner) -> Result<Self> {
        let address = listener.local_addr()?;
        let (tell, asked) = channel();
        let folder = release.to_owned();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (folder, tell) = (folder.clone(), tell.clone());
                // A client that goes away is what some tests are about.
                thread::spawn(move || answer(connection, &folder, manner, &tell).ok());
            }
        });
        Ok(Self { address, asked })
    }

    /// Where it is, without a slash behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until a file whose name ends so is asked for, and what the server gives of it is on its way.
    ///
    /// # Errors
    /// When nobody asks for a minute.
    pub fn wait_for(&self, ending: &str) -> Result<()> {
        loop {
            let name = self
                .asked
                .recv_timeout(PATIENCE)
                .with_context(|| format!("nobody asked for {ending}"))?;
            if name.ends_with(ending) {
                return Ok(());
            }
        }
    }

    /// The files that were asked for since the last look.
    pub fn asked_for(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

fn answer(mut connection: TcpStream, folder: &Path, manner: Manner, tell: &Sender<String>) -> Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let name = request
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix('/'))
        .context("no path")?
        .to_owned();
    let manner = if name.ends_with(".tar.gz") {
        manner
    } else {
        Manner::Whole
    };
    let path: PathBuf = folder.join(&name);
    let Some(bytes) = fs::read(path).ok().filter(|_| manner != Manner::Missing) else {
        connection.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(tell.send(name)?);
    };
    let length = match manner {
        Manner::Cut => String::new(),
        _ => format!("Content-Length: {}\r\n", bytes.len()),
    };
    write!(connection, "HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n")?;
    let sent = match manner {
        Manner::Whole | Manner::Missing => bytes.len(),
        Manner::Broken | Manner::Cut | Manner::Stuck => bytes.len() / 2,
    };
    connection.write_all(&bytes[..sent])?;
    tell.send(name)?;
    if manner == Manner::Stuck {
        // Until the other side hangs up.
        connection.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
