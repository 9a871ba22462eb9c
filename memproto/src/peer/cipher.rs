//! The one place that knows the libraries of the cipher: ChaCha20-Poly1305 (RFC 8439).
//!
//! - `fast`: by `ring`, which is taken where it is built.
//! - `portable`: by the crate `chacha20poly1305`, for where it is not.
//!
//! Whichever stands behind it, the bytes are the same: the tests hold both against the vectors and against each other. Read next: [`super::record`].

#[cfg(any(feature = "ring-cipher", test))]
mod fast;
#[cfg(any(not(feature = "ring-cipher"), test))]
mod portable;

use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(feature = "ring-cipher")]
pub(super) use fast::Cipher;
#[cfg(not(feature = "ring-cipher"))]
pub(super) use portable::Cipher;

#[cfg(not(any(feature = "ring-cipher", feature = "portable-cipher")))]
compile_error!(
    "the feature `peer` needs a cipher: enable `ring-cipher`, or `portable-cipher` where ring does not build"
);

/// Number of bytes of a tag.
pub(super) const TAG_LEN: usize = 16;

/// A secret of 32 bytes: a key of the cipher, or what keys are made of.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret(pub(super) [u8; 32]);

/// The tag does not fit: the bytes were changed, or sealed under another key, number or context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAuthentic;

/// Four zero bytes, then the number, little-endian, as in the Noise protocol (revision 34, section 12.3).
fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().unwrap().as_bytes();
        let digits = hex.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// What must hold of each library.
    macro_rules! holds_of {
        ($name:ident, $library:ident) => {
            mod $name {
                use super::super::$library::Cipher;
                use super::*;

                #[test]
                fn what_is_sealed_opens_only_as_it_was_sealed() {
                    let cipher = Cipher::new(&Secret(std::array::from_fn(|i| i as u8)));
                    let mut data = *b"pool";
                    let tag = cipher.seal(1, b"memcloud", &mut data);
                    let sealed = [&data[..], &tag].concat();
                    for (number, context) in [(2, &b"memcloud"[..]), (1, b"memclouD")] {
                        let mut copy = sealed.clone();
                        assert_eq!(cipher.open(number, context, &mut copy), Err(NotAuthentic));
                        assert!(!copy.starts_with(b"pool"));
                    }
                    let mut copy = sealed.clone();
                    assert_eq!(cipher.open(1, b"memcloud", &mut copy).unwrap(), b"pool");
                    for len in 0..TAG_LEN {
                        assert_eq!(
                            cipher.open(1, b"memcloud", &mut sealed.clone()[..len]),
                            Err(NotAuthentic)
                        );
                    }
                }

                #[test]
                fn records_have_the_known_bytes() {
                    let path = concat!(
                        env!("CARGO_MANIFEST_DIR"),
                        "/../docs/protocol/vectors/peer-record.json"
                    );
                    let vectors: Value =
                        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
                    let rekey_records = vectors["rekey_records"].as_u64().unwrap();
                    let records = vectors["records"].as_array().unwrap();
                    assert!(!records.is_empty());
                    for record in records {
                        let number = record["number"].as_u64().unwrap();
                        let key = bytes(&vectors["keys"][(number / rekey_records) as usize]);
                        let cipher = Cipher::new(&Secret(key.try_into().unwrap()));
                        let (plaintext, sealed) = (bytes(&record["plaintext"]), bytes(&record["bytes"]));
                        let mut data = plaintext.clone();
                        let tag = cipher.seal(number, &[], &mut data);
                        // The length comes before it.
                        assert_eq!([&data[..], &tag].concat(), sealed[4..], "record {number}");
                        assert_eq!(
                            cipher.open(number, &[], &mut sealed[4..].to_vec()).unwrap(),
                            plaintext
                        );
                    }
                }
            }
        };
    }

    holds_of!(by_ring, fast);
    holds_of!(by_the_crate, portable);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn both_libraries_give_the_same_bytes(
            key in any::<[u8; 32]>(),
            number in any::<u64>(),
            context in proptest::collection::vec(any::<u8>(), 0..100),
            len in prop_oneof![0..200_usize, 0..70_000_usize],
            seed in any::<u8>(),
        ) {
            let plaintext: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
            let (fast, portable) = (fast::Cipher::new(&Secret(key)), portable::Cipher::new(&Secret(key)));
            let (mut one, mut other) = (plaintext.clone(), plaintext.clone());
            let tag = fast.seal(number, &context, &mut one);
            prop_assert_eq!(tag, portable.seal(number, &context, &mut other));
            prop_assert!(one == other);
            one.extend_from_slice(&tag);
            other.extend_from_slice(&tag);
            prop_assert!(portable.open(number, &context, &mut one).unwrap() == plaintext);
            prop_assert!(fast.open(number, &context, &mut other).unwrap() == plaintext);
        }
    }
}
