//! Values on their way in (an argument, stdin, a file) and out (stdout, a file, JSON), byte for byte.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use memproto::ErrorCode;
use memsdk::{Mapped, Opened};
use tempfile::NamedTempFile;

use crate::exit::{Failure, Outcome};
use crate::output::write_raw;

/// The largest value that `--json` prints: it has to be in memory whole, twice. Larger ones go to a file or a pipe.
pub(crate) const JSON_VALUE_SIZE_MAX: u64 = 64 * 1024 * 1024;

/// How much of a value is written in one go: some milliseconds.
const WRITE_STEP: usize = 16 * 1024 * 1024;

/// A value that somebody typed or piped.
#[derive(Debug)]
pub(crate) enum Input {
    /// An argument of the command line.
    Whole(Bytes),
    /// A file, a pipe or a terminal that is read piece by piece.
    Reader(Source),
}

impl Input {
    /// The value of an argument; `-` is stdin.
    pub(crate) fn from_argument(argument: &OsStr) -> Outcome<Self> {
        if argument == "-" {
            return Ok(Input::Reader(Source::stdin()?));
        }
        Ok(Input::Whole(Bytes::copy_from_slice(argument.as_bytes())))
    }
}

/// An open file or pipe to read from.
#[derive(Debug)]
pub(crate) struct Source {
    /// What is read from.
    pub(crate) file: File,
    /// How many bytes are left in it, where it is a regular file.
    pub(crate) size: Option<u64>,
}

impl Source {
    /// Stdin, from where it stands.
    pub(crate) fn stdin() -> Outcome<Self> {
        let file = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map(File::from)
            .map_err(|error| Failure::reading("stdin", &error))?;
        Self::of(file, "stdin")
    }

    /// A file, or stdin for `-`.
    ///
    /// # Errors
    /// `Usage` where nobody named a file and stdin is a terminal: the program would seem to hang.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        if path == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(Failure::Usage(
                    "name a file, or pipe something into it; see: memcli stream --help".to_owned(),
                ));
            }
            return Self::stdin();
        }
        let name = format!("'{}'", path.display());
        let file = File::open(path).map_err(|error| Failure::reading(&name, &error))?;
        Self::of(file, &name)
    }

    fn of(mut file: File, name: &str) -> Outcome<Self> {
        let metadata = file.metadata().map_err(|error| Failure::reading(name, &error))?;
        if metadata.is_dir() {
            return Err(Failure::Other(format!("cannot read {name}: it is a folder")));
        }
        // A file below /proc says 0 and has more: only a size above 0 is believed.
        let size = (metadata.is_file() && metadata.len() > 0)
            .then(|| file.stream_position().map(|at| metadata.len().saturating_sub(at)))
            .transpose()
            .map_err(|error| Failure::reading(name, &error))?;
        Ok(Self { file, size })
    }
}

/// Copies an object to stdout exactly as it was stored. On a terminal a newline follows a value that lacks one, so that
/// the prompt is not glued to it.
pub(crate) async fn copy_to_stdout(opened: Opened) -> Outcome {
    let mut last = None;
    // Blocking is right: there is nothing else to do while the reader of our pipe makes up its mind, and the
    // node waits for us by its credits.
    let mut write = |piece: &[u8]| {
        last = piece.last().copied().or(last);
        write_raw(piece)
    };
    match opened {
        Opened::Mapped(mapped) => write(&mapped)?,
        Opened::Object(mut object) => {
            while let Some(piece) = object.next().await? {
                write(&piece)?;
            }
        }
    }
    if io::stdout().is_terminal() && !matches!(last, None | Some(b'\n')) {
        write_raw(b"\n")?;
    }
    Ok(())
}

/// The value of an object for JSON: `("text", ...)` where it is UTF-8, else `("base64", ...)`.
///
/// # Errors
/// `TooLarge` above [`JSON_VALUE_SIZE_MAX`].
pub(crate) async fn collect_for_json(opened: Opened) -> Outcome<(&'static str, String)> {
    if opened.size() > JSON_VALUE_SIZE_MAX {
        return Err(Failure::api(
            ErrorCode::TooLarge,
            format!(
                "the value has {} bytes, --json prints at most {JSON_VALUE_SIZE_MAX}: leave --json out, or write it to \
                 a file with -o FILE",
                opened.size()
            ),
        ));
    }
    Ok(bytes_for_json(&opened.into_mapped().await?))
}

/// Bytes for JSON: `("text", ...)` where they are UTF-8, else `("base64", ...)`.
pub(crate) fn bytes_for_json(bytes: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", Base64::encode_string(bytes)),
    }
}

