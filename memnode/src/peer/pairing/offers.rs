//! The code that this node offers, and the answers that joins of this node wait for.
//!
//! Synchronous, without sockets and without a clock. One code is offered at a time, and it serves for one exchange: every way out of
//! [`Progress::Tried`] ends the offer. `M` is the machine of the exchange.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memproto::NodeId;
use memproto::peer::pairing::{PairCode, PairMessage, PairRefusal};
use tokio::sync::oneshot;

use super::super::entry::{Grant, LinkFacts};

/// What is going on about pairing at this node.
#[derive(Debug)]
pub(in crate::peer) struct Pairing<M> {
    offer: Option<Offer<M>>,
    /// How the last offer ended, for whoever asks late.
    ended: Option<(u64, Outcome)>,
    /// Who waits for an answer, by the serial number of the link over which it comes.
    joins: BTreeMap<u64, oneshot::Sender<PairMessage>>,
    /// How many joins are dialling: what comes of it is no question to the person at this machine.
    pub(in crate::peer) dialling: usize,
}

impl<M> Default for Pairing<M> {
    fn default() -> Self {
        Self {
            offer: None,
            ended: None,
            joins: BTreeMap::new(),
            dialling: 0,
        }
    }
}

#[derive(Debug)]
struct Offer<M> {
    number: u64,
    code: Arc<PairCode>,
    grant: Grant,
    expires_at: Instant,
    progress: Progress<M>,
}

#[derive(Debug)]
enum Progress<M> {
    /// Nobody tried yet.
    Open,
    /// Somebody tries the code.
    Tried {
        by: Guest,
        /// When they must have proved that they know it.
        until: Instant,
        /// Absent while the answer is computed.
        machine: Option<M>,
    },
}

/// Who tried a code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::peer) struct Guest {
    pub(in crate::peer) serial: u64,
    pub(in crate::peer) id: NodeId,
    pub(in crate::peer) name: String,
    pub(in crate::peer) address: SocketAddr,
}

impl From<&LinkFacts> for Guest {
    fn from(facts: &LinkFacts) -> Self {
        Self {
            serial: facts.serial,
            id: facts.id,
            name: facts.name.clone(),
            address: facts.address,
        }
    }
}

/// How an offer ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::peer) enum Outcome {
    /// They proved that they know the code.
    Paired(Guest),
    /// They tried another code.
    WrongCode(Guest),
    /// They began and did not go on.
    BrokenOff(Guest),
    /// Nobody tried in time.
    Expired,
    /// The person at this machine asked for another code.
    Replaced,
    /// Nobody waits for it any more.
    Withdrawn,
}

/// How an offer stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::peer) enum Standing {
    /// Nothing changes by itself before this time.
    Until(Instant),
    /// It is over.
    Ended(Outcome),
}

impl<M> Pairing<M> {
    /// Offers a code. One that was offered before ends.
    pub(super) fn open(&mut self, number: u64, code: Arc<PairCode>, grant: Grant, expires_at: Instant) {
        self.end(Outcome::Replaced);
        self.offer = Some(Offer {
            number,
            code,
            grant,
            expires_at,
            progress: Progress::Open,
        });
    }

    /// Whether a code is offered that somebody may try.
    pub(in crate::peer) fn is_open(&mut self, now: Instant) -> bool {
        self.let_pass(now);
        self.offer.is_some()
    }

    /// How the offer of this number stands.
    pub(super) fn look(&mut self, number: u64, now: Instant) -> Standing {
        self.let_pass(now);
        match (&self.offer, &self.ended) {
            (Some(offer), _) if offer.number == number => Standing::Until(offer.due()),
            (_, Some((ended, outcome))) if *ended == number => Standing::Ended(outcome.clone()),
            // Only the outcome of the last one is kept.
            _ => Standing::Ended(Outcome::Replaced),
        }
    }

    /// Ends the offer of this number, where it is still open.
    pub(super) fn withdraw(&mut self, number: u64) {
        if self.offer.as_ref().is_some_and(|offer| offer.number == number) {
            self.end(Outcome::Withdrawn);
        }
    }

    /// Lets somebody try the code, which they then have used.
    ///
    /// # Errors
    /// What they are to be told.
    pub(super) fn try_code(
        &mut self,
        by: Guest,
        now: Instant,
        time_to_prove: Duration,
    ) -> Result<Arc<PairCode>, PairRefusal> {
        self.let_pass(now);
        let offer = self.offer.as_mut().ok_or(PairRefusal::NoOffer)?;
        match &offer.progress {
            Progress::Open => {
                offer.progress = Progress::Tried {
                    by,
                    until: now + time_to_prove,
                    machine: None,
                };
                Ok(Arc::clone(&offer.code))
            }
            Progress::Tried { by: first, .. } if first.serial == by.serial => {
                // A second guess.
                self.end(Outcome::WrongCode(by));
                Err(PairRefusal::WrongCode)
            }
            Progress::Tried { .. } => Err(PairRefusal::Busy),
        }
    }

