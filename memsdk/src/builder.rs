//! How to connect.

use std::path::PathBuf;
use std::time::Duration;

use crate::{MemCloud, Result};

/// How long a call may take, unless [`Builder::timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a connection; made by [`MemCloud::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) socket: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) name: String,
}

impl Default for Builder {
    fn default() -> Self {
        let name = format!("memsdk/{}", env!("CARGO_PKG_VERSION"));
        Self {
            socket: None,
            timeout: DEFAULT_TIMEOUT,
            name,
        }
    }
}

impl Builder {
    /// The node's Unix socket. Default: [`default_socket_path`](crate::default_socket_path).
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// How long a call may take. A small call has this time in all; one with a large value has it from each sign of
    /// progress to the next. Default: [`DEFAULT_TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The name of the program, for the node's log; cut to 64 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning) where nobody listens at the socket.
    pub async fn connect(self) -> Result<MemCloud> {
        MemCloud::connect_with(self).await
    }
}
