//! What a pull finds in the folder that it writes to, before it changes anything.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use memproto::tree::{Entry, FileTime, Index, Kind};

use crate::exit::{Failure, Outcome};
use crate::tree::quoted;
use crate::tree::target::{Found, Target, What, kept_mode, list, look, read_link};

/// What there is of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing, or something that the entry takes the place of.
    Missing,
    /// All of it.
    Same,
    /// A file with its bytes, whose mode or time is another.
    Attributes,
    /// A file of this name, which may have some of its bytes.
    Candidate {
        /// The size of that file.
        size: u64,
        /// Whether it may be changed: a file with a second name must not, that name may lie elsewhere.
        is_alone: bool,
    },
}

/// What a pull finds.
#[derive(Debug)]
pub(crate) struct Survey {
    /// What there is of each entry.
    pub(crate) states: Vec<State>,
    /// Where something lies that no entry can take the place of.
    pub(crate) conflicts: Vec<Conflict>,
    /// What lies there and is not in the tree: folder and name. Empty unless it was asked for.
    pub(crate) extras: Vec<(u32, Vec<u8>)>,
    /// Folders of the tree that are there and do not let their owner change them.
    pub(crate) locked: Vec<u32>,
}

/// Something in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Conflict {
    /// The entry that cannot be there.
    pub(crate) place: u32,
    /// What lies there instead.
    pub(crate) what: What,
}

impl Survey {
    /// Looks at a folder, or at nothing where there is none yet; with `with_extras` also for what is not in the tree.
    ///
    /// # Errors
    /// Names what cannot be looked at.
    pub(crate) fn of(target: Option<&Target>, index: &Index, with_extras: bool) -> Outcome<Self> {
        let mut survey = Self {
            states: vec![State::Missing; index.entries.len()],
            conflicts: Vec::new(),
            extras: Vec::new(),
            locked: Vec::new(),
        };
        let Some(target) = target else {
            return Ok(survey);
        };
        survey.states[0] = State::Same;
        for (place, entry) in (0..).zip(&index.entries) {
            // Where its folder is not there, nor is it.
            if survey.states[entry.parent as usize] == State::Same && place > 0 {
                let looked = survey.entry(target, &index.entries, place);
                looked
                    .map_err(|error| Failure::reading(quoted(&target.path(&index.entries, place)), &error))?;
            }
        }
        if with_extras {
            survey.find_extras(target, &index.entries)?;
        }
        Ok(survey)
    }

    fn entry(&mut self, target: &Target, entries: &[Entry], place: u32) -> io::Result<()> {
        let entry = &entries[place as usize];
        let folder = target.folder(entries, entry.parent)?;
        let Some(found) = look(&folder, &entry.name)? else {
            return Ok(());
        };
        let state = match (&entry.kind, found.what) {
            (Kind::Folder, What::Folder) => {
                if found.mode & 0o700 != 0o700 {
                    self.locked.push(place);
                }
                State::Same
            }
            (Kind::File { .. }, What::File) => file_state(entry, &found),
            (Kind::Link { target }, What::Link) if read_link(&folder, &entry.name)? == **target => {
                State::Same
            }
            (Kind::File { .. } | Kind::Link { .. }, What::File | What::Link) => State::Missing,
            (_, what) => {
                self.conflicts.push(Conflict { place, what });
                State::Missing
            }
        };
        self.states[place as usize] = state;
        Ok(())
    }

    fn find_extras(&mut self, target: &Target, entries: &[Entry]) -> Outcome {
        let known: HashSet<(u32, &[u8])> = entries
            .iter()
            .skip(1)
            .map(|entry| (entry.parent, &entry.name[..]))
            .collect();
        for (place, entry) in (0..).zip(entries) {
            if !entry.is_folder() || self.states[place as usize] != State::Same {
                continue;
            }
            let names = target.folder(entries, place).and_then(|folder| list(&folder));
            let names =
                names.map_err(|error| Failure::reading(quoted(&target.path(entries, place)), &error))?;
            let extras = names
                .into_iter()
                .filter(|name| !known.contains(&(place, &name[..])));
            self.extras.extend(extras.map(|name| (place, name)));
        }
        Ok(())
    }

    /// Says what is in the way, if anything is.
    ///
    /// # Errors
    /// Names the first conflict and how many there are.
    pub(crate) fn check(&self, path: &Path, entries: &[Entry]) -> Outcome {
        let Some(first) = self.conflicts.first() else {
            return Ok(());
        };
        let there = match first.what {
            What::Folder => "a folder",
            What::File => "a file",
            What::Link => "a symbolic link",
            What::Special => "a device, socket or pipe",
        };
        let entry = &entries[first.place as usize];
        let wanted = match entry.kind {
            Kind::Folder => "a folder",
            Kind::File { .. } => "a file",
            Kind::Link { .. } => "a symbolic link",
        };
        let relative = memproto::tree::path(entries, first.place as usize);
        let others = match self.conflicts.len() - 1 {
            0 => String::new(),
            1 => " (and one more is in the way)".to_owned(),
            more => format!(" (and {more} more are in the way)"),
        };
        Err(Failure::Other(format!(
            "{} is {there} where the tree has {wanted}{others}: nothing was changed; move it away, or let --delete remove what the tree does \
             not have",
            quoted(&path.join(crate::tree::as_path(&relative))),
        )))
    }
}

