//! Where the log goes: to stderr, or to a file that is put aside when it is full.
//!
//! `memnode.log` is the newest, `memnode.log.1` the one before it, and so on up to `--log-files-kept`.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::Settings;
use crate::home::Home;
use crate::platform;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log {}: {source}", path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// The log file of these settings, or `None` where the log goes to stderr.
pub fn log_file(settings: &Settings, home: &Home) -> Option<PathBuf> {
    settings
        .log_file
        .clone()
        .or_else(|| settings.background.then(|| home.log_file()))
}

/// Sets up the log of this process, and sends panics there. To be called once.
///
/// # Errors
/// Where the log file cannot be written.
pub fn init(settings: &Settings, home: &Home) -> Result<(), LogError> {
    // The setting was parsed when it was read.
    let filter = EnvFilter::new(&settings.log_level);
    // A line that cannot be written is lost. By default the crate would report that on stderr, and panic where that is the pipe whose
    // reader has gone: a node must not fail because somebody has read enough of its log.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false);
    match log_file(settings, home) {
        Some(path) => {
            let file = RotatedFile::open(&path, settings.log_file_size, settings.log_files_kept)?;
            log.with_ansi(false).with_writer(file).init();
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                tracing::error!("{panic}");
                report(panic);
            }));
        }
        None => log.with_ansi(colour_is_welcome()).with_writer(io::stderr).init(),
    }
    Ok(())
}

/// Whether stderr is a terminal and nobody asked for plain text (no-color.org: `NO_COLOR` with any text in it).
fn colour_is_welcome() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A log file that is put aside when it is full. A line is never cut in two.
struct RotatedFile {
    file: Mutex<FileRotate<AppendCount>>,
}

impl RotatedFile {
    fn open(path: &Path, size_max: u64, kept: usize) -> Result<Self, LogError> {
        let error = |source| LogError {
            path: path.to_owned(),
            source,
        };
        // The crate wants a folder that can be read, and says nothing where the file cannot be opened.
        let path = std::path::absolute(path).map_err(error)?;
        let folder = path
            .parent()
            .ok_or_else(|| error(io::ErrorKind::IsADirectory.into()))?;
        platform::create_private_dir(folder).map_err(error)?;
        folder.read_dir().map_err(error)?;
        let mut options: OpenOptions = platform::private_file();
        options.read(true).append(true).create(true);
        options.open(&path).map_err(error)?;

        let limit = ContentLimit::BytesSurpassed(usize::try_from(size_max).unwrap_or(usize::MAX));
        let file = FileRotate::new(
            &path,
            AppendCount::new(kept),
            limit,
            Compression::None,
            Some(options),
        );
        Ok(Self {
            file: Mutex::new(file),
        })
    }
}

impl<'a> MakeWriter<'a> for RotatedFile {
    type Writer = RotatedWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        RotatedWriter { file: &self.file }
    }
}

/// Writes one line of the log.
struct RotatedWriter<'a> {
    file: &'a Mutex<FileRotate<AppendCount>>,
}

impl Write for RotatedWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A panic in a writer leaves a file that can be written all the same.
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_the_oldest_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/memnode.log");
        for start in 0..2 {
            let log = RotatedFile::open(&path, 100, 2).unwrap();
            for i in 0..20 {
                log.make_writer()
                    .write_all(format!("start {start} line {i:02} {}\n", "x".repeat(20)).as_bytes())
                    .unwrap();
            }
        }
        let mut names: Vec<_> = path
            .parent()
            .unwrap()
            .read_dir()
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["memnode.log", "memnode.log.1", "memnode.log.2"]);
        let all = ["memnode.log.2", "memnode.log.1", "memnode.log"]
            .map(|name| std::fs::read_to_string(path.with_file_name(name)).unwrap());
        assert!(all.iter().all(|text| text.len() < 100 + 40), "{all:?}");
        let lines: Vec<_> = all.iter().flat_map(|text| text.lines()).collect();
        assert!(
            lines.last().unwrap().starts_with("start 1 line 19 x"),
            "{lines:?}"
        );
        assert!(
            lines.is_sorted() && lines.iter().all(|line| line.len() == 15 + 21),
            "{lines:?}"
        );
    }

    #[test]
    fn a_log_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = RotatedFile::open(&file.join("memnode.log"), 100, 2)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("cannot write the log") && error.contains("file/memnode.log"),
            "{error}"
        );
        let error = RotatedFile::open(dir.path(), 100, 2).err().unwrap().to_string();
        assert!(error.contains("cannot write the log"), "{error}");
    }
}
