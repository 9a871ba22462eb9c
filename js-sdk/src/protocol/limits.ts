/** Limits and constants of the local protocol, version 1. See "Limits" in docs/protocol/local.md. */

/** The only version of the protocol that this client speaks. */
export const PROTOCOL_VERSION = 1;

/** What a client sends before its first frame: `MEMC`. */
export const PREFACE = Uint8Array.of(0x4d, 0x45, 0x4d, 0x43);

/** The most bytes of a value in one frame: 256 KiB. */
export const INLINE_MAX = 256 * 1024;

/** The most bytes behind a frame's header: such a value and 4 KiB of arguments. */
export const FRAME_PAYLOAD_MAX = INLINE_MAX + 4 * 1024;

/** The credit in bytes that each body has from the start: 2 MiB. */
export const BODY_WINDOW = 2 * 1024 * 1024;

/** What a frame with bytes of a body costs at least. */
export const DATA_COST_MIN = 512;

/** What a KEYS or MGET makes the node hold for its answer, in bytes: a frame as large as it can be. */
export const ANSWER_HELD = FRAME_PAYLOAD_MAX;

/** The longest key in bytes. */
export const KEY_LEN_MAX = 1024;

/** The longest name, id or prefix of an id of a peer, in bytes. */
export const PEER_NAME_LEN_MAX = 255;

/** The most peers that a stream can be restricted to. */
export const STREAM_PEERS_MAX = 64;

/** The size in bytes of a chunk of a stream: 1 MiB. */
export const STREAM_CHUNK_SIZE = 1024 * 1024;

/** The largest value in bytes: 2^46. */
export const OBJECT_SIZE_MAX = 2 ** 46;

/** The longest time to live, in milliseconds: 2^53 - 1. */
export const TTL_MS_MAX = Number.MAX_SAFE_INTEGER;

/** The most keys in one MGET, MSET or MDEL. */
export const BATCH_KEYS_MAX = 1024;

/** The most ids in one FREE. */
export const FREE_IDS_MAX = 4096;

/** The most keys in one page of KEYS. */
export const KEYS_PAGE_MAX = 4096;

/** The most patterns in one KEYS, and their bytes, each and together. */
export const PATTERNS_MAX = 64;
export const PATTERN_LEN_MAX = 1024;
export const PATTERNS_LEN_MAX = 4096;

/** The longest name of a client, and the longest token, in bytes. */
export const CLIENT_NAME_LEN_MAX = 64;
export const TOKEN_LEN_MAX = 128;

/** The credit that a frame with this many bytes of a body costs. An empty one costs nothing. */
export function dataCost(bytes: number): number {
  return bytes === 0 || bytes > DATA_COST_MIN ? bytes : DATA_COST_MIN;
}
