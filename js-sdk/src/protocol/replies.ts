/** Reads the payloads of replies. The layouts are drawn in docs/protocol/local.md, under "Operations".
 *
 * Every function throws ProtocolError where a payload is not as specified.
 */

import { type MemCloudError, ProtocolError } from '../errors';
import type { PayloadReader } from './reader';
import { errorOfStatus } from './status';

/** What a node says of itself first. */
export interface HelloReply {
  readonly version: number;
  /** The most requests that it works on at a time. */
  readonly inFlightMax: number;
  /** The most bytes that it holds for them. */
  readonly heldBytesMax: number;
  /** 32 hexadecimal digits. */
  readonly nodeId: string;
  readonly nodeVersion: string;
}

/** What was stored. */
export interface PutReply {
  /** A decimal number: that is how programs see ids. */
  readonly id: string;
  readonly size: number;
}

/** What stands in front of a value that is read. */
export interface ReadHead {
  readonly id: number;
  /** Of the whole object; `undefined` while nobody knows it. */
  readonly size: number | undefined;
  /** Of the body that follows; `undefined` while nobody knows it. */
  readonly length: number | undefined;
}

/** What was freed. */
export interface FreedReply {
  readonly blocks: number;
  readonly bytes: number;
}

/** A key of a listing. */
export interface ListedKey {
  readonly key: string;
  readonly details: KeyDetails | undefined;
}

/** What is known of the value of a key. */
export interface KeyDetails {
  /** The node that answers for it, 32 hexadecimal digits. */
  readonly node: string;
  /** The node that has its bytes. */
  readonly holder: string;
  readonly size: number;
  /** Milliseconds that are left; `undefined` is for good. */
  readonly ttlMs: number | undefined;
  /** `undefined` where only the holder knows it. */
  readonly class: 'pinned' | 'cache' | undefined;
  readonly isStream: boolean;
}

/** A page of a listing. */
export interface KeysReply {
  readonly keys: ListedKey[];
  /** Nodes whose keys are missing. */
  readonly missing: MissingNode[];
  /** For the next page; 0 behind the last one. */
  readonly cursor: bigint;
}

/** A node whose keys are missing in a listing. */
export interface MissingNode {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
}

/** What came of one entry of a batch: its bytes, why it failed, or the size of a value that had no room. */
export type BatchEntry =
  | { readonly bytes: Buffer }
  | { readonly status: number; readonly error: MemCloudError }
  | { readonly laterSize: number };

const DETAILS = 2;
const CLASS_UNKNOWN = 0xff;
const IS_STREAM = 1;
const LATER = 1;

/** HELLO. Bytes behind the node's version are those of a later one. */
export function readHello(reader: PayloadReader): HelloReply {
  const version = reader.u16();
  const versionLength = reader.u16();
  return {
    version,
    inFlightMax: reader.u32(),
    // A limit beyond what a number holds is none.
    heldBytesMax: Number(reader.u64Big()),
    nodeId: reader.hex(16),
    nodeVersion: reader.text(versionLength),
  };
}

/** SET, STORE, STREAM and STREAM_WRITE. */
export function readPut(reader: PayloadReader): PutReply {
  const reply = { id: String(reader.u64()), size: reader.u64() };
  reader.finish();
  return reply;
}

/** What stands in front of the bytes in a reply to GET and LOAD. */
export function readReadHead(reader: PayloadReader): ReadHead {
  const head = { id: reader.u64(), size: reader.u64Optional(), length: reader.u64Optional() };
  if (head.length !== undefined && head.size !== undefined && head.length > head.size) {
    throw new ProtocolError(
      `the node sends ${head.length} bytes of a value that has ${head.size}: it is not to be believed`,
    );
  }
  return head;
}

/** DEL. */
export function readDeleted(reader: PayloadReader): boolean {
  const deleted = reader.u8();
  reader.finish();
  return deleted !== 0;
}

/** FREE. */
export function readFreed(reader: PayloadReader): FreedReply {
  const reply = { blocks: reader.u64(), bytes: reader.u64() };
  reader.finish();
  return reply;
}

/** TTL, EXPIRE and PERSIST: milliseconds; `undefined` is for good. */
export function readTtl(reader: PayloadReader): number | undefined {
  const ttlMs = reader.u64();
  reader.finish();
  return ttlMs === 0 ? undefined : ttlMs;
}

/** KEYS. */
export function readKeys(reader: PayloadReader): KeysReply {
  const count = reader.u32();
  const missingCount = reader.u16();
  const options = reader.u16();
  if ((options & ~DETAILS) !== 0) {
    throw new ProtocolError('the node listed keys in a way of a later version');
  }
  const cursor = reader.u64Big();
  const keys: ListedKey[] = [];
  for (let index = 0; index < count; index++) {
    const key = reader.text(reader.u16());
    keys.push({ key, details: (options & DETAILS) === 0 ? undefined : readDetails(reader) });
  }
  const missing: MissingNode[] = [];
  for (let index = 0; index < missingCount; index++) {
    const id = reader.hex(16);
    missing.push({ id, name: reader.text(reader.u8()) });
  }
  reader.finish();
  return { keys, missing, cursor };
}

/** MGET, MSET and MDEL: an entry for each key. */
export function readBatch(reader: PayloadReader, expected: number): BatchEntry[] {
  const count = reader.u32();
  reader.skip(4);
  if (count !== expected) {
    throw new ProtocolError(`the node answered ${count} entries of a batch of ${expected}`);
  }
  const entries: BatchEntry[] = [];
  for (let index = 0; index < count; index++) {
    entries.push(readEntry(reader));
  }
  reader.finish();
  return entries;
}

/** STREAM_KNOWN: whether each chunk was appended. */
export function readKnown(reader: PayloadReader, expected: number): boolean[] {
  const appended: boolean[] = [];
  for (let index = 0; index < expected; index++) {
    appended.push(reader.u8() !== 0);
  }
  reader.finish();
  return appended;
}

/** The message of an error: all of the payload. */
export function readMessage(reader: PayloadReader): string {
  return reader.text(reader.left);
}

function readDetails(reader: PayloadReader): KeyDetails {
  const node = reader.hex(16);
  const holder = reader.hex(16);
  const size = reader.u64();
  const ttlMs = reader.u64();
  const kind = reader.u8();
  const flags = reader.u8();
  return {
    node,
    holder,
    size,
    ttlMs: ttlMs === 0 ? undefined : ttlMs,
    class: classOfByte(kind),
    isStream: (flags & IS_STREAM) !== 0,
  };
}

function classOfByte(byte: number): 'pinned' | 'cache' | undefined {
  switch (byte) {
    case 0:
      return 'pinned';
    case 1:
      return 'cache';
    case CLASS_UNKNOWN:
      return undefined;
    default:
      throw new ProtocolError(`the node listed a key of the unknown class ${byte}`);
  }
}

function readEntry(reader: PayloadReader): BatchEntry {
  const status = reader.u16();
  const flags = reader.u16();
  const length = reader.u32();
  if (status !== 0) {
    return { status, error: errorOfStatus(status, reader.text(length)) };
  }
  if ((flags & LATER) !== 0) {
    if (length !== 8) {
      throw new ProtocolError(`the node told the size of a value in ${length} bytes`);
    }
    return { laterSize: reader.u64() };
  }
  return { bytes: reader.copy(length) };
}
