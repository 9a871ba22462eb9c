//! Records: what crosses the connection behind the handshake.
//!
//! ```text
//! +--------------+------------------------+---------+
//! | length u32LE | ciphertext             | tag 16  |     length = ciphertext + tag
//! +--------------+------------------------+---------+
//! ```
//!
//! Each direction has a key of its own and counts its records from 0. The count is the nonce, so it never repeats;
//! after [`REKEY_RECORDS`] records the key is replaced by one derived from it, so a key that leaks opens nothing older.
//! A record that is lost, repeated, reordered or changed does not open, and the link ends.
//!
//! Nothing here knows what a record means: see [`super::frame`].

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use super::cipher::{Cipher, Secret, TAG_LEN};
use super::transcript::next_key;

/// The most bytes in a record before they are sealed.
pub const RECORD_PLAINTEXT_MAX: usize = 64 * 1024;

/// The most bytes of a record behind its length.
pub const RECORD_MAX: usize = RECORD_PLAINTEXT_MAX + TAG_LEN;

/// Number of bytes of the length before a record.
pub const LENGTH_PREFIX_LEN: usize = 4;

/// After how many records a direction replaces its key: 4 GiB at most, two seconds at the speed of a fast wire. The
/// cipher itself needs none before its count wraps (RFC 8446, 5.5, of the same construction); this is for forward secrecy
/// within a long link, and costs one hash.
pub const REKEY_RECORDS: u64 = 1 << 16;

/// Why a record did not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The length before a record is impossible.
    #[error("a record of {0} bytes is announced: at least {min} and at most {RECORD_MAX} are allowed", min = TAG_LEN + 1)]
    Length(usize),
    /// The record was changed, repeated, reordered, or sealed by somebody else.
    #[error("a record is not what the peer sealed")]
    NotAuthentic,
    /// Every number was used: 2^64 records.
    #[error("the link has carried all the records it can")]
    Exhausted,
}

/// The key of one direction.
pub struct TrafficKey(pub(super) Secret);

/// The keys of both directions, as one side has them. Wiped on drop, and without Debug.
pub struct SessionKeys {
    /// Seals what this side sends.
    pub send: TrafficKey,
    /// Opens what this side receives.
    pub receive: TrafficKey,
}

/// Reads the length before a record.
///
/// # Errors
/// `Length` where no record has this length: checked before anything is allocated.
pub fn check_length(prefix: [u8; LENGTH_PREFIX_LEN]) -> Result<usize, RecordError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > TAG_LEN && length <= RECORD_MAX {
        Ok(length)
    } else {
        Err(RecordError::Length(length))
    }
}

/// The key, cipher and count of one direction.
struct Direction {
    key: Secret,
    cipher: Cipher,
    count: u64,
    rekey_records: u64,
}

impl Direction {
    fn new(key: TrafficKey, rekey_records: u64) -> Self {
        let cipher = Cipher::new(&key.0);
        Self {
            key: key.0,
            cipher,
            count: 0,
            rekey_records: rekey_records.max(1),
        }
    }

    /// The number of the next record. Replaces the key first, where that is due.
    fn next_number(&mut self) -> Result<u64, RecordError> {
        let number = self.count;
        self.count = number.checked_add(1).ok_or(RecordError::Exhausted)?;
        if number > 0 && number.is_multiple_of(self.rekey_records) {
            self.key = next_key(&self.key);
            self.cipher = Cipher::new(&self.key);
        }
        Ok(number)
    }
}

/// Seals what one side sends.
pub struct Sealer(Direction);

/// A record that is being filled: where it begins in the buffer.
#[must_use = "a record that was begun is ended with Sealer::finish"]
pub struct OpenRecord {
    start: usize,
}

impl OpenRecord {
    /// Number of bytes that the record holds so far.
    pub fn len(&self, out: &[u8]) -> usize {
        out.len() - self.start - LENGTH_PREFIX_LEN
    }

    /// Whether the record holds nothing so far.
    pub fn is_empty(&self, out: &[u8]) -> bool {
        self.len(out) == 0
    }

