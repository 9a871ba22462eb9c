/** The 16 bytes in front of each frame. See "Frames" in docs/protocol/local.md.
 *
 *      0               4    5    6         8                       16
 *     +---------------+----+----+---------+-----------------------+
 *     |    length     | op |flag| status  |      request id       |
 *     |      u32      | u8 | u8 |   u16   |          u64          |
 *     +---------------+----+----+---------+-----------------------+
 */

/** Bytes of a header. */
export const HEADER_LEN = 16;

/** Bit of the flags: the body goes on in DATA frames. */
export const FLAG_MORE = 1;

/** A header. One object serves for all frames of a connection: what is to outlive a frame is copied out. */
export class FrameHeader {
  /** Bytes of the payload. */
  length = 0;
  op = 0;
  flags = 0;
  /** 0, or the number of an error. */
  status = 0;
  /** The request id, in two halves: 64 bits do not fit a number. This client uses ids below 2^31. */
  requestLow = 0;
  requestHigh = 0;

  /** Whether the body goes on in DATA frames. */
  get more(): boolean {
    return (this.flags & FLAG_MORE) !== 0;
  }

  /** Reads the header that begins at `at`. All of its bytes have to be there. */
  read(bytes: Uint8Array, at: number): void {
    this.length = readU32(bytes, at);
    this.op = bytes[at + 4] as number;
    this.flags = bytes[at + 5] as number;
    this.status = (bytes[at + 6] as number) | ((bytes[at + 7] as number) << 8);
    this.requestLow = readU32(bytes, at + 8);
    this.requestHigh = readU32(bytes, at + 12);
  }
}

/** Reads 32 bits, little-endian. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

/** Writes 32 bits, little-endian. */
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}
