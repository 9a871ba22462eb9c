//! The identity of this node: an Ed25519 key that is made once and kept in `identity.key`.
//!
//! Peers trust the key, so the file is never overwritten: a damaged one is named in an error, and only a person may
//! decide to move it away. It is one line of text, mode 0600:
//!
//! ```text
//! memcloud-ed25519 <64 hexadecimal digits: secret key> <32 hexadecimal digits: node id>
//! ```
//!
//! The node id follows from the key (see [`NodeId::from_public_key`]); it stands there so that a damaged key is noticed
//! instead of becoming another identity.

use std::fmt;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use memproto::NodeId;
use zeroize::Zeroizing;

use crate::hex;
use crate::home::{self, Existing, Home, HomeError};
use crate::platform;

/// The first word of the file: its format.
const FORMAT: &str = "memcloud-ed25519";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read, is open to other users, or cannot be written.
    #[error(transparent)]
    File(#[from] HomeError),
    /// The file is not what a node wrote.
    #[error(
        "the identity file {} is damaged: {reason}. Put back a copy of it. Without one, move it away: the node then makes \
         a new identity, which every peer has to trust again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The identity of this node. Its secret is wiped from memory on drop and is never shown.
#[derive(Clone)]
pub struct Identity {
    signing_key: SigningKey,
    node_id: NodeId,
}

impl Identity {
    /// The identity of a folder: read from `identity.key`, or made from the system's randomness where there is no file.
    ///
    /// # Errors
    /// `File` where the file cannot be read or written or other users may read it; `Damaged` where it holds no key.
    /// A file that is there is never changed.
    pub fn load_or_create(home: &Home) -> Result<Self, IdentityError> {
        let path = home.identity_file();
        match home::read_checked(&path, platform::check_private)? {
            Some(bytes) => Self::parse(&path, &Zeroizing::new(bytes)),
            None => {
                let identity = Self::generate();
                home::write_atomic(&path, identity.to_line().as_bytes(), Existing::Keep)?;
                tracing::info!(node = %identity.node_id, path = %path.display(), "made a new identity");
                Ok(identity)
            }
        }
    }

    /// A new identity from the system's randomness, in no file.
    pub fn generate() -> Self {
        Self::from_secret(&Zeroizing::new(rand::random()))
    }

    /// The identity of this Ed25519 secret key (RFC 8032, 5.1.5).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let signing_key = SigningKey::from_bytes(secret);
        let node_id = NodeId::from_public_key(signing_key.verifying_key().as_bytes());
        Self { signing_key, node_id }
    }

    /// The node id.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.signing_key.verifying_key().to_bytes()
    }

    /// The key that signs handshakes.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    fn to_line(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(&*Zeroizing::new(self.signing_key.to_bytes())));
        Zeroizing::new([FORMAT, " ", &secret, " ", &self.node_id.to_string(), "\n"].concat())
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, IdentityError> {
        let damaged = |reason| IdentityError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [format, secret, node_id] = words[..] else {
            return Err(damaged("it does not consist of three words"));
        };
        if format != FORMAT {
            return Err(damaged("its first word is not 'memcloud-ed25519'"));
        }
        let secret = hex::decode_key(secret).map(Zeroizing::new);
        let secret = secret.ok_or_else(|| damaged("its key is not 64 hexadecimal digits"))?;
        let identity = Self::from_secret(&secret);
        if node_id.parse() != Ok(identity.node_id) {
            return Err(damaged("its key and its node id do not belong together"));
        }
        Ok(identity)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join("home")).unwrap();
        (dir, home)
    }

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let (_dir, home) = home();
        let first = Identity::load_or_create(&home).unwrap();
        let again = Identity::load_or_create(&home).unwrap();
        assert_eq!(first.node_id(), again.node_id());
        assert_eq!(first.public_key(), again.public_key());
        assert_eq!(first.signing_key().to_bytes(), again.signing_key().to_bytes());
        assert_eq!(first.node_id(), NodeId::from_public_key(&first.public_key()));
        assert_ne!(first.node_id(), Identity::generate().node_id());
    }

    #[test]
    fn a_secret_does_not_show() {
        let identity = Identity::from_secret(&[0x5a; 32]);
        assert_eq!(
            format!("{identity:?}"),
            format!("Identity({})", identity.node_id())
        );
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let (_dir, home) = home();
        let good = Identity::load_or_create(&home).unwrap().to_line();
        let other_id = Identity::generate().node_id().to_string();
        let flipped = match good.as_bytes()[20] {
            b'0' => good[..20].to_owned() + "1" + &good[21..],
            _ => good[..20].to_owned() + "0" + &good[21..],
        };
        let secret = &good[17..81];
        let damaged: [(Vec<u8>, &str); 9] = [
            (vec![], "three words"),
            (good[..50].into(), "three words"),
            (good[..good.len() - 2].into(), "do not belong together"),
            (flipped.into(), "do not belong together"),
            (
                format!("memcloud-ed25519 {secret} {other_id}").into(),
                "do not belong together",
            ),
            (good.replacen("25519", "448", 1).into(), "first word"),
            (
                good.replacen(secret, &secret[..62], 1).into(),
                "64 hexadecimal digits",
            ),
            (
                good.replacen(secret, &"z".repeat(64), 1).into(),
                "64 hexadecimal digits",
            ),
            (vec![0xff; 32], "not text"),
        ];
        for (bytes, expected) in damaged {
            // In place, so that the mode stays.
            std::fs::write(home.identity_file(), &bytes).unwrap();
            let error = Identity::load_or_create(&home).unwrap_err().to_string();
            assert!(
                error.contains("identity.key is damaged") && error.contains(expected),
                "{expected}: {error}"
            );
            assert!(!error.contains(secret), "the error shows the key");
            assert_eq!(
                std::fs::read(home.identity_file()).unwrap(),
                bytes,
                "the file was changed"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, home) = home();
        Identity::load_or_create(&home).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(home.path()), mode(&home.identity_file())), (0o700, 0o600));
        std::fs::set_permissions(home.identity_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::load_or_create(&home).unwrap_err().to_string();
        assert!(
            error.contains("mode is 0644") && error.contains("chmod 600"),
            "{error}"
        );
        assert!(error.contains("identity.key"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let (_dir, home) = home();
        std::fs::create_dir(home.identity_file()).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(
            home.identity_file(),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        let error = Identity::load_or_create(&home).unwrap_err().to_string();
        assert!(
            error.contains("cannot read") && error.contains("identity.key"),
            "{error}"
        );
    }
}
