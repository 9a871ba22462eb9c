//! Limits that both sides of a wire share. Each has its reason.

/// The longest key in bytes. Names of files and URLs fit; a directory of a million keys stays small.
pub const KEY_LEN_MAX: usize = 1024;

/// The longest name, id or prefix of an id of a peer in bytes: a host name has at most 253.
pub const PEER_NAME_LEN_MAX: usize = 255;

/// The longest node name in bytes: it fits a DNS label (RFC 1035, 2.3.4), as which mDNS announces it.
pub const NODE_NAME_LEN_MAX: usize = 63;

/// The longest pattern of `keys` in bytes: as long as the longest key.
pub const PATTERN_LEN_MAX: usize = 1024;

/// The most patterns of one listing: more than anybody types.
pub const PATTERNS_MAX: usize = 64;

/// The most bytes of all patterns of one listing. Compiled, they take a few hundred KiB at worst, while a page is made.
pub const PATTERNS_LEN_MAX: usize = 4 * 1024;

/// The largest size of one block or stream in bytes, 2^46 (64 TiB): far beyond a LAN's RAM, and sums of a few thousand
/// of them do not overflow 64 bits.
pub const OBJECT_SIZE_MAX: u64 = 1 << 46;

/// The most peers that a stream can be restricted to: as many as anybody names.
pub const STREAM_PEERS_MAX: usize = 64;

/// The size in bytes of a chunk of a stream. Large enough that the cost of a request vanishes (one in 1 MiB), small
/// enough that a window of several is only a few MiB.
pub const STREAM_CHUNK_SIZE: usize = 1024 * 1024;
