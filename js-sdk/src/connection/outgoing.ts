/** What is on its way to the socket: frames of one turn of the event loop leave in one write. */

import type { Socket } from 'node:net';
import { FrameWriter } from '../protocol/writer';
import type { Upload } from './upload';

/** Bodies add to what waits while it has fewer bytes than this, so that a small request never waits behind more. */
const BODIES_LEVEL = 256 * 1024;

/** The outgoing side of one connection. */
export class Outgoing {
  /** Where frames are written. `schedule` is to be called behind them. */
  readonly writer = new FrameWriter();

  private readonly socket: Socket;
  private isScheduled = false;
  /** Bytes of each write that the system has not taken whole, and their sum. */
  private readonly writing: number[] = [];
  private writingBytes = 0;
  /** Bodies that wait until there is room, in turn. */
  private readonly bodies: Set<Upload> = new Set();

  /** `onWritten` is called whenever the system has taken something. */
  constructor(
    socket: Socket,
    private readonly onWritten: () => void,
  ) {
    this.socket = socket;
  }

  /** Bytes that the system has not taken. */
  get length(): number {
    return this.writer.length + this.writingBytes;
  }

  get hasRoomForBodies(): boolean {
    return this.length < BODIES_LEVEL;
  }

  /** Goes on with a body when there is room. */
  waitForRoom(body: Upload): void {
    this.bodies.add(body);
  }

  /** Sees to it that what was written leaves, when this turn of the event loop has added all that it has. */
  schedule(): void {
    if (!this.isScheduled) {
      this.isScheduled = true;
      process.nextTick(this.flush);
    }
  }

  private readonly flush = (): void => {
    this.isScheduled = false;
    const { length } = this.writer;
    const { socket } = this;
    if (length === 0 || socket.destroyed) {
      return;
    }
    const pieces = this.writer.take();
    this.writing.push(length);
    this.writingBytes += length;
    const last = pieces.length - 1;
    if (last > 0) {
      socket.cork();
    }
    for (let index = 0; index < last; index++) {
      socket.write(pieces[index] as Uint8Array);
    }
    socket.write(pieces[last] as Uint8Array, this.written);
    if (last > 0) {
      socket.uncork();
    }
  };

  private readonly written = (): void => {
    this.writingBytes -= this.writing.shift() ?? 0;
    if (this.writing.length === 0) {
      this.writer.reuse();
    }
    // Each body has a turn, then all of them may have another.
    for (const body of this.bodies) {
      if (!this.hasRoomForBodies) {
        break;
      }
      this.bodies.delete(body);
      body.pump();
    }
    this.onWritten();
  };
}
