//! Values that are mapped, not read.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memproto::key::check_key;
use memproto::local::Op;
use memproto::local::reply::{MappedReply, ReadReply};
use memproto::local::request::ReadRequest;
use memproto::{ApiError, BlockId, ErrorCode};

#[cfg(target_os = "linux")]
use crate::memfd as system;
#[cfg(not(target_os = "linux"))]
use crate::no_memfd as system;
use system::{Filling, Map};

use crate::calls::within;
use crate::connection::{Call, Connection, broken};
use crate::put::Target;
use crate::range::Part;
use crate::wire::Reply;
use crate::{Error, MemCloud, MemoryFile, Object, PutMapped, Result};

/// Objects from this size in bytes on, of those that are no memory of this node, are not read but written into a memory file by the node, several chunks at a time: what was on its
/// way to be read is given up for it, at most 2 MiB.
const FILL_MIN: u64 = 16 * 1024 * 1024;

/// The bytes of a value: the node's memory itself where it can be mapped, else a copy.
///
/// What is mapped stays as it is, whatever becomes of the key or block: overwritten, freed, expired, the node ended. Until it is dropped
/// it counts against the node's budget. It keeps the connection, and so the node's account of it, for as long as it lives.
pub struct Mapped {
    id: BlockId,
    size: u64,
    // Dropped in this order: the node hears of it when the mapping is gone.
    bytes: Repr,
    /// Whether it is the node's memory that is mapped.
    is_shared: bool,
    _lease: Option<Lease>,
}

enum Repr {
    Map(Map),
    Copy(Bytes),
}

impl Mapped {
    /// The id of the block or stream.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The size of the whole object in bytes; these are all of them.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether these bytes are the node's own memory; else they were fetched into this process's.
    pub fn is_mapped(&self) -> bool {
        self.is_shared
    }

    /// The memory file, and from which of its bytes on the value lies there, to be copied by the system (`copy_file_range(2)`,
    /// `sendfile(2)`); `None` where they lie in no file.
    #[cfg(target_os = "linux")]
    pub fn file(&self) -> Option<(std::os::fd::BorrowedFd<'_>, u64)> {
        use std::os::fd::AsFd;
        match &self.bytes {
            Repr::Map(map) => {
                let (descriptor, offset) = map.file();
                Some((descriptor.as_fd(), offset))
            }
            Repr::Copy(_) => None,
        }
    }

