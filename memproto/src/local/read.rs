//! Reading fixed layouts from a slice.

use crate::error::{ApiError, ApiResult, ErrorCode};

/// Takes fields off the front of a payload, little-endian.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    pub(super) fn bytes(&mut self, len: usize) -> ApiResult<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| ApiError::invalid("the frame ends in the middle of its arguments"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> ApiResult<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> ApiResult<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> ApiResult<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> ApiResult<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> ApiResult<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self, len: usize, what: &str) -> ApiResult<&'a str> {
        std::str::from_utf8(self.bytes(len)?).map_err(|_| ApiError::invalid(format!("{what} is not UTF-8")))
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    pub(super) fn end(self) -> ApiResult<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(format!(
            "{} bytes stand behind the arguments",
            self.rest.len()
        )))
    }
}

/// Checks a field that this version has no meaning for.
pub(super) fn must_be_zero(value: u64, what: &str) -> ApiResult<()> {
    if value == 0 {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Unsupported,
        format!("this node does not support {what} yet"),
    ))
}
