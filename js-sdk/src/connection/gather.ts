/** Gathers the body of a reply in memory. */

import { ProtocolError } from '../errors';

/** Up to this many bytes are reserved on the node's word alone: 256 MiB. Beyond it memory grows as bytes arrive. */
const TRUSTED_LENGTH = 256 * 1024 * 1024;

/** What a body of unknown length begins with, and the most that it may have: replies that are no values, such as lists of peers. */
const UNKNOWN_BEGIN = 1024 * 1024;
const UNKNOWN_MAX = 64 * 1024 * 1024;

/** A body that becomes one Buffer. */
export class Gather {
  private buffer: Buffer;
  private length = 0;

  /** For a body of this many bytes; `undefined` where it is not known. Throws RangeError where there is no memory. */
  constructor(private readonly expected: number | undefined) {
    this.buffer = Buffer.allocUnsafeSlow(Math.min(expected ?? UNKNOWN_BEGIN, TRUSTED_LENGTH));
  }

  /** Memory for this many bytes, with what is free behind it. */
  room(length: number): Uint8Array {
    this.reserve(length);
    return this.buffer.subarray(this.length);
  }

  /** So many bytes are there. */
  filled(length: number): void {
    this.length += length;
  }

  /** Adds bytes that lie elsewhere. */
  append(bytes: Uint8Array): void {
    this.room(bytes.length).set(bytes);
    this.filled(bytes.length);
  }

  /** All that came. */
  finish(): Buffer {
    return this.buffer.length === this.length ? this.buffer : this.buffer.subarray(0, this.length);
  }

  private reserve(length: number): void {
    const needed = this.length + length;
    if (needed <= this.buffer.length) {
      return;
    }
    const max = this.expected ?? UNKNOWN_MAX;
    if (needed > max) {
      throw new ProtocolError(`the node sent more than the ${max} bytes that a reply may have here`);
    }
    const grown = Buffer.allocUnsafeSlow(Math.min(max, Math.max(needed, 2 * this.buffer.length)));
    this.buffer.copy(grown, 0, 0, this.length);
    this.buffer = grown;
  }
}
