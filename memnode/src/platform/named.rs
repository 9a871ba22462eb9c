//! Files of programs that cannot pass descriptors and name them instead, by their numbers.
//!
//! `/proc/PID/fd/N` leads to the file that a program has open under a number. The file that is meant is told with its number, by device and inode, so that
//! no other one is read where the number is taken for that of another process: a program may have come through one that passes on what it says.
//!
//! What this gives the program must be no more than passing the descriptor would, so:
//! - The process is the one that connected. The system tells of it by a descriptor (SO_PEERPIDFD), which never stands for another process that
//!   got its number later.
//! - It is of this node's own user, or of root. The system itself asks for more: who opens something below `/proc/PID/fd` must be allowed to look into
//!   that process (ptrace(2), "access mode checking"), and may open the file by his own rights.
//! - Nothing is opened but a regular file or memory file: until it is seen to be one, it is held by its place alone (O_PATH), which asks no device
//!   for anything and waits for no pipe.
//! - Its own rights may be greater than those with which the program got the descriptor, and the program may put another file under the number
//!   meanwhile. So the node looks, behind opening it, that this very file is open for reading under the number: both facts come from one line of the
//!   system about one descriptor.
//!
//! `unsafe` stands here because the library for system calls does not know SO_PEERPIDFD (Linux 6.5) yet.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use memproto::local::streams::NamedFile;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// The process at the other end of a Unix socket, as it was when it connected.
#[derive(Debug)]
pub struct Program {
    process: OwnedFd,
}

impl Program {
    /// The program that connected.
    ///
    /// # Errors
    /// `Unsupported`, with a message for the program, where its files cannot be opened by their numbers.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let user = rustix::net::sockopt::socket_peercred(&socket)?.uid;
        if !user.is_root() && user != rustix::process::geteuid() {
            return Err(unsupported("it runs as another user than the node"));
        }
        let process = peer_process(socket.as_fd()).map_err(|error| {
            unsupported(format!("the system does not tell which process it is ({error})"))
        })?;
        Ok(Self { process })
    }

    /// Opens the regular file or memory file that the program has open for reading. The offset of its own descriptor is neither used nor
    /// changed.
    ///
    /// As with a file that was passed, asking the system about it may take long.
    ///
    /// # Errors
    /// `Unsupported` where the file cannot be had so, `InvalidInput` where it is none that can be read. Both with a message for the program.
    pub fn open(&self, named: NamedFile) -> io::Result<File> {
        let NamedFile {
            descriptor: number,
            device,
            inode,
        } = named;
        let folder = self.folder()?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place =
            openat(&folder, format!("fd/{number}"), flags, Mode::empty()).map_err(|error| match error {
                Errno::NOENT => unsupported(format!("the process that connected has no descriptor {number}")),
                error => unsupported(format!("the system does not let the node see it ({error})")),
            })?;
        let found = fstat(&place)?;
        if (found.st_dev, found.st_ino) != (device, inode) {
            return Err(unsupported(format!(
                "the process that connected has another file under the descriptor {number}"
            )));
        }
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(refused(format!(
                "the descriptor {number} is not that of a regular file or memory file: send the bytes of anything else"
            )));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let again = format!("/proc/self/fd/{}", place.as_raw_fd());
        let file = openat(CWD, again, flags, Mode::empty())
            .map_err(|error| unsupported(format!("the node may not read it ({error})")))?;
        let (theirs, ours) = (
            Opened::of(&folder, number)?,
            Opened::of(self_folder()?, file.as_raw_fd())?,
        );
        if !theirs.is_readable {
            return Err(refused(format!(
                "the descriptor {number} is not opened for reading: open it so, or send the bytes"
            )));
        }
        if theirs.file != ours.file {
            return Err(unsupported(format!(
                "another file came under the descriptor {number} meanwhile"
            )));
        }
        Ok(File::from(file))
    }

    /// `/proc/PID`. Where the process ends later, nothing is found there any more, whoever gets its number.
    fn folder(&self) -> io::Result<OwnedFd> {
        let gone = || unsupported("the process that connected has ended");
        let id = self.id()?.ok_or_else(gone)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, format!("/proc/{id}"), flags, Mode::empty())
            .map_err(|error| unsupported(format!("the node cannot see the process {id} ({error})")))?;
        // While it has the number nobody else can have had it.
        match self.id()? {
            Some(now) if now == id => Ok(folder),
            _ => Err(gone()),
        }
    }

    /// The number of the process, as long as it is one, and can be seen here.
    fn id(&self) -> io::Result<Option<u32>> {
        let info = DescriptorInfo::read(self_folder()?, self.process.as_raw_fd())?;
        // -1 stands for a process that has ended, 0 for one that has no number here.
        Ok(info
            .field("Pid:")
            .and_then(|id| id.parse().ok())
            .filter(|&id| id > 0))
    }
}

/// What the system tells of a descriptor (proc(5), `/proc/PID/fdinfo`), all at one moment.
struct DescriptorInfo(String);

impl DescriptorInfo {
    fn read(folder: impl AsFd, number: impl std::fmt::Display) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let info = openat(folder, format!("fdinfo/{number}"), flags, Mode::empty())
            .map_err(|error| unsupported(format!("the system does not tell of it ({error})")))?;
        Ok(Self(io::read_to_string(File::from(info))?))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    }
}

