//! Nothing leads out of the folder, and what is replaced was whole before.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use memproto::tree::Kind;

use super::*;

/// A folder to write to, and beside it one that nothing may touch.
struct Place {
    temporary: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("target")).unwrap();
        fs::create_dir(temporary.path().join("outside")).unwrap();
        fs::write(temporary.path().join("outside/file"), "untouched").unwrap();
        Self { temporary }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.temporary.path().join(below)
    }

    fn target(&self) -> Target {
        Target::find(&self.path("target")).unwrap().unwrap()
    }

    /// The target where the system has no `openat2`.
    fn older(&self) -> Target {
        Target {
            has_openat2: AtomicBool::new(false),
            ..self.target()
        }
    }

    fn is_outside_untouched(&self) {
        assert_eq!(fs::read(self.path("outside/file")).unwrap(), b"untouched");
        assert_eq!(fs::read_dir(self.path("outside")).unwrap().count(), 1);
    }
}

fn folders(names: &[(u32, &str)]) -> Vec<Entry> {
    let root = [(0, "")];
    let entries = root.iter().chain(names).map(|(parent, name)| Entry {
        parent: *parent,
        name: name.as_bytes().into(),
        mode: 0o755,
        modified: FileTime::default(),
        kind: Kind::Folder,
    });
    entries.collect()
}

#[test]
fn a_folder_is_opened_however_deep_it_lies() {
    let place = Place::new();
    fs::create_dir_all(place.path("target/a/b")).unwrap();
    let entries = folders(&[(0, "a"), (1, "b")]);
    for target in [place.target(), place.older()] {
        let folder = target.folder(&entries, 2).unwrap();
        assert_eq!(look_at(&folder).unwrap().what, What::Folder);
        assert_eq!(
            rustix::fs::fstat(&folder).unwrap().st_ino,
            fs::metadata(place.path("target/a/b")).unwrap().ino()
        );
        assert_eq!(target.path(&entries, 2), place.path("target/a/b"));
    }
}

#[test]
fn a_link_in_the_place_of_a_folder_leads_nowhere() {
    for link_to in ["../outside", ".", "real"] {
        let place = Place::new();
        fs::create_dir_all(place.path("target/real/file")).unwrap();
        symlink(link_to, place.path("target/a")).unwrap();
        let absolute = place.path("outside");
        symlink(&absolute, place.path("target/absolute")).unwrap();
        for target in [place.target(), place.older()] {
            let entries = folders(&[(0, "a"), (1, "file"), (0, "absolute"), (3, "file")]);
            for folder in 1..entries.len() {
                assert!(
                    target.folder(&entries, folder as u32).is_err(),
                    "{link_to} {folder}"
                );
            }
        }
        place.is_outside_untouched();
    }
}

#[test]
fn names_that_no_index_has_do_not_lead_out_either() {
    // The index refuses them; should that ever fail, the system does.
    let place = Place::new();
    let entries = folders(&[(0, "..")]);
    assert!(place.target().folder(&entries, 1).is_err());
    let absolute = place.path("outside").to_str().unwrap().to_owned();
    assert!(place.target().folder(&folders(&[(0, &absolute)]), 1).is_err());
}

#[test]
fn many_folders_are_opened_one_after_the_other() {
    let place = Place::new();
    let names: Vec<(u32, String)> = (0..OPEN_MAX * 3).map(|number| (0, number.to_string())).collect();
    names
        .iter()
        .for_each(|(_, name)| fs::create_dir(place.path("target").join(name)).unwrap());
    let names: Vec<(u32, &str)> = names.iter().map(|(parent, name)| (*parent, &name[..])).collect();
    let entries = folders(&names);
    let target = place.target();
    for folder in 1..entries.len() as u32 {
        target.folder(&entries, folder).unwrap();
        assert!(target.open.lock().unwrap().len() <= OPEN_MAX);
    }
}

#[test]
fn a_new_file_takes_the_place_of_a_link_and_not_of_what_it_points_to() {
    let place = Place::new();
    symlink("../outside/file", place.path("target/a")).unwrap();
    let target = place.target();
    let mut file = NewFile::create(target.folder(&[], 0).unwrap()).unwrap();
    file.write(b"new").unwrap();
    file.finish(
        b"a",
        0o640,
        FileTime {
            seconds: 1_000,
            nanos: 5,
        },
    )
    .unwrap();
    let metadata = fs::symlink_metadata(place.path("target/a")).unwrap();
    assert!(metadata.is_file() && metadata.permissions().mode() & 0o7777 == 0o640);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000, 5));
    place.is_outside_untouched();

    put_link(
        &target.root,
        b"a",
        b"../outside/file",
        FileTime { seconds: 7, nanos: 0 },
    )
    .unwrap();
    let metadata = fs::symlink_metadata(place.path("target/a")).unwrap();
    assert!(metadata.is_symlink() && metadata.mtime() == 7);
    assert_eq!(read_link(&target.root, b"a").unwrap(), b"../outside/file");
    assert_eq!(list(&target.root).unwrap(), [b"a"]);
    place.is_outside_untouched();
}

