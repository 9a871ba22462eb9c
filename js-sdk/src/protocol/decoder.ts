/** Cuts what arrives into frames, however it is split. No I/O, and nothing is decided here.
 *
 * Frames reach their handler whole, but for DATA: the handler says where the bytes of a body go, and they are copied there once,
 * or read there by the system itself (`place`).
 */

import { ProtocolError } from '../errors';
import { FrameHeader, HEADER_LEN } from './header';
import { FRAME_PAYLOAD_MAX } from './limits';
import { Op } from './operations';

/** The fewest bytes that are worth a read of their own into the place where they will stay. */
const PLACE_MIN = 32 * 1024;

const NOTHING = Buffer.alloc(0);

/** Who takes the frames. */
export interface FrameHandler {
  /**
   * A frame that is no part of a body, or says how one ends. Its payload is `bytes` from `start` to `end`, valid during this call, or for good where
   * it is `owned`.
   */
  frame(header: FrameHeader, bytes: Buffer, start: number, end: number, owned: boolean): void;
  /**
   * A frame with bytes of a body begins. Returns memory for its `header.length` bytes, or `undefined` to pass over them. Where there is more
   * memory than that, up to 16 bytes behind them may be written over: the header of the next frame.
   */
  room(header: FrameHeader): Uint8Array | undefined;
  /** The bytes of that frame are where `room` said; `wanted` is false where they were passed over. */
  filled(header: FrameHeader, wanted: boolean): void;
}

/** The decoder of one connection. */
export class FrameDecoder {
  private readonly header = new FrameHeader();
  /** The beginning of a header whose end is still to come. */
  private readonly headerBytes = Buffer.alloc(HEADER_LEN);
  private headerFill = 0;
  /** Whether the header is there, and its payload is not whole. */
  private inPayload = false;
  /** Whether that payload belongs to a body. */
  private isBody = false;
  /** Where it goes; `undefined` where it is passed over. */
  private payload: Uint8Array | undefined;
  private payloadFill = 0;
  private isStopped = false;

  constructor(private readonly handler: FrameHandler) {}

  /** Takes no more: what follows is dropped. May be called by the handler. */
  stop(): void {
    this.isStopped = true;
    this.payload = undefined;
  }

  /**
   * Takes what arrived: `bytes` from `start` to `end`. Their memory may be used again when this returns.
   * Throws ProtocolError where they are no frames, and what the handler throws; the connection is of no use then.
   */
  push(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && !this.isStopped) {
      if (this.inPayload) {
        at = this.fill(bytes, at, end);
      } else {
        at = this.begin(bytes, at, end);
      }
    }
  }

  /**
   * Where the next bytes are best read to: the rest of a long payload, if there is one, and behind it the next header where there is room, so that it takes no
   * read of its own. To be followed by `placed`.
   */
  place(): Uint8Array | undefined {
    const { payload, payloadFill, header } = this;
    if (payload === undefined || header.length - payloadFill < PLACE_MIN) {
      return undefined;
    }
    return payload.subarray(payloadFill, Math.min(payload.length, header.length + HEADER_LEN));
  }

  /** This many bytes were read to where `place` said. */
  placed(length: number): void {
    const { payload, header } = this;
    const filled = this.payloadFill + length;
    if (payload === undefined || filled < header.length) {
      this.payloadFill = filled;
      return;
    }
    // The next payload may go to where the next header lies now.
    const payloadLength = header.length;
    this.headerBytes.set(payload.subarray(payloadLength, filled));
    this.finish();
    if (filled > payloadLength && !this.isStopped) {
      this.headerFill = filled - payloadLength;
      if (this.headerFill === HEADER_LEN) {
        this.begin(NOTHING, 0, 0);
      }
    }
  }

  /** Reads a header, and where it is all there its payload. Returns where to go on. */
  private begin(bytes: Buffer, at: number, end: number): number {
    const { header } = this;
    let next: number;
    if (this.headerFill === 0 && end - at >= HEADER_LEN) {
      header.read(bytes, at);
      next = at + HEADER_LEN;
    } else {
      next = Math.min(end, at + HEADER_LEN - this.headerFill);
      bytes.copy(this.headerBytes, this.headerFill, at, next);
      this.headerFill += next - at;
      if (this.headerFill < HEADER_LEN) {
        return next;
      }
      this.headerFill = 0;
      header.read(this.headerBytes, 0);
    }
    const { length } = header;
    if (length > FRAME_PAYLOAD_MAX) {
      throw new ProtocolError(
        `a frame of ${length} bytes arrived, at most ${FRAME_PAYLOAD_MAX} are allowed: this is no node of MemCloud`,
      );
    }
    this.isBody = header.op === Op.Data && header.status === 0 && length > 0;
    if (this.isBody) {
      this.payload = this.handler.room(header);
    } else if (end - next >= length) {
      this.handler.frame(header, bytes, next, next + length, false);
      return next + length;
    } else {
      this.payload = Buffer.allocUnsafeSlow(length);
    }
    this.payloadFill = 0;
    this.inPayload = true;
    return next;
  }

  /** Adds to the payload. Returns where to go on. */
  private fill(bytes: Buffer, at: number, end: number): number {
    const length = Math.min(end - at, this.header.length - this.payloadFill);
    if (this.payload !== undefined) {
      this.payload.set(bytes.subarray(at, at + length), this.payloadFill);
    }
    this.payloadFill += length;
    if (this.payloadFill === this.header.length) {
      this.finish();
    }
    return at + length;
  }

  private finish(): void {
    const { header, payload } = this;
    this.inPayload = false;
    this.payload = undefined;
    if (this.isBody) {
      this.handler.filled(header, payload !== undefined);
    } else {
      // The payload was made above, as memory of its own.
      this.handler.frame(header, payload as Buffer, 0, header.length, true);
    }
  }
}