fn file_state(entry: &Entry, found: &Found) -> State {
    let is_alone = found.links <= 1;
    if found.size != entry.size() || !is_same_time(found.modified, entry.modified) {
        State::Candidate {
            size: found.size,
            is_alone,
        }
    } else if found.mode == kept_mode(entry) {
        State::Same
    } else if is_alone {
        State::Attributes
    } else {
        State::Candidate {
            size: found.size,
            is_alone,
        }
    }
}

/// Whether a time is the one that was set, as far as a file system keeps it: some have whole seconds, microseconds or steps of 100 ns.
fn is_same_time(found: FileTime, wanted: FileTime) -> bool {
    let nanos = wanted.nanos;
    found.seconds == wanted.seconds
        && [nanos, 0, nanos / 1_000 * 1_000, nanos / 100 * 100].contains(&found.nanos)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::tree::scan::tests::scan;

    /// A folder with `a/x`, `a/l` (a link) and `b` in it, and its index.
    fn tree() -> (tempfile::TempDir, Index) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/x"), "12").unwrap();
        symlink("x", folder.path().join("a/l")).unwrap();
        fs::write(folder.path().join("b"), "123").unwrap();
        let entries = scan(folder.path()).entries;
        let names: Vec<_> = entries.iter().map(|entry| entry.name.to_vec()).collect();
        assert_eq!(names, [&b""[..], b"a", b"l", b"x", b"b"]);
        (
            folder,
            Index {
                entries,
                ..Index::default()
            },
        )
    }

    fn survey(folder: &Path, index: &Index) -> Survey {
        let target = Target::find(folder).unwrap();
        Survey::of(target.as_ref(), index, true).unwrap()
    }

    #[test]
    fn where_nothing_is_everything_is_missing() {
        let (_folder, index) = tree();
        let survey = Survey::of(None, &index, true).unwrap();
        assert_eq!(survey.states, [State::Missing; 5]);
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let (folder, index) = tree();
        let found = survey(folder.path(), &index);
        assert_eq!(found.states, [State::Same; 5]);
        assert!(found.conflicts.is_empty() && found.extras.is_empty() && found.locked.is_empty());
    }

    #[test]
    fn what_differs_is_told_apart() {
        let (folder, index) = tree();
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(path("b"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path("a/x"), "1234").unwrap();
        fs::remove_file(path("a/l")).unwrap();
        symlink("/etc", path("a/l")).unwrap();
        fs::write(path("more"), "").unwrap();
        fs::create_dir(path("a/more")).unwrap();
        fs::set_permissions(path("a"), fs::Permissions::from_mode(0o500)).unwrap();
        let found = survey(folder.path(), &index);
        let candidate = State::Candidate {
            size: 4,
            is_alone: true,
        };
        assert_eq!(
            found.states,
            [
                State::Same,
                State::Same,
                State::Missing,
                candidate,
                State::Attributes
            ]
        );
        assert_eq!(found.extras, [(0, b"more".to_vec()), (1, b"more".to_vec())]);
        assert_eq!(found.locked, [1]);
        found.check(folder.path(), &index.entries).unwrap();
    }

    #[test]
    fn a_file_with_a_second_name_is_not_to_be_changed() {
        let (folder, index) = tree();
        fs::hard_link(folder.path().join("b"), folder.path().join("c")).unwrap();
        assert_eq!(survey(folder.path(), &index).states[4], State::Same);
        fs::set_permissions(folder.path().join("b"), fs::Permissions::from_mode(0o600)).unwrap();
        let candidate = State::Candidate {
            size: 3,
            is_alone: false,
        };
        assert_eq!(survey(folder.path(), &index).states[4], candidate);
    }

    #[test]
    fn what_is_in_the_way_is_named_and_nothing_behind_it_is_looked_at() {
        let (folder, index) = tree();
        let path = |name: &str| folder.path().join(name);
        fs::rename(path("a"), path("elsewhere")).unwrap();
        symlink("elsewhere", path("a")).unwrap();
        fs::remove_file(path("b")).unwrap();
        fs::create_dir(path("b")).unwrap();
        let found = survey(folder.path(), &index);
        assert_eq!(
            found.conflicts,
            [
                Conflict {
                    place: 1,
                    what: What::Link
                },
                Conflict {
                    place: 4,
                    what: What::Folder
                }
            ]
        );
        assert_eq!(found.states[1..], [State::Missing; 4]);
        let error = found
            .check(folder.path(), &index.entries)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/a' is a symbolic link where the tree has a folder (and one more"),
            "{error}"
        );
    }

    #[test]
    fn times_are_compared_as_far_as_file_systems_keep_them() {
        let time = |seconds, nanos| FileTime { seconds, nanos };
        let wanted = time(5, 123_456_789);
        for nanos in [123_456_789, 123_456_700, 123_456_000, 0] {
            assert!(is_same_time(time(5, nanos), wanted), "{nanos}");
        }
        assert!(!is_same_time(time(5, 123_456_788), wanted));
        assert!(!is_same_time(time(6, 123_456_789), wanted));
    }
}
