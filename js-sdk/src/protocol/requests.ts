/** Writes requests: each function writes one frame. The layouts are drawn in docs/protocol/local.md, under "Operations".
 *
 * What is written has been checked before; see `arguments.ts`.
 */

import { FLAG_MORE } from './header';
import { PREFACE, PROTOCOL_VERSION } from './limits';
import { Op } from './operations';
import { copiedLength, type FrameWriter } from './writer';

/** A value on its way out. A text becomes UTF-8 when it is written. */
export type OutgoingValue = string | Uint8Array;

/** How a value is kept. */
export interface Keeping {
  /** How long it lives; `undefined` is for good. */
  readonly ttlMs: number | undefined;
  readonly class: ValueClass;
  readonly place: Place;
  /** The peer's name, id or prefix of an id, for `Place.Peer`; else empty. */
  readonly peer: string;
  readonly strict: boolean;
}

/** The class of a value: the byte on the wire. */
export const ValueClass = { Pinned: 0, Cache: 1 } as const;
export type ValueClass = (typeof ValueClass)[keyof typeof ValueClass];

/** Where a value may lie: the byte on the wire. */
export const Place = { Auto: 0, Local: 1, Remote: 2, Peer: 3 } as const;
export type Place = (typeof Place)[keyof typeof Place];

/** Arguments of SET, STORE and STREAM. */
export interface PutArgs {
  /** For SET alone. */
  readonly key: string | undefined;
  readonly keeping: Keeping;
  /** All of the value; or its first bytes, where more follow. */
  readonly value: OutgoingValue;
  /** The size of all of it where more follows; `undefined` where it is not known. */
  readonly size: number | undefined;
}

/** Arguments of GET and LOAD. */
export interface ReadArgs {
  /** What is read: a key, or an id. */
  readonly name: string | number;
  readonly offset: number;
  /** How many bytes at most; `undefined` for all the rest. */
  readonly length: number | undefined;
  /** STRICT for GET, FOLLOW for LOAD. */
  readonly strict: boolean;
  readonly follow: boolean;
}

/** Arguments of TTL, EXPIRE and PERSIST. */
export interface LifeArgs {
  readonly name: string | number;
  /** For EXPIRE alone; else 0. */
  readonly ttlMs: number;
}

/** Arguments of KEYS. */
export interface KeysArgs {
  readonly patterns: readonly string[];
  readonly cursor: bigint;
  readonly limit: number;
  readonly local: boolean;
  readonly details: boolean;
}

/** Arguments of MGET and MDEL. */
export interface BatchKeysArgs {
  readonly keys: readonly string[];
  readonly strict: boolean;
}

/** Arguments of MSET. */
export interface BatchPairsArgs {
  readonly keeping: Keeping;
  readonly pairs: readonly (readonly [key: string, value: OutgoingValue])[];
}

/** Arguments of STREAM_WRITE. */
export interface StreamWriteArgs {
  readonly id: number;
  /** All of the bytes; or the first, where more follow. */
  readonly value: OutgoingValue;
}

/** A chunk that the node may have. */
export interface KnownChunk {
  readonly hash: Uint8Array;
  /** 1 byte to 1 MiB. */
  readonly length: number;
}

/** A file that this process has open. */
export interface NamedFile {
  /** The number of its descriptor. */
  readonly descriptor: number;
  /** The device that it lies on, and its number there: what `fs.fstat` tells of it. */
  readonly device: bigint;
  readonly inode: bigint;
}

/** Arguments of STREAM_FILE. */
export interface StreamFileArgs {
  readonly id: number;
  /** The first byte of the file that is appended. */
  readonly offset: number;
  /** How many bytes are; `undefined` for all up to its end. */
  readonly length: number | undefined;
  readonly file: NamedFile;
}

const STRICT = 1;
const FOLLOW = 2;
const LOCAL = 1;
const DETAILS = 2;
const NAMED = 1;

const KIND_ID = 0;
const KIND_KEY = 1;

/** The preface and HELLO, as the first thing on a connection. */
export function writeHello(out: FrameWriter, request: number, name: string, token: string): void {
  out.raw(PREFACE);
  writeHelloFrame(out, request, name, token);
}

