//! Folders that are pushed and pulled, with real nodes.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use memproto::ChunkHash;
use memproto::tree::{Entry, FileTime, Index, Kind, Pack, TRAILER_LEN, Trailer, codec};
use memsdk::blocking::MemCloud;
use support::{PATIENCE, Person, end};

const MIB: usize = 1024 * 1024;

/// A folder to push, and room beside it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("from")).unwrap();
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn text(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn push(&self, person: &Person, options: &[&str]) -> serde_json::Value {
        let from = self.text("from");
        person.json(&[&["push", &from, "--name", "tree"], options].concat())
    }

    fn pull(&self, person: &Person, options: &[&str]) -> serde_json::Value {
        let to = self.text("to");
        person.json(&[&["pull", "tree", &to], options].concat())
    }

    /// What was pushed and what was pulled look the same.
    fn is_equal(&self) {
        assert_eq!(picture(&self.path("to")), picture(&self.path("from")));
    }
}

/// What one can see of a folder: of each thing its path, mode, time of modification, and bytes or target.
fn picture(root: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let mut things = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let bytes = if metadata.is_dir() {
                folders.push(path.clone());
                b"a folder".to_vec()
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let below = path.strip_prefix(root).unwrap().to_owned();
            things.push((
                below,
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                bytes,
            ));
        }
    }
    things.sort();
    things
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn touch(path: &Path, seconds: u64) {
    let time = UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Bytes that do not repeat, and do not shrink.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// One of everything.
fn assorted() -> Place {
    let place = Place::new();
    place.write("from/small", "small");
    place.write("from/empty", "");
    place.write("from/src/deep/er/file.rs", "fn main() {}");
    place.write("from/large", noise(1, 3 * MIB + 5));
    place.write("from/one-chunk", noise(2, MIB));
    place.write("from/almost", noise(3, MIB - 1));
    for number in 0..100 {
        place.write(
            &format!("from/many/{number:03}"),
            noise(1_000 + number, 7_000 + number as usize),
        );
    }
    fs::create_dir(place.path("from/nothing-in-it")).unwrap();
    let odd = place
        .path("from")
        .join(OsStr::from_bytes(b" -odd\\ \xff\xfe\n\x1b[1m"));
    fs::write(odd, "odd").unwrap();
    symlink("src/deep", place.path("from/link")).unwrap();
    symlink("../../../etc/passwd", place.path("from/src/out")).unwrap();
    symlink("/nowhere", place.path("from/dangling")).unwrap();
    fs::hard_link(place.path("from/small"), place.path("from/also-small")).unwrap();
    set_mode(&place.path("from/small"), 0o751);
    set_mode(&place.path("from/src/deep/er/file.rs"), 0o400);
    touch(&place.path("from/empty"), 1_000_000_000);
    touch(&place.path("from/src/deep"), 900_000_000);
    set_mode(&place.path("from/nothing-in-it"), 0o555);
    place
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let person = Person::new("A");
    let place = assorted();
    let pushed = place.push(&person, &[]);
    assert_eq!(
        (&pushed["unchanged"], &pushed["files"]),
        (&false.into(), &108.into())
    );
    let pulled = place.pull(&person, &[]);
    assert_eq!(
        (&pulled["id"], &pulled["files"]),
        (&pushed["id"], &pushed["files"])
    );
    assert_eq!(pulled["fetched_bytes"], pushed["size_bytes"]);
    place.is_equal();
    // Nothing is left to do for either.
    assert_eq!(place.pull(&person, &["--delete"])["written_files"], 0);
    let again = place.push(&person, &[]);
    assert_eq!((&again["unchanged"], &again["id"]), (&true.into(), &pushed["id"]));
    place.is_equal();
}

#[test]
fn an_empty_folder_is_a_tree() {
    let person = Person::new("A");
    let place = Place::new();
    assert_eq!(place.push(&person, &[])["size_bytes"], 0);
    assert_eq!(place.pull(&person, &[])["files"], 0);
    place.is_equal();
    assert!(place.path("to").is_dir());
}

#[test]
fn what_did_not_change_is_neither_read_nor_sent_again() {
    let person = Person::new("A");
    let place = assorted();
    let home = place.text("home");
    fs::create_dir(&home).unwrap();
    // With what this machine remembers, and with the index of the tree alone.
    for options in [&["--home", &home][..], &[]] {
        let options = &[options, &["--name", "other"]].concat();
        let from = place.text("from");
        let push = |more: &[&str]| person.json(&[&["push", &from], &options[..], more].concat());
        let first = push(&[]);
        assert_eq!(first["unchanged"], false, "{first}");
        assert_eq!(push(&[])["unchanged"], true);
        let all = push(&["--read-all"]);
        assert_eq!(
            (&all["unchanged"], &all["sent_bytes"]),
            (&false.into(), &0.into()),
            "{all}"
        );

        place.write("from/many/050", "changed");
        place.write("from/new", "new");
        let changed = push(&[]);
        assert_eq!(changed["unchanged"], false, "{changed}");
        let sent = changed["sent_bytes"].as_u64().unwrap();
        // Its neighbours, those of the new file, and the index.
        assert!(sent < 2 * MIB as u64, "{changed}");
        assert!(
            changed["known_bytes"].as_u64().unwrap() > 3 * MIB as u64,
            "{changed}"
        );
        person.ok(&["pull", "other", &place.text("to")]);
        place.is_equal();

        let large = File::options()
            .write(true)
            .open(place.path("from/large"))
            .unwrap();
        large.write_all_at(b"changed", 2 * MIB as u64).unwrap();
        let sent = push(&[])["sent_bytes"].as_u64().unwrap();
        assert!((MIB as u64..2 * MIB as u64).contains(&sent), "{sent}");
        let pulled = person.json(&["pull", "other", &place.text("to")]);
        assert_eq!(pulled["fetched_bytes"], MIB);
        place.is_equal();
        person.ok(&["del", "other"]);
        large
            .write_all_at(&noise(1, 3 * MIB)[2 * MIB..][..7], 2 * MIB as u64)
            .unwrap();
        fs::remove_file(place.path("from/new")).unwrap();
        fs::remove_file(place.path("to/new")).unwrap();
        place.write("from/many/050", "as it was before");
    }
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen_by_who_pushed_before() {
    let person = Person::new("A");
    let place = Place::new();
    let home = place.text("home");
    fs::create_dir(&home).unwrap();
    place.write("from/file", "one");
    touch(&place.path("from/file"), 1_000_000_000);
    place.push(&person, &["--home", &home]);
    place.write("from/file", "two");
    touch(&place.path("from/file"), 1_000_000_000);
    assert_eq!(place.push(&person, &["--home", &home])["unchanged"], false);
    place.pull(&person, &[]);
    place.is_equal();
    // Whoever remembers nothing reads it when told to.
    place.write("from/file", "six");
    touch(&place.path("from/file"), 1_000_000_000);
    assert_eq!(place.push(&person, &[])["unchanged"], true);
    assert_eq!(place.push(&person, &["--read-all"])["unchanged"], false);
}

#[test]
fn ten_thousand_files_are_one_tree() {
    let person = Person::new("A");
    let place = Place::new();
    for number in 0..10_000 {
        place.write(
            &format!("from/{:02}/{number:05}", number % 100),
            noise(number, 100 + number as usize % 4_000),
        );
    }
    let pushed = place.push(&person, &[]);
    assert_eq!(pushed["files"], 10_000);
    let again = place.push(&person, &[]);
    assert_eq!(
        (&again["unchanged"], &again["sent_bytes"]),
        (&true.into(), &0.into())
    );
    assert_eq!(place.pull(&person, &[])["written_files"], 10_000);
    place.is_equal();
    // Equal bytes under another name are known, but for the index.
    let other = person.json(&["push", &place.text("from"), "--name", "other", "--read-all"]);
    let (sent, size) = (
        other["sent_bytes"].as_u64().unwrap(),
        other["size_bytes"].as_u64().unwrap(),
    );
    assert!(sent * 100 < size, "{other}");
}

#[test]
fn what_is_excluded_or_cannot_be_in_a_tree_stays_away() {
    let person = Person::new("A");
    let place = Place::new();
    for path in [
        "target/debug/x",
        "src/target/y",
        "src/a.o",
        "src/keep.o",
        "notes.txt",
    ] {
        place.write(&format!("from/{path}"), path);
    }
    place.write("rules", "# objects\n*.o\nnotes.*\n");
    let _socket = std::os::unix::net::UnixListener::bind(place.path("from/socket")).unwrap();
    let arguments = [
        "push",
        &place.text("from"),
        "--name",
        "tree",
        "--exclude",
        "/target",
        "--exclude",
        "!keep.o",
    ];
    let output = person.run(&[&arguments[..], &["--exclude-from", &place.text("rules")]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("left out: '") && told.contains("/socket' is a socket"),
        "{told}"
    );
    place.pull(&person, &[]);
    let paths: Vec<PathBuf> = picture(&place.path("to"))
        .into_iter()
        .map(|(path, ..)| path)
        .collect();
    assert_eq!(
        paths,
        ["src", "src/keep.o", "src/target", "src/target/y"].map(PathBuf::from)
    );
    let error = person.fails(
        &["push", &place.text("from"), "--name", "x", "--exclude", "[z-a]"],
        2,
    );
    assert!(error.contains("'[z-a]'"), "{error}");
}

#[test]
fn what_is_no_folder_or_no_tree_is_said_plainly() {
    let person = Person::new("A");
    let place = Place::new();
    place.write("file", "no folder");
    let error = person.fails(&["push", &place.text("file"), "--name", "tree"], 1);
    assert!(error.ends_with("/file' is no folder\n"), "{error}");
    let error = person.fails(&["push", &place.text("none"), "--name", "tree"], 1);
    assert!(error.contains("/none': No such file or directory"), "{error}");
    person.fails(&["push", &place.text("from"), "--name", ""], 2);
    let error = person.fails(&["pull", "tree", &place.text("to")], 4);
    assert!(error.contains("no key 'tree'"), "{error}");
    for value in ["", "a value"] {
        person.ok(&["set", "tree", value]);
        let error = person.fails(&["pull", "tree", &place.text("to")], 1);
        assert!(error.contains("cannot pull 'tree': it is no tree"), "{error}");
        assert!(!place.path("to").exists());
    }
    // As `set` would.
    place.push(&person, &[]);
    place.pull(&person, &[]);
    let error = person.fails(&["pull", "tree", &place.text("file")], 1);
    assert!(error.ends_with("/file' is no folder\n"), "{error}");
}

#[test]
fn the_time_to_live_of_an_unchanged_tree_is_set_anew() {
    let person = Person::new("A");
    let place = assorted();
    place.push(&person, &["--ttl", "10m"]);
    let left = |person: &Person| person.json(&["ttl", "tree"])["ttl_ms"].as_u64().unwrap();
    assert!(left(&person) <= 600_000);
    assert_eq!(place.push(&person, &["--ttl", "2h"])["unchanged"], true);
    assert!(left(&person) > 3_600_000);
    assert_eq!(place.push(&person, &[])["unchanged"], true);
    assert!(left(&person) > 3_600_000);
}

#[test]
fn other_files_stay_until_they_are_to_go() {
    let person = Person::new("A");
    let place = assorted();
    place.push(&person, &[]);
    place.write("to/mine", "mine");
    place.write("to/many/mine/too", "mine");
    assert_eq!(place.pull(&person, &[])["removed"], 0);
    assert_eq!(fs::read(place.path("to/many/mine/too")).unwrap(), b"mine");
    assert_eq!(place.pull(&person, &["--delete"])["removed"], 2);
    place.is_equal();
}

#[test]
fn what_is_in_the_way_is_named_before_anything_changes() {
    let person = Person::new("A");
    let place = assorted();
    place.push(&person, &[]);
    place.write("to/large/file", "a folder where a file should be");
    place.write("outside/file", "untouched");
    symlink(place.path("outside"), place.path("to/many")).unwrap();
    let before = picture(&place.path("to"));
    let error = person.fails(&["pull", "tree", &place.text("to")], 1);
    assert!(
        error.contains("/to/large' is a folder where the tree has a file (and one more"),
        "{error}"
    );
    assert_eq!(picture(&place.path("to")), before);
    place.pull(&person, &["--delete"]);
    place.is_equal();
    assert_eq!(picture(&place.path("outside")).len(), 1);
}

#[test]
fn links_that_wait_in_the_folder_are_replaced_and_not_written_through() {
    let person = Person::new("A");
    let place = assorted();
    place.push(&person, &[]);
    place.write("outside", "untouched");
    fs::create_dir(place.path("to")).unwrap();
    for name in ["small", "large", "empty", "link"] {
        symlink(place.path("outside"), place.path("to").join(name)).unwrap();
    }
    fs::hard_link(place.path("outside"), place.path("to/almost")).unwrap();
    place.pull(&person, &[]);
    place.is_equal();
    assert_eq!(fs::read(place.path("outside")).unwrap(), b"untouched");
}

/// A root and these entries below it.
fn entries(below: &[(u32, &[u8], Kind)]) -> Vec<Entry> {
    let root = [(0, &b""[..], Kind::Folder)];
    let all = root.iter().chain(below);
    all.map(|(parent, name, kind)| Entry {
        parent: *parent,
        name: (*name).into(),
        mode: 0o755,
        modified: FileTime::default(),
        kind: kind.clone(),
    })
    .collect()
}

#[test]
fn no_index_leads_out_of_the_folder() {
    let person = Person::new("A");
    let place = Place::new();
    place.write("outside/victim", "untouched");
    let cloud = MemCloud::builder()
        .socket(person.socket())
        .connect_blocking()
        .unwrap();
    let file = Kind::File { size: 4 };
    let absolute = place.text("outside/victim");
    let link = |to: &str| Kind::Link {
        target: to.as_bytes().into(),
    };
    let hostile = [
        vec![(0, &b"../outside/victim"[..], file.clone())],
        vec![(0, absolute.as_bytes(), file.clone())],
        vec![
            (0, b"..", Kind::Folder),
            (1, b"outside", Kind::Folder),
            (2, b"victim", file.clone()),
        ],
        vec![(0, b".", Kind::Folder), (1, b"victim", file.clone())],
        vec![(0, b"", file.clone())],
        vec![(0, b"a/../../outside/victim", file.clone())],
        vec![(0, b"victim\0", file.clone())],
        // A link and a folder of its name, in either order.
        vec![
            (0, b"a", link("../outside")),
            (0, b"a", Kind::Folder),
            (2, b"victim", file.clone()),
        ],
        vec![
            (0, b"a", Kind::Folder),
            (1, b"victim", file.clone()),
            (0, b"a", link("../outside")),
        ],
        // More bytes than there are.
        vec![(0, b"a", Kind::File { size: 5 })],
    ];
    for below in hostile {
        let index = codec::encode(&Index {
            entries: entries(&below),
            packs: vec![Pack {
                files: 1,
                hash: ChunkHash::from_bytes([0; 32]),
            }],
            chunks: Vec::new(),
        });
        let mut check = [0; 4];
        check.copy_from_slice(&blake3::hash(&index).as_bytes()[..4]);
        let trailer = Trailer {
            index_len: index.len() as u64,
            check,
        }
        .encode();
        let stream = [b"evil", &index[..], &trailer].concat();
        cloud.set("evil", stream).send().unwrap();
        let error = person.fails(&["pull", "evil", &place.text("to")], 1);
        assert!(
            error.contains("the index of the tree is not valid"),
            "{below:?}: {error}"
        );
        assert!(!place.path("to").exists(), "{below:?}");
    }
    // The index is checked against the trailer, and both against what is there.
    let mut stream = [&[0; 100][..], &[0; TRAILER_LEN]].concat();
    for trailer in [
        Trailer {
            index_len: 50,
            check: [0; 4],
        },
        Trailer {
            index_len: 101,
            check: [0; 4],
        },
        Trailer {
            index_len: u64::MAX,
            check: [0; 4],
        },
    ] {
        stream[100..].copy_from_slice(&trailer.encode());
        cloud.set("evil", stream.clone()).send().unwrap();
        person.fails(&["pull", "evil", &place.text("to")], 1);
    }
    assert_eq!(picture(&place.path("outside")).len(), 1);
    assert_eq!(fs::read(place.path("outside/victim")).unwrap(), b"untouched");
}

#[test]
fn setuid_setgid_and_sticky_do_not_come_back() {
    let person = Person::new("A");
    let place = Place::new();
    place.write("from/program", "#!/bin/sh\n");
    place.write("from/shared/file", "");
    set_mode(&place.path("from/program"), 0o6755);
    set_mode(&place.path("from/shared"), 0o3777);
    place.push(&person, &[]);
    for _ in 0..2 {
        place.pull(&person, &[]);
        let mode = |path: &str| fs::metadata(place.path(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("to/program"), mode("to/shared")), (0o755, 0o777));
    }
}

#[test]
fn an_interrupted_pull_leaves_whole_files_alone_and_goes_on() {
    let person = Person::new("A");
    let place = Place::new();
    for number in 0..2_000 {
        place.write(&format!("from/small/{number:04}"), noise(number, 9_000));
    }
    for number in 0..3 {
        place.write(&format!("from/large{number}"), noise(90 + number, 8 * MIB));
    }
    place.push(&person, &[]);
    let child = person.begin(&["pull", "tree", &place.text("to")]);
    let deadline = Instant::now() + PATIENCE;
    let has_begun = || fs::read_dir(place.path("to/small")).is_ok_and(|mut files| files.next().is_some());
    while !has_begun() {
        assert!(Instant::now() < deadline, "nothing was pulled");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (code, _, told) = end(child);
    // It may have been done before it heard of it.
    assert!(
        code == Some(0) || (code == Some(130) && told.contains("another pull goes on")),
        "{code:?} {told}"
    );
    let whole = picture(&place.path("from"));
    for (path, _, _, _, bytes) in picture(&place.path("to")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with(".memcli-") {
            assert!(
                whole
                    .iter()
                    .any(|(other, _, _, _, wanted)| *other == path && *wanted == bytes),
                "{path:?}"
            );
        }
    }
    place.pull(&person, &["--delete"]);
    place.is_equal();
}

#[test]
fn a_tree_is_pulled_where_it_was_not_pushed() {
    let (one, other) = (Person::new("A"), Person::new("B"));
    one.befriend(&other);
    let place = assorted();
    place.push(&one, &["--remote"]);
    place.pull(&other, &[]);
    place.is_equal();
    // Whoever has the same folder has nothing to push.
    assert_eq!(place.push(&other, &[])["unchanged"], true);
    place.write("from/more", "more");
    assert_eq!(place.push(&other, &["--local"])["unchanged"], false);
    place.pull(&one, &["--delete"]);
    place.is_equal();
}
