//! The names of peers and keys, from the running node.
//!
//! They are quick or they are not there: a person waits for them with a finger on Tab.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::time::Duration;

use clap::builder::ArgExt;
use clap_complete::engine::CompletionCandidate;
use memproto::NodeId;
use memproto::control::PeerState;
use memsdk::MemCloud;

use crate::cli::{ColorWhen, Globals};
use crate::context::Context;

/// How long the node may take in all, unless the variable [`TIMEOUT_VARIABLE`] says otherwise. A person notices more than 100 ms and puts up with this much; a node of this host answers within 10 ms, a peer
/// in the same house within 50.
const TIMEOUT: Duration = Duration::from_millis(300);

/// The variable of the environment that says how long it may take, for who has peers far away.
const TIMEOUT_VARIABLE: &str = "MEMCLOUD_COMPLETION_TIMEOUT";

/// The most keys that are looked at: some pages of the node's, enough to tell their next steps by.
const KEYS_SEEN_MAX: usize = 10_000;

/// The most names that are offered: some screens full, behind which nobody looks.
const NAMES_MAX: usize = 200;

/// What parts a key into steps, by custom.
const KEY_SEPARATORS: [char; 2] = [':', '/'];

/// Which names an argument takes: a mark of its definition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Names {
    /// Keys of the pool.
    Keys,
    /// Nodes that this one knows, connected or not.
    Peers,
    /// Nodes that are connected.
    Connected,
    /// Devices that are trusted for good.
    Trusted,
    /// Nodes that wait for consent.
    Waiting,
}

impl ArgExt for Names {}

/// The node that is asked.
#[derive(Clone, Debug)]
pub(super) struct Node {
    globals: Globals,
    /// Whether the words speak of ids and not of keys.
    is_about_ids: bool,
}

impl Node {
    /// The node that these words name with `--socket` or `--home`, else that of the environment.
    pub(super) fn named_in(words: &[String]) -> Self {
        let named = |option: &str, variable: &str| -> Option<OsString> {
            let behind = words.iter().zip(words.iter().skip(1));
            let behind = behind
                .filter(|(word, _)| *word == option)
                .map(|(_, value)| value.as_str());
            let within = words
                .iter()
                .filter_map(|word| word.strip_prefix(option)?.strip_prefix('='));
            behind
                .chain(within)
                .last()
                .map(OsString::from)
                .or_else(|| env::var_os(variable))
        };
        Self {
            globals: Globals {
                json: false,
                quiet: true,
                color: ColorWhen::Never,
                socket: named("--socket", "MEMCLOUD_SOCKET"),
                home: named("--home", "MEMCLOUD_HOME"),
            },
            is_about_ids: words.iter().any(|word| word == "--id"),
        }
    }

    /// The names that begin with this, as far as they are there before the deadline.
    pub(super) fn names(&self, names: Names, prefix: &str) -> Vec<CompletionCandidate> {
        if names == Names::Keys && self.is_about_ids {
            return Vec::new();
        }
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return Vec::new();
        };
        let mut found = Found::default();
        // What was found until then is good also where the deadline passed or an error came.
        let _ = runtime
            .block_on(async { tokio::time::timeout(timeout(), self.find(names, prefix, &mut found)).await });
        runtime.shutdown_background();
        found.candidates(prefix)
    }

    async fn find(&self, names: Names, prefix: &str, found: &mut Found) -> Option<()> {
        let cloud = Context::new(&self.globals).connect().await.ok()?;
        match names {
            Names::Keys => found.find_keys(&cloud, prefix).await?,
            Names::Peers | Names::Connected => {
                for peer in cloud.peers().await.ok()? {
                    if names == Names::Peers || peer.state == PeerState::Connected {
                        found
                            .nodes
                            .push((peer.name, peer.id, peer.state.as_words().to_owned()));
                    }
                }
            }
            Names::Trusted => {
                for device in cloud.trusted().await.ok()? {
                    found
                        .nodes
                        .push((device.name, Some(device.id), "trusted".to_owned()));
                }
            }
            Names::Waiting => {
                for request in cloud.consent_requests().await.ok()? {
                    let help = format!("asks from {}, code {}", request.address, request.code);
                    found.nodes.push((request.name, Some(request.id), help));
                }
            }
        }
        Some(())
    }
}

/// What the node told.
#[derive(Default, Debug)]
struct Found {
    keys: BTreeSet<String>,
    /// The name, id and help of each node.
    nodes: Vec<(String, Option<NodeId>, String)>,
}

impl Found {
    async fn find_keys(&mut self, cloud: &MemCloud, prefix: &str) -> Option<()> {
        let mut scan = cloud.scan(pattern_of(prefix));
        while let Some(page) = scan.next_page().await.ok()? {
            self.keys.extend(page);
            if self.keys.len() >= KEYS_SEEN_MAX {
                break;
            }
        }
        Some(())
    }

