//! Echo servers: what the sockets and the scheduler of this machine cost, with no store behind them.

use std::io::{Read, Write};
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
    socket: PathBuf,
    /// Serve on tokio's default runtime instead of one blocking thread for each connection
    #[arg(long)]
    tokio: bool,
}

/// Serves until it is killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let listener = UnixListener::bind(&args.socket).context("cannot listen")?;
    if args.tokio {
        serve_tokio(listener)
    } else {
        serve_blocking(&listener)
    }
}

fn serve_blocking(listener: &UnixListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
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
