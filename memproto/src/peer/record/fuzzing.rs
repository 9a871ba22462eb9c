//! The body of the fuzz target of records. See [`crate::fuzzing`].

use super::{LENGTH_PREFIX_LEN, Opener, RECORD_PLAINTEXT_MAX, RecordError, Sealer, TrafficKey, check_length};
use crate::fuzzing::script::Script;
use crate::peer::cipher::{Secret, TAG_LEN};

/// Low, so that a script passes over changes of key.
const REKEY_RECORDS: u64 = 3;

/// The first byte of the input chooses what the rest is: bytes from somebody without the keys, or a script of what somebody on the
/// wire does to an honest stream of records.
pub fn peer_records(data: &[u8]) {
    let Some((&way, rest)) = data.split_first() else {
        return;
    };
    if way % 2 == 0 {
        stranger(rest);
    } else {
        on_the_wire(rest);
    }
}

fn key() -> TrafficKey {
    TrafficKey(Secret([5; 32]))
}

/// A stream of lengths and bytes. None of it opens, whatever it is cut into.
fn stranger(mut rest: &[u8]) {
    let mut opener = Opener::new(key(), REKEY_RECORDS);
    while let Some((prefix, behind)) = rest.split_first_chunk::<LENGTH_PREFIX_LEN>() {
        let Ok(length) = check_length(*prefix) else {
            return;
        };
        assert!((TAG_LEN + 1..=RECORD_PLAINTEXT_MAX + TAG_LEN).contains(&length));
        let (record, behind) = behind.split_at(length.min(behind.len()));
        rest = behind;
        let mut record = record.to_vec();
        let before = record.clone();
        assert!(opener.open(&mut record).is_err(), "a stranger's record opened");
        let is_left = |(now, before): (&u8, &u8)| now == before || *now == 0;
        assert!(
            record.iter().zip(&before).all(is_left),
            "nothing is left of what does not open: it is as it came, or wiped"
        );
    }
}

/// Steps of two bytes: what is done with the next record, and where. Up to the first change everything arrives as it was sent; the
/// first record that is not the next one as it was sealed ends it.
fn on_the_wire(bytes: &[u8]) {
    let (mut sealer, mut opener) = (
        Sealer::new(key(), REKEY_RECORDS),
        Opener::new(key(), REKEY_RECORDS),
    );
    let mut script = Script::new(bytes);
    let mut last: Option<Vec<u8>> = None;
    while !script.is_over() {
        let [what, at] = script.take();
        let text = vec![what ^ at; usize::from(at) + 1];
        let mut out = Vec::new();
        let open = sealer.begin(&mut out);
        out.extend_from_slice(&text);
        assert_eq!(sealer.finish(open, &mut out), Ok(true));
        let record = out.split_off(LENGTH_PREFIX_LEN);
        assert_eq!(out, (record.len() as u32).to_le_bytes());
        let at = usize::from(at) % record.len();
        let mut arrives = record.clone();
        match what % 8 {
            0 => arrives[at] ^= 1 << (what / 8 % 8),
            1 => arrives.truncate(at),
            2 => arrives.push(what),
            3 => arrives = last.clone().unwrap_or_default(),
            // Lost: the next one comes in its place.
            4 => {
                let open = sealer.begin(&mut out);
                out.push(what);
                assert_eq!(sealer.finish(open, &mut out), Ok(true));
                arrives = out.split_off(2 * LENGTH_PREFIX_LEN);
            }
            _ => {}
        }
        let is_honest = arrives == record;
        let opened = opener.open(&mut arrives).map(<[u8]>::to_vec);
        if is_honest {
            assert_eq!(opened, Ok(text));
        } else {
            assert!(matches!(
                opened,
                Err(RecordError::NotAuthentic | RecordError::Length(_))
            ));
            return;
        }
        last = Some(record);
    }
}