    fn candidates(self, prefix: &str) -> Vec<CompletionCandidate> {
        let names = nodes(&self.nodes).filter(|(name, _)| name.starts_with(prefix));
        let mut candidates: Vec<CompletionCandidate> = names
            .take(NAMES_MAX)
            .map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into())))
            .collect();
        let keys = if self.keys.len() > NAMES_MAX {
            steps(&self.keys, prefix)
        } else {
            self.keys
        };
        candidates.extend(keys.into_iter().take(NAMES_MAX).map(CompletionCandidate::new));
        candidates
    }
}

fn timeout() -> Duration {
    let named = env::var(TIMEOUT_VARIABLE).ok();
    named
        .and_then(|text| humantime::parse_duration(&text).ok())
        .unwrap_or(TIMEOUT)
}

/// The pattern of the keys that begin with this.
fn pattern_of(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if "*?[]\\^".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "*"
}

/// What the keys have in common up to the next separator, in the place of many keys: as shells offer folders, and not all that is in them.
fn steps(keys: &BTreeSet<String>, prefix: &str) -> BTreeSet<String> {
    let step = |key: &String| {
        let next = key.get(prefix.len()..).and_then(|rest| rest.find(KEY_SEPARATORS));
        next.map_or_else(|| key.clone(), |at| key[..=prefix.len() + at].to_owned())
    };
    keys.iter().map(step).collect()
}

/// How each node is named: by its name, or by the first digits of its id where another has that name too.
fn nodes(nodes: &[(String, Option<NodeId>, String)]) -> impl Iterator<Item = (String, String)> {
    let is_shared = |name: &str| nodes.iter().filter(|(other, ..)| other == name).count() > 1;
    nodes.iter().map(move |(name, id, help)| match id {
        Some(id) if is_shared(name) => (id.short(), format!("{name}, {help}")),
        Some(id) => (name.clone(), format!("{}, {help}", id.short())),
        None => (name.clone(), help.clone()),
    })
}

#[cfg(test)]
mod tests {
    use memproto::pattern::Glob;

    use super::*;

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        for prefix in ["", "a", "a*", "[x]", "a\\b", "^?"] {
            let pattern = Glob::new(&pattern_of(prefix)).unwrap();
            for rest in ["", "x", "*"] {
                assert!(pattern.matches(&format!("{prefix}{rest}")), "{prefix}{rest}");
            }
            assert!(
                prefix.is_empty() || !pattern.matches(&format!("x{prefix}")),
                "{prefix}"
            );
        }
        assert!(!Glob::new(&pattern_of("a*")).unwrap().matches("ab"));
        assert!(!Glob::new(&pattern_of("[ab]")).unwrap().matches("a"));
        for prefix in ["a\\", "^"] {
            assert!(!Glob::new(&pattern_of(prefix)).unwrap().matches("ab"));
        }
    }

    #[test]
    fn many_keys_are_offered_by_their_next_step() {
        let keys = set(&["user:1:a", "user:1:b", "user:2", "user/x", "usual"]);
        assert_eq!(steps(&keys, "us"), set(&["user:", "user/", "usual"]));
        let keys = set(&["user:1:a", "user:1:b", "user:2"]);
        assert_eq!(steps(&keys, "user:"), set(&["user:1:", "user:2"]));
        assert_eq!(steps(&keys, "user:1"), set(&["user:1:", "user:2"]));
    }

    #[test]
    fn two_nodes_with_one_name_are_told_apart_by_their_ids() {
        let known = [1, 2, 3].map(|byte| {
            let name = if byte == 3 { "b" } else { "a" };
            (
                name.to_owned(),
                Some(NodeId::from_bytes([byte; 16])),
                "connected".to_owned(),
            )
        });
        let named: Vec<_> = nodes(&known).collect();
        let expected = [
            ("01010101", "a, connected"),
            ("02020202", "a, connected"),
            ("b", "03030303, connected"),
        ];
        assert_eq!(
            named,
            expected.map(|(name, help)| (name.to_owned(), help.to_owned()))
        );
    }

    #[test]
    fn the_node_is_the_one_that_the_words_name_last() {
        let node = |line: &str| Node::named_in(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(node("memcli --socket /a get").globals.socket.unwrap(), "/a");
        assert_eq!(
            node("memcli --socket /a get --socket=/b").globals.socket.unwrap(),
            "/b"
        );
        assert_eq!(node("memcli --home=/h get").globals.home.unwrap(), "/h");
        assert!(node("memcli ttl --id").is_about_ids);
    }
}
