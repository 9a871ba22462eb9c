//! Hosts whose nodes are all connected, and a model of what their keys may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use memproto::control::PeerState;
use serde::Deserialize;
use xtask::lab::{Lab, LabHost};
use xtask::node::Node;
use xtask::wait;

use super::{HOSTS, KEYS_EACH, MEMORY, PATIENCE};
use crate::scene::{self, PORT, REDIALLED};

/// Hosts whose nodes are connected each with each, and what their keys may hold.
pub(super) struct Mesh {
    pub(super) lab: Lab,
    pub(super) nodes: Vec<Option<Node>>,
    /// For each key the values that may be its newest. None is a key that is deleted.
    newest: Mutex<BTreeMap<String, BTreeSet<Option<String>>>>,
}

impl Mesh {
    /// Nodes that all agreed, and keys of each.
    pub(super) fn new() -> Result<Self> {
        let mesh = Self::unconnected()?;
        mesh.agree(HOSTS)?;
        mesh.fill(HOSTS)?;
        Ok(mesh)
    }

    pub(super) fn unconnected() -> Result<Self> {
        let lab = scene::hosts(HOSTS)?;
        let nodes = thread::scope(|scope| {
            let starting: Vec<_> = lab
                .hosts()
                .iter()
                .map(|host| scope.spawn(|| scene::start_with_memory(host, MEMORY)))
                .collect();
            starting
                .into_iter()
                .map(|node| node.join().expect("starting a node does not panic").map(Some))
                .collect::<Result<_>>()
        })?;
        Ok(Self {
            lab,
            nodes,
            newest: Mutex::default(),
        })
    }

    pub(super) fn host(&self, index: usize) -> &LabHost {
        &self.lab.hosts()[index]
    }

    /// The persons at the first hosts all connect to all others at the same moment: that is everybody's consent.
    pub(super) fn agree(&self, hosts: usize) -> Result<()> {
        let mut connecting = Vec::new();
        for from in 0..hosts {
            for to in (0..hosts).filter(|to| *to != from) {
                let target = self.host(to).at(PORT);
                connecting.push(
                    self.host(from)
                        .memcli_start(["connect", &target, "--quota", MEMORY])?,
                );
            }
        }
        for command in connecting {
            command.wait(PATIENCE)?.ok()?;
        }
        for index in 0..hosts {
            self.wait_for_peers(index, hosts - 1)?;
        }
        Ok(())
    }

    /// Each of the first hosts writes keys of its own and reads all keys. With that every node knows who answers for them: what
    /// goes wrong from here on comes after the announcements.
    pub(super) fn fill(&self, hosts: usize) -> Result<()> {
        for index in 0..hosts {
            let keys: Vec<String> = (0..KEYS_EACH).map(|key| format!("{index}-{key}")).collect();
            self.write(index, &keys, "first", Fault::None)?;
        }
        for index in 0..hosts {
            let read = self.read(index, Fault::None)?;
            if let Some((key, _)) = read.iter().find(|(_, value)| value.is_none()) {
                bail!("{key} is not seen at {}", self.host(index).name());
            }
        }
        Ok(())
    }

    fn wait_for_peers(&self, index: usize, peers: usize) -> Result<()> {
        let host = self.host(index);
        let what = format!("{peers} peers at {}", host.name());
        wait::until(&what, REDIALLED, || -> Result<_> {
            let status = host.status()?;
            if status.peers_connected == peers {
                return Ok(Some(()));
            }
            let peers: Vec<String> = host.peers()?.iter().map(|peer| format!("{peer:?}")).collect();
            Err(anyhow!(
                "{} are connected: {}",
                status.peers_connected,
                peers.join("; ")
            ))
        })
    }

    pub(super) fn wait_until_lost(&self, at: usize, peer: usize) -> Result<()> {
        scene::wait_for_state(self.host(at), self.host(peer).name(), PeerState::Lost, PATIENCE).map(drop)
    }

