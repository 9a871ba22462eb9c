//! The steps of the handshake.

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::auth::{self, AUTH_LEN, IDENTITY_LEN, PLAINTEXT_LEN, SIGNATURE_LEN};
use super::hello::Hello;
use super::{Established, HandshakeConfig, HandshakeError, HandshakeRandom, PeerIdentity};
use crate::peer::cipher::{Cipher, Secret};
use crate::peer::record::{SessionKeys, TrafficKey};
use crate::peer::transcript::{self, Role, Transcript};

/// One side of a handshake.
pub struct Handshake {
    role: Role,
    config: HandshakeConfig,
    pub(super) random: HandshakeRandom,
    hello: Hello,
    transcript: Transcript,
    state: State,
    outgoing: Vec<u8>,
}

enum State {
    /// Waits for the other side's HELLO.
    Hello,
    /// Waits for the other side's AUTH.
    Auth(Agreement),
    /// Finished or failed: nothing is expected any more.
    Over,
}

/// What both HELLO gave.
struct Agreement {
    version: u16,
    shared: Secret,
    /// The transcript behind both HELLO.
    hellos: [u8; 32],
    /// The nonce of the other side's HELLO.
    their_nonce: [u8; 32],
}

impl Handshake {
    /// The side that began the connection. Its HELLO is ready to be sent.
    ///
    /// # Errors
    /// `Config` where the name is not valid.
    pub fn initiate(config: HandshakeConfig, random: HandshakeRandom) -> Result<Self, HandshakeError> {
        let mut handshake = Self::new(Role::Initiator, config, random)?;
        handshake.send_hello();
        Ok(handshake)
    }

    /// The side that accepted the connection. It says nothing before it has a valid HELLO.
    ///
    /// # Errors
    /// `Config` where the name is not valid.
    pub fn respond(config: HandshakeConfig, random: HandshakeRandom) -> Result<Self, HandshakeError> {
        Self::new(Role::Responder, config, random)
    }

