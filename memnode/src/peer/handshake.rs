//! Carries the messages of a handshake over a socket. What they mean is decided in [`memproto::peer::handshake`].

use std::io;

use memproto::peer::handshake::{self, HANDSHAKE_MESSAGE_MAX, HandshakeRandom, LENGTH_PREFIX_LEN};
use memproto::peer::{Established, Handshake, HandshakeConfig, HandshakeError};

use super::transport::Connection;
use crate::surroundings::Surroundings;

/// Why a handshake did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShakeError {
    /// What the machine says.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The other side closed the connection.
    #[error("the other side closed the connection during the handshake")]
    Closed,
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ShakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => ShakeError::Closed,
            _ => ShakeError::Io(error),
        }
    }
}

/// A finished handshake and the bytes that are still to be sent: the last message of the side that dialled. The other side
/// learns only from it who this side is, and this side may still decide not to send it.
pub(super) struct Shaken {
    pub(super) established: Established,
    pub(super) last_message: Vec<u8>,
}

/// The side that dialled. Has no timeout of its own.
pub(super) async fn initiate(
    stream: &Connection,
    config: HandshakeConfig,
    surroundings: &Surroundings,
) -> Result<Shaken, ShakeError> {
    run(stream, Handshake::initiate(config, random(surroundings))?).await
}

/// The side that accepted. Has no timeout of its own. Holds at most [`HANDSHAKE_MESSAGE_MAX`] bytes of a stranger.
pub(super) async fn respond(
    stream: &Connection,
    config: HandshakeConfig,
    surroundings: &Surroundings,
) -> Result<Shaken, ShakeError> {
    run(stream, Handshake::respond(config, random(surroundings))?).await
}

fn random(surroundings: &Surroundings) -> HandshakeRandom {
    HandshakeRandom::new(surroundings.random_bytes(), surroundings.random_bytes())
}

async fn run(stream: &Connection, mut handshake: Handshake) -> Result<Shaken, ShakeError> {
    let mut buffer = [0; HANDSHAKE_MESSAGE_MAX];
    loop {
        if let Some(bytes) = handshake.poll_transmit() {
            stream.write_all(&bytes).await?;
        }
        let mut prefix = [0; LENGTH_PREFIX_LEN];
        stream.read_exact(&mut prefix).await?;
        // Exactly one message is read: what comes behind the last one are records already.
        let message = &mut buffer[..handshake::check_length(prefix)?];
        stream.read_exact(message).await?;
        match handshake.handle_message(message) {
            Ok(None) => {}
            Ok(Some(established)) => {
                let last_message = handshake.poll_transmit().unwrap_or_default();
                return Ok(Shaken {
                    established,
                    last_message,
                });
            }
            Err(error) => {
                // A HELLO tells an older or newer node why; that it arrives is not worth waiting for.
                if let Some(bytes) = handshake.poll_transmit() {
                    let _ = stream.try_write(&bytes);
                }
                return Err(error.into());
            }
        }
    }
}
