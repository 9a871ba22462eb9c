//! What goes in comes out, and what no push writes is refused.

use proptest::prelude::*;

use super::*;
use crate::tree::{LARGE_FILE_SIZE, path};

fn entry(parent: u32, name: &[u8], kind: Kind) -> Entry {
    Entry {
        parent,
        name: name.into(),
        mode: 0o644,
        modified: FileTime {
            seconds: 1_700_000_000,
            nanos: 5,
        },
        kind,
    }
}

fn folder(parent: u32, name: &[u8]) -> Entry {
    entry(parent, name, Kind::Folder)
}

fn file(parent: u32, name: &[u8], size: u64) -> Entry {
    entry(parent, name, Kind::File { size })
}

fn link(parent: u32, name: &[u8], target: &[u8]) -> Entry {
    entry(
        parent,
        name,
        Kind::Link {
            target: target.into(),
        },
    )
}

fn hash(byte: u8) -> ChunkHash {
    ChunkHash::from_bytes([byte; 32])
}

/// Folders in folders, an empty one and an empty file, small files, large files, links, names of any bytes.
fn sample() -> Index {
    let mut entries = vec![
        folder(0, b""),
        folder(0, b"a"),
        folder(1, b"b"),
        file(2, b"deep", 3 * LARGE_FILE_SIZE + 1),
        file(1, b"\xff\n", 7),
        folder(0, b"empty"),
        file(0, b"large", LARGE_FILE_SIZE),
        link(0, b"link", b"../../etc"),
        file(0, b"nothing", 0),
        file(0, b"small", LARGE_FILE_SIZE - 1),
        file(0, b"smaller", 1),
    ];
    entries[2].modified = FileTime {
        seconds: i64::MIN,
        nanos: 999_999_999,
    };
    entries[4].modified = FileTime {
        seconds: i64::MAX,
        nanos: 0,
    };
    entries[6].mode = 0o7777;
    Index {
        entries,
        packs: vec![
            Pack {
                files: 1,
                hash: hash(1),
            },
            Pack {
                files: 2,
                hash: hash(2),
            },
        ],
        chunks: (3..8).map(hash).collect(),
    }
}

