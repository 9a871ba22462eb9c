//! What the doctor asks about the peers, see [`crate::doctor`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use memproto::NodeId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::{PeerReply, PeerRequest};

use super::attempt::Obstacle;
use super::{Peers, dialer, network};
use crate::body::Body;
use crate::discovery::{Discovery, Heard};

/// How long a connected peer may take to tell its time.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked whether this node's own announcement came back.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How mDNS does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Multicast {
    /// It is switched off.
    Off,
    /// It did not start, and why.
    Failed(String),
    /// What is heard.
    Heard(Heard),
}

/// Who answered at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// Its id.
    pub(crate) id: NodeId,
    /// The name it gives itself.
    pub(crate) name: String,
}

/// How far the clock of a peer is from that of this machine. One of the two is 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClockOffset {
    /// The peer.
    pub(crate) name: String,
    /// By how much the peer's clock is ahead.
    pub(crate) ahead: Duration,
    /// By how much it is behind.
    pub(crate) behind: Duration,
}

impl Peers {
    /// How mDNS does. Waits `within` the time for this node's own announcement to come back on all interfaces in use.
    pub(crate) async fn multicast(&self, within: Duration) -> Multicast {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let Some(heard) = self.heard() else {
                return match self.state().network.discovery_error.clone() {
                    Some(error) => Multicast::Failed(error),
                    None => Multicast::Off,
                };
            };
            let interfaces = self.interfaces();
            let is_everywhere =
                network::used_interfaces(&interfaces).all(|used| heard.own_on.contains(&used.name));
            if is_everywhere || tokio::time::Instant::now() >= deadline {
                return Multicast::Heard(heard);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn heard(&self) -> Option<Heard> {
        let discovery = self.discovery.lock().expect("no code panics while it holds mDNS");
        discovery.as_ref().map(Discovery::heard)
    }

    /// Whether a peer has a link that it began: then its way to this node's port is free.
    pub(crate) fn was_reached(&self) -> bool {
        self.state().table.links().any(|slot| !slot.facts.we_dialled)
    }

    /// Where a peer may be.
    pub(crate) fn addresses_of(&self, id: NodeId) -> Vec<SocketAddr> {
        let state = self.state();
        state
            .table
            .get(id)
            .map(super::entry::Entry::addresses)
            .unwrap_or_default()
    }

    /// The addresses of `HOST:PORT`.
    ///
    /// # Errors
    /// As for `connect`.
    pub(crate) async fn look_up(&self, target: &str) -> ApiResult<Vec<SocketAddr>> {
        match tokio::time::timeout(self.config.connect_timeout, dialer::resolve_host(target)).await {
            Ok(addresses) => addresses,
            Err(_) => Err(ApiError::new(
                ErrorCode::Timeout,
                format!(
                    "the name service does not say where '{}' is",
                    target.escape_debug()
                ),
            )),
        }
    }

    /// Connects to an address until who answers has proved who it is, and breaks off: it does not learn who asked.
    pub(crate) async fn try_address(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Answer, Obstacle> {
        let met = self.attempt(address, expected, 0).await?;
        let peer = &met.shaken.established.peer;
        Ok(Answer {
            id: peer.node_id,
            name: peer.name.clone(),
        })
    }

    /// The clocks of all connected peers that tell them in time.
    pub(crate) async fn clock_offsets(&self) -> Vec<ClockOffset> {
        let links = self.connected();
        let ask = links.iter().map(|link| async move {
            let begin = Instant::now();
            let before = self.surroundings().unix_ms();
            let reply =
                tokio::time::timeout(CLOCK_TIMEOUT, link.request(PeerRequest::Clock, Body::empty())).await;
            let Ok(Ok((PeerReply::Clock { unix_ms }, _))) = reply else {
                return None;
            };
            // It answered somewhere in between; half way is as good a guess as any.
            let ours = Duration::from_millis(before) + begin.elapsed() / 2;
            let theirs = Duration::from_millis(unix_ms);
            Some(ClockOffset {
                name: link.name().to_owned(),
                ahead: theirs.saturating_sub(ours),
                behind: ours.saturating_sub(theirs),
            })
        });
        join_all(ask).await.into_iter().flatten().collect()
    }
}