/// A file that appears under its name only when it is whole.
///
/// A regular file is written beside its place and renamed at the end, with the mode of the one it replaces; dropped
/// before, nothing stays behind. A pipe or device, such as `/dev/null`, is written directly: it must not be replaced.
#[derive(Debug)]
pub(crate) enum OutputFile {
    /// The temporary and where it goes.
    Replacing(NamedTempFile, PathBuf),
    /// A pipe or device.
    Direct(File, PathBuf),
}

impl OutputFile {
    /// Opens the file for writing.
    pub(crate) fn create(path: &Path) -> Outcome<Self> {
        Self::open(path).map_err(|error| Failure::writing(&quoted(path), &error))
    }

    fn open(path: &Path) -> io::Result<Self> {
        // The file behind a symbolic link is meant, not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let existing = match fs::metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if !metadata.is_file() => {
                return Ok(Self::Direct(File::options().write(true).open(&target)?, target));
            }
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".memcli-").suffix(".part");
        let file = match existing {
            Some(metadata) => {
                // Whoever may not write the file may not replace it either.
                File::options().write(true).open(&target)?;
                let file = builder.tempfile_in(folder)?;
                file.as_file().set_permissions(metadata.permissions())?;
                file
            }
            None => builder.permissions(new_file_mode()).tempfile_in(folder)?,
        };
        Ok(Self::Replacing(file, target))
    }

    /// Copies a value into the file and puts it in its place.
    pub(crate) async fn fill(mut self, opened: Opened) -> Outcome {
        let (file, path) = match &mut self {
            Self::Replacing(file, path) => (file.as_file_mut(), path),
            Self::Direct(file, path) => (file, path),
        };
        let failed = |error| Failure::writing(&quoted(path), &error);
        // Blocking is right, as in `copy_to_stdout`.
        match opened {
            Opened::Mapped(mapped) => write_mapped(file, &mapped).await.map_err(failed)?,
            Opened::Object(mut object) => {
                while let Some(piece) = object.next().await? {
                    file.write_all(&piece).map_err(failed)?;
                }
            }
        }
        match self {
            Self::Direct(..) => Ok(()),
            Self::Replacing(file, path) => file
                .persist(&path)
                .map(drop)
                .map_err(|error| Failure::writing(&quoted(&path), &error.error)),
        }
    }
}

/// Writes what is mapped, a step at a time, so that Ctrl-C is heard in between.
async fn write_mapped(file: &mut File, mapped: &Mapped) -> io::Result<()> {
    let mut written = 0;
    while written < mapped.len() {
        let end = mapped.len().min(written + WRITE_STEP);
        written += match copy_by_system(file, mapped, written, end) {
            Some(copied) => copied?,
            None => {
                file.write_all(&mapped[written..end])?;
                end - written
            }
        };
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Lets the system copy from the node's memory file into another file. Returns how much it copied, one byte at least; `None`
/// where it does not. Measured with 256 MiB: 80 ms, against 95 ms by way of the mapping, whose pages have to be looked up first.
#[cfg(target_os = "linux")]
fn copy_by_system(file: &File, mapped: &Mapped, from: usize, to: usize) -> Option<io::Result<usize>> {
    let (memory, offset) = mapped.file()?;
    // With an offset of its own: the place in the file is shared by all who have its descriptor.
    let mut at = offset + from as u64;
    match rustix::fs::sendfile(file, memory, Some(&mut at), to - from) {
        // It takes neither every kind of file nor one that is only appended to.
        Ok(0) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => None,
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => None,
        copied => Some(copied.map_err(io::Error::from)),
    }
}

#[cfg(not(target_os = "linux"))]
fn copy_by_system(_: &File, _: &Mapped, _: usize, _: usize) -> Option<io::Result<usize>> {
    None
}

/// What any program gives a new file: read and write, less the umask, which the system takes off.
fn new_file_mode() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_argument_is_taken_byte_for_byte() {
        let Input::Whole(value) = Input::from_argument(OsStr::from_bytes(b"a\xff b")).unwrap() else {
            panic!("an argument is whole")
        };
        assert_eq!(&value[..], b"a\xff b");
    }

    #[test]
    fn the_size_of_a_regular_file_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        fs::write(&path, b"12345").unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!(source.size, Some(5));
        assert_eq!(io::read_to_string(source.file).unwrap(), "12345");
    }

    #[test]
    fn folders_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Source::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("it is a folder"), "{error}");
        let error = Source::open(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.ends_with("/none': No such file or directory"), "{error}");
        let error = OutputFile::create(folder.path()).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "old").unwrap();
        drop(OutputFile::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let OutputFile::Replacing(file, target) = OutputFile::create(&link).unwrap() else {
            panic!("a regular file is replaced")
        };
        file.persist(&target).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_device_is_written_not_replaced() {
        assert!(matches!(
            OutputFile::create(Path::new("/dev/null")).unwrap(),
            OutputFile::Direct(..)
        ));
    }
}
