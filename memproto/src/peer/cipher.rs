//! The one place that knows the library of the cipher: ChaCha20-Poly1305 (RFC 8439).
//!
//! Whichever library stands behind it, the bytes are the same. Read next: [`super::record`].

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Number of bytes of a tag.
pub(super) const TAG_LEN: usize = 16;

/// A secret of 32 bytes: a key of the cipher, or what keys are made of.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret(pub(super) [u8; 32]);

/// A cipher with its key, which is wiped on drop.
pub(super) struct Cipher(ChaCha20Poly1305);

/// The tag does not fit: the bytes were changed, or sealed under another key, number or context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAuthentic;

impl Cipher {
    pub(super) fn new(key: &Secret) -> Self {
        Self(ChaCha20Poly1305::new((&key.0).into()))
    }

    /// Encrypts in place and returns the tag. One `number` serves once under one key.
    pub(super) fn seal(&self, number: u64, context: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(&nonce(number).into(), context, data.into())
            .expect("a record is far below the cipher's limit of 256 GiB")
            .into()
    }

    /// Decrypts in place. Where the tag does not fit nothing is decrypted.
    pub(super) fn open(
        &self,
        number: u64,
        context: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NotAuthentic> {
        self.0
            .decrypt_inout_detached(&nonce(number).into(), context, data.into(), tag.into())
            .map_err(|_| NotAuthentic)
    }
}

/// Four zero bytes, then the number, little-endian, as in the Noise protocol (revision 34, section 12.3).
fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_as_it_was_sealed() {
        let cipher = Cipher::new(&Secret(std::array::from_fn(|i| i as u8)));
        let mut data = *b"pool";
        let tag = cipher.seal(1, b"memcloud", &mut data);
        for (number, context) in [(2, &b"memcloud"[..]), (1, b"memclouD")] {
            let before = data;
            assert_eq!(cipher.open(number, context, &mut data, &tag), Err(NotAuthentic));
            assert_eq!(data, before);
        }
        assert_eq!(cipher.open(1, b"memcloud", &mut data, &tag), Ok(()));
        assert_eq!(&data, b"pool");
    }
}
