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
use system::Map;

use crate::calls::within;
use crate::connection::{Call, Connection, broken};
use crate::put::Target;
use crate::wire::Reply;
use crate::{Error, MemCloud, MemoryFile, Object, PutMapped, Result};

/// The bytes of a value: the node's memory itself where it can be mapped, else a copy.
///
/// What is mapped stays as it is, whatever becomes of the key or block: overwritten, freed, expired, the node ended. Until it is dropped
/// it counts against the node's budget. It keeps the connection, and so the node's account of it, for as long as it lives.
pub struct Mapped {
    id: BlockId,
    size: u64,
    // Dropped in this order: the node hears of it when the mapping is gone.
    bytes: Repr,
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

    /// Whether these bytes are the node's own memory; else they were read.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Repr::Map(_))
    }

    /// The memory file, and from which of its bytes on the value lies there, to be copied by the system (`copy_file_range(2)`,
    /// `sendfile(2)`); `None` where it is not mapped.
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
            Some(opened) => opened.into_mapped().await.map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of a block or stream, mapped where that can be.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_mapped(&self, id: BlockId) -> Result<Mapped> {
        self.open_mapped(id).await?.into_mapped().await
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
