/** A stream of a node as a Writable, for the end of a pipeline. */

import { Writable } from 'node:stream';
import { CancelledError } from '../errors';
import type { Pieces } from './pieces';
import type { StoredStream } from './store';

/** A Writable whose bytes become a stream. */
export class StreamWritable extends Writable {
  /** What was stored, when all was written and the node has it. Rejects where that comes to nothing; then the stream is destroyed as well. */
  readonly stored: Promise<StoredStream>;

  private readonly ending = new AbortController();
  private isSettled = false;
  private readonly pieces: Pieces;

  /** `store` stores what comes through `pieces`, until its signal fires. */
  constructor(
    pieces: Pieces,
    highWaterMark: number,
    signal: AbortSignal | undefined,
    store: (signal: AbortSignal) => Promise<StoredStream>,
  ) {
    super({ highWaterMark, decodeStrings: true });
    this.pieces = pieces;
    if (signal?.aborted) {
      this.ending.abort(signal.reason);
    }
    const abort = (): void => void this.destroy(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.once('close', () => signal?.removeEventListener('abort', abort));
    this.stored = store(this.ending.signal);
    this.stored.then(
      () => {
        this.isSettled = true;
      },
      (error: Error) => {
        this.isSettled = true;
        this.destroy(error);
      },
    );
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.pieces.push(chunk);
    this.passOn(callback);
  }

  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    for (const { chunk } of chunks) {
      this.pieces.push(chunk);
    }
    this.passOn(callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.pieces.end();
    this.stored.then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    if (this.isSettled) {
      callback(error);
      return;
    }
    this.ending.abort(error ?? new CancelledError('the stream was destroyed before its end'));
    // What came of it is gone when it says that it is closed.
    this.stored.then(
      () => callback(error),
      () => callback(error),
    );
  }

  /** Lets the next piece come when there is room for it. */
  private passOn(callback: (error?: Error | null) => void): void {
    this.pieces.wanted().then(() => {
      // Where nothing is taken any more, the reason destroys the stream.
      if (!this.pieces.isStopped) {
        callback();
      }
    });
  }
}
