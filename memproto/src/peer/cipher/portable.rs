//! The cipher by the crate `chacha20poly1305`.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

use super::{NotAuthentic, Secret, TAG_LEN, nonce};

/// A cipher with its key, which is wiped on drop.
pub(in crate::peer) struct Cipher(ChaCha20Poly1305);

impl Cipher {
    pub(in crate::peer) fn new(key: &Secret) -> Self {
        Self(ChaCha20Poly1305::new((&key.0).into()))
    }

    /// Encrypts in place and returns the tag. One `number` serves once under one key.
    pub(in crate::peer) fn seal(&self, number: u64, context: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(&nonce(number).into(), context, data.into())
            .expect("a record is far below the cipher's limit of 256 GiB")
            .into()
    }

    /// Decrypts in place what ends with its tag, and returns it without. Where the tag does not fit nothing is decrypted.
    pub(in crate::peer) fn open<'a>(
        &self,
        number: u64,
        context: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], NotAuthentic> {
        let (data, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(NotAuthentic)?;
        self.0
            .decrypt_inout_detached(
                &nonce(number).into(),
                context,
                (&mut *data).into(),
                (&*tag).into(),
            )
            .map_err(|_| NotAuthentic)?;
        Ok(data)
    }
}