    /// Keeps the machine that waits for the proof.
    pub(super) fn answered(&mut self, serial: u64, answered: M) {
        if let Some(Progress::Tried { by, machine, .. }) =
            self.offer.as_mut().map(|offer| &mut offer.progress)
            && by.serial == serial
        {
            *machine = Some(answered);
        }
    }

    /// Takes the proof of whoever tries the code, as `check` sees it. Returns the grant where it fits.
    ///
    /// # Errors
    /// What they are to be told. The offer, if it was theirs to try, is over.
    pub(super) fn prove(
        &mut self,
        by: Guest,
        now: Instant,
        check: impl FnOnce(M) -> bool,
    ) -> Result<Grant, PairRefusal> {
        self.let_pass(now);
        if self.tried_by(by.serial).is_none() {
            return Err(PairRefusal::NoOffer);
        }
        let offer = self.offer.take().ok_or(PairRefusal::NoOffer)?;
        let (number, grant) = (offer.number, offer.grant);
        let fits = match offer.progress {
            Progress::Tried {
                machine: Some(machine),
                ..
            } => check(machine),
            _ => false,
        };
        let (outcome, result) = if fits {
            (Outcome::Paired(by), Ok(grant))
        } else {
            (Outcome::WrongCode(by), Err(PairRefusal::WrongCode))
        };
        self.ended = Some((number, outcome));
        result
    }

    /// Notes that whoever tries the code says that it is not theirs. Returns whether it was theirs to try.
    pub(super) fn refused(&mut self, serial: u64) -> bool {
        match self.tried_by(serial).cloned() {
            Some(by) => {
                self.end(Outcome::WrongCode(by));
                true
            }
            None => false,
        }
    }

    /// Notes that a link is over: nothing more comes over it.
    pub(in crate::peer) fn link_ended(&mut self, serial: u64) {
        self.joins.remove(&serial);
        if let Some(by) = self.tried_by(serial).cloned() {
            self.end(Outcome::BrokenOff(by));
        }
    }

    /// Waits for an answer over a link. `None` where another join waits for one there.
    pub(super) fn expect(&mut self, serial: u64) -> Option<oneshot::Receiver<PairMessage>> {
        if self.joins.contains_key(&serial) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.joins.insert(serial, sender);
        Some(receiver)
    }

    /// Takes out who waits for an answer over a link.
    pub(super) fn waiter(&mut self, serial: u64) -> Option<oneshot::Sender<PairMessage>> {
        self.joins.remove(&serial)
    }

    fn tried_by(&self, serial: u64) -> Option<&Guest> {
        match &self.offer.as_ref()?.progress {
            Progress::Tried { by, .. } if by.serial == serial => Some(by),
            _ => None,
        }
    }

    /// Ends what time has ended.
    fn let_pass(&mut self, now: Instant) {
        let Some(offer) = self.offer.as_ref().filter(|offer| now >= offer.due()) else {
            return;
        };
        let outcome = match &offer.progress {
            Progress::Open => Outcome::Expired,
            Progress::Tried { by, .. } => Outcome::BrokenOff(by.clone()),
        };
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(offer) = self.offer.take() {
            self.ended = Some((offer.number, outcome));
        }
    }
}

