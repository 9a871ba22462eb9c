//! The keys of the pool, a page at a time.

use std::collections::{BTreeSet, VecDeque};
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use memproto::listing::{ListedKey, MissingNode};
use memproto::local::keys::{KeysOptions, KeysReply, KeysRequest};
use memproto::local::{FRAME_PAYLOAD_MAX, KEYS_PAGE_MAX, Op};
use memproto::pattern::check_patterns;

use crate::admission::Held;
use crate::connection::broken;
use crate::{MemCloud, Result};

/// Globs such as `user:*`: one, or several of which a key is to match any.
///
/// `*` stands for any number of characters, `?` for one, `[a-z]` for one of a range or set, `[^a-z]` for one outside it, and
/// `\` takes the next character as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patterns(Vec<String>);

impl From<&str> for Patterns {
    fn from(pattern: &str) -> Self {
        Self(vec![pattern.to_owned()])
    }
}

impl From<String> for Patterns {
    fn from(pattern: String) -> Self {
        Self(vec![pattern])
    }
}

impl From<&String> for Patterns {
    fn from(pattern: &String) -> Self {
        Self(vec![pattern.clone()])
    }
}

impl<P: AsRef<str>> From<&[P]> for Patterns {
    fn from(patterns: &[P]) -> Self {
        Self(
            patterns
                .iter()
                .map(|pattern| pattern.as_ref().to_owned())
                .collect(),
        )
    }
}

impl<P: AsRef<str>, const N: usize> From<[P; N]> for Patterns {
    fn from(patterns: [P; N]) -> Self {
        Self::from(&patterns[..])
    }
}

impl<P: AsRef<str>, const N: usize> From<&[P; N]> for Patterns {
    fn from(patterns: &[P; N]) -> Self {
        Self::from(&patterns[..])
    }
}

impl<P: AsRef<str>> From<Vec<P>> for Patterns {
    fn from(patterns: Vec<P>) -> Self {
        Self::from(&patterns[..])
    }
}

impl<P: AsRef<str>> From<&Vec<P>> for Patterns {
    fn from(patterns: &Vec<P>) -> Self {
        Self::from(&patterns[..])
    }
}

impl MemCloud {
    /// All keys of the pool that match, in ascending order, each once; all of them are in memory. For very many, for those of this host's node alone,
    /// and to learn which nodes' keys are missing, see [`scan`](Self::scan).
    ///
    /// # Errors
    /// As [`Scan::next_page`].
    pub async fn keys(&self, patterns: impl Into<Patterns>) -> Result<Vec<String>> {
        let mut scan = self.scan(patterns);
        let mut keys = BTreeSet::new();
        while let Some(page) = scan.next_page().await? {
            keys.extend(page);
        }
        Ok(keys.into_iter().collect())
    }

    /// The keys of the pool that match, a page at a time. Nothing is asked for before the first page is.
    pub fn scan(&self, patterns: impl Into<Patterns>) -> Scan {
        Scan {
            cloud: self.clone(),
            patterns: patterns.into(),
            cursor: Some(0),
            options: KeysOptions::default(),
            page: VecDeque::new(),
            missing: Vec::new(),
            item: PhantomData,
        }
    }
}

/// A walk through the keys of the pool, which may change meanwhile. Neither side remembers anything of it but a number, and
/// it can be given up at any place.
///
/// Keys come in no order. One that is there from the beginning to the end comes at least once; one that is set or deleted
/// meanwhile may come or not. A key may come more than once, so that a program which counts remembers what it has seen, as
/// [`MemCloud::keys`] does.
///
/// It gives keys, or with [`details`](Self::details) what is known of their values too. Where nodes cannot be asked, [`missing`](Self::missing) names
/// them.
#[derive(Clone, Debug)]
#[must_use = "nothing is listed unless pages are asked for"]
pub struct Scan<K = String> {
    cloud: MemCloud,
    patterns: Patterns,
    /// `None` behind the last page.
    cursor: Option<u64>,
    options: KeysOptions,
    /// What came and was not handed out yet.
    page: VecDeque<ListedKey>,
    missing: Vec<MissingNode>,
    /// What is handed out. It holds nothing of it.
    item: PhantomData<fn() -> K>,
}

impl Scan {
    /// Gives with each key what is known of its value: its size, class and time to live, and where it lies.
    pub fn details(self) -> Scan<ListedKey> {
        Scan {
            cloud: self.cloud,
            patterns: self.patterns,
            cursor: self.cursor,
            options: KeysOptions {
                details: true,
                ..self.options
            },
            page: self.page,
            missing: self.missing,
            item: PhantomData,
        }
    }
}

impl<K: From<ListedKey>> Scan<K> {
    /// Leaves out the keys of other nodes: gives only those that this host's node answers for.
    pub fn local(mut self) -> Self {
        self.options.local = true;
        self
    }

    /// The nodes whose keys are missing, as far as the walk came to them: they are not connected, or did not answer. At the end it is all of them.
    pub fn missing(&self) -> &[MissingNode] {
        &self.missing
    }

    /// The next keys, at least one and at most some thousand; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) with `InvalidArgument` for no pattern and `TooLarge` for more than 64, a
    /// pattern of more than 1,024 bytes or more than 4,096 bytes of them together. After another error the same page can be
    /// asked for again.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the next call asks for the same page.
    pub async fn next_page(&mut self) -> Result<Option<Vec<K>>> {
        if self.page.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(Some(self.page.drain(..).map(K::from).collect()))
    }

    /// The next key; `None` at the end.
    ///
    /// # Errors
    /// As [`next_page`](Self::next_page).
    ///
    /// # Cancel safety
    /// A key is either returned or still there.
    pub async fn next(&mut self) -> Result<Option<K>> {
        if self.page.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(self.page.pop_front().map(K::from))
    }

    /// The keys as a [`Stream`], which ends behind the first error. It has to be pinned, as with `std::pin::pin!`.
    pub fn into_stream(self) -> impl Stream<Item = Result<K>> + Send {
        stream::try_unfold(self, |mut scan| async move {
            Ok(scan.next().await?.map(|key| (key, scan)))
        })
    }

    /// Asks for pages until one has a key. Returns false where there is none any more.
    async fn fill(&mut self) -> Result<bool> {
        check_patterns(&self.patterns.0)?;
        while let Some(cursor) = self.cursor {
            let request = KeysRequest::<&str> {
                patterns: self.patterns.0.iter().map(String::as_str).collect(),
                cursor,
                limit: KEYS_PAGE_MAX,
                options: self.options,
            };
            let args = |out: &mut BytesMut| request.encode(out);
            let held = Held::Bytes(FRAME_PAYLOAD_MAX);
            let (_call, reply) = self
                .cloud
                .exchange(Op::Keys, held, args, Bytes::new(), self.cloud.timeout())
                .await?;
            let KeysReply {
                keys,
                missing,
                cursor,
            } = KeysReply::decode(&reply.payload).map_err(broken)?;
            for missing in missing {
                if !self.missing.contains(&missing) {
                    self.missing.push(missing);
                }
            }
            self.cursor = Some(cursor).filter(|&cursor| cursor != 0);
            self.page = keys.into();
            if !self.page.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
