//! The calls in flight on a connection, and whether they come alone or in company.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use memproto::flow::ReceiveWindow;
use tokio::sync::{mpsc, oneshot};

use crate::Result;
use crate::wire::{Credit, Piece, Reply};

/// What waits for frames of one request.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) op: u8,
    pub(crate) reply: Option<oneshot::Sender<Result<Reply>>>,
    /// The reply's body, once it is known to have one.
    pub(crate) body: Option<(mpsc::UnboundedSender<Piece>, Arc<Mutex<ReceiveWindow>>)>,
    pub(crate) window: Arc<Mutex<ReceiveWindow>>,
    pub(crate) upload: Option<Arc<Credit>>,
}

/// The calls in flight, by request id.
///
/// A call that finds no other in flight is written at once by whoever makes it, which saves waking the connection's task.
/// The first of many concurrent calls finds none either; so after a time in which calls were in flight together, such a
/// call is left to the task as well, which writes it with those that follow. One call that remained alone ends that.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    calls: HashMap<u64, Slot>,
    /// Whether there were several since there was none.
    in_company: bool,
    /// Whether there were several in the time before that.
    were_in_company: bool,
}

impl Slots {
    /// Notes a call. Returns whether it is best written at once.
    pub(crate) fn insert(&mut self, request: u64, slot: Slot) -> bool {
        let is_first = self.calls.is_empty();
        if is_first {
            self.were_in_company = std::mem::take(&mut self.in_company);
        } else {
            self.in_company = true;
        }
        self.calls.insert(request, slot);
        is_first && !self.were_in_company
    }

    pub(crate) fn get(&self, request: u64) -> Option<&Slot> {
        self.calls.get(&request)
    }

    pub(crate) fn get_mut(&mut self, request: u64) -> Option<&mut Slot> {
        self.calls.get_mut(&request)
    }

    pub(crate) fn remove(&mut self, request: u64) -> Option<Slot> {
        self.calls.remove(&request)
    }
}
