//! A fake node in the process of a test, behind real sessions on a real socket.

#[path = "../../../memnode/src/local/tests/fake.rs"]
mod fake;
#[path = "../../../memnode/src/local/tests/growing.rs"]
mod growing;

/// What the fake node is written against.
mod node {
    pub(crate) use memnode::body::Body;
    pub(crate) use memnode::local::Backend;
    pub(crate) use memnode::memory_file::MemoryFiles;
    pub(crate) use memnode::service::{ByteRange, Here, Intake, Loaded, PutOptions, Stored, Written};
    pub(crate) use memnode::timings::Timings;
}

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use memnode::local::{Listener, LocalConfig, Workers};
use memsdk::MemCloud;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use fake::Fake;
pub(crate) use node::Body;

/// A node that runs in this process.
pub(crate) struct Running {
    pub(crate) fake: Arc<Fake>,
    pub(crate) socket: PathBuf,
    pub(crate) stop: CancellationToken,
    served: JoinHandle<()>,
    _home: Option<tempfile::TempDir>,
}

impl Running {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("memnode.sock");
        Self {
            _home: Some(home),
            ..Self::start_at(socket)
        }
    }

    pub(crate) fn start_at(socket: PathBuf) -> Self {
        let listener = Listener::bind(&LocalConfig::new(&socket)).unwrap();
        let (fake, stop) = (Arc::new(Fake::new()), CancellationToken::new());
        let workers = Arc::new(Workers::none());
        let served = tokio::spawn(listener.serve(Arc::clone(&fake), workers, stop.clone()));
        Self {
            fake,
            socket,
            stop,
            served,
            _home: None,
        }
    }

    pub(crate) async fn client(&self) -> MemCloud {
        MemCloud::builder().socket(&self.socket).connect().await.unwrap()
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.served).await.unwrap();
    }

    /// Waits until so many calls run in the node.
    pub(crate) async fn until_running(&self, calls: u64) {
        while self.fake.running.load(Ordering::SeqCst) != calls {
            tokio::task::yield_now().await;
        }
    }
}