/// What is open under a descriptor, and whether for reading.
#[derive(Debug)]
struct Opened {
    /// The mount and the inode within it.
    file: (u64, u64),
    is_readable: bool,
}

impl Opened {
    fn of(folder: impl AsFd, number: impl std::fmt::Display) -> io::Result<Self> {
        let info = DescriptorInfo::read(folder, number)?;
        let number = |name, radix| {
            info.field(name)
                .and_then(|text| u64::from_str_radix(text, radix).ok())
        };
        let (Some(flags), Some(mount), Some(inode)) =
            (number("flags:", 8), number("mnt_id:", 10), number("ino:", 10))
        else {
            return Err(unsupported(
                "this system does not tell enough of it (Linux 5.14 does)",
            ));
        };
        let flags = OFlags::from_bits_retain(flags as _);
        Ok(Self {
            file: (mount, inode),
            // Through one that is a place alone nothing can be read, whatever its other flags say.
            is_readable: !flags.contains(OFlags::PATH) && flags & OFlags::RWMODE != OFlags::WRONLY,
        })
    }
}

/// The folder of this process itself.
fn self_folder() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/proc/self", flags, Mode::empty())
        .map_err(|error| unsupported(format!("/proc is not there ({error})")))
}

/// A descriptor of the process that connected (unix(7), SO_PEERPIDFD).
fn peer_process(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut descriptor = MaybeUninit::<libc::c_int>::uninit();
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `len` bytes to the place that it is given, which has so many and is nobody else's, and the
    // number of those that it wrote to `len`. It keeps neither pointer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            descriptor.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<libc::c_int>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the call succeeded and wrote a whole integer, which is a descriptor that it opened for this process and that nothing else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor.assume_init()) })
}

fn unsupported(why: impl Into<String>) -> io::Error {
    let why = why.into();
    let message = format!("a file of this program cannot be opened by its number: {why}; send the bytes");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    /// This process, as one that connected to itself.
    fn this_program() -> Program {
        let (socket, _other) = UnixStream::pair().unwrap();
        // Linux has it since 6.5. Before, the tests are about the process by another way.
        Program::of(&socket).unwrap_or_else(|_| {
            let process = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
            Program { process }
        })
    }

    fn name_of(descriptor: &(impl AsFd + AsRawFd)) -> NamedFile {
        let stat = fstat(descriptor).unwrap();
        NamedFile {
            descriptor: descriptor.as_raw_fd().try_into().unwrap(),
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }

    fn why_refused(descriptor: &(impl AsFd + AsRawFd)) -> String {
        let error = this_program().open(name_of(descriptor)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        error.to_string()
    }

    fn why_unsupported(program: &Program, named: NamedFile) -> String {
        let error = program.open(named).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        error.to_string()
    }

    #[test]
    fn a_file_is_opened_by_the_number_under_which_the_program_has_it() {
        let mut theirs = tempfile::tempfile().unwrap();
        theirs.write_all(b"without a name").unwrap();
        let mut ours = this_program().open(name_of(&theirs)).unwrap();
        assert_ne!(ours.as_raw_fd(), theirs.as_raw_fd());
        assert_eq!(io::read_to_string(&mut ours).unwrap(), "without a name");
        // Reading has moved another offset than theirs, which still stands at the end.
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");

        let mut theirs = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        theirs.write_all(b"memory").unwrap();
        let ours = this_program().open(name_of(&theirs)).unwrap();
        assert_eq!(io::read_to_string(ours).unwrap(), "memory");
    }

    #[test]
    fn a_number_gives_no_more_than_the_descriptor_would() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writes = OpenOptions::new().write(true).open(file.path()).unwrap();
        assert!(why_refused(&writes).contains("not opened for reading"));
        let place = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::PATH.bits() as i32)
            .open(file.path())
            .unwrap();
        assert!(why_refused(&place).contains("not opened for reading"));
    }

    #[test]
    fn what_is_no_file_is_refused_and_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(why_refused(&File::open(folder.path()).unwrap()).contains("not that of a regular file"));
        let (socket, _other) = UnixStream::pair().unwrap();
        assert!(why_refused(&socket).contains("not that of a regular file"));
        // Opening this end for reading would wait for a writer.
        let (pipe, other) = io::pipe().unwrap();
        drop(other);
        assert!(why_refused(&pipe).contains("not that of a regular file"));
        assert!(why_refused(&File::open("/dev/zero").unwrap()).contains("not that of a regular file"));
    }

    #[test]
    fn a_number_that_stands_for_another_file_is_left_alone() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mixed = NamedFile {
            descriptor: name_of(&one).descriptor,
            ..name_of(&other)
        };
        assert!(why_unsupported(&this_program(), mixed).contains("another file"));
        let nobodys = NamedFile {
            descriptor: u32::MAX,
            ..name_of(&one)
        };
        assert!(why_unsupported(&this_program(), nobodys).contains("no descriptor 4294967295"));
    }

    #[test]
    fn a_process_that_has_ended_has_no_files() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let id = Pid::from_raw(child.id() as i32).unwrap();
        let process = pidfd_open(id, PidfdFlags::empty()).unwrap();
        let program = Program { process };
        assert_eq!(program.id().unwrap(), Some(child.id()));
        program.folder().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(program.id().unwrap(), None);
        let file = tempfile::tempfile().unwrap();
        assert!(why_unsupported(&program, name_of(&file)).contains("has ended"));
    }
}
