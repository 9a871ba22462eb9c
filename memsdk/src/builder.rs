//! How to connect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::{MemCloud, Result};

/// How long a call may take, unless [`Builder::timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A token, which is not shown.
#[derive(Clone, Default)]
pub(crate) struct Token(pub(crate) String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Settings of a connection; made by [`MemCloud::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) socket: Option<PathBuf>,
    pub(crate) tcp: Option<SocketAddr>,
    pub(crate) token: Token,
    pub(crate) timeout: Duration,
    pub(crate) name: String,
}

impl Default for Builder {
    fn default() -> Self {
        let name = format!("memsdk/{}", env!("CARGO_PKG_VERSION"));
        Self {
            socket: None,
            tcp: None,
            token: Token::default(),
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

    /// Connects over TCP instead, to the address that `memcli node status` shows. It needs the [`token`](Self::token).
    #[must_use]
    pub fn tcp(mut self, address: impl Into<SocketAddr>) -> Self {
        self.tcp = Some(address.into());
        self
    }

    /// The token of the node, for [`tcp`](Self::tcp): what stands in the file `token` of the node's folder. White space
    /// around it does not count. A Unix socket needs none, and none is sent there.
    #[must_use]
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.token = Token(token.as_ref().trim().to_owned());
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
    /// [`Error::NotRunning`](crate::Error::NotRunning) where nobody listens at the socket;
    /// [`Error::Api`](crate::Error::Api) with `Denied` where the token is not the node's.
    pub async fn connect(self) -> Result<MemCloud> {
        MemCloud::connect_with(self).await
    }
}