    /// The bytes to send now, framed. The driver sends what this gives before it acts on what
    /// [`handle_message`](Self::handle_message) returned, even on an error: a HELLO tells an older or newer node the versions.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.outgoing.is_empty()).then(|| std::mem::take(&mut self.outgoing))
    }

    /// Takes one whole message, without its length prefix. Returns the result of the handshake with its last message.
    ///
    /// # Errors
    /// The handshake is over. The connection is to be closed, whatever the error.
    pub fn handle_message(&mut self, body: &[u8]) -> Result<Option<Established>, HandshakeError> {
        match (std::mem::replace(&mut self.state, State::Over), self.role) {
            (State::Hello, Role::Initiator) => self.initiator_takes_hello(body).map(|()| None),
            (State::Hello, Role::Responder) => self.responder_takes_hello(body).map(|()| None),
            (State::Auth(agreement), Role::Initiator) => {
                self.initiator_takes_auth(&agreement, body).map(Some)
            }
            (State::Auth(agreement), Role::Responder) => {
                self.responder_takes_auth(&agreement, body).map(Some)
            }
            (State::Over, _) => Err(HandshakeError::Malformed("a message where none is expected")),
        }
    }

    fn new(role: Role, config: HandshakeConfig, random: HandshakeRandom) -> Result<Self, HandshakeError> {
        super::check_node_name(&config.name).map_err(|_| HandshakeError::Config("its name is not valid"))?;
        let ephemeral = PublicKey::from(&StaticSecret::from(random.ephemeral)).to_bytes();
        let nonce = match role {
            Role::Initiator => transcript::commitment(&random.nonce),
            Role::Responder => random.nonce,
        };
        Ok(Self {
            role,
            config,
            random,
            hello: Hello::new(nonce, ephemeral),
            transcript: Transcript::new(),
            state: State::Hello,
            outgoing: Vec::new(),
        })
    }

    fn initiator_takes_hello(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let theirs = self.take_hello(body)?;
        self.state = State::Auth(self.agree(&theirs)?);
        Ok(())
    }

    fn responder_takes_hello(&mut self, body: &[u8]) -> Result<(), HandshakeError> {
        let theirs = self.take_hello(body)?;
        self.send_hello();
        let agreement = self.agree(&theirs)?;
        self.send_auth(&agreement, &agreement.hellos, &[0; 32]);
        self.state = State::Auth(agreement);
        Ok(())
    }

    fn initiator_takes_auth(
        &mut self,
        agreement: &Agreement,
        body: &[u8],
    ) -> Result<Established, HandshakeError> {
        let (peer, nonce) = self.take_auth(agreement, &agreement.hellos, body)?;
        if nonce != [0; 32] {
            return Err(HandshakeError::Malformed("its AUTH holds a second nonce"));
        }
        let (context, own_nonce) = (self.transcript.hash(), self.random.nonce);
        self.send_auth(agreement, &context, &own_nonce);
        Ok(self.establish(agreement, peer, &own_nonce))
    }

    fn responder_takes_auth(
        &mut self,
        agreement: &Agreement,
        body: &[u8],
    ) -> Result<Established, HandshakeError> {
        let context = self.transcript.hash();
        let (peer, nonce) = self.take_auth(agreement, &context, body)?;
        if transcript::commitment(&nonce) != agreement.their_nonce {
            return Err(HandshakeError::Unproven(
                "its nonce is not the one it had committed itself to",
            ));
        }
        Ok(self.establish(agreement, peer, &nonce))
    }

    fn send_hello(&mut self) {
        let bytes = self.hello.encode();
        self.transcript.append(self.role.hello_label(), &bytes);
        self.send(&bytes);
    }

    fn take_hello(&mut self, body: &[u8]) -> Result<Hello, HandshakeError> {
        let theirs = Hello::decode(body)?;
        if theirs.ephemeral == self.hello.ephemeral || theirs.nonce == self.hello.nonce {
            return Err(HandshakeError::Tampered("this node's own HELLO came back"));
        }
        self.transcript.append(self.role.other().hello_label(), body);
        Ok(theirs)
    }

    /// The key exchange, once both HELLO are in the transcript.
    fn agree(&self, theirs: &Hello) -> Result<Agreement, HandshakeError> {
        let version = theirs.common_version()?;
        let shared =
            StaticSecret::from(self.random.ephemeral).diffie_hellman(&PublicKey::from(theirs.ephemeral));
        // A point of small order makes the shared secret zero, whatever this side's key is (RFC 7748, 6.1).
        if !shared.was_contributory() {
            return Err(HandshakeError::Tampered(
                "its ephemeral key forces the shared secret to zero",
            ));
        }
        Ok(Agreement {
            version,
            shared: Secret(shared.to_bytes()),
            hellos: self.transcript.hash(),
            their_nonce: theirs.nonce,
        })
    }

    fn send_auth(&mut self, agreement: &Agreement, context: &[u8; 32], nonce: &[u8; 32]) {
        let identity = auth::encode_identity(&self.config, nonce);
        self.transcript.append(self.role.identity_label(), &identity);
        let signed = transcript::signed_bytes(self.role, &self.transcript.hash());
        let signature = self.config.signing_key.sign(&signed);

        let mut bytes = [0; AUTH_LEN];
        bytes[..IDENTITY_LEN].copy_from_slice(&identity);
        bytes[IDENTITY_LEN..PLAINTEXT_LEN].copy_from_slice(&signature.to_bytes());
        let cipher = Cipher::new(&transcript::handshake_key(
            self.role,
            &agreement.shared,
            &agreement.hellos,
        ));
        let tag = cipher.seal(0, context, &mut bytes[..PLAINTEXT_LEN]);
        bytes[PLAINTEXT_LEN..].copy_from_slice(&tag);
        self.transcript.append(self.role.auth_label(), &bytes);
        self.send(&bytes);
    }

    /// Opens and proves the other side's AUTH. Returns who it is and the nonce it holds.
    fn take_auth(
        &mut self,
        agreement: &Agreement,
        context: &[u8; 32],
        body: &[u8],
    ) -> Result<(PeerIdentity, [u8; 32]), HandshakeError> {
        let mut bytes: [u8; AUTH_LEN] = body
            .try_into()
            .map_err(|_| HandshakeError::Malformed("its second message is no AUTH"))?;
        let their_role = self.role.other();
        let cipher = Cipher::new(&transcript::handshake_key(
            their_role,
            &agreement.shared,
            &agreement.hellos,
        ));
        let data = cipher
            .open(0, context, &mut bytes)
            .map_err(|_| HandshakeError::Unproven("its AUTH does not open"))?;

        let (identity, signature) = data.split_at(IDENTITY_LEN);
        let identity: &[u8; IDENTITY_LEN] = identity.try_into().expect("split at this length");
        let signature: &[u8; SIGNATURE_LEN] = signature.try_into().expect("what is left of the plaintext");
        self.transcript.append(their_role.identity_label(), identity);
        self.verify(their_role, &identity[..32], signature)?;
        self.transcript.append(their_role.auth_label(), body);
        auth::decode_identity(identity)
    }

    /// Checks a signature over the transcript up to the identity that made it.
    fn verify(
        &self,
        signer: Role,
        public_key: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), HandshakeError> {
        if public_key == self.config.signing_key.verifying_key().as_bytes() {
            return Err(HandshakeError::OwnIdentity);
        }
        let signed = transcript::signed_bytes(signer, &self.transcript.hash());
        // Strict: refuses keys of small order, under which one signature would fit many messages (RFC 8032, 5.1.7).
        VerifyingKey::try_from(public_key)
            .and_then(|key| key.verify_strict(&signed, &Signature::from_bytes(signature)))
            .map_err(|_| HandshakeError::Unproven("its signature does not fit"))
    }

    fn establish(
        &self,
        agreement: &Agreement,
        peer: PeerIdentity,
        initiator_nonce: &[u8; 32],
    ) -> Established {
        let last = self.transcript.hash();
        let key = |sender| TrafficKey(transcript::traffic_key(sender, &agreement.shared, &last));
        Established {
            keys: SessionKeys {
                send: key(self.role),
                receive: key(self.role.other()),
            },
            peer,
            code: transcript::code(&agreement.hellos, initiator_nonce),
            transcript: last,
            we_dialled: self.role == Role::Initiator,
            version: agreement.version,
        }
    }

    fn send(&mut self, body: &[u8]) {
        self.outgoing
            .extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.outgoing.extend_from_slice(body);
    }
}
