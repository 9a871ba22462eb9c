//! How long a block lives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, ApiResult};
use crate::id::BlockId;

/// The longest time to live in milliseconds, 2^53 - 1 (285,000 years): exact as a number of JSON, and no clock that it is
/// added to overflows.
pub const TTL_MS_MAX: u64 = (1 << 53) - 1;

/// A time to live: 1 to [`TTL_MS_MAX`] milliseconds, counted from when the block is stored or the time is set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Ttl(u64);

impl Ttl {
    /// A time to live of this many milliseconds.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 and above [`TTL_MS_MAX`].
    pub fn from_millis(ms: u64) -> ApiResult<Self> {
        match ms {
            0 => Err(ApiError::invalid("a time to live is at least 1 ms")),
            1..=TTL_MS_MAX => Ok(Self(ms)),
            _ => Err(ApiError::invalid(format!(
                "a time to live of {ms} ms is over the limit of {TTL_MS_MAX}"
            ))),
        }
    }

    /// The milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Ttl {
    type Error = ApiError;

    fn try_from(ms: u64) -> ApiResult<Self> {
        Self::from_millis(ms)
    }
}

impl From<Ttl> for u64 {
    fn from(ttl: Ttl) -> u64 {
        ttl.0
    }
}

impl TryFrom<Duration> for Ttl {
    type Error = ApiError;

    /// Rounded up to whole milliseconds.
    fn try_from(duration: Duration) -> ApiResult<Self> {
        let ms = duration.as_nanos().div_ceil(1_000_000);
        Self::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Duration {
        Duration::from_millis(ttl.0)
    }
}

/// By what a program calls a value.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ValueName {
    /// The id of a block or stream.
    Id(BlockId),
    /// A key.
    Key(String),
}

impl From<BlockId> for ValueName {
    fn from(id: BlockId) -> Self {
        ValueName::Id(id)
    }
}

impl From<&str> for ValueName {
    fn from(key: &str) -> Self {
        ValueName::Key(key.to_owned())
    }
}

impl From<String> for ValueName {
    fn from(key: String) -> Self {
        ValueName::Key(key)
    }
}

/// What is done to how long a value lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LifetimeChange {
    /// Nothing: it is only asked for.
    Tell,
    /// It lives this long from now on.
    Expire(Ttl),
    /// It lives for good.
    Persist,
}

impl LifetimeChange {
    /// How long it is to live from now on, where that is changed; `Some(None)` is for good.
    pub const fn wanted(self) -> Option<Option<Ttl>> {
        match self {
            LifetimeChange::Tell => None,
            LifetimeChange::Expire(ttl) => Some(Some(ttl)),
            LifetimeChange::Persist => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_has_its_bounds_and_is_rounded_up() {
        for ms in [0, TTL_MS_MAX + 1, u64::MAX] {
            assert!(Ttl::from_millis(ms).is_err(), "{ms}");
        }
        assert!(Ttl::try_from(Duration::ZERO).is_err());
        assert!(Ttl::try_from(Duration::MAX).is_err());
        assert_eq!(Ttl::try_from(Duration::from_nanos(1)).map(Ttl::as_millis), Ok(1));
        assert_eq!(
            Ttl::try_from(Duration::from_micros(1_001)).map(Ttl::as_millis),
            Ok(2)
        );
        let longest = Ttl::from_millis(TTL_MS_MAX).unwrap();
        assert_eq!(Ttl::try_from(Duration::from(longest)), Ok(longest));
    }
}
