//! What stands between the links of a node and its service: nothing, or a defect, to see whether the checker finds out.
//!
//! So the daemon's own code knows nothing of defects.

use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use memnode::body::Body;
use memnode::service::{PeerEvents, Service};
use memproto::NodeId;
use memproto::control::GrantUse;
use memproto::peer::{PeerReply, PeerRequest};

/// What every node of a run does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// It confirms that it dropped an older value, and keeps it.
    KeepsOldValues,
    /// It does not take note of the keys that are announced.
    IgnoresAnnouncements,
    /// It confirms that it freed blocks, and keeps them.
    KeepsFreedBlocks,
}

impl Defect {
    /// What the node says instead of doing what is asked.
    fn answer(self, request: &PeerRequest, usage: GrantUse) -> Option<BoxFuture<'static, (PeerReply, Body)>> {
        let reply = match (self, request) {
            (Defect::KeepsOldValues, PeerRequest::Outdate { .. }) => PeerReply::Outdated {
                dropped: true,
                newer: None,
            },
            (Defect::KeepsFreedBlocks, PeerRequest::Free { ids }) => PeerReply::Freed {
                blocks: ids.len() as u64,
                bytes: 0,
                usage,
            },
            _ => return None,
        };
        Some(std::future::ready((reply, Body::empty())).boxed())
    }
}

/// The service as its links see it. They do not keep it alive: a run would keep all its stores, for links and service hold each other.
pub struct Front {
    service: Weak<Service>,
    defect: Option<Defect>,
}

impl Front {
    /// In front of a service, with a defect or without one.
    pub fn of(service: &Arc<Service>, defect: Option<Defect>) -> Arc<Self> {
        Arc::new(Self {
            service: Arc::downgrade(service),
            defect,
        })
    }
}

impl PeerEvents for Front {
    fn handle_peer_request(
        &self,
        peer: NodeId,
        incarnation: u64,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)> {
        let Some(service) = self.service.upgrade() else {
            return std::future::pending().boxed();
        };
        let request = match (self.defect, request) {
            (Some(Defect::IgnoresAnnouncements), PeerRequest::Reconcile { clock, complete, .. }) => {
                PeerRequest::Reconcile {
                    keys: Vec::new(),
                    clock,
                    complete,
                }
            }
            (_, request) => request,
        };
        let answer = self
            .defect
            .and_then(|defect| defect.answer(&request, service.lent(peer)));
        match answer {
            Some(answer) => answer,
            None => service.handle_peer_request(peer, incarnation, request, body),
        }
    }

    fn peer_connected(&self, peer: NodeId, incarnation: u64, quota_bytes: u64) {
        if let Some(service) = self.service.upgrade() {
            service.peer_connected(peer, incarnation, quota_bytes);
        }
    }

    fn peer_disconnected(&self, peer: NodeId) {
        if let Some(service) = self.service.upgrade() {
            service.peer_disconnected(peer);
        }
    }

    fn grant_changed(&self, peer: NodeId, quota_bytes: u64) {
        if let Some(service) = self.service.upgrade() {
            service.grant_changed(peer, quota_bytes);
        }
    }

    fn borrowing_changed(&self, peer: NodeId) {
        if let Some(service) = self.service.upgrade() {
            service.borrowing_changed(peer);
        }
    }

    fn lent(&self, peer: NodeId) -> GrantUse {
        self.service
            .upgrade()
            .map_or_else(GrantUse::default, |service| service.lent(peer))
    }
}
