//! Trees that lie in the pool under a name.

use bytes::Bytes;
use memproto::BlockId;
use memproto::tree::{Index, TRAILER_LEN, Trailer, TreeError, codec};
use memsdk::MemCloud;

use crate::exit::{Failure, Outcome};
use crate::output::printable;

/// How much of the end of a stream is asked for in one go: the index of a tree of some ten thousand files.
const END_LEN: u64 = 256 * 1024;

/// The stream that a name stands for, which may be a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedTree {
    /// Its id.
    pub(super) id: BlockId,
    /// Its size in bytes.
    pub(super) size: u64,
}

impl NamedTree {
    /// What has a name, without any of its bytes; `None` where nothing has.
    pub(super) async fn find(cloud: &MemCloud, name: &str) -> Outcome<Option<Self>> {
        let object = cloud.open_key_range(name, 0, 0).await?;
        Ok(object.map(|object| Self {
            id: object.id(),
            size: object.size(),
        }))
    }

    /// What is in the tree.
    ///
    /// # Errors
    /// What the node says; [`TreeError`] where it is none.
    pub(super) async fn index(&self, cloud: &MemCloud) -> Outcome<Result<Index, TreeError>> {
        let len = END_LEN.min(self.size);
        let end = cloud.load_range(self.id, self.size - len, len).await?;
        let trailer = match Trailer::decode(self.size, &end) {
            Ok(trailer) => trailer,
            Err(error) => return Ok(Err(error)),
        };
        let needed = trailer.index_len + TRAILER_LEN as u64;
        let end = match needed.checked_sub(end.len() as u64) {
            None | Some(0) => end.slice(end.len() - needed as usize..),
            Some(missing) => {
                let start = cloud.load_range(self.id, self.size - needed, missing).await?;
                Bytes::from([start, end].concat())
            }
        };
        if end.len() as u64 != needed {
            return Ok(Err(TreeError::Truncated));
        }
        Ok(self.decode(&end[..trailer.index_len as usize], trailer))
    }

    fn decode(&self, bytes: &[u8], trailer: Trailer) -> Result<Index, TreeError> {
        if blake3::hash(bytes).as_bytes()[..trailer.check.len()] != trailer.check {
            return Err(TreeError::Invalid("its hash is another one"));
        }
        let index = codec::decode(bytes)?;
        if index.data_len() + trailer.index_len + TRAILER_LEN as u64 != self.size {
            return Err(TreeError::Invalid(
                "its files have more or fewer bytes than the stream",
            ));
        }
        Ok(index)
    }
}

/// The trailer behind an index.
pub(super) fn trailer(index: &[u8]) -> [u8; TRAILER_LEN] {
    let mut check = [0; 4];
    check.copy_from_slice(&blake3::hash(index).as_bytes()[..4]);
    Trailer {
        index_len: index.len() as u64,
        check,
    }
    .encode()
}

/// Whoever has the name is no tree that can be read.
pub(super) fn no_tree(name: &str, error: &TreeError) -> Failure {
    Failure::Other(format!("cannot pull '{}': {error}", printable(name)))
}
