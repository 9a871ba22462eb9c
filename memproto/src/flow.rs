//! Credit-based flow control of one body in one direction, the same on the local and on the peer protocol.
//!
//! The receiver grants credit in bytes; the sender never has more bytes under way than it was granted. Neither side
//! buffers more than the window, however fast the other one is.

use crate::error::{ApiError, ApiResult};

/// The least credit that a frame with bytes of a body costs. Without it 2 MiB of credit would be two million frames of one
/// byte, each of which costs its receiver some 50 bytes beyond its own.
pub const DATA_COST_MIN: u64 = 512;

/// The credit that a frame with this many bytes of a body costs: [`DATA_COST_MIN`] at least, nothing for an empty one.
pub const fn data_cost(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    if bytes == 0 || bytes > DATA_COST_MIN {
        bytes
    } else {
        DATA_COST_MIN
    }
}

/// The sender's side: how many bytes it may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendCredit {
    available: u64,
}

impl SendCredit {
    /// Starts with the window that the protocol grants each body without asking.
    pub const fn new(initial: u64) -> Self {
        Self { available: initial }
    }

    /// Bytes that may be sent now.
    pub const fn available(&self) -> u64 {
        self.available
    }

    /// Takes up to `wanted` bytes of credit and returns how many it took.
    pub fn take(&mut self, wanted: u64) -> u64 {
        let taken = wanted.min(self.available);
        self.available -= taken;
        taken
    }

    /// Adds credit that the receiver granted.
    ///
    /// # Errors
    /// `InvalidArgument` where the sum would overflow: no honest receiver grants that much.
    pub fn grant(&mut self, bytes: u64) -> ApiResult<()> {
        self.available = self
            .available
            .checked_add(bytes)
            .ok_or_else(|| ApiError::invalid("the credit of a body overflows 64 bits"))?;
        Ok(())
    }
}

/// The receiver's side: how much the sender may have under way, and when to grant more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveWindow {
    window: u64,
    outstanding: u64,
    consumed: u64,
}

impl ReceiveWindow {
    /// A window of this many bytes, all of which the sender was granted.
    pub const fn new(window: u64) -> Self {
        Self {
            window,
            outstanding: window,
            consumed: 0,
        }
    }

    /// Bytes that the sender may still send with what it was granted.
    pub const fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Notes bytes that arrived.
    ///
    /// # Errors
    /// `InvalidArgument` where the sender sent more than it was granted.
    pub fn receive(&mut self, bytes: u64) -> ApiResult<()> {
        self.outstanding = self.outstanding.checked_sub(bytes).ok_or_else(|| {
            ApiError::invalid(format!(
                "{bytes} bytes arrived where {} were granted",
                self.outstanding
            ))
        })?;
        Ok(())
    }

    /// Notes bytes that were passed on. Returns the credit to grant now, if it is worth a message: half a window.
    pub fn consume(&mut self, bytes: u64) -> Option<u64> {
        self.consumed += bytes;
        if self.consumed < self.window / 2 {
            return None;
        }
        let grant = std::mem::take(&mut self.consumed);
        self.outstanding += grant;
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_never_passes_the_window() {
        let (mut sender, mut receiver) = (SendCredit::new(100), ReceiveWindow::new(100));
        let mut sent = 0;
        for _ in 0..50 {
            let bytes = sender.take(30);
            receiver.receive(bytes).unwrap();
            sent += bytes;
            if let Some(grant) = receiver.consume(bytes) {
                sender.grant(grant).unwrap();
            }
        }
        assert_eq!(sent, 1_500);
    }

    #[test]
    fn a_sender_that_ignores_its_credit_is_found_out() {
        let mut receiver = ReceiveWindow::new(10);
        assert!(receiver.receive(11).is_err());
    }

    #[test]
    fn credit_that_overflows_is_refused() {
        assert!(SendCredit::new(1).grant(u64::MAX).is_err());
    }
}
