/** The streams of a client: what `MemCloud` has for them. */

import { Readable } from 'node:stream';
import { checkCall, checkId, checkKey, checkRange } from '../arguments';
import type { Connection } from '../connection/connection';
import { type BodyExchange, control, get, load } from '../protocol/exchanges';
import { Op } from '../protocol/operations';
import type { ReadArgs } from '../protocol/requests';
import type { CallOptions, RangeOptions, StrictOptions } from '../types';
import { fileOf } from './file';
import { checkHighWaterMark, checkStreamOptions, type StreamOptions } from './options';
import { Pieces } from './pieces';
import { readableOf, webStreamOf } from './readable';
import { BodyReader } from './reader';
import { feed, piecesOf, type StreamSource } from './sources';
import { readStatus, type StatusJson, type StreamStatus } from './status';
import { appendFile, appendPieces, type StoreCall, type StoredStream, storeStream } from './store';
import { StreamWritable } from './writable';

/** How many bytes of what is stored wait in this program unless it says otherwise: those of a frame. */
const HIGH_WATER_MARK = 256 * 1024;

/** How an object is read as a stream. */
export interface ReadStreamOptions extends RangeOptions, CallOptions {
  /** How many bytes wait for the reader, beside what the node may have under way (2 MiB). Default: 256 KiB; of a web stream 0. */
  readonly highWaterMark?: number | undefined;
}

/** The same of a key. */
export interface GetStreamOptions extends ReadStreamOptions, StrictOptions {}

/** The same of a stream that may still grow. */
export interface LoadStreamOptions extends ReadStreamOptions {
  /** Whether the bytes of a stream that is still being written come as they are written, until it ends. */
  readonly follow?: boolean | undefined;
}

const streamStatus = control<{ readonly id: number }, StatusJson>(Op.StreamStatus);

/** Reads and writes streams on a connection. */
export class Streams {
  constructor(
    private readonly connection: Connection,
    /** How long a call may take, and whether a read is strict, where it does not say so itself. */
    private readonly defaults: { readonly timeoutMs: number; readonly strict: boolean },
  ) {}

  /** See `MemCloud.storeStream`. */
  async store(source: StreamSource, options: StreamOptions = {}): Promise<StoredStream> {
    const json = checkStreamOptions(options);
    const call = this.callOf(options);
    const { onProgress } = options;
    if (source instanceof Readable) {
      // What happens before its bytes are asked for is told when they are.
      source.on('error', () => {});
    }
    const file = await fileOf(source);
    const iterator = file === undefined ? piecesOf(source) : undefined;
    try {
      return await storeStream(this.connection, json, call, async (id) => {
        options.onOpen?.(String(id));
        if (file !== undefined && (await appendFile(this.connection, id, file, call, onProgress))) {
          file.close();
          return;
        }
        await this.append(id, iterator ?? piecesOf(source), options, call);
      });
    } catch (error) {
      iterator?.close(error);
      file?.close();
      throw error;
    }
  }

  /** See `MemCloud.createWriteStream`. */
  writable(options: StreamOptions = {}): StreamWritable {
    const json = checkStreamOptions(options);
    const highWaterMark = options.highWaterMark ?? HIGH_WATER_MARK;
    const pieces = new Pieces(highWaterMark, undefined, options.onProgress);
    return new StreamWritable(pieces, highWaterMark, options.signal, (signal) => {
      const call = { ...this.callOf(options), signal };
      return storeStream(this.connection, json, call, async (id) => {
        options.onOpen?.(String(id));
        await appendPieces(this.connection, id, pieces, call);
      });
    });
  }

  /** See `MemCloud.loadStream`. */
  load(id: string, options?: LoadStreamOptions): Readable {
    return readableOf(this.loader(id, options), options?.highWaterMark);
  }

  /** See `MemCloud.loadWebStream`. */
  loadWeb(id: string, options?: LoadStreamOptions): ReadableStream<Uint8Array> {
    return webStreamOf(this.loader(id, options), options?.highWaterMark);
  }

  /** See `MemCloud.getStream`. */
  get(key: string, options?: GetStreamOptions): Readable {
    return readableOf(this.getter(key, options), options?.highWaterMark);
  }

  /** See `MemCloud.getWebStream`. */
  getWeb(key: string, options?: GetStreamOptions): ReadableStream<Uint8Array> {
    return webStreamOf(this.getter(key, options), options?.highWaterMark);
  }

  /** See `MemCloud.streamStatus`. */
  async status(id: string, options?: CallOptions): Promise<StreamStatus> {
    checkCall(options);
    return readStatus(await this.connection.request(streamStatus, { id: checkId(id) }, options));
  }

  /** Appends what an iterator gives. */
  private async append(
    id: number,
    iterator: ReturnType<typeof piecesOf>,
    options: StreamOptions,
    call: StoreCall,
  ): Promise<void> {
    const highWaterMark = options.highWaterMark ?? HIGH_WATER_MARK;
    const pieces = new Pieces(highWaterMark, (error) => iterator.close(error), options.onProgress);
    const appended = appendPieces(this.connection, id, pieces, call);
    void feed(iterator, pieces);
    await appended;
  }

  private loader(id: string, options: LoadStreamOptions | undefined): BodyReader {
    const follow = options?.follow === true;
    // Nobody knows when the next bytes are written that a follower waits for.
    const timeoutMs = options?.timeoutMs ?? (follow ? 0 : undefined);
    return this.reader(load, { name: checkId(id), follow, strict: false }, options, timeoutMs);
  }

  private getter(key: string, options: GetStreamOptions | undefined): BodyReader {
    const strict = options?.strict ?? this.defaults.strict;
    return this.reader(get, { name: checkKey(key), follow: false, strict }, options, options?.timeoutMs);
  }

  private reader(
    exchange: BodyExchange<ReadArgs>,
    what: Pick<ReadArgs, 'name' | 'follow' | 'strict'>,
    options: ReadStreamOptions | undefined,
    timeoutMs: number | undefined,
  ): BodyReader {
    checkCall(options);
    checkHighWaterMark(options?.highWaterMark);
    const args = { ...what, ...checkRange(options) };
    const call = { signal: options?.signal, timeoutMs };
    return new BodyReader((sink) => this.connection.open(exchange, args, sink, call));
  }

  private callOf(options: StreamOptions): StoreCall {
    return { signal: options.signal, timeoutMs: options.timeoutMs ?? this.defaults.timeoutMs };
  }
}
