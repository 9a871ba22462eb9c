//! Memory files: blocks whose memory a program can map.
//!
//! [`MemoryFiles`] makes them, within a limit, because each takes a descriptor and a mapping of this process. What goes past
//! the limit lies in ordinary memory (see [`crate::buffer`]). A file that no program was handed is kept for a moment when its block goes, and
//! serves the next block of its size: memory that is there already is filled ten times as fast as fresh memory.
//!
//! How a file is sealed, and why its bytes can be looked at, stands in [`crate::platform`]. Nothing here knows of budgets: whoever
//! keeps a block gives its charge to the file ([`MemoryFile::keep`]).

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::platform::{self, Descriptor, DescriptorRef, Memfd};

/// Blocks from this size in bytes on lie in memory files. Handing over a descriptor takes about as long as copying 100 KiB through a
/// socket, and a smaller block is not worth a descriptor.
pub const MAPPED_MIN: usize = 1024 * 1024;

/// How many there are at most where nobody says otherwise: half of the mappings that Linux lets a process have.
pub const MEMORY_FILES_MAX_DEFAULT: usize = 32_768;

/// The most bytes of files that wait to be used again. They count for no budget, so that they must be few against what a node's
/// process may have beyond its budget; and enough for what a handful of programs replace at the same time.
pub const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a file waits to be used again. Then its memory goes back to the system.
pub const WAITING_TIME: Duration = Duration::from_secs(1);

/// Makes memory files and counts them. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct MemoryFiles {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files_max: usize,
    /// Files that exist, those that wait included.
    open: AtomicUsize,
    waiting: Mutex<Waiting>,
    leases: Mutex<Leases>,
    /// Told when the first file waits.
    begun: Notify,
}

/// What programs have mapped. A block counts once, however often it is mapped.
#[derive(Debug, Default)]
struct Leases {
    next: u64,
    /// Of each lease the block and its length in bytes.
    mapped: HashMap<u64, (BlockId, u64)>,
}

/// A block that a program has mapped. It keeps the memory, and with it what the block costs of the budget, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    number: u64,
    file: Arc<MemoryFile>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.file.files.leases().mapped.remove(&self.number);
    }
}

/// Files without a block, the one that has waited longest first.
#[derive(Debug, Default)]
struct Waiting {
    files: VecDeque<(Instant, Memfd)>,
    bytes: usize,
}

impl Waiting {
    /// Takes out the file for a block of this length that was used last: its memory is in the processor's caches, if any is.
    fn take(&mut self, len: usize) -> Option<Memfd> {
        let at = self.files.iter().rposition(|(_, file)| file.fits(len))?;
        let (_, file) = self.files.remove(at)?;
        self.bytes -= file.len();
        Some(file)
    }

    fn take_oldest(&mut self) -> Option<Memfd> {
        let (_, file) = self.files.pop_front()?;
        self.bytes -= file.len();
        Some(file)
    }
}