    /// Number of bytes that still fit.
    pub fn room(&self, out: &[u8]) -> usize {
        RECORD_PLAINTEXT_MAX - self.len(out)
    }
}

impl Sealer {
    /// Begins to count. Both sides must have the same `rekey_records`, see [`REKEY_RECORDS`].
    pub fn new(key: TrafficKey, rekey_records: u64) -> Self {
        Self(Direction::new(key, rekey_records))
    }

    /// Begins a record at the end of `out`. What the caller then appends, 1 to [`RECORD_PLAINTEXT_MAX`] bytes, is its
    /// plaintext: it is encrypted where it lies, and so copied once on its way out.
    pub fn begin(&self, out: &mut Vec<u8>) -> OpenRecord {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_PREFIX_LEN]);
        OpenRecord { start }
    }

    /// Seals the record, or takes it away where nothing was appended. Returns whether there is a record.
    ///
    /// # Errors
    /// `Length` where too much was appended, `Exhausted` after 2^64 records; the record is taken away then.
    #[expect(clippy::needless_pass_by_value, reason = "a record is finished once")]
    pub fn finish(&mut self, record: OpenRecord, out: &mut Vec<u8>) -> Result<bool, RecordError> {
        let (start, len) = (record.start, record.len(out));
        let number = match len {
            0 => Ok(None),
            len if len > RECORD_PLAINTEXT_MAX => Err(RecordError::Length(len)),
            _ => self.0.next_number().map(Some),
        };
        let Ok(Some(number)) = number else {
            out.truncate(start);
            return number.map(|_| false);
        };
        let tag = self
            .0
            .cipher
            .seal(number, &[], &mut out[start + LENGTH_PREFIX_LEN..]);
        out.extend_from_slice(&tag);
        let length = (len + TAG_LEN) as u32;
        out[start..start + LENGTH_PREFIX_LEN].copy_from_slice(&length.to_le_bytes());
        Ok(true)
    }
}

/// Opens what one side receives.
pub struct Opener(Direction);

impl Opener {
    /// Begins to count. Both sides must have the same `rekey_records`, see [`REKEY_RECORDS`].
    pub fn new(key: TrafficKey, rekey_records: u64) -> Self {
        Self(Direction::new(key, rekey_records))
    }

