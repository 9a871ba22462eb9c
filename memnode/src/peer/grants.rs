//! A grant that changes while the link is up.

use std::sync::Arc;

use memproto::NodeId;
use memproto::error::{ApiError, ApiResult, ErrorCode};

use super::Peers;
use super::entry::Grant;
use super::link::PeerLink;

/// What [`Peers::set_grant`] changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantChange {
    /// The peer.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The grant that it had, in bytes.
    pub before_bytes: u64,
    /// Whether the new one is kept in the file of trusted devices. Else it ends with the link.
    pub is_kept: bool,
}

impl Peers {
    /// Changes how much of this node's budget a peer may use: on its link where there is one, and for good where it is trusted. The service
    /// is told; the peer is when [`tell_grant`](Self::tell_grant) is called.
    ///
    /// # Errors
    /// `UnknownPeer`; `AmbiguousPeer`; `ConsentPending` where the person at this machine was asked and has not answered; `InvalidArgument`
    /// where there is no grant to change, for the peer is neither connected nor trusted; `Internal` where the file was not written.
    /// Then nothing changed.
    pub fn set_grant(&self, name: &str, quota_bytes: u64) -> ApiResult<GrantChange> {
        let id = self.resolve(name)?;
        let of_link = self.our_grant(id)?;
        // The file first: it is the part that can fail.
        let kept = self
            .trust
            .set_quota(id, quota_bytes)
            .map_err(|error| super::questions::not_kept(&error))?;
        let before_bytes = of_link.or(kept).ok_or_else(|| no_grant(&self.name_of(id)))?;
        {
            let _told = self.told();
            if let Some(link) = self.grant_on_link(id, quota_bytes) {
                link.set_lent_quota_bytes(quota_bytes);
            }
            self.events().grant_changed(id, quota_bytes);
        }
        self.touch();
        Ok(GrantChange {
            id,
            name: self.name_of(id),
            before_bytes,
            is_kept: kept.is_some(),
        })
    }

    /// Tells a peer what its grant is now, where there is a link.
    pub fn tell_grant(&self, id: NodeId) {
        // Of two changes at the same time the last message says what holds.
        let _told = self.told();
        let link = {
            let state = self.state();
            let slot = state.table.get(id).and_then(|entry| entry.link.as_ref());
            slot.and_then(|slot| Some((slot.ours?, Arc::clone(&slot.link))))
        };
        if let Some((ours, link)) = link {
            let ours = Grant {
                quota_bytes: link.lent_quota_bytes(),
                ..ours
            };
            link.set_consent(self.agreement(id, ours));
        }
    }

    /// What this side agreed to on the link of a peer; `None` where there is no link.
    fn our_grant(&self, id: NodeId) -> ApiResult<Option<u64>> {
        let state = self.state();
        let slot = state.table.get(id).and_then(|entry| entry.link.as_ref());
        match slot.map(|slot| (slot.ours, &slot.facts.name)) {
            None => Ok(None),
            Some((Some(ours), _)) => Ok(Some(ours.quota_bytes)),
            Some((None, name)) => Err(ApiError::new(
                ErrorCode::ConsentPending,
                format!(
                    "'{name}' waits for your answer: give it with `memcli consent --allow {} --quota SIZE`, or --trust",
                    id.short()
                ),
            )),
        }
    }

    fn grant_on_link(&self, id: NodeId, quota_bytes: u64) -> Option<Arc<PeerLink>> {
        let mut state = self.state();
        let slot = state.table.get_mut(id)?.link.as_mut()?;
        let ours = slot.ours.as_mut()?;
        (ours.quota_bytes, ours.named) = (quota_bytes, true);
        Some(Arc::clone(&slot.link))
    }
}

fn no_grant(name: &str) -> ApiError {
    ApiError::invalid(format!(
        "'{name}' is neither connected nor trusted, so it has no grant: `memcli connect {name} --quota SIZE` gives it one"
    ))
}