impl MemoryFiles {
    /// At most `files_max` files at a time; 0 is none at all.
    pub fn new(files_max: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                files_max,
                open: AtomicUsize::new(0),
                waiting: Mutex::default(),
                leases: Mutex::default(),
                begun: Notify::new(),
            }),
        }
    }

    /// At most `files_max` files, and fewer where this process may have fewer descriptors or mappings:
    /// `descriptors_reserved` are for connections and other files. The process's own limit on descriptors is raised
    /// first as far as the system lets it.
    pub fn within_limits(files_max: usize, descriptors_reserved: usize) -> Self {
        let descriptors = platform::raise_descriptor_limit().unwrap_or(u64::MAX);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        // Half of the mappings are for threads and for large blocks in ordinary memory, which the allocator maps one by one.
        let mappings = platform::mappings_max() / 2;
        let left = descriptors.saturating_sub(descriptors_reserved);
        Self::new(files_max.min(left).min(mappings))
    }

    /// How many files there may be at a time.
    pub fn files_max(&self) -> usize {
        self.inner.files_max
    }

    /// How many there are, those that wait to be used again included.
    pub fn open(&self) -> usize {
        self.inner.open.load(Relaxed)
    }

    /// A file for a block of this length, or `None` where it is to lie in ordinary memory: a small one, or one past the
    /// limit.
    pub(crate) fn create(&self, len: usize) -> Option<MemoryFile> {
        if len < MAPPED_MIN {
            return None;
        }
        let waiting = self.inner.waiting().take(len);
        let made = match waiting {
            // It has its place.
            Some(mut file) => file.reuse(len).map(|()| file),
            None if self.take_place() => Memfd::create(len),
            None => return None,
        };
        match made {
            Ok(file) => Some(MemoryFile::new(file, &self.inner)),
            Err(error) => {
                tracing::debug!(%error, len, "no memory file: the block lies in ordinary memory");
                self.inner.give_place();
                None
            }
        }
    }

    /// Takes over the sealed memory file of a program.
    ///
    /// # Errors
    /// `InvalidArgument` where it is none, or not sealed; `Busy` where there may be no more files.
    pub fn adopt(&self, descriptor: Descriptor) -> ApiResult<MemoryFile> {
        let busy = || {
            ApiError::new(
                ErrorCode::Busy,
                "the node has as many memory files as it may have: send the value's bytes",
            )
        };
        if !self.take_place() {
            return Err(busy());
        }
        match Memfd::adopt(descriptor) {
            Ok(file) => Ok(MemoryFile::new(file, &self.inner)),
            Err(error) => {
                self.inner.give_place();
                if error.kind() == io::ErrorKind::InvalidInput {
                    return Err(ApiError::invalid(error.to_string()));
                }
                tracing::debug!(%error, "cannot map a program's memory file");
                Err(busy())
            }
        }
    }

    /// The blocks that programs have mapped, with their lengths in bytes. Looks at every lease.
    pub fn mapped(&self) -> HashMap<BlockId, u64> {
        self.inner.leases().mapped.values().copied().collect()
    }

    /// Gives back the memory of files that have waited for [`WAITING_TIME`], for as long as it is polled.
    pub async fn give_back_unused(&self) {
        loop {
            let oldest = self.inner.waiting().files.front().map(|(since, _)| *since);
            let Some(since) = oldest else {
                self.inner.begun.notified().await;
                continue;
            };
            tokio::time::sleep_until(since + WAITING_TIME).await;
            self.give_back_before(Instant::now() - WAITING_TIME);
        }
    }

    fn give_back_before(&self, moment: Instant) {
        loop {
            let file = {
                let mut waiting = self.inner.waiting();
                match waiting.files.front() {
                    Some((since, _)) if *since <= moment => waiting.take_oldest(),
                    _ => None,
                }
            };
            // Closed outside of the lock: it takes its time.
            let Some(file) = file else { return };
            self.inner.close(file);
        }
    }

    /// Takes the place of one more file within the limit, if need be that of one that waits.
    fn take_place(&self) -> bool {
        let inner = &self.inner;
        let within = |open: usize| (open < inner.files_max).then_some(open + 1);
        while inner.open.fetch_update(Relaxed, Relaxed, within).is_err() {
            let Some(oldest) = inner.waiting().take_oldest() else {
                return false;
            };
            inner.close(oldest);
        }
        true
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a file for the next block, or closes it.
    fn put_by(&self, file: Memfd) {
        if file.len() > WAITING_BYTES_MAX {
            return self.close(file);
        }
        let (was_empty, too_many) = {
            let mut waiting = self.waiting();
            let was_empty = waiting.files.is_empty();
            waiting.bytes += file.len();
            waiting.files.push_back((Instant::now(), file));
            let mut too_many = Vec::new();
            while waiting.bytes > WAITING_BYTES_MAX {
                too_many.extend(waiting.take_oldest());
            }
            (was_empty, too_many)
        };
        if was_empty {
            self.begun.notify_one();
        }
        too_many.into_iter().for_each(|file| self.close(file));
    }

    fn close(&self, file: Memfd) {
        drop(file);
        self.give_place();
    }

    fn give_place(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// The memory of one block, which can be handed to programs as a descriptor.
pub struct MemoryFile {
    /// `None` only while it is dropped.
    file: Option<Memfd>,
    files: Arc<Inner>,
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl MemoryFile {
    /// A file that has its place.
    fn new(file: Memfd, files: &Arc<Inner>) -> Self {
        Self {
            file: Some(file),
            files: Arc::clone(files),
            kept: OnceLock::new(),
        }
    }

    /// The length of the block in bytes.
    pub fn len(&self) -> usize {
        self.memfd().len()
    }

    /// Whether it has no bytes: never, such a block lies in ordinary memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.memfd().as_slice()
    }

    /// The descriptor, to be handed to a program: from here on nobody can write the file, and it is not used again.
    ///
    /// # Errors
    /// What the system says where it cannot seal the file; then the bytes must flow.
    pub fn share(&self) -> io::Result<DescriptorRef<'_>> {
        self.memfd().share()
    }

    /// Notes that a program maps this file, which is the memory of a block, until the lease is dropped.
    pub fn lease(self: &Arc<Self>, id: BlockId) -> Lease {
        let mut leases = self.files.leases();
        let number = leases.next;
        leases.next += 1;
        leases.mapped.insert(number, (id, self.len() as u64));
        Lease {
            number,
            file: Arc::clone(self),
        }
    }

    /// Keeps something, such as the charge of the block, for as long as the memory is in use. Only the first thing is
    /// kept: a file belongs to one block.
    pub fn keep(&self, guard: impl Any + Send + Sync) {
        let first = self.kept.set(Box::new(guard)).is_ok();
        debug_assert!(first, "a memory file is the memory of one block");
    }

    /// Whether something is: then the file is the memory of a block already.
    pub fn is_kept(&self) -> bool {
        self.kept.get().is_some()
    }

    pub(crate) fn memfd(&self) -> &Memfd {
        self.file.as_ref().expect("it is taken out by drop alone")
    }

    pub(crate) fn memfd_mut(&mut self) -> &mut Memfd {
        self.file.as_mut().expect("it is taken out by drop alone")
    }
}

impl AsRef<[u8]> for MemoryFile {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        // What is kept for the file goes behind it, with the fields.
        match self.file.take() {
            Some(file) if file.is_reusable() => self.files.put_by(file),
            Some(file) => self.files.close(file),
            None => {}
        }
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn filled(files: &MemoryFiles, len: usize, byte: u8) -> MemoryFile {
        let mut file = files.create(len).unwrap();
        match file.memfd_mut().resident_mut() {
            Some(memory) => memory.fill(byte),
            None => file.memfd_mut().write_at(0, &vec![byte; len]).unwrap(),
        }
        file
    }

    #[test]
    fn a_file_that_nobody_has_seen_is_used_again() {
        let files = MemoryFiles::new(10);
        let first = filled(&files, MAPPED_MIN + 1, 1);
        let address = first.as_slice().as_ptr();
        drop(first);
        assert_eq!(files.open(), 1);
        // A block of another size does not fit it.
        let other = filled(&files, 2 * MAPPED_MIN, 2);
        assert_eq!(files.open(), 2);
        let again = filled(&files, MAPPED_MIN + 2, 3);
        assert_eq!((again.as_slice().as_ptr(), files.open()), (address, 2));
        assert!(again.as_slice().iter().all(|&byte| byte == 3));
        assert!(other.as_slice().iter().all(|&byte| byte == 2));
    }

    #[test]
    fn a_file_that_was_handed_out_is_never_used_again() {
        let files = MemoryFiles::new(10);
        let file = filled(&files, MAPPED_MIN, 1);
        let theirs = std::fs::File::from(file.share().unwrap().try_clone_to_owned().unwrap());
        drop(file);
        assert_eq!(files.open(), 0);
        let next = filled(&files, MAPPED_MIN, 2);
        let mut bytes = vec![0; MAPPED_MIN];
        std::os::unix::fs::FileExt::read_exact_at(&theirs, &mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 1));
        assert!(next.as_slice().iter().all(|&byte| byte == 2));
    }

    #[test]
    fn there_are_no_more_files_than_may_be() {
        let files = MemoryFiles::new(2);
        let (first, second) = (filled(&files, MAPPED_MIN, 1), filled(&files, MAPPED_MIN, 2));
        assert!(files.create(MAPPED_MIN).is_none());
        drop(first);
        // The one that waits makes room for one that it does not fit.
        let third = filled(&files, 2 * MAPPED_MIN, 3);
        assert_eq!(files.open(), 2);
        drop((second, third));
        assert!(MemoryFiles::new(0).create(MAPPED_MIN).is_none());
        assert!(files.create(MAPPED_MIN - 1).is_none());
    }

    #[test]
    fn few_bytes_wait() {
        let files = MemoryFiles::new(100);
        let many: Vec<_> = (0..40).map(|_| filled(&files, MAPPED_MIN, 1)).collect();
        drop(many);
        assert_eq!(files.open(), WAITING_BYTES_MAX / MAPPED_MIN);
        drop(filled(&files, WAITING_BYTES_MAX + 1, 1));
        assert_eq!(files.open(), WAITING_BYTES_MAX / MAPPED_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_back_to_the_system_after_a_while() {
        let files = MemoryFiles::new(10);
        let sweeper = files.clone();
        let sweeper = tokio::spawn(async move { sweeper.give_back_unused().await });
        drop(filled(&files, MAPPED_MIN, 1));
        tokio::time::sleep(WAITING_TIME / 2).await;
        drop(filled(&files, 2 * MAPPED_MIN, 1));
        assert_eq!(files.open(), 2);
        tokio::time::sleep(WAITING_TIME * 3 / 4).await;
        assert_eq!(files.open(), 1);
        tokio::time::sleep(WAITING_TIME).await;
        assert_eq!(files.open(), 0);
        sweeper.abort();
    }

    #[test]
    fn what_is_kept_goes_with_the_file() {
        let files = MemoryFiles::new(10);
        let kept = Arc::new(());
        let file = filled(&files, MAPPED_MIN, 1);
        file.keep(Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 2);
        drop(file);
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}
