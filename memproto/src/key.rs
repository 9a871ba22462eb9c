//! Keys.

use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::limits::KEY_LEN_MAX;

/// Checks that bytes are a key: 1 to [`KEY_LEN_MAX`] bytes of UTF-8.
///
/// # Errors
/// `InvalidArgument` for an empty key or one that is not UTF-8, `TooLarge` for a longer one.
pub fn check_key(key: &[u8]) -> ApiResult<&str> {
    if key.is_empty() {
        return Err(ApiError::invalid("the key is empty: a key has 1 to 1,024 bytes"));
    }
    if key.len() > KEY_LEN_MAX {
        return Err(ApiError::new(
            ErrorCode::TooLarge,
            format!("the key has {} bytes: a key has 1 to 1,024 bytes", key.len()),
        ));
    }
    std::str::from_utf8(key).map_err(|_| ApiError::invalid("the key is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_1_to_1024_bytes_of_utf8() {
        assert_eq!(check_key(b"").unwrap_err().code, ErrorCode::InvalidArgument);
        assert!(check_key(&[b'a'; 1024]).is_ok());
        assert_eq!(check_key(&[b'a'; 1025]).unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(check_key(&[0xff]).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(check_key("schlüssel\n".as_bytes()).unwrap(), "schlüssel\n");
    }
}