fn invalid(index: &Index) -> &'static str {
    match decode(&encode(index)) {
        Err(TreeError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// An index with these entries below its root and no data.
fn of(entries: &[Entry]) -> Index {
    Index {
        entries: [&[folder(0, b"")], entries].concat(),
        ..Index::default()
    }
}

#[test]
fn what_goes_in_comes_out() {
    let index = sample();
    assert_eq!(decode(&encode(&index)), Ok(index.clone()));
    assert_eq!(index.path(3), b"a/b/deep");
    assert_eq!(index.path(0), b"");
    assert_eq!(index.data_len(), 7 + 5 * LARGE_FILE_SIZE + 1);
}

#[test]
fn an_empty_tree_has_a_few_bytes() {
    let index = of(&[]);
    let bytes = encode(&index);
    assert!(bytes.len() < 16, "{bytes:?}");
    assert_eq!(decode(&bytes), Ok(index));
}

#[test]
fn an_entry_takes_little_more_than_its_name() {
    let files: Vec<Entry> = (0..10_000)
        .map(|i| file(0, format!("file-{i:05}").as_bytes(), 4096))
        .collect();
    let bytes = encode(&Index {
        packs: vec![
            Pack {
                files: 256,
                hash: hash(0)
            };
            39
        ],
        ..of(&files)
    });
    assert!(bytes.len() < 10_000 * (10 + 8) + 39 * 34 + 16, "{}", bytes.len());
}

#[test]
fn every_escape_is_refused() {
    for name in [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"/etc",
        b"a/b",
        b"../x",
        b"a\0",
        &[b'x'; 1025],
    ] {
        for kind in [
            Kind::Folder,
            Kind::File { size: 0 },
            Kind::Link {
                target: b"x"[..].into(),
            },
        ] {
            let why = invalid(&of(&[entry(0, name, kind)]));
            assert!(why.starts_with("a name"), "{name:?}: {why}");
        }
    }
    // What follows a link must not lie behind it: a file has a folder of the tree as its parent, or none.
    let mut above = encode(&of(&[link(0, b"a", b"/etc"), file(0, b"passwd", 0)]));
    let passwd = above.windows(6).position(|bytes| bytes == b"passwd").unwrap();
    above[passwd - 2] += 4;
    assert_eq!(
        decode(&above),
        Err(TreeError::Invalid("an entry lies above the root"))
    );
}

#[test]
fn a_name_stands_once_in_its_folder_and_in_order() {
    for second in [&b"b"[..], b"a", b"ab"] {
        // The link first and then a folder of its name is how a link would lead a write astray.
        let twice = of(&[link(0, b"b", b"/etc"), folder(0, second), file(2, b"x", 0)]);
        assert!(invalid(&twice).contains("order"), "{second:?}");
    }
    assert!(decode(&encode(&of(&[link(0, b"b", b"/etc"), folder(0, b"b!")]))).is_ok());
}

#[test]
fn targets_modes_times_and_depth_have_bounds() {
    for target in [&b""[..], b"a\0", &[b'x'; 4096]] {
        assert!(invalid(&of(&[link(0, b"a", target)])).contains("link"));
    }
    let mut index = of(&[file(0, b"a", 0)]);
    index.entries[1].mode = 0o10000;
    assert!(invalid(&index).contains("mode"));
    index.entries[1].mode = 0;
    index.entries[1].modified.nanos = 1_000_000_000;
    assert!(invalid(&index).contains("nanoseconds"));
    let nested = |depth: u32| of(&(0..depth).map(|parent| folder(parent, b"d")).collect::<Vec<_>>());
    assert!(decode(&encode(&nested(DEPTH_MAX as u32))).is_ok());
    assert!(invalid(&nested(DEPTH_MAX as u32 + 1)).contains("deep"));
}

#[test]
fn every_byte_of_data_belongs_to_a_file_and_a_chunk() {
    let sizes = |sizes: &[u64]| {
        let files = (b'a'..).zip(sizes).map(|(name, size)| file(0, &[name], *size));
        of(&files.collect::<Vec<_>>())
    };
    let pack = |files| Pack { files, hash: hash(9) };
    assert_eq!(invalid(&sizes(&[1])), "a file is in no chunk");
    let with = |index: Index, packs: &[Pack]| Index {
        packs: packs.to_vec(),
        ..index
    };
    assert_eq!(
        invalid(&with(sizes(&[1]), &[pack(2)])),
        "a chunk has files that are not there"
    );
    assert_eq!(
        invalid(&with(sizes(&[1]), &[pack(0), pack(1)])),
        "a chunk belongs to no file"
    );
    let full = LARGE_FILE_SIZE - 1;
    assert_eq!(
        invalid(&with(sizes(&[full, 2]), &[pack(2)])),
        "files share a chunk that they do not fit into"
    );
    assert!(decode(&encode(&with(sizes(&[full, 1]), &[pack(2)]))).is_ok());
    assert_eq!(
        invalid(&sizes(&[LARGE_FILE_SIZE])),
        "there is not one hash for each chunk"
    );
    let sum = sizes(&[OBJECT_SIZE_MAX, u64::MAX]);
    assert_eq!(invalid(&sum), "its files are larger than a stream can be");
}

#[test]
fn numbers_have_one_form() {
    for (bytes, number) in [
        (&[0][..], Ok(0)),
        (&[0x7f], Ok(127)),
        (&[0x80, 1], Ok(128)),
        (
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            Ok(u64::MAX),
        ),
        (&[0x80], Err(TreeError::Truncated)),
    ] {
        assert_eq!(Bytes(bytes).number(), number, "{bytes:?}");
    }
    for bytes in [
        &[0x80, 0][..],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[0x80; 11],
    ] {
        assert!(
            matches!(Bytes(bytes).number(), Err(TreeError::Invalid(_))),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_cut_index_is_never_another_tree() {
    let bytes = encode(&sample());
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "{end}");
    }
    assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_count_that_lies_allocates_nothing() {
    let mut bytes = Vec::new();
    put_number(&mut bytes, ENTRIES_MAX as u64);
    bytes.extend_from_slice(&[0, 0, 0]);
    assert_eq!(decode(&bytes), Err(TreeError::Truncated));
    let mut bytes = Vec::new();
    put_number(&mut bytes, ENTRIES_MAX as u64 + 1);
    assert!(matches!(decode(&bytes), Err(TreeError::Invalid(_))));
    // Packs without number, of files without number.
    let mut bytes = encode(&of(&[]));
    bytes.pop();
    put_number(&mut bytes, u64::MAX);
    put_number(&mut bytes, u64::MAX);
    bytes.extend_from_slice(&[0; 32]);
    assert!(decode(&bytes).is_err());
}

#[test]
fn the_trailer_tells_a_tree_from_other_streams() {
    let trailer = Trailer {
        index_len: 77,
        check: *b"abcd",
    };
    let bytes = trailer.encode();
    let len = 77 + TRAILER_LEN as u64;
    assert_eq!(Trailer::decode(len, &bytes), Ok(trailer));
    assert_eq!(
        Trailer::decode(len, &[b"index", &bytes[..]].concat()),
        Ok(trailer)
    );
    assert_eq!(Trailer::decode(len, &bytes[1..]), Err(TreeError::NoTree));
    assert_eq!(Trailer::decode(len, &[0; TRAILER_LEN]), Err(TreeError::NoTree));
    assert!(matches!(
        Trailer::decode(len - 1, &bytes),
        Err(TreeError::Invalid(_))
    ));
    let mut later = bytes;
    later[8] = 2;
    assert_eq!(Trailer::decode(len, &later), Err(TreeError::Version(2)));
    let huge = Trailer {
        index_len: INDEX_LEN_MAX + 1,
        ..trailer
    }
    .encode();
    assert!(matches!(
        Trailer::decode(u64::MAX, &huge),
        Err(TreeError::Invalid(_))
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_have_one_reading(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        crate::tree::fuzzing::tree_index(&bytes);
    }

    #[test]
    fn a_changed_byte_is_refused_or_has_one_reading(at in 0_usize..1000, byte in any::<u8>()) {
        let mut bytes = encode(&sample());
        let at = at % bytes.len();
        bytes[at] = byte;
        crate::tree::fuzzing::tree_index(&bytes);
    }

    #[test]
    fn numbers_come_back(number in any::<u64>(), signed in any::<i64>()) {
        let mut bytes = Vec::new();
        put_number(&mut bytes, number);
        prop_assert_eq!(Bytes(&bytes).number(), Ok(number));
        prop_assert_eq!(unzigzag(zigzag(signed)), signed);
    }
}

#[test]
fn a_path_is_that_of_its_folders() {
    let index = sample();
    assert_eq!(path(&index.entries, 4), b"a/\xff\n");
}
