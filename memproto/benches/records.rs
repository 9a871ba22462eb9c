//! What the cipher of the link costs: records of 1, 16 and 64 KiB that are sealed, and opened again.
//!
//! `cargo bench -p memproto --bench records` measures ring, the same with `--no-default-features --features portable-cipher` the crate
//! chacha20poly1305.

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use memproto::peer::handshake::{HandshakeConfig, HandshakeRandom, check_length};
use memproto::peer::record::{LENGTH_PREFIX_LEN, Opener, RECORD_PLAINTEXT_MAX, REKEY_RECORDS, Sealer};
use memproto::peer::{Established, Handshake};

/// The sizes of what is sealed, in bytes.
const SIZES: [usize; 3] = [1024, 16 * 1024, RECORD_PLAINTEXT_MAX];

/// How long each run takes at the least, and how many there are; the fastest one counts, for what else the machine does only takes time.
const RUN: Duration = Duration::from_millis(100);
const RUNS: usize = 10;

/// How many records are sealed between two looks at the clock.
const BATCH: usize = 16;

fn main() {
    let (ours, theirs) = established();
    let mut sealer = Sealer::new(ours.keys.send, REKEY_RECORDS);
    let mut opener = Opener::new(theirs.keys.receive, REKEY_RECORDS);
    println!("| record, bytes | seal, MB/s | open, MB/s |\n|---:|---:|---:|");
    for size in SIZES {
        let plaintext: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let mut best = [Duration::MAX; 2];
        for _ in 0..RUNS {
            let took = run(&mut sealer, &mut opener, &plaintext);
            best = [best[0].min(took[0]), best[1].min(took[1])];
        }
        let [seal, open] = best.map(|time| size as f64 / 1e6 / time.as_secs_f64());
        println!("| {size} | {seal:.0} | {open:.0} |");
    }
}

/// How long it takes to seal a record, with the copy of its plaintext, and to open it.
fn run(sealer: &mut Sealer, opener: &mut Opener, plaintext: &[u8]) -> [Duration; 2] {
    let mut records: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::new()).collect();
    let mut times = [Duration::ZERO; 2];
    let mut count = 0;
    while times[0] + times[1] < RUN {
        let start = Instant::now();
        for out in &mut records {
            out.clear();
            let record = sealer.begin(out);
            out.extend_from_slice(plaintext);
            assert!(
                sealer
                    .finish(record, out)
                    .expect("the record is no larger than one may be")
            );
        }
        let sealed = Instant::now();
        for record in &mut records {
            let opened = opener.open(&mut record[LENGTH_PREFIX_LEN..]);
            assert_eq!(opened.expect("it was sealed for it").len(), plaintext.len());
        }
        times[0] += sealed - start;
        times[1] += sealed.elapsed();
        count += BATCH as u32;
    }
    times.map(|time| time / count)
}

/// Both sides of a handshake.
fn established() -> (Established, Established) {
    let config = |seed: u8| HandshakeConfig {
        signing_key: SigningKey::from_bytes(&[seed; 32]),
        name: "bench".into(),
        offered_quota_bytes: 0,
        incarnation: 0,
    };
    let random = |seed: u8| HandshakeRandom::new([seed; 32], [seed + 1; 32]);
    let mut ours = Handshake::initiate(config(1), random(3)).expect("the name is one that a node may have");
    let mut theirs = Handshake::respond(config(2), random(5)).expect("likewise");
    let (mut we, mut they) = (None, None);
    while we.is_none() || they.is_none() {
        they = pass(&mut ours, &mut theirs).or(they);
        we = pass(&mut theirs, &mut ours).or(we);
    }
    we.zip(they).expect("both were established")
}

/// Hands all that one side has to say to the other one.
fn pass(from: &mut Handshake, to: &mut Handshake) -> Option<Established> {
    let bytes = from.poll_transmit().unwrap_or_default();
    let (mut rest, mut established) = (&bytes[..], None);
    while let Some((prefix, behind)) = rest.split_first_chunk() {
        let len = check_length(*prefix).expect("a side keeps to the limits");
        let (message, behind) = behind.split_at(len);
        established = to
            .handle_message(message)
            .expect("it is as specified")
            .or(established);
        rest = behind;
    }
    established
}
