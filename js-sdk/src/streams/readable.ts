/** Objects as streams of the runtime: they ask the node for nothing until somebody reads. */

import { Readable } from 'node:stream';
import { CancelledError } from '../errors';
import type { BodyReader } from './reader';

/** How many bytes wait for a reader of Node.js unless it says otherwise: those of a frame. */
const HIGH_WATER_MARK = 256 * 1024;

/** A Readable of what comes out of `reader`. */
export function readableOf(reader: BodyReader, highWaterMark: number | undefined): Readable {
  return new Readable({
    highWaterMark: highWaterMark ?? HIGH_WATER_MARK,
    read() {
      reader.next().then(
        (piece) => this.push(piece ?? null),
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      reader.cancel(error ?? notWanted());
      callback(error);
    },
  });
}

/** A web stream of what comes out of `reader`. */
export function webStreamOf(
  reader: BodyReader,
  highWaterMark: number | undefined,
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const piece = await reader.next();
        if (piece === undefined) {
          controller.close();
        } else {
          controller.enqueue(piece);
        }
      },
      cancel(reason) {
        reader.cancel(reason instanceof Error ? reason : notWanted());
      },
    },
    // Without one it would pull a piece before anybody reads.
    new ByteLengthQueuingStrategy({ highWaterMark: highWaterMark ?? 0 }),
  );
}

function notWanted(): CancelledError {
  return new CancelledError('the stream was closed before its end');
}
