/** Files that the node reads itself, so that their bytes cross neither this program nor the socket: docs/protocol/local.md, "Files by number". */

import { once } from 'node:events';
import fs from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { NamedFile } from '../protocol/requests';
import { isFileHandle, type StreamSource } from './sources';

const fstat = promisify(fs.fstat);

/** A part of an open file. */
export interface GivenFile {
  readonly file: NamedFile;
  /** The first byte of the part. */
  readonly offset: number;
  /** How many bytes it has; `undefined` for all up to the end of the file. */
  readonly length: number | undefined;
  /** The node has read it: lets go of what the source has open. */
  close(): void;
  /** Hears when the source is closed by somebody else. Returns what ends that. */
  watch(onClosed: () => void): () => void;
}

/**
 * The file that a source stands for, where it is one of which nothing was read: then its bytes are what the source would give. `undefined` for anything else. A source of which this
 * is said can still be read as any other.
 */
export async function fileOf(source: StreamSource): Promise<GivenFile | undefined> {
  // Elsewhere no node opens files of programs.
  if (process.platform !== 'linux' || typeof source !== 'object' || source === null) {
    return undefined;
  }
  try {
    if (source instanceof fs.ReadStream) {
      return await fileOfStream(source as OpenedStream);
    }
    if (isFileHandle(source)) {
      const offset = await positionOf(source.fd);
      return await part(source.fd, offset, undefined, undefined);
    }
  } catch {
    // What is wrong with it is told when it is read.
  }
  return undefined;
}

async function fileOfStream(stream: OpenedStream): Promise<GivenFile | undefined> {
  if (!isUntouched(stream)) {
    return undefined;
  }
  if (stream.pending) {
    await opened(stream);
  }
  const { fd, start, end } = stream;
  if (typeof fd !== 'number' || !isUntouched(stream)) {
    return undefined;
  }
  const offset = start ?? (await positionOf(fd));
  const length = end === undefined || end === Infinity ? undefined : end - (start ?? 0) + 1;
  return part(fd, offset, length, stream);
}

/** Resolves when a stream has its file; rejects where it gets none. */
async function opened(stream: fs.ReadStream): Promise<void> {
  const ending = new AbortController();
  const end = () => ending.abort();
  stream.once('close', end);
  try {
    await once(stream, 'open', { signal: ending.signal });
  } finally {
    stream.removeListener('close', end);
  }
}

/** What a stream of a file has beside what its type tells. */
interface OpenedStream extends fs.ReadStream {
  readonly autoClose: boolean;
  readonly fd: number | null;
  readonly start: number | undefined;
  readonly end: number | undefined;
}

/** Whether nobody has read of a stream, listens to it, or wants anything else than its bytes, and its file to be closed behind them. */
function isUntouched(stream: OpenedStream): boolean {
  const { bytesRead, readableFlowing, readableLength, readableEncoding } = stream;
  return (
    !stream.destroyed &&
    stream.autoClose &&
    bytesRead === 0 &&
    readableFlowing === null &&
    readableLength === 0 &&
    readableEncoding === null &&
    stream.listenerCount('readable') === 0 &&
    isOfSystem(stream)
  );
}

/** Whether the descriptor is one of the system: a file system of the program's own may have its own numbers. */
function isOfSystem(stream: fs.ReadStream): boolean {
  const key = Object.getOwnPropertySymbols(stream).find((symbol) => symbol.description === 'kFs');
  return key !== undefined && (stream as unknown as Record<symbol, unknown>)[key] === fs;
}

/** Where the next read of a descriptor would begin. */
async function positionOf(descriptor: number): Promise<number> {
  const info = await readFile(`/proc/self/fdinfo/${descriptor}`, 'latin1');
  return Number(/^pos:\s*(\d+)$/m.exec(info)?.[1]);
}

async function part(
  descriptor: number,
  offset: number,
  length: number | undefined,
  stream: fs.ReadStream | undefined,
): Promise<GivenFile | undefined> {
  const stats = await fstat(descriptor, { bigint: true });
  // A file of the system that is made when it is read says that it has no bytes.
  const left = Number(stats.size) - offset;
  if (!stats.isFile() || !(left > 0)) {
    return undefined;
  }
  return {
    file: { descriptor, device: stats.dev, inode: stats.ino },
    offset,
    length: length === undefined ? undefined : Math.min(length, left),
    close: () => void stream?.destroy(),
    watch: (onClosed) => {
      stream?.once('close', onClosed);
      return () => void stream?.removeListener('close', onClosed);
    },
  };
}