    /// Decrypts a record in place, without its length prefix, and returns its plaintext.
    ///
    /// # Errors
    /// `Length` for an impossible length, `NotAuthentic` where it does not open: its bytes are lost then, and the
    /// link cannot go on.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a [u8], RecordError> {
        if record.len() <= TAG_LEN || record.len() > RECORD_MAX {
            return Err(RecordError::Length(record.len()));
        }
        let number = self.0.next_number()?;
        let data = self.0.cipher.open(number, &[], record);
        data.map(|data| &*data).map_err(|_| RecordError::NotAuthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REKEY: u64 = 3;

    fn pair() -> (Sealer, Opener) {
        let key = || TrafficKey(Secret([7; 32]));
        (Sealer::new(key(), REKEY), Opener::new(key(), REKEY))
    }

    /// Seals each text as a record of its own and returns the records without their lengths.
    fn seal(sealer: &mut Sealer, texts: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for text in texts {
            let mut out = Vec::new();
            let record = sealer.begin(&mut out);
            out.extend_from_slice(text);
            assert!(sealer.finish(record, &mut out).unwrap());
            let length = check_length(out[..4].try_into().unwrap()).unwrap();
            assert_eq!(length, out.len() - 4);
            records.push(out[4..].to_vec());
        }
        records
    }

    #[test]
    fn records_pass_over_many_changes_of_key() {
        let (mut sealer, mut opener) = pair();
        let texts: Vec<Vec<u8>> = (1..20).map(|n| vec![n as u8; n * 3_000]).collect();
        for (mut record, text) in seal(&mut sealer, &texts).into_iter().zip(&texts) {
            assert_eq!(opener.open(&mut record).unwrap(), text);
        }
    }

    #[test]
    fn the_key_changes_exactly_at_the_threshold() {
        let (mut sealer, _) = pair();
        let first_key = Cipher::new(&Secret([7; 32]));
        let texts = vec![vec![1; 10]; 5];
        let opens =
            |number: usize, record: &[u8]| first_key.open(number as u64, &[], &mut record.to_vec()).is_ok();
        let records = seal(&mut sealer, &texts);
        let with_first: Vec<bool> = records
            .iter()
            .enumerate()
            .map(|(n, record)| opens(n, record))
            .collect();
        assert_eq!(with_first, [true, true, true, false, false]);
    }

    /// What is stolen from a running link opens nothing that went before the last change of key.
    #[test]
    fn a_key_that_leaks_opens_no_record_before_the_last_change() {
        let texts = vec![b"what was said".to_vec(); 2 * REKEY as usize + 1];
        let (mut sealer, _) = pair();
        let records = seal(&mut sealer, &texts);
        // The key of now and all that can be made of it.
        let mut stolen = Secret(sealer.0.key.0);
        for _ in 0..4 {
            for (number, record) in records.iter().enumerate().take(2 * REKEY as usize) {
                let mut record = record.clone();
                let opened = Cipher::new(&stolen).open(number as u64, &[], &mut record);
                assert!(opened.is_err(), "record {number}");
            }
            stolen = next_key(&stolen);
        }
    }

    #[test]
    fn a_lost_repeated_or_reordered_record_does_not_open() {
        let records = seal(
            &mut pair().0,
            &[b"one".to_vec(), b"two".to_vec(), b"six".to_vec()],
        );
        for order in [&[1][..], &[0, 0], &[0, 2], &[1, 0]] {
            let (_, mut opener) = pair();
            let results: Vec<_> = order
                .iter()
                .map(|&n| opener.open(&mut records[n].clone()).is_ok())
                .collect();
            assert!(!results[results.len() - 1], "{order:?}");
        }
    }

    #[test]
    fn a_changed_or_truncated_record_does_not_open() {
        let record = seal(&mut pair().0, &[b"four".to_vec()]).remove(0);
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert_eq!(
                pair().1.open(&mut changed),
                Err(RecordError::NotAuthentic),
                "byte {at}"
            );
            let length = if at <= TAG_LEN {
                Err(RecordError::Length(at))
            } else {
                Err(RecordError::NotAuthentic)
            };
            assert_eq!(pair().1.open(&mut record[..at].to_vec()), length, "cut to {at}");
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_else() {
        for (length, valid) in [
            (0, false),
            (16, false),
            (17, true),
            (65_552, true),
            (65_553, false),
        ] {
            assert_eq!(check_length(u32::to_le_bytes(length)).is_ok(), valid, "{length}");
        }
        assert!(check_length([0xff; 4]).is_err());
        let (mut sealer, mut opener) = pair();
        let mut out = b"before".to_vec();
        let record = sealer.begin(&mut out);
        assert!(record.is_empty(&out));
        assert_eq!(sealer.finish(record, &mut out), Ok(false));
        let record = sealer.begin(&mut out);
        out.resize(out.len() + RECORD_PLAINTEXT_MAX + 1, 0);
        assert_eq!(
            sealer.finish(record, &mut out),
            Err(RecordError::Length(RECORD_PLAINTEXT_MAX + 1))
        );
        assert_eq!(out, b"before");
        assert_eq!(
            opener.open(&mut vec![0; RECORD_MAX + 1]),
            Err(RecordError::Length(RECORD_MAX + 1))
        );
    }

    #[test]
    fn numbers_are_never_used_twice() {
        let (mut sealer, _) = pair();
        sealer.0.count = u64::MAX;
        let mut out = Vec::new();
        let record = sealer.begin(&mut out);
        out.push(1);
        assert_eq!(sealer.finish(record, &mut out), Err(RecordError::Exhausted));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_open(mut record in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert!(pair().1.open(&mut record).is_err());
        }
    }
}