/** HELLO alone. */
export function writeHelloFrame(out: FrameWriter, request: number, name: string, token: string): void {
  begin(out, Op.Hello, request, false, 8 + 3 * (name.length + token.length));
  out.u16(PROTOCOL_VERSION);
  out.u16(PROTOCOL_VERSION);
  const lengths = out.position;
  out.u32(0);
  out.patchU16(lengths, out.text(name));
  out.patchU16(lengths + 2, out.text(token));
  out.end();
}

/** A request or message without arguments. */
export function writeEmpty(out: FrameWriter, op: Op, request: number): void {
  begin(out, op, request, false, 0);
  out.end();
}

/** CREDIT: so many bytes may be sent more. */
export function writeCredit(out: FrameWriter, request: number, bytes: number): void {
  begin(out, Op.Credit, request, false, 8);
  out.u64(bytes);
  out.end();
}

/** DATA: bytes of a body. */
export function writeData(out: FrameWriter, request: number, more: boolean, value: Uint8Array): void {
  begin(out, Op.Data, request, more, copiedLength(value));
  out.value(value);
  out.end();
}

/** DATA that says that a body broke off. */
export function writeDataFailed(out: FrameWriter, request: number, status: number, message: string): void {
  out.begin(Op.Data, 0, status, request, 0, 3 * message.length);
  out.text(message);
  out.end();
}

/** SET, STORE and STREAM. */
export function writePut(out: FrameWriter, op: Op, request: number, more: boolean, args: PutArgs): void {
  const { key, keeping, value } = args;
  const keyRoom = key === undefined ? 0 : 3 * key.length;
  begin(out, op, request, more, 24 + keyRoom + 3 * keeping.peer.length + copiedLength(value));
  const sizeAt = out.position;
  out.u64(args.size);
  writeKeeping(out, keeping);
  const lengths = out.position;
  out.u32(0);
  if (key !== undefined) {
    out.patchU16(lengths, out.text(key));
  }
  if (keeping.peer !== '') {
    out.patchU16(lengths + 2, out.text(keeping.peer));
  }
  const length = writeValue(out, value);
  if (!more) {
    out.patchU64(sizeAt, length);
  }
  out.end();
}

/** GET and LOAD. */
export function writeRead(out: FrameWriter, op: Op, request: number, args: ReadArgs): void {
  const { name } = args;
  begin(out, op, request, false, 20 + nameRoom(name));
  out.u64(args.offset);
  out.u64(args.length);
  out.u32((args.strict ? STRICT : 0) | (args.follow ? FOLLOW : 0));
  writeName(out, name);
  out.end();
}

/** DEL. */
export function writeDel(out: FrameWriter, request: number, key: string, strict: boolean): void {
  begin(out, Op.Del, request, false, 4 + nameRoom(key));
  out.u32(strict ? STRICT : 0);
  out.text(key);
  out.end();
}

/** FREE. */
export function writeFree(out: FrameWriter, request: number, ids: readonly number[]): void {
  begin(out, Op.Free, request, false, 4 + 8 * ids.length);
  out.u32(0);
  for (const id of ids) {
    out.u64(id);
  }
  out.end();
}

/** TTL, EXPIRE and PERSIST. */
export function writeLife(out: FrameWriter, op: Op, request: number, args: LifeArgs): void {
  begin(out, op, request, false, 16 + nameRoom(args.name));
  out.u64(args.ttlMs);
  out.u32(0);
  // The kind, and three zeroes.
  out.u32(typeof args.name === 'number' ? KIND_ID : KIND_KEY);
  writeName(out, args.name);
  out.end();
}

/** KEYS. */
export function writeKeys(out: FrameWriter, request: number, args: KeysArgs): void {
  const room = args.patterns.reduce((sum, pattern) => sum + 2 + 3 * pattern.length, 20);
  begin(out, Op.Keys, request, false, room);
  out.u32((args.local ? LOCAL : 0) | (args.details ? DETAILS : 0));
  out.u32(args.limit);
  out.u64Big(args.cursor);
  writeTexts(out, args.patterns);
  out.end();
}

