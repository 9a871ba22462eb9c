//! What every command needs: how to print, and how to reach the node.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memproto::control::NodeStatus;
use memsdk::{Builder, MemCloud};

use crate::cli::Globals;
use crate::exit::{Failure, Outcome, reason};
use crate::output::Output;

/// How long a node of this host may take to say who it is. It answers in a millisecond; one that is stopped by a
/// debugger or swapped out does not.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// How to print.
    pub(crate) output: Output,
    socket: Option<OsString>,
    home: Option<OsString>,
}

impl Context {
    /// What the options of every command say.
    pub(crate) fn new(globals: &Globals) -> Self {
        Self {
            output: Output::new(globals),
            socket: globals.socket.clone(),
            home: globals.home.clone(),
        }
    }

    /// The node's socket, by the rules that every client follows.
    pub(crate) fn socket(&self) -> Outcome<PathBuf> {
        let variable = |name: &str| match name {
            "MEMCLOUD_SOCKET" => self.socket.clone(),
            "MEMCLOUD_HOME" => self.home.clone(),
            other => env::var_os(other),
        };
        memproto::local::client_socket_path(variable, Path::exists).ok_or_else(|| {
            Failure::Other("HOME is not set: say where the node is with --socket or --home".to_owned())
        })
    }

    /// The folder of the node's files.
    pub(crate) fn home(&self) -> Outcome<PathBuf> {
        let given = self
            .home
            .clone()
            .filter(|home| !home.is_empty())
            .map(PathBuf::from);
        given
            .or_else(|| {
                Some(Path::new(&env::var_os("HOME").filter(|home| !home.is_empty())?).join(".memcloud"))
            })
            .ok_or_else(|| {
                Failure::Other("HOME is not set: say where the node's files are with --home".to_owned())
            })
    }

    /// What `--socket` and `--home` say, for a node that is to be started there.
    pub(crate) fn places(&self) -> Vec<OsString> {
        let place = |flag: &str, value: &Option<OsString>| {
            let value = value.clone().filter(|value| !value.is_empty());
            value.map(|value| [flag.into(), value]).into_iter().flatten()
        };
        place("--home", &self.home)
            .chain(place("--socket", &self.socket))
            .collect()
    }

    /// Connects to the node.
    ///
    /// # Errors
    /// `NotRunning`, which says how to start it.
    pub(crate) async fn connect(&self) -> Outcome<MemCloud> {
        let socket = self.socket()?;
        open(&socket, MemCloud::builder())
            .await?
            .ok_or_else(|| not_running(&socket))
    }

    /// The running node, or `None` where there is none.
    ///
    /// # Errors
    /// Where something is at the socket that does not answer as a node does.
    pub(crate) async fn probe(&self) -> Outcome<Option<(MemCloud, NodeStatus)>> {
        let probe = MemCloud::builder().timeout(PROBE_TIMEOUT);
        let Some(cloud) = open(&self.socket()?, probe).await? else {
            return Ok(None);
        };
        let status = cloud.status().await?;
        Ok(Some((cloud, status)))
    }
}

/// Connects to the node at a socket; `None` where there is none.
async fn open(socket: &Path, builder: Builder) -> Outcome<Option<MemCloud>> {
    let name = concat!("memcli/", env!("CARGO_PKG_VERSION"));
    match builder.socket(socket).name(name).connect().await {
        Ok(cloud) => Ok(Some(cloud)),
        Err(memsdk::Error::NotRunning { .. }) => Ok(None),
        Err(memsdk::Error::Io(error)) => Err(Failure::Other(format!(
            "cannot reach the node at {}: {}",
            socket.display(),
            reason(&error)
        ))),
        Err(error) => Err(error.into()),
    }
}

/// The node is down: one line that says so and how to start it.
pub(crate) fn not_running(socket: &Path) -> Failure {
    Failure::NotRunning(format!(
        "the node is not running (nothing answers at {}); start it with: memcli node start",
        socket.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(socket: Option<&str>, home: Option<&str>) -> Context {
        let output = Output::new(&Globals {
            json: false,
            quiet: false,
            color: crate::cli::ColorWhen::Auto,
            socket: None,
            home: None,
        });
        Context {
            output,
            socket: socket.map(Into::into),
            home: home.map(Into::into),
        }
    }

    #[test]
    fn the_socket_lies_in_the_home_unless_it_is_named() {
        assert_eq!(
            context(None, Some("/h")).socket().unwrap(),
            Path::new("/h/memnode.sock")
        );
        assert_eq!(context(Some("/s"), Some("/h")).socket().unwrap(), Path::new("/s"));
        assert_eq!(
            context(Some(""), Some("/h")).socket().unwrap(),
            Path::new("/h/memnode.sock")
        );
        assert_eq!(context(None, Some("/h")).home().unwrap(), Path::new("/h"));
    }

    #[test]
    fn a_node_is_started_where_the_options_say() {
        assert!(context(None, None).places().is_empty());
        assert_eq!(
            context(Some("/s"), Some("/h")).places(),
            ["--home", "/h", "--socket", "/s"]
        );
        assert_eq!(context(Some("/s"), Some("")).places(), ["--socket", "/s"]);
    }
}
