//! Files of programs, whose descriptors they give so that the node reads or fills them.

use std::fs::File;
use std::io;

use rustix::fs::{OFlags, fcntl_getfl};

use super::{Access, Descriptor};

/// Takes a file that a program gave. It stays the program's: anybody who has it open may change it at any time.
///
/// It asks the system about the file, which for one that lies behind a network or another program may take as long as those do.
///
/// # Errors
/// `InvalidInput`, with a message for the program, where it is no file whose bytes have places, or is not opened for this; else what the
/// system says.
pub fn given_file(descriptor: Descriptor, access: Access) -> io::Result<File> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let opened = fcntl_getfl(&descriptor)?;
    // Nothing can be read or written through it, whatever its other flags say.
    let is_path = opened.contains(OFlags::PATH);
    let mode = opened & OFlags::RWMODE;
    match access {
        Access::Read if is_path || mode == OFlags::WRONLY => {
            return Err(refused(
                "the attached file is not opened for reading: open it so, or send the bytes",
            ));
        }
        Access::Write if is_path || mode == OFlags::RDONLY => {
            return Err(refused(
                "the attached file is not opened for writing: open it so, or read the bytes",
            ));
        }
        // The system would put the bytes at the end of the file, wherever they are to go.
        Access::Write if opened.contains(OFlags::APPEND) => {
            return Err(refused(
                "the attached file is opened for appending, so that bytes cannot go to their places in it: open it for writing alone",
            ));
        }
        Access::Read | Access::Write => {}
    }
    let file = File::from(descriptor);
    if !file.metadata()?.is_file() {
        return Err(refused(
            "the attached descriptor is not that of a regular file or memory file: send or read the bytes of anything else",
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn why_refused(descriptor: impl Into<OwnedFd>, access: Access) -> String {
        let error = given_file(descriptor.into(), access).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn files_are_taken_for_what_they_are_opened_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |options: &mut OpenOptions| OwnedFd::from(options.open(file.path()).unwrap());
        let (reads, writes) = (
            || open(OpenOptions::new().read(true)),
            || open(OpenOptions::new().write(true)),
        );
        given_file(reads(), Access::Read).unwrap();
        given_file(writes(), Access::Write).unwrap();
        let both = || open(OpenOptions::new().read(true).write(true));
        given_file(both(), Access::Read).unwrap();
        given_file(both(), Access::Write).unwrap();
        assert!(why_refused(writes(), Access::Read).contains("not opened for reading"));
        assert!(why_refused(reads(), Access::Write).contains("not opened for writing"));
        let appends = open(OpenOptions::new().append(true));
        assert!(why_refused(appends, Access::Write).contains("for appending"));
        for access in [Access::Read, Access::Write] {
            let name = open(
                OpenOptions::new()
                    .read(true)
                    .custom_flags(OFlags::PATH.bits() as i32),
            );
            assert!(why_refused(name, access).contains("not opened"));
        }
        given_file(memfd_create("test", MemfdFlags::CLOEXEC).unwrap(), Access::Write).unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            why_refused(File::open(folder.path()).unwrap(), Access::Read)
                .contains("not that of a regular file")
        );
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(why_refused(socket, Access::Write).contains("not that of a regular file"));
        let (pipe, _other) = io::pipe().unwrap();
        assert!(why_refused(pipe, Access::Read).contains("not that of a regular file"));
        let device = File::open("/dev/zero").unwrap();
        assert!(why_refused(device, Access::Read).contains("not that of a regular file"));
    }
}