impl<M> Offer<M> {
    fn due(&self) -> Instant {
        match &self.progress {
            Progress::Open => self.expires_at,
            Progress::Tried { until, .. } => *until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVE: Duration = Duration::from_secs(10);
    const LIFE: Duration = Duration::from_secs(300);
    const GRANT: Grant = Grant {
        quota_bytes: 7,
        named: true,
        keep: true,
    };

    fn guest(serial: u64) -> Guest {
        Guest {
            serial,
            id: NodeId::from_bytes([serial as u8; 16]),
            name: format!("Node{serial}"),
            address: "192.0.2.1:1".parse().unwrap(),
        }
    }

    fn opened(now: Instant) -> Pairing<bool> {
        let mut pairing = Pairing::default();
        let code = Arc::new("4175829310".parse().unwrap());
        pairing.open(1, code, GRANT, now + LIFE);
        pairing
    }

    fn outcome(pairing: &mut Pairing<bool>, now: Instant) -> Option<Outcome> {
        match pairing.look(1, now) {
            Standing::Ended(outcome) => Some(outcome),
            Standing::Until(_) => None,
        }
    }

    #[test]
    fn the_right_proof_pairs_once() {
        let now = Instant::now();
        let mut pairing = opened(now);
        assert!(pairing.try_code(guest(1), now, PROVE).is_ok());
        pairing.answered(1, true);
        assert_eq!(pairing.look(1, now), Standing::Until(now + PROVE));
        assert_eq!(pairing.prove(guest(1), now, |fits| fits), Ok(GRANT));
        assert_eq!(outcome(&mut pairing, now), Some(Outcome::Paired(guest(1))));
        assert_eq!(
            pairing.prove(guest(1), now, |fits| fits),
            Err(PairRefusal::NoOffer)
        );
        assert_eq!(
            pairing.try_code(guest(1), now, PROVE).err(),
            Some(PairRefusal::NoOffer)
        );
    }

    #[test]
    fn every_other_way_on_burns_the_code() {
        let now = Instant::now();
        type Step = fn(&mut Pairing<bool>, Instant);
        let wrong = Outcome::WrongCode(guest(1));
        let broken = Outcome::BrokenOff(guest(1));
        let cases: [(&str, Step, &Outcome); 6] = [
            (
                "a wrong proof",
                |pairing, now| assert!(pairing.prove(guest(1), now, |_| false).is_err()),
                &wrong,
            ),
            (
                "a second guess",
                |pairing, now| assert!(pairing.try_code(guest(1), now, PROVE).is_err()),
                &wrong,
            ),
            ("a refusal", |pairing, _| assert!(pairing.refused(1)), &wrong),
            (
                "silence",
                |pairing, now| assert!(!pairing.is_open(now + PROVE)),
                &broken,
            ),
            ("a link that ends", |pairing, _| pairing.link_ended(1), &broken),
            (
                "a proof that comes too late",
                |pairing, now| assert!(pairing.prove(guest(1), now + PROVE, |_| true).is_err()),
                &broken,
            ),
        ];
        for (name, step, expected) in cases {
            let mut pairing = opened(now);
            assert!(pairing.try_code(guest(1), now, PROVE).is_ok());
            pairing.answered(1, true);
            step(&mut pairing, now);
            assert_eq!(outcome(&mut pairing, now).as_ref(), Some(expected), "{name}");
            assert_eq!(
                pairing.try_code(guest(2), now, PROVE).err(),
                Some(PairRefusal::NoOffer),
                "{name}"
            );
        }
    }

    #[test]
    fn others_can_neither_try_nor_prove_nor_burn_meanwhile() {
        let now = Instant::now();
        let mut pairing = opened(now);
        assert!(pairing.try_code(guest(1), now, PROVE).is_ok());
        pairing.answered(1, true);
        assert_eq!(
            pairing.try_code(guest(2), now, PROVE).err(),
            Some(PairRefusal::Busy)
        );
        assert_eq!(
            pairing.prove(guest(2), now, |fits| fits),
            Err(PairRefusal::NoOffer)
        );
        assert!(!pairing.refused(2));
        pairing.link_ended(2);
        assert_eq!(pairing.prove(guest(1), now, |fits| fits), Ok(GRANT));
    }

    #[test]
    fn an_offer_ends_by_time_by_another_and_by_whoever_made_it() {
        let now = Instant::now();
        let mut pairing = opened(now);
        assert_eq!(pairing.look(1, now), Standing::Until(now + LIFE));
        assert!(pairing.is_open(now + LIFE - Duration::from_millis(1)));
        assert_eq!(
            pairing.try_code(guest(1), now + LIFE, PROVE).err(),
            Some(PairRefusal::NoOffer)
        );
        assert_eq!(outcome(&mut pairing, now), Some(Outcome::Expired));

        let mut pairing = opened(now);
        let code = Arc::new("4175829311".parse().unwrap());
        pairing.open(2, code, GRANT, now + LIFE);
        assert_eq!(outcome(&mut pairing, now), Some(Outcome::Replaced));
        pairing.withdraw(1);
        assert!(pairing.is_open(now));
        pairing.withdraw(2);
        assert_eq!(pairing.look(2, now), Standing::Ended(Outcome::Withdrawn));
    }

    #[test]
    fn a_link_has_one_join_and_its_end_ends_the_wait() {
        let mut pairing: Pairing<bool> = Pairing::default();
        let mut answer = pairing.expect(1).unwrap();
        assert!(pairing.expect(1).is_none());
        pairing.link_ended(1);
        assert!(answer.try_recv().is_err());
        assert!(pairing.expect(1).is_some());
        assert!(pairing.waiter(1).is_some() && pairing.waiter(1).is_none());
    }
}
