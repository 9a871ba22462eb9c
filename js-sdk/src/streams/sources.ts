/** What can be stored as a stream, and how its pieces are had. */

import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { isAnyArrayBuffer } from 'node:util/types';
import { bytesOf, nameOf, wrongType } from '../arguments';
import type { Value } from '../types';
import type { Pieces } from './pieces';

/** What a stream can be made of. */
export type StreamSource =
  | Readable
  | ReadableStream
  | AsyncIterable<Value>
  | Iterable<Value>
  | Value
  | FileHandle;

/** Pieces of a source, one after another. */
export interface PieceIterator {
  next(): Promise<IteratorResult<unknown>> | IteratorResult<unknown>;
  /** Nothing more is wanted: lets go of what the source has open, also while `next` has not answered. */
  close(reason: unknown): void;
}

/** The pieces of a source. Throws a TypeError for what is none. */
export function piecesOf(source: StreamSource): PieceIterator {
  if (isValue(source)) {
    return fromIterator([source][Symbol.iterator]());
  }
  if (typeof source === 'object' && source !== null) {
    if (isFileHandle(source)) {
      return fromReadable(source.createReadStream({ autoClose: false }));
    }
    if (source instanceof Readable) {
      return fromReadable(source);
    }
    if ('getReader' in source) {
      return fromWebStream(source.getReader());
    }
    if (Symbol.asyncIterator in source) {
      return fromIterator(source[Symbol.asyncIterator]());
    }
    if (Symbol.iterator in source) {
      return fromIterator(source[Symbol.iterator]());
    }
  }
  throw wrongType(
    'a stream is made of a Readable, a ReadableStream, a FileHandle, an iterable of values or a value ' +
      `(string, Buffer, Uint8Array, ArrayBuffer, DataView), not of ${nameOf(source)}`,
  );
}

/** Whether this is an open file of `node:fs/promises`. */
export function isFileHandle(source: object): source is FileHandle {
  return 'fd' in source && typeof source.fd === 'number' && 'createReadStream' in source;
}

/** Puts the pieces of a source into `pieces`, as many as are wanted, until it ends or nothing more is taken. */
export async function feed(source: PieceIterator, pieces: Pieces): Promise<void> {
  try {
    for (;;) {
      await pieces.wanted();
      if (pieces.isStopped) {
        return;
      }
      const { done, value } = await source.next();
      if (done === true) {
        pieces.end();
        return;
      }
      pieces.push(bytesOf(value as Value));
    }
  } catch (error) {
    pieces.fail(error);
  }
}

function isValue(source: unknown): source is Value {
  return typeof source === 'string' || ArrayBuffer.isView(source) || isAnyArrayBuffer(source);
}

function fromReadable(readable: Readable): PieceIterator {
  const iterator = readable[Symbol.asyncIterator]();
  let isDone = false;
  return {
    next: async () => {
      const step = await iterator.next();
      isDone = step.done === true;
      return step;
    },
    close: () => {
      // One that has ended is left as it is, open where it was told so. Without an error: nobody might listen for it.
      if (!isDone) {
        readable.destroy();
      }
    },
  };
}

function fromWebStream(reader: ReadableStreamDefaultReader<unknown>): PieceIterator {
  return {
    next: async () => {
      const { done, value } = await reader.read();
      if (done) {
        reader.releaseLock();
        return { done, value: undefined };
      }
      return { done, value };
    },
    close: (reason) => void reader.cancel(reason).catch(() => {}),
  };
}

function fromIterator(iterator: Iterator<unknown> | AsyncIterator<unknown>): PieceIterator {
  return {
    next: () => iterator.next(),
    close: () => {
      // A generator hears of it when it has answered what it was asked before; what it throws then is nobody's.
      try {
        void Promise.resolve(iterator.return?.()).catch(() => {});
      } catch {}
    },
  };
}
