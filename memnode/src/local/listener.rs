//! The Unix socket of the local API. Who is let in says [`super::audience`].

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use memproto::error::{ApiError, ErrorCode};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, info, warn};

use super::accept::accept_until;
use super::audience::{Admission, Audience, UserGroup};
use super::backend::Backend;
use super::session::Session;
use super::socket::Socket;
use super::workers::Workers;
use crate::patience::LOOK_AGAIN_DEFAULT;

/// The default of [`LocalConfig::connections_max`]: with the default limit of 1,024 open files there is room for peers.
pub const CONNECTIONS_MAX_DEFAULT: usize = 512;

/// Where and how much the local API listens.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// The socket. Its folder is made where it is missing, for those alone who are let in.
    pub socket: PathBuf,
    /// The group whose members are let in like the owner.
    pub group: Option<UserGroup>,
    /// How many connections at most; one more is told `Busy` and closed.
    pub connections_max: usize,
    /// How long a session whose program is quick looks for its next request before it sleeps; 0 is not at all.
    pub look_again: Duration,
}

impl LocalConfig {
    /// The defaults for this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            group: None,
            connections_max: CONNECTIONS_MAX_DEFAULT,
            look_again: LOOK_AGAIN_DEFAULT,
        }
    }
}

/// Counts open connections, for `stats`.
#[derive(Clone, Debug, Default)]
pub struct ConnectionGauge(Arc<AtomicUsize>);

impl ConnectionGauge {
    /// How many are open.
    pub fn open(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }

    pub(super) fn enter(&self) -> GaugeGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(self.clone())
    }
}

/// One open connection, while it is held.
pub(super) struct GaugeGuard(ConnectionGauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bound socket of the local API.
#[derive(Debug)]
pub struct Listener {
    config: LocalConfig,
    listener: UnixListener,
    gauge: ConnectionGauge,
    audience: Audience,
    /// Device and inode of our socket, so that only that one is removed at the end.
    identity: (u64, u64),
    /// Held as long as the socket is ours.
    _lock: File,
}

impl Listener {
    /// Binds the socket. A stale one, of a node that is gone, is replaced.
    ///
    /// # Errors
    /// Where another node listens there, where something else than a socket has its name, where others may write in its
    /// folder, where the group cannot reach it, or where the system refuses. The message says which.
    pub fn bind(config: &LocalConfig) -> anyhow::Result<Self> {
        let socket = &config.socket;
        let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
        let audience = Audience::new(config.group.clone());
        audience.prepare_folder(folder.unwrap_or(Path::new(".")))?;
        let lock = lock(socket)?;
        remove_stale(socket)?;
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        audience.guard(socket)?;
        let meta = fs::symlink_metadata(socket)
            .with_context(|| format!("the socket {} is gone already", socket.display()))?;
        info!(socket = %socket.display(), "listening for programs of this host");
        Ok(Self {
            config: config.clone(),
            listener,
            gauge: ConnectionGauge::default(),
            audience,
            identity: (meta.dev(), meta.ino()),
            _lock: lock,
        })
    }

    /// The number of open connections, to be asked at any time.
    pub fn gauge(&self) -> ConnectionGauge {
        self.gauge.clone()
    }

    /// Serves programs on the workers until `stop` is cancelled; then ends all sessions and removes the socket.
    pub async fn serve<B: Backend>(self, backend: Arc<B>, workers: Arc<Workers>, stop: CancellationToken) {
        let mut sessions = accept_until(
            &stop,
            |cx| self.listener.poll_accept(cx),
            |(stream, _), sessions| self.begin(stream, &backend, &workers, &stop, sessions),
        )
        .await;
        self.remove_socket();
        while sessions.join_next().await.is_some() {}
    }

    fn begin<B: Backend>(
        &self,
        stream: UnixStream,
        backend: &Arc<B>,
        workers: &Workers,
        stop: &CancellationToken,
        sessions: &mut JoinSet<()>,
    ) {
        match self.audience.admits(&stream) {
            Ok(Admission::Granted) => {}
            Ok(Admission::Refused { uid }) => return warn!(uid, "refused a program of another user"),
            Err(error) => return warn!(%error, "cannot tell whose program it is"),
        }
        // Refused sessions count too, for a moment: twice as many is the end of patience.
        let open = sessions.len();
        if open >= 2 * self.config.connections_max {
            return debug!("dropped a connection over the limit");
        }
        // The worker waits for its socket itself.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, "lost a connection"),
        };
        let (backend, calls_on) = (Arc::clone(backend), Handle::current());
        let look_again = self.config.look_again;
        let session = move || match Socket::new(stream, look_again) {
            Ok(stream) => Some(Session::new(backend, stream, calls_on).looking_for(look_again)),
            Err(error) => {
                warn!(%error, "cannot wait for a connection");
                None
            }
        };
        let worker = workers.next();
        let guard = self.gauge.enter();
        if open >= self.config.connections_max {
            let refuse = async move {
                let message = "too many programs are connected to this node: close some, then try again";
                if let Some(session) = session() {
                    session.refuse(&ApiError::new(ErrorCode::Busy, message)).await;
                }
                drop(guard);
            };
            sessions.spawn_on(refuse, worker);
            return;
        }
        let stop = stop.clone();
        let serve = async move {
            if let Some(session) = session() {
                session.run(stop).await;
            }
            drop(guard);
        };
        sessions.spawn_on(serve.instrument(debug_span!("local")), worker);
    }

    fn remove_socket(&self) {
        let ours = fs::symlink_metadata(&self.config.socket)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.config.socket) {
            warn!(%error, "cannot remove the socket");
        }
    }
}

impl Drop for Listener {
    /// A node that stops before it serves leaves no socket behind either.
    fn drop(&mut self) {
        self.remove_socket();
    }
}

/// Takes the lock beside the socket: two nodes that start at once must not remove each other's socket.
fn lock(socket: &Path) -> anyhow::Result<File> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(in_use(socket)),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn remove_stale(socket: &Path) -> anyhow::Result<()> {
    let meta = match fs::symlink_metadata(socket) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", socket.display())),
    };
    ensure!(
        meta.file_type().is_socket(),
        "{} is no socket: it is left alone",
        socket.display()
    );
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => bail!(in_use(socket)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(socket)
            .with_context(|| format!("cannot remove the stale socket {}", socket.display())),
        Err(error) => {
            Err(error).with_context(|| format!("cannot tell whether {} is alive", socket.display()))
        }
    }
}

fn in_use(socket: &Path) -> String {
    format!(
        "another node already listens at {}; stop it with: memcli node stop, or give this one its own MEMCLOUD_HOME",
        socket.display()
    )
}
