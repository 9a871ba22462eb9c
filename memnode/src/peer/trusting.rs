//! Trust in a device that need not have been met: how a fleet is prepared, by the keys of its machines.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use memproto::NodeId;
use memproto::control::{TrustAdded, TrustAddition, TrustedDevice};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::handshake::check_node_name;

use super::Peers;
use super::entry::Grant;
use super::questions::not_kept;
use super::resolve::{Candidate, resolve};
use crate::hex;

impl Peers {
    /// Trusts a device by its key. One that waits for consent is let in at once, and one whose address is known is
    /// dialled. The grant of a link that is up stays as it is: the lender counts by it.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no key, this node's own key, and a name that no node may have; `Internal` where the
    /// trust could not be kept.
    pub fn trust_add(self: &Arc<Self>, addition: &TrustAddition) -> ApiResult<TrustAdded> {
        let public_key = parse_key(&addition.public_key)?;
        let id = NodeId::from_public_key(&public_key);
        if id == self.identity.node_id() {
            return Err(ApiError::invalid(
                "this is the key of this node itself: name the one that `memcli trust key` prints on the other machine",
            ));
        }
        check_node_name(&addition.name)?;
        let known = self.trust.by_id(id);
        let since_1970 = Duration::from_millis(self.surroundings().unix_ms());
        let device = TrustedDevice {
            id,
            public_key: hex::encode(&public_key),
            name: addition.name.clone(),
            quota_bytes: addition
                .quota_bytes
                .or(known.as_ref().map(|known| known.quota_bytes))
                .unwrap_or(self.config.default_grant_bytes),
            trusted_at_unix_secs: known
                .as_ref()
                .map_or(since_1970.as_secs(), |known| known.trusted_at_unix_secs),
            addresses: known
                .as_ref()
                .map(|known| known.addresses.clone())
                .unwrap_or_default(),
        };
        self.trust
            .upsert(device.clone())
            .map_err(|error| not_kept(&error))?;
        {
            let mut state = self.state();
            state.table.trust(id, &device.name, &[]);
            state.table.want(id);
        }
        self.apply_trust(&device);
        self.touch();
        Ok(TrustAdded {
            device,
            was_trusted: known.is_some(),
        })
    }

    /// The trusted device that a name, an id or a prefix of an id means.
    ///
    /// # Errors
    /// `UnknownPeer`; `AmbiguousPeer` with the matches.
    pub fn resolve_trusted(&self, name: &str) -> ApiResult<NodeId> {
        let devices = self.trust.list();
        let candidates = devices.iter().map(|device| Candidate {
            id: device.id,
            name: &device.name,
            state: self.state_of(device.id),
        });
        resolve(name, candidates).map_err(|error| match error.code {
            ErrorCode::UnknownPeer => ApiError::new(
                ErrorCode::UnknownPeer,
                format!(
                    "no trusted device is called '{}': `memcli trust list` shows them",
                    name.escape_debug()
                ),
            ),
            _ => error,
        })
    }

    /// What trust changes at once.
    fn apply_trust(self: &Arc<Self>, device: &TrustedDevice) {
        let Some(link) = self.any_link(device.id) else {
            return self.ensure_redial(device.id);
        };
        let ours = {
            let state = self.state();
            let slot = state.table.get(device.id).and_then(|entry| entry.link.as_ref());
            slot.and_then(|slot| slot.ours)
        };
        match ours {
            // It learns that this is for good now.
            Some(ours) => link.set_consent(self.agreement(device.id, ours)),
            None => self.allow(
                &link,
                Grant {
                    quota_bytes: device.quota_bytes,
                    named: false,
                    keep: false,
                },
            ),
        }
    }
}

/// A key that a node can have: one that proves nothing (of small order) is none.
fn parse_key(text: &str) -> ApiResult<[u8; 32]> {
    let what = "a key has 64 hexadecimal digits, as `memcli trust key` prints them on the other machine";
    let key = hex::decode_key(text)
        .ok_or_else(|| ApiError::invalid(format!("'{}' is no key: {what}", text.escape_debug())))?;
    match VerifyingKey::from_bytes(&key) {
        Ok(checked) if !checked.is_weak() => Ok(key),
        _ => Err(ApiError::invalid(format!(
            "these digits are no public key of a node: {what}"
        ))),
    }
}
