//! Limits and constants of the local protocol. Each has its reason.

/// The version of the protocol that this code speaks; there is no other yet.
pub const PROTOCOL_VERSION: u16 = 1;

/// What a client sends before its first frame, so that a stray program is found out by its first four bytes.
pub const PREFACE: [u8; 4] = *b"MEMC";

/// The most bytes of a value in one frame, 256 KiB: the cost of a frame vanishes (16 bytes), and a small request waits
/// behind one for less than 0.1 ms at the 5 GB/s of a Unix socket.
pub const INLINE_MAX: usize = 256 * 1024;

/// The most bytes behind a frame's header: a value of [`INLINE_MAX`] and 4 KiB of arguments, which have at most
/// 24 + 1,024 (key) + 255 (peer) bytes.
pub const FRAME_PAYLOAD_MAX: usize = INLINE_MAX + 4 * 1024;

/// The credit in bytes that each body has from the start. At 5 GB/s 2 MiB are 0.4 ms, ten times a round trip: the sender
/// does not run dry. It is also the most that either side buffers of one body.
pub const BODY_WINDOW: u64 = 2 * 1024 * 1024;

/// The most requests of one connection that the node works on at a time; more are answered `Busy`.
pub const IN_FLIGHT_MAX: u32 = 1024;

/// The most bytes that the requests of one connection may make the node hold at a time; more are answered `Busy`. A request
/// counts with its payload, one whose value comes in pieces with [`BODY_WINDOW`] besides.
pub const HELD_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The most descriptors that a program may hold of one connection; past it bytes come. Linux lets a process map some
/// 65,000 files.
pub const MAPPED_MAX: usize = 65_536;

/// The most bytes of an error's message: a screen full.
pub const ERROR_MESSAGE_MAX: usize = 4 * 1024;

/// The most ids in one FREE, 32 KiB.
pub const FREE_IDS_MAX: usize = 4096;

/// The most keys in one MGET, MSET or MDEL: at usual lengths their answers fill a frame.
pub const BATCH_KEYS_MAX: usize = 1024;

/// The most chunks in one STREAM_KNOWN, 4 GiB of a stream: they and their lengths have 144 KiB, and one round trip for so many
/// costs nothing beside reading what they are.
pub const KNOWN_CHUNKS_MAX: usize = 4096;

/// The most keys in one reply to KEYS. The node also ends a page where the frame is full.
pub const KEYS_PAGE_MAX: u32 = 4096;

/// The most nodes that one reply to KEYS names because their keys are missing: 5 KiB beside the keys.
pub const KEYS_MISSING_MAX: usize = 64;

/// The longest name of a client, in bytes: a line of the log.
pub const CLIENT_NAME_LEN_MAX: usize = 64;

/// The longest token in a HELLO, in bytes. A token has 64.
pub const TOKEN_LEN_MAX: usize = 128;

/// The longest HELLO in bytes, with its header: whoever has not proven the token makes a node hold no more than that.
pub const HELLO_LEN_MAX: usize = 16 + 8 + CLIENT_NAME_LEN_MAX + TOKEN_LEN_MAX;
