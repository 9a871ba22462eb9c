/** Frames that are to be written, collected in memory that is used again and again.
 *
 * What is small is copied next to what stands before it, so that any number of requests leave as one piece. A large value is
 * not copied: it is a piece of its own, and must stay as it is until it was written. No I/O happens here.
 */

import { HEADER_LEN, writeU32 } from './header';

/** The size of the memory that is used again: what a hundred requests of 1 KiB take, twice over. */
const CHUNK_SIZE = 256 * 1024;

/** Values up to this many bytes are copied. A piece of its own costs about as much as copying 16 KiB. */
export const COPY_MAX = 16 * 1024;

const TWO_POW_32 = 2 ** 32;

/** Collects frames. `begin`, the fields, `end`; or `rollback` in place of `end`. */
export class FrameWriter {
  /** Bytes that were collected and not taken. */
  length = 0;

  private chunk: Buffer = Buffer.allocUnsafeSlow(CHUNK_SIZE);
  /** Where what was not taken begins, and where it ends. */
  private start = 0;
  private at = 0;
  /** Pieces in front of that. */
  private pieces: Uint8Array[] = [];
  /** The frame that is being written: where it begins, and the bytes of its value that are no copy. */
  private frameAt: number | undefined;
  private large: Uint8Array | undefined;

  /** Begins a frame that takes at most `room` bytes behind its header, its large value not counted. */
  begin(op: number, flags: number, status: number, request: number, requestHigh: number, room: number): void {
    if (this.at + HEADER_LEN + room > this.chunk.length) {
      this.renew(HEADER_LEN + room);
    }
    const { chunk, at } = this;
    this.frameAt = at;
    chunk[at + 4] = op;
    chunk[at + 5] = flags;
    chunk[at + 6] = status;
    chunk[at + 7] = status >>> 8;
    writeU32(chunk, at + 8, request);
    writeU32(chunk, at + 12, requestHigh);
    this.at = at + HEADER_LEN;
  }

  /** Ends the frame: its length is known now. */
  end(): void {
    const { large } = this;
    const frameAt = this.frameAt as number;
    const copied = this.at - frameAt;
    this.frameAt = undefined;
    if (large === undefined) {
      writeU32(this.chunk, frameAt, copied - HEADER_LEN);
      this.length += copied;
      return;
    }
    writeU32(this.chunk, frameAt, copied - HEADER_LEN + large.length);
    this.length += copied + large.length;
    this.cut();
    this.pieces.push(large);
    this.large = undefined;
  }

  /** Takes back the frame that was begun, if one was. */
  rollback(): void {
    if (this.frameAt !== undefined) {
      this.at = this.frameAt;
      this.frameAt = undefined;
      this.large = undefined;
    }
  }

  /** Where the next byte goes, for `patchU16` and its like. */
  get position(): number {
    return this.at;
  }

  u8(value: number): void {
    this.chunk[this.at++] = value;
  }

  u16(value: number): void {
    this.patchU16(this.at, value);
    this.at += 2;
  }

  u32(value: number): void {
    writeU32(this.chunk, this.at, value);
    this.at += 4;
  }

  /** 64 bits of an integer from 0 to 2^53 - 1; `undefined` is 2^64 - 1, which says "not given". */
  u64(value: number | undefined): void {
    this.patchU64(this.at, value);
    this.at += 8;
  }

  /** 64 bits of an integer that may be larger than that. */
  u64Big(value: bigint): void {
    this.u32(Number(value & 0xffffffffn));
    this.u32(Number(value >> 32n));
  }

  patchU16(at: number, value: number): void {
    this.chunk[at] = value;
    this.chunk[at + 1] = value >>> 8;
  }

  patchU32(at: number, value: number): void {
    writeU32(this.chunk, at, value);
  }

  patchU64(at: number, value: number | undefined): void {
    const low = value === undefined ? 0xffffffff : value >>> 0;
    const high = value === undefined ? 0xffffffff : (value - low) / TWO_POW_32;
    writeU32(this.chunk, at, low);
    writeU32(this.chunk, at + 4, high);
  }

  /** A text in UTF-8; returns how many bytes it has. It takes at most three for each of its UTF-16 units. */
  text(text: string): number {
    const { chunk, at } = this;
    const { length } = text;
    if (length > SHORT_TEXT) {
      return this.longText(text);
    }
    for (let index = 0; index < length; index++) {
      const unit = text.charCodeAt(index);
      if (unit > 0x7f) {
        return this.longText(text);
      }
      chunk[at + index] = unit;
    }
    this.at = at + length;
    return length;
  }

  private longText(text: string): number {
    const length = this.chunk.write(text, this.at, 'utf8');
    this.at += length;
    return length;
  }

  /** Bytes, copied. */
  bytes(bytes: Uint8Array): void {
    this.chunk.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** The last field of a frame: copied where it is small, else a piece of its own. */
  value(bytes: Uint8Array): void {
    if (bytes.length <= COPY_MAX) {
      this.bytes(bytes);
    } else {
      this.large = bytes;
    }
  }

  /** Bytes as they are, outside of any frame. */
  raw(bytes: Uint8Array): void {
    if (this.at + bytes.length > this.chunk.length) {
      this.renew(bytes.length);
    }
    this.bytes(bytes);
    this.length += bytes.length;
  }

  /** Takes out all pieces. Their memory is used again after `reuse`. */
  take(): Uint8Array[] {
    this.cut();
    const { pieces } = this;
    this.pieces = [];
    this.length = 0;
    return pieces;
  }

  /** Says that all that was taken has been written. */
  reuse(): void {
    if (this.length === 0) {
      this.start = 0;
      this.at = 0;
    }
  }

  /** Makes a piece of what was copied since the last one. */
  private cut(): void {
    if (this.at > this.start) {
      this.pieces.push(this.chunk.subarray(this.start, this.at));
      this.start = this.at;
    }
  }

  /** Goes on in fresh memory; the old one belongs to its pieces. */
  private renew(room: number): void {
    this.cut();
    this.chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_SIZE, room));
    this.start = 0;
    this.at = 0;
  }
}

/** Up to this many UTF-16 units of a text are written one by one, which is faster than a call into the runtime. */
const SHORT_TEXT = 64;

/** The bytes that `value` takes in the memory of a writer: none where it becomes a piece of its own. */
export function copiedLength(value: string | Uint8Array): number {
  if (typeof value === 'string') {
    return value.length * 3;
  }
  return value.length <= COPY_MAX ? value.length : 0;
}
