/** Bytes on their way into a stream: whoever has them puts them in, the connection takes them out as the node and the socket allow. */

import type { BodySource } from '../connection/body';

/** Pieces below this many bytes are copied together: a frame for each would cost more than the copy. Larger ones are sent from where they lie. */
const SMALL = 16 * 1024;

/** How many bytes of small pieces share memory. */
const GATHERED = 64 * 1024;

/** With so many bytes there the connection takes them at once; with fewer it waits for what else this turn of the event loop brings. */
const WAKE_BYTES = GATHERED;

/** A queue of pieces. It is told when to stop putting in, and holds at most the high-water mark and one piece. */
export class Pieces implements BodySource {
  /** Pieces that are whole. */
  private readonly queue: Uint8Array[] = [];
  /** Memory of small pieces: between `from` and `to` is what waits, behind that is room. */
  private gathered = EMPTY;
  private from = 0;
  private to = 0;

  private bytes = 0;
  private total = 0;
  private state: 'open' | 'ended' | 'stopped' = 'open';
  private failure: { readonly error: unknown } | undefined;
  private wake: () => void = () => {};
  /** Whether the connection found nothing, and waits to be woken. */
  private isAwaited = false;
  private isWaking = false;
  private onWanted: (() => void) | undefined;

  /**
   * @param highWaterMark how many bytes wait before no more is wanted
   * @param onStop hears once when the connection takes nothing more, with an error where it had not all
   */
  constructor(
    private readonly highWaterMark: number,
    private readonly onStop: (error: Error | undefined) => void = () => {},
    /** Hears how many bytes were taken in all, each time that some were. */
    private readonly onTaken: (total: number) => void = () => {},
  ) {}

  /** Bytes that wait here. */
  get length(): number {
    return this.bytes;
  }

  /** Whether nothing is taken any more. */
  get isStopped(): boolean {
    return this.state === 'stopped';
  }

  /** Resolves when more bytes are wanted, or none any more: see `isStopped`. */
  wanted(): Promise<void> {
    if (this.bytes < this.highWaterMark || this.isStopped) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.onWanted = resolve;
    });
  }

  /** Puts in a piece. A large one is not copied, and must not be changed from now on. */
  push(piece: Uint8Array): void {
    if (this.state !== 'open' || piece.length === 0) {
      return;
    }
    this.bytes += piece.length;
    if (piece.length < SMALL) {
      this.gather(piece);
    } else {
      this.closeGathered();
      this.queue.push(piece);
    }
    this.wakeSoon();
  }

  /** That was all. */
  end(): void {
    if (this.state === 'open') {
      this.state = 'ended';
      this.wakeNow();
    }
  }

  /** The bytes break off here. What waits is not sent any more. */
  fail(error: unknown): void {
    if (this.state === 'open') {
      this.failure = { error };
      this.clear();
      this.wakeNow();
    }
  }

  // The side of the connection.

  start(wake: () => void): void {
    this.wake = wake;
  }

  pull(max: number): Uint8Array | null | undefined {
    if (this.failure !== undefined) {
      throw this.failure.error;
    }
    const piece = this.take(max);
    if (piece === undefined) {
      this.isAwaited = this.state === 'open';
      return this.state === 'open' ? undefined : null;
    }
    this.bytes -= piece.length;
    this.total += piece.length;
    this.onTaken(this.total);
    if (this.bytes < this.highWaterMark) {
      this.tellWanted();
    }
    return piece;
  }

  stop(error: Error | undefined): void {
    this.state = 'stopped';
    this.clear();
    this.tellWanted();
    this.onStop(error);
  }

  private take(max: number): Uint8Array | undefined {
    const first = this.queue[0];
    if (first !== undefined) {
      if (first.length <= max) {
        return this.queue.shift();
      }
      this.queue[0] = first.subarray(max);
      return first.subarray(0, max);
    }
    if (this.from === this.to) {
      return undefined;
    }
    const end = Math.min(this.to, this.from + max);
    const piece = this.gathered.subarray(this.from, end);
    this.from = end;
    return piece;
  }

  private gather(piece: Uint8Array): void {
    if (this.gathered.length - this.to < piece.length) {
      this.closeGathered();
      this.gathered = Buffer.allocUnsafeSlow(GATHERED);
      this.from = 0;
      this.to = 0;
    }
    this.gathered.set(piece, this.to);
    this.to += piece.length;
  }

  /** What small pieces made stands in front of what comes next. */
  private closeGathered(): void {
    if (this.from < this.to) {
      this.queue.push(this.gathered.subarray(this.from, this.to));
      this.from = this.to;
    }
  }

  private clear(): void {
    this.queue.length = 0;
    this.gathered = EMPTY;
    this.from = 0;
    this.to = 0;
    this.bytes = 0;
  }

  private wakeSoon(): void {
    if (!this.isAwaited) {
      return;
    }
    if (this.bytes >= WAKE_BYTES) {
      this.wakeNow();
    } else if (!this.isWaking) {
      this.isWaking = true;
      setImmediate(() => {
        this.isWaking = false;
        this.wakeNow();
      });
    }
  }

  private wakeNow(): void {
    if (this.isAwaited) {
      this.isAwaited = false;
      this.wake();
    }
  }

  private tellWanted(): void {
    const { onWanted } = this;
    this.onWanted = undefined;
    onWanted?.();
  }
}

const EMPTY = new Uint8Array(0);