#[test]
fn a_file_that_is_not_finished_leaves_nothing() {
    let place = Place::new();
    let target = place.target();
    fs::write(place.path("target/a"), "old").unwrap();
    let mut file = NewFile::create(target.folder(&[], 0).unwrap()).unwrap();
    file.write(b"half").unwrap();
    drop(file);
    assert_eq!(fs::read(place.path("target/a")).unwrap(), b"old");
    assert_eq!(list(&target.root).unwrap(), [b"a"]);
    // A folder is never replaced.
    fs::create_dir(place.path("target/folder")).unwrap();
    let file = NewFile::create(target.folder(&[], 0).unwrap()).unwrap();
    file.finish(b"folder", 0o644, FileTime::default()).unwrap_err();
    assert_eq!(list(&target.root).unwrap().len(), 2);
}

#[test]
fn a_part_is_gone_on_with_unless_it_is_not_ours() {
    let place = Place::new();
    let target = place.target();
    let root = || target.folder(&[], 0).unwrap();
    let mut part = NewFile::resume(root(), b".part").unwrap();
    part.write(b"half").unwrap();
    // While one pull writes to it another takes a file of its own.
    let other = NewFile::resume(root(), b".part").unwrap();
    assert!(!other.is_kept);
    drop((part, other));
    assert_eq!(list(&target.root).unwrap(), [b".part"]);
    let part = NewFile::resume(root(), b".part").unwrap();
    assert_eq!(look_at(part.file()).unwrap().size, 4);
    part.finish(b"a", 0o600, FileTime::default()).unwrap();
    assert_eq!(fs::read(place.path("target/a")).unwrap(), b"half");

    // A link, and a second name of another file.
    symlink("../outside/file", place.path("target/.part")).unwrap();
    fs::hard_link(place.path("outside/file"), place.path("target/.linked")).unwrap();
    for name in [&b".part"[..], b".linked"] {
        let mut part = NewFile::resume(root(), name).unwrap();
        assert!(!part.is_kept);
        part.write(b"bytes").unwrap();
    }
    place.is_outside_untouched();
}

#[test]
fn removing_a_folder_does_not_follow_links() {
    let place = Place::new();
    fs::create_dir_all(place.path("target/a/b")).unwrap();
    fs::write(place.path("target/a/b/c"), "").unwrap();
    symlink("../../outside", place.path("target/a/link")).unwrap();
    symlink("../outside", place.path("target/link")).unwrap();
    fs::set_permissions(place.path("target/a/b"), fs::Permissions::from_mode(0o500)).unwrap();
    let target = place.target();
    for name in [&b"a"[..], b"link", b"none"] {
        remove(&target.root, name).unwrap();
    }
    assert!(list(&target.root).unwrap().is_empty());
    place.is_outside_untouched();
}

#[test]
fn only_regular_files_are_opened() {
    let place = Place::new();
    symlink("../outside/file", place.path("target/link")).unwrap();
    fs::write(place.path("target/file"), "1").unwrap();
    let pipe = place.path("target/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let target = place.target();
    for (name, is_file) in [("link", false), ("none", false), ("pipe", false), ("file", true)] {
        assert_eq!(
            open_file(&target.root, name.as_bytes()).unwrap().is_some(),
            is_file,
            "{name}"
        );
    }
    assert_eq!(look(&target.root, b"link").unwrap().unwrap().what, What::Link);
    assert_eq!(look(&target.root, b"pipe").unwrap().unwrap().what, What::Special);
    assert_eq!(look(&target.root, b"none").unwrap(), None);
}

#[test]
fn ranges_are_copied_to_the_same_place() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..600_000_u32).map(|number| number as u8).collect();
    fs::write(folder.path().join("from"), &bytes).unwrap();
    let from = File::open(folder.path().join("from")).unwrap();
    for (name, copy) in [
        ("system", copy_range as fn(&_, &_, _) -> _),
        ("hand", copy_by_hand),
    ] {
        let to = File::create(folder.path().join(name)).unwrap();
        copy(&from, &to, 1_000..500_000).unwrap();
        let copied = fs::read(folder.path().join(name)).unwrap();
        assert!(copied[1_000..] == bytes[1_000..500_000], "{name}");
    }
}

#[test]
fn the_target_may_be_named_by_a_link_but_must_be_a_folder() {
    let place = Place::new();
    symlink("target", place.path("link")).unwrap();
    assert!(Target::find(&place.path("link")).unwrap().is_some());
    assert!(Target::find(&place.path("none")).unwrap().is_none());
    let error = Target::find(&place.path("outside/file")).unwrap_err().to_string();
    assert!(error.ends_with("/outside/file' is no folder"), "{error}");
    assert!(Target::make(&place.path("new/deep")).unwrap().is_new());
}