    async fn read(object: Object) -> Result<Self> {
        let (id, size) = (object.id(), object.size());
        Ok(Self {
            id,
            size,
            bytes: Repr::Copy(object.collect().await?),
            is_shared: false,
            _lease: None,
        })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Repr::Map(map) => map.as_slice(),
            Repr::Copy(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Without a copy: the bytes keep the mapping.
impl From<Mapped> for Bytes {
    fn from(mapped: Mapped) -> Self {
        match mapped.bytes {
            Repr::Copy(bytes) => bytes,
            Repr::Map(_) => Bytes::from_owner(mapped),
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("id", &self.id)
            .field("size", &self.size)
            .field("is_mapped", &self.is_mapped())
            .finish()
    }
}

/// A value that was opened: mapped where that can be, else to be read piece by piece.
#[derive(Debug)]
pub enum Opened {
    /// All of it.
    Mapped(Mapped),
    /// It is on its way.
    Object(Object),
}

impl Opened {
    /// The id of the block or stream.
    pub fn id(&self) -> BlockId {
        match self {
            Opened::Mapped(mapped) => mapped.id(),
            Opened::Object(object) => object.id(),
        }
    }

    /// The size of the whole object in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Opened::Mapped(mapped) => mapped.size(),
            Opened::Object(object) => object.size(),
        }
    }

    /// All of the bytes, where need be read into this process's memory.
    ///
    /// # Errors
    /// As [`Object::collect`].
    pub async fn into_mapped(self) -> Result<Mapped> {
        match self {
            Opened::Mapped(mapped) => Ok(mapped),
            Opened::Object(object) => Mapped::read(object).await,
        }
    }
}

/// Large values without a copy, on the same host: see [`Mapped`] and [`MemoryFile`].
impl MemCloud {
    /// The value of a key, mapped where that can be; `None` where no connected node has one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_mapped(&self, key: &str) -> Result<Option<Mapped>> {
        match self.open_key_mapped(key).await? {
            Some(opened) => self.map_or_fill(opened).await.map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of a block or stream, mapped where that can be. A large one that lies on peers is fetched straight into the memory of one mapping.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_mapped(&self, id: BlockId) -> Result<Mapped> {
        let opened = self.open_mapped(id).await?;
        self.map_or_fill(opened).await
    }

    /// All the bytes of a value that was opened; a large one that is no memory of this node goes straight into memory that is mapped.
    async fn map_or_fill(&self, opened: Opened) -> Result<Mapped> {
        let object = match opened {
            Opened::Object(object) if object.size() >= FILL_MIN => object,
            opened => return opened.into_mapped().await,
        };
        let (id, size) = (object.id(), object.size());
        // No byte of it was taken out yet, so that it can wait: where the node cannot fill a file, it is read.
        match self.filled(id, size).await {
            Ok(Some(map)) => Ok(Mapped {
                id,
                size,
                bytes: Repr::Map(map),
                is_shared: false,
                _lease: None,
            }),
            Ok(None) => Mapped::read(object).await,
            // Freed meanwhile, or overwritten: what was opened may still come.
            Err(error) if error.api_code() == Some(ErrorCode::NotFound) => Mapped::read(object).await,
            Err(error) => Err(error),
        }
    }

    /// A memory file with all the bytes of an object. `None` where there is none, or the node does not fill it.
    async fn filled(&self, id: BlockId, size: u64) -> Result<Option<Map>> {
        let filling = match Filling::create(size) {
            Ok(filling) => filling,
            Err(error) => {
                tracing::debug!(%error, "cannot make a memory file: the bytes are read");
                return Ok(None);
            }
        };
        let all = Part {
            offset: 0,
            length: size,
        };
        let filled = self.fill(id, all, &filling.descriptor(), 0).await?;
        if !filled.is_all {
            return Ok(None);
        }
        if filled.bytes != size {
            return Err(Error::Protocol(
                "an object has become shorter while it was read".to_owned(),
            ));
        }
        // The system looks at every page.
        let sealed = tokio::task::spawn_blocking(move || filling.seal()).await;
        sealed
            .map_err(std::io::Error::other)?
            .map(Some)
            .map_err(Error::Io)
    }

    /// As [`get_mapped`](Self::get_mapped), but a value that cannot be mapped is not read yet: for values that may be larger
    /// than memory.
    ///
    /// # Errors
    /// As [`open_key`](Self::open_key).
    pub async fn open_key_mapped(&self, key: &str) -> Result<Option<Opened>> {
        let read = ReadRequest {
            offset: 0,
            length: u64::MAX,
            target: check_key(key.as_bytes())?,
            strict: self.is_strict,
            follow: false,
        };
        match self.map_or_open(Op::GetMapped, |out| read.encode(out)).await {
            Ok(Some(opened)) => Ok(Some(opened)),
            Ok(None) => Ok(self.open_key(key).await?.map(Opened::Object)),
            Err(Error::Api(ApiError {
                code: ErrorCode::NotFound,
                ..
            })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`load_mapped`](Self::load_mapped), but a value that cannot be mapped is not read yet: for values that may be
    /// larger than memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_mapped(&self, id: BlockId) -> Result<Opened> {
        let read = ReadRequest {
            offset: 0,
            length: u64::MAX,
            target: id,
            strict: false,
            follow: false,
        };
        match self.map_or_open(Op::LoadMapped, |out| read.encode(out)).await? {
            Some(opened) => Ok(opened),
            None => self.open(id).await.map(Opened::Object),
        }
    }

    /// Makes `key` name what lies in a memory file, which the node takes over; frees what it named before.
    pub fn set_mapped(&self, key: impl Into<String>, file: MemoryFile) -> PutMapped {
        PutMapped::new(self, Target::Key(key.into()), file)
    }

    /// Stores what lies in a memory file, which the node takes over, as a block without a key.
    pub fn store_mapped(&self, file: MemoryFile) -> PutMapped {
        PutMapped::new(self, Target::Block, file)
    }

    /// Asks for a descriptor. `None` where none can come on this connection, or none could be taken.
    async fn map_or_open(&self, op: Op, args: impl Fn(&mut BytesMut)) -> Result<Option<Opened>> {
        within(self.timeout(), async {
            let Some(mut call) = self.begin_attached(op, &args, None).await? else {
                return Ok(None);
            };
            let reply = call.reply().await?;
            self.opened(call, reply)
        })
        .await
    }

    fn opened(&self, call: Call, reply: Reply) -> Result<Option<Opened>> {
        let Reply {
            payload,
            pieces,
            descriptor,
        } = reply;
        let (MappedReply { read, offset }, _) = MappedReply::decode(&payload).map_err(broken)?;
        let Some(offset) = offset else {
            if descriptor.is_some() {
                return Err(Error::Protocol(
                    "a descriptor came where bytes were said".to_owned(),
                ));
            }
            let first = payload.slice(MappedReply::LEN..);
            return Object::new(call, read, first, pieces, self.timeout())
                .map(|object| Some(Opened::Object(object)));
        };
        let ReadReply { id, size, length } = read;
        let lease = Lease {
            connection: Arc::clone(&call.connection),
            request: call.request,
        };
        // This process may have no room for another descriptor or mapping: the bytes will do.
        let Some(descriptor) = descriptor else {
            return Ok(None);
        };
        match Map::of(descriptor, offset, length) {
            Ok(map) => Ok(Some(Opened::Mapped(Mapped {
                id,
                size,
                bytes: Repr::Map(map),
                is_shared: true,
                _lease: Some(lease),
            }))),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Error::Protocol(error.to_string()))
            }
            Err(error) => {
                tracing::debug!(%error, "cannot map a value: its bytes are read");
                Ok(None)
            }
        }
    }
}

/// What the node keeps for a mapping. Dropped, the node hears that the mapping is gone.
struct Lease {
    connection: Arc<Connection>,
    request: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.shared().unmapped(self.request);
    }
}
