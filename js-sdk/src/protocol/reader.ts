/** Reads the fields of a payload, one behind the other. One object serves for all frames of a connection. */

import { ProtocolError } from '../errors';
import { readU32 } from './header';

const TWO_POW_32 = 2 ** 32;
const U32_MAX = 0xffffffff;

/** Above this many bytes a copy gets memory of its own, below it comes from the runtime's pool. */
const POOLED_MAX = 4 * 1024;

const NOTHING = Buffer.alloc(0);

/** A place in a payload. Every method moves on, and throws ProtocolError where the payload ends before the field does. */
export class PayloadReader {
  private bytes: Buffer = NOTHING;
  private at = 0;
  private end = 0;
  /** Whether `bytes` belongs to this payload alone, so that parts of it may be kept. */
  private owned = false;

  /** Begins with a payload. */
  reset(bytes: Buffer, start: number, end: number, owned: boolean): this {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.owned = owned;
    return this;
  }

  /** Bytes that are left. */
  get left(): number {
    return this.end - this.at;
  }

  u8(): number {
    return this.bytes[this.take(1)] as number;
  }

  u16(): number {
    const at = this.take(2);
    return (this.bytes[at] as number) | ((this.bytes[at + 1] as number) << 8);
  }

  u32(): number {
    return readU32(this.bytes, this.take(4));
  }

  /** 64 bits of an integer that has at most 53. */
  u64(): number {
    const at = this.take(8);
    const high = readU32(this.bytes, at + 4);
    if (high > 0x1fffff) {
      throw new ProtocolError('the node sent a number above 2^53');
    }
    return high * TWO_POW_32 + readU32(this.bytes, at);
  }

  /** The same; `undefined` for 2^64 - 1, which says "not known". */
  u64Optional(): number | undefined {
    const { at } = this;
    if (this.left >= 8 && readU32(this.bytes, at) === U32_MAX && readU32(this.bytes, at + 4) === U32_MAX) {
      this.at += 8;
      return undefined;
    }
    return this.u64();
  }

  /** 64 bits of any integer. */
  u64Big(): bigint {
    return this.bytes.readBigUInt64LE(this.take(8));
  }

  /** A text in UTF-8 of this many bytes. */
  text(length: number): string {
    const at = this.take(length);
    return this.bytes.toString('utf8', at, at + length);
  }

  /** This many bytes as hexadecimal digits. */
  hex(length: number): string {
    const at = this.take(length);
    return this.bytes.toString('hex', at, at + length);
  }

  skip(length: number): void {
    this.take(length);
  }

  /** This many bytes, to be kept: a copy, unless the payload's memory is its own. */
  copy(length: number): Buffer {
    const at = this.take(length);
    if (this.owned) {
      return this.bytes.subarray(at, at + length);
    }
    const copy = length > POOLED_MAX ? Buffer.allocUnsafeSlow(length) : Buffer.allocUnsafe(length);
    this.bytes.copy(copy, 0, at, at + length);
    return copy;
  }

  /** This many bytes, valid until the frame was dealt with. */
  view(length: number): Buffer {
    const at = this.take(length);
    return this.bytes.subarray(at, at + length);
  }

  /** Checks that nothing is left. */
  finish(): void {
    if (this.at !== this.end) {
      throw new ProtocolError(`the node sent ${this.left} bytes more than belong into a reply`);
    }
  }

  private take(length: number): number {
    const { at } = this;
    if (at + length > this.end) {
      throw new ProtocolError('the node sent a reply that ends too early');
    }
    this.at = at + length;
    return at;
  }
}
