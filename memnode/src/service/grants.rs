//! A person changes what a peer may use here.

use memproto::NodeId;
use memproto::control::{Freed, PeerUpdate, PeerUpdated};
use memproto::error::{ApiError, ApiResult, ErrorCode};

use super::Service;

/// How much is evicted at a time of what a peer has over its grant, in bytes: some milliseconds of work, behind which others have their turn.
const EVICTED_AT_ONCE: u64 = 16 * 1024 * 1024;

impl Service {
    /// Changes the grant of a peer. Where it is lowered under what the peer uses, new data of the peer is refused from now on, and data of
    /// class cache is evicted until the rest fits or none is left.
    ///
    /// # Errors
    /// As [`Peers::set_grant`](crate::peer::Peers::set_grant).
    ///
    /// # Cancel safety
    /// Once the grant has changed, what follows from it is done also where the caller goes away.
    pub async fn update_peer(&self, update: PeerUpdate) -> ApiResult<PeerUpdated> {
        let change = self.peers.set_grant(&update.peer, update.quota_bytes)?;
        let service = self.shared();
        let work = self.tasks.spawn(async move {
            let evicted = service.evict_over_grant(change.id).await;
            // Behind it, so that what the peer then asks about its use is what is left.
            service.peers.tell_grant(change.id);
            PeerUpdated {
                id: change.id,
                name: change.name,
                before_bytes: change.before_bytes,
                lent: service.store.grant_use(change.id),
                evicted,
                trusted: change.is_kept,
            }
        });
        work.await
            .map_err(|_| ApiError::new(ErrorCode::ShuttingDown, "this node is stopping"))
    }

    async fn evict_over_grant(&self, peer: NodeId) -> Freed {
        let mut sum = Freed::default();
        while let freed @ Freed { blocks: 1.., .. } = self.store.evict_over_grant(peer, EVICTED_AT_ONCE) {
            sum.blocks += freed.blocks;
            sum.bytes += freed.bytes;
            tokio::task::yield_now().await;
        }
        sum
    }
}
