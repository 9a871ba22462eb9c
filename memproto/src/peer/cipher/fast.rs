//! The cipher by `ring`. It does not wipe its keys: [`Wiped`] does.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{NotAuthentic, Secret, TAG_LEN, nonce};
use crate::peer::wiped::Wiped;

/// A cipher with its key, which is wiped on drop.
pub(in crate::peer) struct Cipher(Wiped<LessSafeKey>);

impl Cipher {
    pub(in crate::peer) fn new(key: &Secret) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key.0).expect("a key of this cipher has 32 bytes");
        Self(Wiped::new(LessSafeKey::new(key)))
    }

    /// Encrypts in place and returns the tag. One `number` serves once under one key.
    pub(in crate::peer) fn seal(&self, number: u64, context: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce(number));
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(context), data)
            .expect("a record is far below the cipher's limit of 256 GiB");
        tag.as_ref()
            .try_into()
            .expect("a tag of this cipher has 16 bytes")
    }

    /// Decrypts in place what ends with its tag, and returns it without. Where the tag does not fit the bytes are lost, and none of
    /// what they might have meant is left.
    pub(in crate::peer) fn open<'a>(
        &self,
        number: u64,
        context: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(nonce(number));
        self.0
            .open_in_place(nonce, Aad::from(context), sealed)
            .map_err(|_| NotAuthentic)
    }
}
