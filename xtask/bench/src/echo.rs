//! Echo servers: what the sockets and the scheduler of this machine cost, with no store behind them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How much is read at a time: 64 requests of 1 KiB in one.
const BUFFER_LEN: usize = 64 * 1024;

/// The arguments of `cargo xtask bench echo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The Unix socket to listen at
    #[arg(required_unless_present = "tcp")]
    socket: Option<PathBuf>,
    /// Listen at this TCP address instead
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["socket", "tokio"])]
    tcp: Option<SocketAddr>,
    /// Serve on tokio's default runtime instead of one blocking thread for each connection
    #[arg(long)]
    tokio: bool,
}

/// Serves until it is killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(address) = args.tcp {
        let listener = TcpListener::bind(address).context("cannot listen")?;
        return serve_blocking(|| {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
    }
    let socket = args.socket.as_ref().context("no socket to listen at")?;
    let listener = UnixListener::bind(socket).context("cannot listen")?;
    if args.tokio {
        serve_tokio(listener)
    } else {
        serve_blocking(|| Ok(listener.accept()?.0))
    }
}

fn serve_blocking<S: Read + Write + Send + 'static>(accept: impl Fn() -> io::Result<S>) -> Result<()> {
    loop {
        let mut stream = accept()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; BUFFER_LEN];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
        });
    }
}

#[tokio::main]
async fn serve_tokio(listener: UnixListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = vec![0; BUFFER_LEN];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
}
