//! What the compiler is asked to promise of secrets: they are wiped on drop, and cannot be printed.
//!
//! A type that loses one of these properties, here or in a library, no longer builds with the tests.

use std::fmt::Debug;

use chacha20poly1305::ChaCha20Poly1305;
use ed25519_dalek::SigningKey;
use ring::aead::LessSafeKey;
use x25519_dalek::{SharedSecret, StaticSecret};
use zeroize::ZeroizeOnDrop;

use super::cipher::{Cipher, Secret};
use super::handshake::{Established, Handshake, HandshakeConfig, HandshakeRandom};
use super::pairing::{Joiner, Offer, PairCode, PairRandom};
use super::record::{Opener, Sealer, SessionKeys, TrafficKey};
use super::wiped::Wiped;

const fn is_wiped<T: ZeroizeOnDrop>() {}

/// What holds secrets itself. Everything else holds one of these: [`TrafficKey`] and [`SessionKeys`] a [`Secret`], [`Cipher`] the
/// one or the other cipher with its key, [`Handshake`] the identity, the random bytes and the shared secret.
const _: () = {
    is_wiped::<Secret>();
    is_wiped::<HandshakeRandom>();
    is_wiped::<PairRandom>();
    is_wiped::<PairCode>();
    is_wiped::<SigningKey>();
    is_wiped::<StaticSecret>();
    is_wiped::<SharedSecret>();
    is_wiped::<Wiped<LessSafeKey>>();
    is_wiped::<ChaCha20Poly1305>();
};

/// Two ways to say the same of a type that has Debug, one of a type that has not: then the compiler knows which is meant.
trait Printable<Way> {
    fn is_unambiguous() {}
}

struct Always;
struct WithDebug;

impl<T> Printable<Always> for T {}
impl<T: Debug> Printable<WithDebug> for T {}

macro_rules! without_debug {
    ($($secret:ty),+ $(,)?) => {
        $(const _: fn() = <$secret as Printable<_>>::is_unambiguous;)+
    };
}

without_debug!(
    Secret,
    Cipher,
    TrafficKey,
    SessionKeys,
    Sealer,
    Opener,
    HandshakeRandom,
    HandshakeConfig,
    Handshake,
    Established,
    PairRandom,
    Joiner,
    Offer,
);

#[test]
fn the_code_of_a_pairing_prints_as_nothing() {
    let code: PairCode = "417-582-9310".parse().unwrap();
    assert_eq!(format!("{code:?}"), "PairCode");
}
