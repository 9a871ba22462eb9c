//! Bodies of requests, on their way in.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memproto::error::{ApiError, ApiResult};
use memproto::flow::ReceiveWindow;
use memproto::local::{BODY_WINDOW, FrameHeader, data_cost};
use tokio::sync::mpsc;

use crate::body::{Body, BodySender};

/// Credit to send to the program, because a reader took bytes of its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) serial: u64,
    pub(super) request: u64,
    pub(super) bytes: u64,
}

/// The writing end of a request's body.
///
/// Its reader may be slow: the program then runs out of credit. What lies here is at most [`BODY_WINDOW`].
#[derive(Debug)]
pub(super) struct Incoming {
    /// `None` once the body ended or failed; what still comes of it is dropped.
    sender: Option<BodySender>,
    window: Arc<Mutex<ReceiveWindow>>,
    left: Option<u64>,
}

impl Incoming {
    /// A body that begins with `first`, of `size` bytes where the program said it.
    pub(super) fn begin(
        serial: u64,
        request: u64,
        size: Option<u64>,
        first: Bytes,
        grants: mpsc::UnboundedSender<Grant>,
    ) -> ApiResult<(Self, Body)> {
        let window = Arc::new(Mutex::new(ReceiveWindow::new(BODY_WINDOW)));
        let consumed = Arc::clone(&window);
        let (sender, body) = Body::channel(size, move |bytes| {
            let cost = data_cost(bytes as usize);
            let grant = consumed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .consume(cost);
            if let Some(bytes) = grant {
                // The session is gone: then nobody needs credit.
                let _ = grants.send(Grant {
                    serial,
                    request,
                    bytes,
                });
            }
        });
        let mut incoming = Self {
            sender: Some(sender),
            window,
            left: size,
        };
        incoming.push(first)?;
        Ok((incoming, body))
    }

    /// Takes a DATA frame.
    ///
    /// # Errors
    /// Where the program sent more than its credit: it does not keep to the protocol. A body that is longer or shorter
    /// than it said fails by itself, and the request with it.
    pub(super) fn data(&mut self, header: &FrameHeader, payload: Bytes) -> ApiResult<()> {
        if header.status != 0 {
            self.fail(ApiError::new(
                memproto::ErrorCode::from_number(header.status),
                "the program gave up sending the value",
            ));
            return Ok(());
        }
        self.push(payload)?;
        if !header.more() {
            self.end();
        }
        Ok(())
    }

    /// Whether bytes of this body are still expected.
    pub(super) fn is_open(&self) -> bool {
        self.sender.is_some()
    }

    fn push(&mut self, bytes: Bytes) -> ApiResult<()> {
        if bytes.is_empty() || self.sender.is_none() {
            return Ok(());
        }
        self.window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .receive(data_cost(bytes.len()))?;
        if let Some(left) = &mut self.left {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    self.fail(ApiError::invalid("the value has more bytes than its size says"));
                    return Ok(());
                }
            }
        }
        if let Some(sender) = &self.sender {
            // Where nobody reads any more, the request is about to be answered.
            sender.send(bytes);
        }
        Ok(())
    }

    fn end(&mut self) {
        match self.left {
            Some(left) if left > 0 => {
                self.fail(ApiError::invalid(format!(
                    "the value ends {left} bytes before its size"
                )));
            }
            _ => {
                if let Some(sender) = self.sender.take() {
                    sender.finish();
                }
            }
        }
    }

    fn fail(&mut self, error: ApiError) {
        if let Some(sender) = self.sender.take() {
            sender.fail(error);
        }
    }
}
