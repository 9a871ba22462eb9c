//! Writing archives that depend on nothing but what is in them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::contents::Member;

/// The byte of a gzip header for a system that is not known (RFC 1952, 2.3.1): whose it is must not show.
const GZIP_SYSTEM_UNKNOWN: u8 = 255;

/// How much time goes into making an archive small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// For releases.
    Best,
    /// For tests.
    Quick,
}

impl Effort {
    fn compression(self) -> Compression {
        match self {
            Effort::Best => Compression::best(),
            Effort::Quick => Compression::fast(),
        }
    }
}

/// Writes a gzipped tar whose files lie in one folder, owned by root, and were changed at this time (in seconds since 1970).
pub(super) fn write_tar_gz(
    to: &Path,
    folder: &str,
    members: &[Member],
    changed_at: u64,
    effort: Effort,
) -> Result<()> {
    let packed = GzBuilder::new()
        .operating_system(GZIP_SYSTEM_UNKNOWN)
        .write(create(to)?, effort.compression());
    let mut tar = tar::Builder::new(packed);
    for member in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(member.bytes.len() as u64);
        header.set_mode(member.kind.mode());
        header.set_mtime(changed_at);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        tar.append_data(
            &mut header,
            format!("{folder}/{}", member.path),
            member.bytes.as_slice(),
        )
        .with_context(|| format!("cannot pack {}", member.path))?;
    }
    let written = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    finish(written, to)
}

/// Writes a zip whose files lie in one folder. They have no time: that of a zip is in the zone of whoever packs it.
pub(super) fn write_zip(to: &Path, folder: &str, members: &[Member], effort: Effort) -> Result<()> {
    let mut zip = ZipWriter::new(create(to)?);
    for member in members {
        let options = SimpleFileOptions::DEFAULT
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(i64::from(effort.compression().level())))
            .unix_permissions(member.kind.mode());
        zip.start_file(format!("{folder}/{}", member.path), options)?;
        zip.write_all(&member.bytes)
            .with_context(|| format!("cannot pack {}", member.path))?;
    }
    finish(zip.finish().map_err(Into::into), to)
}

fn create(to: &Path) -> Result<BufWriter<File>> {
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(BufWriter::new(file))
}

/// What is still in memory goes into the file, where a full disk shows.
fn finish(written: std::io::Result<BufWriter<File>>, to: &Path) -> Result<()> {
    written
        .and_then(|mut file| file.flush())
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::PathBuf;

    use flate2::read::GzDecoder;

    use super::super::contents::Kind;
    use super::*;

    const CHANGED_AT: u64 = 1_700_000_000;

    fn members() -> Vec<Member> {
        vec![
            Member {
                path: "bin/memcli".to_owned(),
                kind: Kind::Program,
                bytes: vec![7; 100_000],
            },
            Member {
                path: "VERSION".to_owned(),
                kind: Kind::Text,
                bytes: b"1.2.3\n".to_vec(),
            },
        ]
    }

    #[test]
    fn a_tar_has_the_files_with_their_modes_and_is_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| -> PathBuf {
            let path = folder.path().join(name);
            write_tar_gz(&path, "memcloud-x", &members(), CHANGED_AT, Effort::Best).unwrap();
            path
        };
        let path = write("one");
        assert_eq!(fs::read(&path).unwrap(), fs::read(write("two")).unwrap());

        let mut tar = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
        let mut found = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), CHANGED_AT);
            let mode = header.mode().unwrap();
            let path = entry.path().unwrap().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.push((path, mode, bytes));
        }
        assert_eq!(
            found,
            [
                ("memcloud-x/bin/memcli".into(), 0o755, vec![7; 100_000]),
                ("memcloud-x/VERSION".into(), 0o644, b"1.2.3\n".to_vec()),
            ]
        );
    }

    #[test]
    fn a_zip_has_the_files_and_is_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| -> PathBuf {
            let path = folder.path().join(name);
            write_zip(&path, "memcloud-x", &members(), Effort::Quick).unwrap();
            path
        };
        let path = write("one");
        assert_eq!(fs::read(&path).unwrap(), fs::read(write("two")).unwrap());

        let mut zip = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        let mut program = Vec::new();
        let mut file = zip.by_name("memcloud-x/bin/memcli").unwrap();
        assert_eq!(file.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        file.read_to_end(&mut program).unwrap();
        assert_eq!(program, vec![7; 100_000]);
    }
}
