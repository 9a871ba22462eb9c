/** How bodies get in and out of a connection: the interface for whoever has streams.
 *
 * A request that takes a body pulls it out of a `BodySource`, whenever the node's credit and the socket take more. What comes behind a
 * reply is put into a `BodySink`, a frame at a time, and the node sends no more than 2 MiB beyond what the sink has
 * reported as taken.
 *
 *     connection.request(stream, { ...args, value: '' }, options, source)        // resolves with the reply
 *     const download = connection.open(load, args, sink, options)               // download.head: what stands in front of the body
 *     download.taken(piece)                                                     // once for each piece that the sink was given
 *     download.cancel(reason)                                                   // stops it; the sink is told
 *
 * None of the methods of a source or a sink may throw, but `pull`.
 */

import type { ReadHead } from '../protocol/replies';

/** Where the bytes of a request's body come from. */
export interface BodySource {
  /**
   * The next bytes, 1 to `max` of them. They are not copied, and have to stay as they are until the call has ended.
   * `null` where the body has ended; `undefined` where nothing is there yet: then `wake` is to be called when there is.
   *
   * What it throws breaks the body off, and is what the call fails with.
   */
  pull(max: number): Uint8Array | null | undefined;
  /** Called once, before the first `pull`. */
  start(wake: () => void): void;
  /** Called once, when nothing more will be pulled: the node has answered, with `error` where the call failed. */
  stop(error: Error | undefined): void;
}

/** Where the bytes of a reply's body go. */
export interface BodySink {
  /** Memory for exactly this many bytes, which arrive next. */
  room(length: number): Uint8Array;
  /** Those bytes are there. Bytes that came in the reply itself come here without `room`; they may be kept as well. */
  filled(bytes: Uint8Array): void;
  /** That was all. */
  end(): void;
  /** The body broke off. What came before is not all. */
  fail(error: Error): void;
}

/** A body that is being received. */
export interface Download {
  /** What stands in front of it. Where the call fails before that, this rejects and the sink is not told. */
  readonly head: Promise<ReadHead>;
  /** Reports that a piece, as `filled` had it, went on its way, so that the node may send as much again. */
  taken(bytes: Uint8Array): void;
  /** Ends it with this reason. Does nothing where it has ended. */
  cancel(reason: Error): void;
}

/** The body of a value that lies in memory. */
export class BytesSource implements BodySource {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  start(): void {}

  pull(max: number): Uint8Array | null {
    const { at, bytes } = this;
    if (at === bytes.length) {
      return null;
    }
    this.at = Math.min(bytes.length, at + max);
    return bytes.subarray(at, this.at);
  }

  stop(): void {}
}
