/** The types of what goes into a client and comes out of it. */

import type { CallOptions } from './connection/call';

export type { CallOptions };

/** What can be stored. A string is stored in UTF-8; of the others their bytes are, which must stay as they are until the call is over. */
export type Value = string | Buffer | Uint8Array | ArrayBuffer | DataView;

/** How a value is kept. At most one of `peer`, `remote` and `local` may be given; without any of them the node decides. */
export interface PutOptions extends CallOptions {
  /** On the peer of this name, id or unambiguous prefix of an id, and nowhere else. */
  readonly peer?: string | undefined;
  /** On any peer, and not here. */
  readonly remote?: boolean | undefined;
  /** Here and nowhere else. */
  readonly local?: boolean | undefined;
  /** How many milliseconds it lives, 1 to 2^53 - 1. Without it for good. */
  readonly ttlMs?: number | undefined;
  /** Whether it may be dropped to make room (`cache`) or stays (`pinned`, the default). */
  readonly class?: 'pinned' | 'cache' | undefined;
}

/** For operations on keys. */
export interface StrictOptions extends CallOptions {
  /** Whether the operation is linearizable among the strict ones; it asks all peers. Default: that of the client. */
  readonly strict?: boolean | undefined;
}

/** For reads: which bytes, both ends included, as of `fs.createReadStream`. */
export interface RangeOptions {
  /** The first byte. Default: 0. */
  readonly start?: number | undefined;
  /** The last byte. Default: the last one there is. */
  readonly end?: number | undefined;
}

/** Options of `set` and `mset`. */
export interface SetOptions extends PutOptions, StrictOptions {}

/** Options of `get`. */
export interface GetOptions extends RangeOptions, StrictOptions {}

/** Options of `load`. */
export interface LoadOptions extends RangeOptions, CallOptions {}

/** What was stored. */
export interface Stored {
  /** The id of the block, a decimal number. */
  readonly id: string;
  /** Its size in bytes. */
  readonly size: number;
}

/** What was given back. */
export interface Freed {
  /** How many blocks and streams, of a flush also values of keys. */
  readonly blocks: number;
  /** Their bytes. */
  readonly bytes: number;
}

/** What lives: a key, or the block or stream with an id. */
export type KeyOrId = string | { readonly id: string };

/** Keys with their values: an object, a Map, or anything else that yields pairs. */
export type Pairs = Readonly<Record<string, Value>> | Iterable<readonly [key: string, value: Value]>;
