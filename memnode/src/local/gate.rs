//! What stands between a TCP connection and the node until the token came.

use memproto::error::{ApiError, ApiResult, ErrorCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::token::Token;

/// The token that a connection has to send first, and its place among the strangers. It is dropped when the token came.
pub(super) struct Gate {
    token: Token,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(token: Token, place: OwnedSemaphorePermit) -> Self {
        Self { token, _place: place }
    }

    /// Checks the token of a greeting.
    ///
    /// # Errors
    /// `Denied`, the same for a wrong token and for none.
    pub(super) fn check(&self, given: &str) -> ApiResult<()> {
        if self.token.matches(given) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Denied,
            "the token is missing or wrong: it stands in the file 'token' of the node's folder, which is ~/.memcloud \
             unless the node was told another",
        ))
    }
}
