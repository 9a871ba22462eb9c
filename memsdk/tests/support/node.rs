// A real node inside the process of a test or of an example in the documentation: alone, in a temporary home, on threads of
// its own. Those examples include this file, so that it has no inner documentation.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use memnode::config::Settings;
use memnode::home::Home;
use memnode::identity::Identity;
use memnode::node::Node;
use memnode::trust::TrustStore;
use tokio_util::sync::CancellationToken;

/// A node that ends when this is dropped.
pub(crate) struct RunningNode {
    home: tempfile::TempDir,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl RunningNode {
    /// Starts a node that gives so much to the pool, such as `64mb`. It answers when this returns.
    pub(crate) fn start(memory: &str) -> Self {
        Self::start_in(new_home(), memory)
    }

    /// As [`start`](Self::start), in this home.
    pub(crate) fn start_in(home: tempfile::TempDir, memory: &str) -> Self {
        Self::start_with(home, &["--memory", memory])
    }

    /// As [`start`](Self::start), in this home and with these options of `memnode`.
    pub(crate) fn start_with(home: tempfile::TempDir, options: &[&str]) -> Self {
        let stop = CancellationToken::new();
        let (started, ready) = mpsc::channel();
        let args = arguments(home.path(), options);
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || serve(args, stop, &started)
        });
        ready.recv().expect("the node starts");
        Self {
            home,
            stop,
            thread: Some(thread),
        }
    }

    /// The socket of its local API.
    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(&self.home)
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // Where the node failed the test has failed already.
            let _ = thread.join();
        }
    }
}

/// A folder for the files of a node.
pub(crate) fn new_home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The socket of a node with this home.
pub(crate) fn socket_in(home: &tempfile::TempDir) -> PathBuf {
    home.path().join("memnode.sock")
}

fn arguments(home: &Path, options: &[&str]) -> Vec<String> {
    let home = home.to_str().unwrap();
    let fixed = "memnode --port 0 --listen 127.0.0.1 --no-discovery --api-port off --notify off";
    let fixed = fixed.split(' ').chain(["--home", home]);
    fixed.chain(options.iter().copied()).map(str::to_owned).collect()
}

fn serve(args: Vec<String>, stop: CancellationToken, started: &mpsc::Sender<()>) {
    let settings = Settings::load(args, |_| None).unwrap();
    let home = Home::open(&settings.home).unwrap();
    let _lock = home.lock().unwrap();
    let identity = Identity::load_or_create(&home).unwrap();
    let trust = TrustStore::load(&home).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let node = Node::start(&settings, &home, identity, trust, stop)
            .await
            .unwrap();
        // Whoever waited may be gone.
        let _ = started.send(());
        node.run_until_stopped().await.unwrap();
    });
}