/** MGET and MDEL. */
export function writeBatchKeys(out: FrameWriter, op: Op, request: number, args: BatchKeysArgs): void {
  const room = args.keys.reduce((sum, key) => sum + 2 + 3 * key.length, 8);
  begin(out, op, request, false, room);
  out.u32(args.strict ? STRICT : 0);
  writeTexts(out, args.keys);
  out.end();
}

/** MSET. */
export function writeBatchPairs(out: FrameWriter, request: number, args: BatchPairsArgs): void {
  const { keeping, pairs } = args;
  let room = 24 + 3 * keeping.peer.length;
  for (const [key, value] of pairs) {
    room += 8 + 3 * key.length + (typeof value === 'string' ? 3 * value.length : value.length);
  }
  begin(out, Op.Mset, request, false, room);
  out.u32(0);
  out.u32(pairs.length);
  writeKeeping(out, keeping);
  const peerLengthAt = out.position;
  out.u32(0);
  out.patchU16(peerLengthAt, out.text(keeping.peer));
  for (const [key, value] of pairs) {
    const lengths = out.position;
    out.u32(0);
    out.u32(0);
    out.patchU16(lengths, out.text(key));
    if (typeof value === 'string') {
      out.patchU32(lengths + 4, out.text(value));
    } else {
      out.patchU32(lengths + 4, value.length);
      out.bytes(value);
    }
  }
  out.end();
}

/** STREAM_WRITE. */
export function writeStreamWrite(
  out: FrameWriter,
  request: number,
  more: boolean,
  args: StreamWriteArgs,
): void {
  begin(out, Op.StreamWrite, request, more, 12 + copiedLength(args.value));
  out.u64(args.id);
  out.u32(0);
  writeValue(out, args.value);
  out.end();
}

/** STREAM_KNOWN: chunks by the BLAKE3 hash of their bytes, 32 bytes each, and their length. */
export function writeStreamKnown(
  out: FrameWriter,
  request: number,
  id: number,
  chunks: readonly KnownChunk[],
): void {
  begin(out, Op.StreamKnown, request, false, 12 + 36 * chunks.length);
  out.u64(id);
  out.u32(0);
  for (const { hash, length } of chunks) {
    out.bytes(hash);
    out.u32(length);
  }
  out.end();
}

/** STREAM_FILE, of a file that is named. */
export function writeStreamFile(out: FrameWriter, request: number, args: StreamFileArgs): void {
  begin(out, Op.StreamFile, request, false, 48);
  out.u64(args.id);
  out.u64(args.offset);
  out.u64(args.length);
  out.u32(NAMED);
  out.u32(args.file.descriptor);
  out.u64Big(args.file.device);
  out.u64Big(args.file.inode);
  out.end();
}

/** A control operation, with its JSON. */
export function writeControl(out: FrameWriter, op: Op, request: number, json: Uint8Array): void {
  begin(out, op, request, false, copiedLength(json));
  out.value(json);
  out.end();
}

function begin(out: FrameWriter, op: Op, request: number, more: boolean, room: number): void {
  out.begin(op, more ? FLAG_MORE : 0, 0, request, 0, room);
}

/** `ttl ms`, `class`, `place`, `repl.`, `opts`. */
function writeKeeping(out: FrameWriter, keeping: Keeping): void {
  out.u64(keeping.ttlMs ?? 0);
  out.u8(keeping.class);
  out.u8(keeping.place);
  out.u8(0);
  out.u8(keeping.strict ? STRICT : 0);
}

function writeValue(out: FrameWriter, value: OutgoingValue): number {
  if (typeof value === 'string') {
    return out.text(value);
  }
  out.value(value);
  return value.length;
}

function nameRoom(name: string | number): number {
  return typeof name === 'number' ? 8 : 3 * name.length;
}

function writeName(out: FrameWriter, name: string | number): void {
  if (typeof name === 'number') {
    out.u64(name);
  } else {
    out.text(name);
  }
}

/** A count, and so many texts with their lengths. */
function writeTexts(out: FrameWriter, texts: readonly string[]): void {
  out.u32(texts.length);
  for (const text of texts) {
    const lengthAt = out.position;
    out.u16(0);
    out.patchU16(lengthAt, out.text(text));
  }
}
