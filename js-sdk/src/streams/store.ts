/** Storing a stream: opened, written and finished in steps, so that a part of it never stays behind. */

import type { CallOptions } from '../connection/call';
import type { Connection } from '../connection/connection';
import { CancelledError, ClosedError, ConnectionLostError, TimeoutError, UnsupportedError } from '../errors';
import { control, free, streamFile, streamWrite } from '../protocol/exchanges';
import { Op } from '../protocol/operations';
import type { GivenFile } from './file';
import type { StreamJson, StreamOptions } from './options';
import type { Pieces } from './pieces';
import { readStatus, type StatusJson } from './status';

/** A stream that was stored. */
export interface StoredStream {
  /** The id. */
  readonly id: string;
  /** Its size in bytes. */
  readonly size: number;
  /** What it takes where it lies, compressed as it is. A chunk that it has twice counts once. */
  readonly storedBytes: number;
  /** Bytes that did not have to be sent or stored, because an equal chunk was there already. */
  readonly knownBytes: number;
}

/** What stands beside a stream that is being stored: how long its calls may take, and what ends them. */
export interface StoreCall extends CallOptions {
  readonly timeoutMs: number;
}

type OnProgress = StreamOptions['onProgress'];

/** How often the node is asked how far it has come with a file. */
const LOOK_MS = 250;

const streamOpen = control<StreamJson, { readonly id: number }>(Op.StreamOpen);
const streamStatus = control<{ readonly id: number }, StatusJson>(Op.StreamStatus);
const streamFinish = control<{ readonly id: number }, FinishedJson>(Op.StreamFinish);

/** What the node says of a stream that is finished. */
interface FinishedJson {
  readonly id: number;
  readonly size_bytes: number;
  readonly stored_bytes: number;
  readonly known_bytes: number;
}

/**
 * Stores what `append` writes. Where anything fails, what came of it is freed, and this rejects with why.
 */
export async function storeStream(
  connection: Connection,
  options: StreamJson,
  call: StoreCall,
  append: (id: number) => Promise<void>,
): Promise<StoredStream> {
  call.signal?.throwIfAborted();
  // Without the signal: whoever gave this up would not know what to free.
  const { id } = await connection.request(streamOpen, options, { timeoutMs: call.timeoutMs });
  try {
    await append(id);
    const finished = await connection.request(streamFinish, { id }, call);
    return {
      id: String(finished.id),
      size: finished.size_bytes,
      storedBytes: finished.stored_bytes,
      knownBytes: finished.known_bytes,
    };
  } catch (error) {
    await discard(connection, id, error, call);
    throw error;
  }
}

/** Appends the bytes that come through `pieces`. */
export async function appendPieces(
  connection: Connection,
  id: number,
  pieces: Pieces,
  call: StoreCall,
): Promise<void> {
  await connection.request(streamWrite, { id, value: '' }, call, pieces);
}

/** Lets the node append a file. Returns false where it cannot, and nothing has happened. */
export async function appendFile(
  connection: Connection,
  id: number,
  given: GivenFile,
  call: StoreCall,
  onProgress: OnProgress,
): Promise<boolean> {
  const { file, offset, length } = given;
  const ending = new AbortController();
  const end = (): void => ending.abort(call.signal?.reason);
  call.signal?.addEventListener('abort', end, { once: true });
  const unwatch = given.watch(() =>
    ending.abort(new CancelledError('the file was closed before the node had read it')),
  );
  const look = watch(connection, id, call.timeoutMs, ending, onProgress);
  try {
    // It takes as long as the file is long: whether it moves is seen by asking.
    const options = { signal: ending.signal, timeoutMs: 0 };
    call.signal?.throwIfAborted();
    const { size } = await connection.request(streamFile, { id, offset, length, file }, options);
    onProgress?.(size);
    return true;
  } catch (error) {
    if (error instanceof UnsupportedError) {
      return false;
    }
    throw error;
  } finally {
    clearInterval(look);
    unwatch();
    call.signal?.removeEventListener('abort', end);
  }
}

/** Asks again and again how far the node has come with a stream, and gives it up where it has not moved for as long as a call may take. */
function watch(
  connection: Connection,
  id: number,
  timeoutMs: number,
  ending: AbortController,
  onProgress: OnProgress,
): NodeJS.Timeout {
  const patienceMs = timeoutMs === 0 ? Infinity : timeoutMs;
  let taken = 0;
  let movedAt = performance.now();
  return setInterval(() => {
    const looked = connection.request(streamStatus, { id }, { timeoutMs });
    // Where this fails, the call that is asked about tells what is wrong.
    looked.then(moved, () => {}).catch((error: unknown) => ending.abort(error));
  }, LOOK_MS);

  function moved(status: StatusJson): void {
    const { takenBytes } = readStatus(status);
    if (takenBytes !== taken) {
      taken = takenBytes;
      movedAt = performance.now();
      onProgress?.(taken);
    } else if (performance.now() - movedAt > patienceMs) {
      throw new TimeoutError(`the stream ${id} did not get longer within ${patienceMs} ms`);
    }
  }
}

/** Frees what came of a stream that failed. */
async function discard(connection: Connection, id: number, error: unknown, call: StoreCall): Promise<void> {
  const freeing = connection.request(free, [id], { timeoutMs: call.timeoutMs }).then(
    () => {},
    // The node frees it by itself when nobody goes on with it.
    () => {},
  );
  // Who has lost the node need not wait until it is back, if it comes.
  if (!(error instanceof ConnectionLostError || error instanceof ClosedError)) {
    await freeing;
  }
}