    /// Writes keys at a host. What is acknowledged is the newest value; what is not may be.
    pub(super) fn write(&self, at: usize, keys: &[String], value: &str, fault: Fault) -> Result<()> {
        let value = format!("{value} of {}", self.host(at).name());
        let mut args = vec!["mset", "--json"];
        args.extend(keys.iter().flat_map(|key| [key.as_str(), value.as_str()]));
        let finished = self.host(at).memcli(args)?;
        let answer: Answer = finished.json().with_context(|| finished.to_string())?;
        answer.check(fault)?;
        let mut newest = self
            .newest
            .lock()
            .expect("no code panics while it holds the model");
        for key in keys {
            let may_be = newest.entry(key.clone()).or_default();
            if answer.set.contains(key) && fault != Fault::OnBothSides {
                may_be.clear();
            }
            may_be.insert(Some(value.clone()));
        }
        Ok(())
    }

    /// Deletes a key at a host that reaches nobody who writes it meanwhile.
    pub(super) fn delete(&self, at: usize, key: &str) -> Result<()> {
        self.host(at).memcli(["del", key])?.ok()?;
        let mut newest = self
            .newest
            .lock()
            .expect("no code panics while it holds the model");
        newest.insert(key.to_owned(), BTreeSet::from([None]));
        Ok(())
    }

    /// Takes note that the process that answered for these keys is gone, and they with it.
    pub(super) fn forget(&self, keys: &[String]) {
        let mut newest = self
            .newest
            .lock()
            .expect("no code panics while it holds the model");
        for key in keys {
            newest.insert(key.clone(), BTreeSet::from([None]));
        }
    }

    /// Reads all keys at a host.
    pub(super) fn read(&self, at: usize, fault: Fault) -> Result<BTreeMap<String, Option<String>>> {
        let newest = self
            .newest
            .lock()
            .expect("no code panics while it holds the model");
        let keys: Vec<String> = newest.keys().cloned().collect();
        drop(newest);
        let mut args = vec!["mget", "--json"];
        args.extend(keys.iter().map(String::as_str));
        let finished = self.host(at).memcli(args)?;
        let answer: Answer = finished.json().with_context(|| finished.to_string())?;
        answer.check(fault)?;
        let values = answer
            .values
            .into_iter()
            .map(|value| (value.key, Some(value.text)));
        Ok(values
            .chain(answer.missing.into_iter().map(|key| (key, None)))
            .collect())
    }

    /// Waits until all links are up, and every node reads the same newest value of every key.
    pub(super) fn heals(&self) -> Result<()> {
        for index in 0..HOSTS {
            self.wait_for_peers(index, HOSTS - 1)?;
        }
        wait::until("one truth everywhere", PATIENCE, || -> Result<_> {
            let first = self.read(0, Fault::None)?;
            let newest = self
                .newest
                .lock()
                .expect("no code panics while it holds the model");
            for (key, may_be) in &*newest {
                let value = first.get(key).with_context(|| format!("no answer for {key}"))?;
                ensure!(
                    may_be.contains(value),
                    "{key} is {value:?}, not one of {may_be:?}"
                );
            }
            drop(newest);
            for index in 1..HOSTS {
                let other = self.read(index, Fault::None)?;
                let differing = first.iter().find(|(key, value)| other.get(*key) != Some(*value));
                if let Some((key, value)) = differing {
                    bail!(
                        "{key} is {value:?} at a and {:?} at {}",
                        other.get(key),
                        self.host(index).name()
                    );
                }
            }
            Ok(Some(()))
        })
    }
}

/// What is wrong while a command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Nothing: every command succeeds.
    None,
    /// Some peers are out of reach, or may be.
    Unreachable,
    /// Likewise, and hosts that are out of reach have written the same keys: one of the values wins.
    OnBothSides,
}

/// What `mget --json` and `mset --json` print.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Answer {
    set: BTreeSet<String>,
    values: Vec<Value>,
    missing: Vec<String>,
    failed: Vec<Failed>,
}

#[derive(Deserialize, Debug)]
struct Value {
    key: String,
    text: String,
}

#[derive(Deserialize, Debug)]
struct Failed {
    key: String,
    code: String,
    message: String,
}

impl Answer {
    /// Whether the failures are those that belong to the fault.
    fn check(&self, fault: Fault) -> Result<()> {
        let is_honest = |failed: &&Failed| {
            fault != Fault::None && matches!(failed.code.as_str(), "peer_unreachable" | "timeout")
        };
        match self.failed.iter().find(|failed| !is_honest(failed)) {
            None => Ok(()),
            Some(Failed { key, code, message }) => bail!("{key} failed with {code}: {message}"),
        }
    }
}
