//! A real node for a test, which ends with it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that is killed when this is dropped.
pub(crate) struct NodeProcess {
    #[allow(dead_code, reason = "not every test asks the system about it")]
    pub(crate) child: Child,
    /// What it logged until it ran.
    #[allow(dead_code, reason = "not every test reads it")]
    pub(crate) log: String,
}

impl NodeProcess {
    /// Starts a node on free ports of loopback, in a folder of its own, and waits until it runs.
    #[allow(dead_code, reason = "not every test starts one like this")]
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        Self::start_with(home, &[args, &["--notify=off"]].concat(), &[])
    }

    /// As [`start`](Self::start), with notifications and with these variables in its environment.
    #[allow(dead_code, reason = "not every test sets any")]
    pub(crate) fn start_with(home: &Path, args: &[&str], variables: &[(&str, &Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_memnode"))
            .env_clear()
            .envs(variables.iter().copied())
            .args(["--port=0", "--listen=127.0.0.1", "--no-discovery"])
            .args(args)
            .arg("--home")
            .arg(home)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        while !log.contains("the node runs") {
            assert_ne!(
                stderr.read_line(&mut log).unwrap(),
                0,
                "memnode did not start: {log}"
            );
        }
        Self { child, log }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
