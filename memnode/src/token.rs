//! The token of the local API on TCP: 32 random bytes that are made once and kept in `token`.
//!
//! Whoever can read the file may use the node, so it has mode 0600. It is one line of 64 hexadecimal digits and nothing
//! else, for people to copy. It is never overwritten: a damaged one is named in an error.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::hex;
use crate::home::{self, Existing, Home, HomeError};
use crate::platform;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read, is open to other users, or cannot be written.
    #[error(transparent)]
    File(#[from] HomeError),
    /// The file is not what a node wrote.
    #[error(
        "the token file {} is damaged: it is not 64 hexadecimal digits. Put them back, or move the file away: the node \
         then makes a new token, which programs have to be given",
        .0.display()
    )]
    Damaged(PathBuf),
}

/// What a program on TCP has to know. Wiped from memory on drop and never shown.
#[derive(Clone)]
pub struct Token(Zeroizing<[u8; 32]>);

impl Token {
    /// The token of a folder: read from `token`, or made from the system's randomness where there is no file.
    ///
    /// # Errors
    /// `File` where the file cannot be read or written or other users may read it; `Damaged` where it holds no token.
    /// A file that is there is never changed.
    pub fn load_or_create(home: &Home) -> Result<Self, TokenError> {
        let path = home.token_file();
        if let Some(bytes) = home::read_checked(&path, platform::check_private)? {
            let bytes = Zeroizing::new(bytes);
            let text = std::str::from_utf8(&bytes).ok();
            return text
                .and_then(|text| hex::decode_key(text.trim_ascii()))
                .map(|token| Self(Zeroizing::new(token)))
                .ok_or(TokenError::Damaged(path));
        }
        let token = Self::generate();
        let line = Zeroizing::new(hex::encode(&*token.0) + "\n");
        home::write_atomic(&path, line.as_bytes(), Existing::Keep)?;
        tracing::info!(path = %path.display(), "made a new token");
        Ok(token)
    }

    /// A new token from the system's randomness, in no file.
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// Whether this is the token, in hexadecimal digits. The time that it takes does not tell how much of it is right.
    pub fn matches(&self, given: &str) -> bool {
        // Two `blake3::Hash` are compared in constant time, as its documentation promises.
        hex::decode_key(given).is_some_and(|given| {
            blake3::Hash::from_bytes(*Zeroizing::new(given)) == blake3::Hash::from_bytes(*self.0)
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
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
    fn a_token_is_made_once_and_kept_for_the_owner_alone() {
        let (_dir, home) = home();
        let token = Token::load_or_create(&home).unwrap();
        let line = std::fs::read_to_string(home.token_file()).unwrap();
        assert_eq!(line.len(), 65);
        let digits = line.trim();
        assert!(Token::load_or_create(&home).unwrap().matches(digits));
        assert!(token.matches(digits) && token.matches(&digits.to_uppercase()));
        assert_eq!(format!("{token:?}"), "Token");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(home.token_file()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            std::fs::set_permissions(home.token_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
            let error = Token::load_or_create(&home).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn nothing_but_the_token_matches() {
        let token = Token::generate();
        let digits = hex::encode(&*token.0);
        let mut flipped = digits.clone();
        flipped.replace_range(63.., if digits.ends_with('0') { "1" } else { "0" });
        for wrong in [
            "",
            &digits[..63],
            &format!("{digits}0"),
            &format!("{digits}\n"),
            &flipped,
            &"0".repeat(64),
        ] {
            assert!(!token.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let (_dir, home) = home();
        Token::load_or_create(&home).unwrap();
        for bytes in [&b""[..], b"secret", &[0xff; 64], &[b'0'; 63]] {
            // In place, so that the mode stays.
            std::fs::write(home.token_file(), bytes).unwrap();
            let error = Token::load_or_create(&home).unwrap_err().to_string();
            assert!(error.contains("token is damaged"), "{error}");
            assert_eq!(std::fs::read(home.token_file()).unwrap(), bytes);
        }
    }
}
