//! Attackers who know more than a stranger: keys that leaked, sessions that run at the same time, messages of their own making.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::*;
use crate::peer::cipher::{Cipher, Secret};
use crate::peer::handshake::auth::{AUTH_LEN, IDENTITY_LEN, PLAINTEXT_LEN, encode_identity};
use crate::peer::record::TrafficKey;
use crate::peer::transcript::{self, Transcript};

/// An initiator that keeps to the protocol as far as the victim can see, but says who it is and signs as it likes.
struct Forger {
    ephemeral: [u8; 32],
    nonce: [u8; 32],
    hello: Vec<u8>,
}

impl Forger {
    fn new() -> Self {
        let (ephemeral, nonce) = ([77; 32], [78; 32]);
        let public = PublicKey::from(&StaticSecret::from(ephemeral)).to_bytes();
        let hello = Hello::new(transcript::commitment(&nonce), public)
            .encode()
            .to_vec();
        Self {
            ephemeral,
            nonce,
            hello,
        }
    }

    /// What the victim says to an AUTH with this identity key, and the signature that `sign` makes over what is to be signed.
    fn claims(
        &self,
        mut victim: Handshake,
        public_key: [u8; 32],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Option<Established>, HandshakeError> {
        victim.handle_message(&self.hello).unwrap();
        let answers = messages(victim.poll_transmit());
        let their_hello = Hello::decode(&answers[0]).unwrap();
        let shared =
            StaticSecret::from(self.ephemeral).diffie_hellman(&PublicKey::from(their_hello.ephemeral));
        let shared = Secret(shared.to_bytes());
        let mut transcript = Transcript::new();
        transcript.append(Role::Initiator.hello_label(), &self.hello);
        transcript.append(Role::Responder.hello_label(), &answers[0]);
        let hellos = transcript.hash();
        // What an honest initiator would also know by now.
        let mut theirs = answers[1].clone();
        let cipher = Cipher::new(&transcript::handshake_key(Role::Responder, &shared, &hellos));
        let data = cipher.open(0, &hellos, &mut theirs).unwrap();
        transcript.append(Role::Responder.identity_label(), &data[..IDENTITY_LEN]);
        transcript.append(Role::Responder.auth_label(), &answers[1]);
        let context = transcript.hash();

        let mut identity = encode_identity(&config(1, "desk"), &self.nonce);
        identity[..32].copy_from_slice(&public_key);
        transcript.append(Role::Initiator.identity_label(), &identity);
        let signature = sign(&signed_bytes(Role::Initiator, &transcript.hash()));
        let mut auth = [0; AUTH_LEN];
        auth[..IDENTITY_LEN].copy_from_slice(&identity);
        auth[IDENTITY_LEN..PLAINTEXT_LEN].copy_from_slice(&signature);
        let tag = Cipher::new(&transcript::handshake_key(Role::Initiator, &shared, &hellos)).seal(
            0,
            &context,
            &mut auth[..PLAINTEXT_LEN],
        );
        auth[PLAINTEXT_LEN..].copy_from_slice(&tag);
        victim.handle_message(&auth)
    }
}

fn public_key(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

/// The forger's machinery works: with an identity of its own it is let through, so that what follows fails for its reason alone.
#[test]
fn a_forger_with_a_key_of_its_own_is_somebody_else() {
    let own = SigningKey::from_bytes(&[66; 32]);
    let established = Forger::new()
        .claims(responder(), public_key(&own), |signed| {
            own.sign(signed).to_bytes()
        })
        .unwrap()
        .unwrap();
    assert_eq!(established.peer.public_key, public_key(&own));
}

/// Key compromise impersonation: whoever has the victim's own key can pose as the victim, but as nobody else to the victim.
#[test]
fn whoever_has_the_victims_key_cannot_pose_as_somebody_else_to_it() {
    let victims = config(2, "lap top").signing_key;
    let friend = config(1, "desk").signing_key;
    let posing = Forger::new().claims(responder(), public_key(&friend), |signed| {
        victims.sign(signed).to_bytes()
    });
    assert_eq!(
        posing.err(),
        Some(HandshakeError::Unproven("its signature does not fit"))
    );
    let mirrored = Forger::new().claims(responder(), public_key(&victims), |signed| {
        victims.sign(signed).to_bytes()
    });
    assert_eq!(mirrored.err(), Some(HandshakeError::OwnIdentity));
}

/// A recording of a whole session stays closed to whoever gets both identity keys later: everything that can be agreed on with
/// them opens nothing, even for somebody who was told the transcripts.
#[test]
fn both_identity_keys_later_open_nothing_of_a_recording() {
    let run = run(initiator(), responder(), |_, _| {});
    let hellos: Vec<Hello> = run.sent[..2]
        .iter()
        .map(|message| Hello::decode(message).unwrap())
        .collect();
    let mut transcript = Transcript::new();
    transcript.append(Role::Initiator.hello_label(), &run.sent[0]);
    transcript.append(Role::Responder.hello_label(), &run.sent[1]);
    let behind_hellos = transcript.hash();
    let (left, right) = (run.initiator.ok().unwrap(), run.responder.ok().unwrap());
    let last = left.transcript;
    let record = seal(left.keys);

    let identities = [1, 2].map(|seed| config(seed, "x").signing_key);
    let secrets = identities.clone().map(|key| key.to_scalar_bytes());
    let publics = identities.map(|key| key.verifying_key().to_montgomery().to_bytes());
    let points = hellos.iter().map(|hello| hello.ephemeral).chain(publics);
    for point in points {
        for secret in secrets {
            let shared = StaticSecret::from(secret).diffie_hellman(&PublicKey::from(point));
            let shared = Secret(shared.to_bytes());
            for sender in [Role::Initiator, Role::Responder] {
                let key = transcript::handshake_key(sender, &shared, &behind_hellos);
                let mut auth = run.sent[2].clone();
                assert!(Cipher::new(&key).open(0, &behind_hellos, &mut auth).is_err());
                let key = TrafficKey(transcript::traffic_key(sender, &shared, &last));
                assert!(Opener::new(key, 10).open(&mut record.clone()).is_err());
            }
        }
    }
    assert!(
        Opener::new(right.keys.receive, 10)
            .open(&mut record.clone())
            .is_ok()
    );
}

fn seal(keys: SessionKeys) -> Vec<u8> {
    let mut sealer = Sealer::new(keys.send, 10);
    let mut out = Vec::new();
    let record = sealer.begin(&mut out);
    out.extend_from_slice(b"a secret");
    sealer.finish(record, &mut out).unwrap();
    out.split_off(4)
}

/// Under a key of small order one signature fits many messages: it would be an identity that everybody has.
#[test]
fn an_identity_of_small_order_is_refused() {
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let mut of_order_2 = [0xff; 32];
    (of_order_2[0], of_order_2[31]) = (0xec, 0x7f);
    for small in [identity_point, [0; 32], of_order_2] {
        // R the identity point and S zero: what a lax check takes under a key of order 1, and sometimes under the others.
        let forged = |signed: &[u8]| {
            let mut signature = [0; 64];
            signature[0] = 1;
            let lax = VerifyingKey::from_bytes(&small)
                .is_ok_and(|key| key.verify(signed, &Signature::from_bytes(&signature)).is_ok());
            assert!(
                lax || small != identity_point,
                "a lax check would not have taken it either"
            );
            signature
        };
        let error = Forger::new().claims(responder(), small, forged).err();
        assert_eq!(
            error,
            Some(HandshakeError::Unproven("its signature does not fit")),
            "{small:02x?}"
        );
    }
}

#[test]
fn a_lower_version_than_both_speak_cannot_be_put_in_anybodys_mouth() {
    // The fields of the lowest and of the highest version, in either HELLO.
    for number in [0, 1] {
        for at in [4, 5, 6, 7] {
            for value in [0, 1, 2, 255] {
                let mut was_changed = false;
                let run = run(initiator(), responder(), |n, message| {
                    if n == number {
                        was_changed = message[at] != value;
                        message[at] = value;
                    }
                });
                assert_eq!(
                    run.responder.is_err(),
                    was_changed,
                    "byte {at} of HELLO {number} as {value}"
                );
            }
        }
    }
}

/// A session of the exhaustive test: who takes part, and as what.
#[derive(Clone, Copy)]
struct Honest {
    /// Names the session's random bytes.
    seed: u8,
    /// Names the identity.
    who: u8,
}

impl Honest {
    fn initiate(self) -> (Handshake, Vec<u8>) {
        let mut side = Handshake::initiate(config(self.who, "node"), random(self.seed)).unwrap();
        let hello = messages(side.poll_transmit()).remove(0);
        (side, hello)
    }

    fn respond(self) -> Handshake {
        Handshake::respond(config(self.who, "node"), random(self.seed)).unwrap()
    }
}

/// What an attacker can make of sessions that run at the same time by dropping, repeating, reordering and crossing whatever is sent,
/// reflection included: all of it.
///
/// Three sessions each are begun and accepted by three identities. Each side is given every message that any side can be made to
/// send, in every state that it can be in, which covers every schedule of deliveries (and more, since an honest side does not
/// start over). Two sides that are done must agree on everything, or neither of them would be.
#[test]
fn sessions_that_are_crossed_in_any_way_end_or_are_what_both_think() {
    let begun = [(10, 1), (11, 1), (12, 3)].map(|(seed, who)| Honest { seed, who });
    let accepted = [(20, 2), (21, 2), (22, 1)].map(|(seed, who)| Honest { seed, who });

    // Every HELLO that exists: those of initiators, and those of responders, which do not depend on what they answer.
    let any_hello = begun[0].initiate().1;
    let mut hellos: Vec<Vec<u8>> = begun.iter().map(|side| side.initiate().1).collect();
    for side in accepted {
        let mut responder = side.respond();
        responder.handle_message(&any_hello).unwrap();
        hellos.push(messages(responder.poll_transmit()).remove(0));
    }

    // Every responder that was given any HELLO, with the AUTH that it sends.
    let mut responders = Vec::new();
    for side in accepted {
        for hello in &hellos {
            let mut responder = side.respond();
            if responder.handle_message(hello).is_ok() {
                let auth = messages(responder.poll_transmit()).remove(1);
                responders.push((side, hello.clone(), auth));
            }
        }
    }
    assert_eq!(responders.len(), 3 * 5, "all but its own");

    // Every initiator that was given any HELLO and then any AUTH.
    let mut done = Vec::new();
    for side in begun {
        for hello in &hellos {
            for (responder, taken, auth) in &responders {
                let (mut initiator, own_hello) = side.initiate();
                if initiator.handle_message(hello).is_err() {
                    continue;
                }
                let Ok(Some(established)) = initiator.handle_message(auth) else {
                    continue;
                };
                let mut fresh = responder.respond();
                fresh.handle_message(taken).unwrap();
                let their_hello = messages(fresh.poll_transmit()).remove(0);
                assert_eq!(
                    (taken, hello),
                    (&own_hello, &their_hello),
                    "an AUTH of another session"
                );
                assert_ne!(side.who, responder.who);
                assert_eq!(
                    established.peer.public_key,
                    public_key(&config(responder.who, "").signing_key)
                );
                done.push((
                    side,
                    *responder,
                    taken.clone(),
                    messages(initiator.poll_transmit()).remove(0),
                    established,
                ));
            }
        }
    }
    // Each initiator with each responder, but for node 1 with itself.
    assert_eq!(done.len(), 3 * 3 - 2);

    // Every responder in every state is given every last AUTH.
    let mut pairs = 0;
    for (side, hello, _) in &responders {
        for (initiator, responder, taken, auth, left) in &done {
            let mut last = side.respond();
            last.handle_message(hello).unwrap();
            drop(last.poll_transmit());
            let Ok(Some(right)) = last.handle_message(auth) else {
                assert!(
                    side.seed != responder.seed || hello != taken,
                    "an honest session was refused"
                );
                continue;
            };
            assert_eq!(
                (side.seed, hello),
                (responder.seed, taken),
                "an AUTH of another session"
            );
            assert_eq!(
                right.peer.public_key,
                public_key(&config(initiator.who, "").signing_key)
            );
            assert_eq!(right.transcript, left.transcript);
            assert_eq!(right.code, left.code);
            pairs += 1;
        }
    }
    assert_eq!(
        pairs,
        done.len(),
        "one responder for each initiator, and one initiator for each responder"
    );
}
