/// <reference lib="esnext.disposable" preserve="true" />

/** The client: what a program sees. */

import {
  bytesOf,
  checkCall,
  checkId,
  checkKeeping,
  checkKey,
  checkRange,
  checkValue,
  wrongType,
} from './arguments';
import { BytesSource } from './connection/body';
import type { CallOptions } from './connection/call';
import { Connection } from './connection/connection';
import { deleteMany, getMany, type Pair, setMany } from './data/batches';
import { typedEmitter } from './emitter';
import type { MemCloudError } from './errors';
import { type MemCloudOptions, resolveOptions } from './options';
import { del, type Exchange, free, get, load, set, store } from './protocol/exchanges';
import { FREE_IDS_MAX, INLINE_MAX } from './protocol/limits';
import type { PutReply } from './protocol/replies';
import type { Keeping, PutArgs } from './protocol/requests';
import type {
  Freed,
  GetOptions,
  LoadOptions,
  Pairs,
  PutOptions,
  SetOptions,
  Stored,
  StrictOptions,
  Value,
} from './types';

/** The events of a client, with the arguments of their listeners. */
export type MemCloudEvents = {
  /** The connection is up. */
  connect: [];
  /** The connection was lost. What was in flight has failed. */
  disconnect: [error: MemCloudError];
  /** Another attempt to connect follows after a pause. */
  reconnecting: [info: { readonly attempt: number; readonly delayMs: number }];
  /** The client was closed. */
  close: [];
};

/** Early versions of Node.js 18 lack the symbol, and read this one. */
const asyncDispose: symbol = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');

/**
 * A client of the node of this host. One connection carries all of its calls, any number of them at a time.
 *
 * It connects with the first call, and again when the connection was lost. `close` ends it, and lets the program end.
 */
export class MemCloud extends typedEmitter<MemCloudEvents>() {
  /** Waits for what is in flight, then closes: `await using cloud = new MemCloud()`. */
  declare readonly [Symbol.asyncDispose]: () => Promise<void>;

  static {
    Object.defineProperty(MemCloud.prototype, asyncDispose, {
      async value(this: MemCloud): Promise<void> {
        await this.connection.idle();
        await this.close();
      },
      configurable: true,
      writable: true,
    });
  }

  private readonly connection: Connection;
  private readonly strict: boolean;

  /** Throws TypeError or InvalidArgumentError where an option is wrong. Nothing is connected yet. */
  constructor(options: MemCloudOptions = {}) {
    super();
    const settings = resolveOptions(options);
    this.strict = settings.strict;
    this.connection = new Connection(settings, {
      up: () => this.emit('connect'),
      lost: (error) => this.emit('disconnect', error),
      reconnecting: (attempt, delayMs) => this.emit('reconnecting', { attempt, delayMs }),
    });
  }

  /**
   * Connects. Calls do that by themselves; this tells early whether a node is there.
   *
   * Rejects with NotRunningError where none is, DeniedError where the token is wrong or the node is another user's, and
   * IncompatibleVersionError where node and client have no version of the protocol in common.
   */
  async connect(): Promise<this> {
    await this.connection.connect();
    return this;
  }

  /** Ends the connection for good. What waits or is in flight rejects with ClosedError. */
  async close(): Promise<void> {
    if (this.connection.close()) {
      this.emit('close');
    }
  }

  /** Puts a value under a key, in place of what was there. */
  set(key: string, value: Value, options?: SetOptions): Promise<Stored> {
    try {
      checkCall(options);
      checkKey(key);
      const keeping = checkKeeping(options, options?.strict ?? this.strict);
      return this.put(set, key, value, keeping, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The value of a key, or the part of it that `start` and `end` name; `null` where there is no such key. */
  get(key: string, options?: GetOptions): Promise<Buffer | null> {
    try {
      checkCall(options);
      checkKey(key);
      const { offset, length } = checkRange(options);
      const strict = options?.strict ?? this.strict;
      const args = { name: key, offset, length, strict, follow: false };
      return this.connection.requestOrNull(get, args, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Deletes keys, and frees their values. Resolves with how many there were. */
  del(keys: string | readonly string[], options?: StrictOptions): Promise<number> {
    try {
      checkCall(options);
      const strict = options?.strict ?? this.strict;
      if (typeof keys === 'string') {
        return this.connection.request(del, { key: checkKey(keys), strict }, options);
      }
      return deleteMany(this.connection, checkArray('keys', keys).map(checkKey), strict, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The values of keys, in their order; `null` where there is no such key.
   *
   * Rejects with BatchError where some could not be read; what was read is in it.
   */
  async mget(keys: readonly string[], options?: StrictOptions): Promise<(Buffer | null)[]> {
    checkCall(options);
    const checked = checkArray('keys', keys).map(checkKey);
    return getMany(this.connection, checked, options?.strict ?? this.strict, options);
  }

  /**
   * Puts many values under their keys. It is not atomic: others may see some of them and some not yet.
   *
   * Rejects with BatchError where some were not stored; the others were.
   */
  async mset(pairs: Pairs, options?: SetOptions): Promise<void> {
    checkCall(options);
    const keeping = checkKeeping(options, options?.strict ?? this.strict);
    const checked = checkPairs(pairs).map(([key, value]): Pair => [checkKey(key), checkValue(value)]);
    const setOne = ([key, value]: Pair): Promise<Stored> => this.put(set, key, value, keeping, options);
    await setMany(this.connection, checked, keeping, setOne, options);
  }

  /** Stores a value without a key. */
  store(value: Value, options?: PutOptions): Promise<Stored> {
    try {
      checkCall(options);
      return this.put(store, undefined, value, checkKeeping(options, false), options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The block or stream with this id, or the part of it that `start` and `end` name; `null` where there is none. */
  load(id: string, options?: LoadOptions): Promise<Buffer | null> {
    try {
      checkCall(options);
      const { offset, length } = checkRange(options);
      const args = { name: checkId(id), offset, length, strict: false, follow: false };
      return this.connection.requestOrNull(load, args, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Frees blocks and streams, wherever they lie. Rejects with NotFoundError where one of them is not there. */
  async free(ids: string | readonly string[], options?: CallOptions): Promise<Freed> {
    checkCall(options);
    const numbers = (typeof ids === 'string' ? [ids] : checkArray('ids', ids)).map(checkId);
    let [blocks, bytes] = [0, 0];
    for (let at = 0; at < numbers.length; at += FREE_IDS_MAX) {
      const freed = await this.connection.request(free, numbers.slice(at, at + FREE_IDS_MAX), options);
      blocks += freed.blocks;
      bytes += freed.bytes;
    }
    return { blocks, bytes };
  }

  /** A value in one frame, or one whose bytes follow. */
  private put(
    exchange: Exchange<PutArgs, PutReply>,
    key: string | undefined,
    value: Value,
    keeping: Keeping,
    options: CallOptions | undefined,
  ): Promise<Stored> {
    const outgoing = checkValue(value);
    if (outgoing.length <= INLINE_MAX) {
      return this.connection.request(exchange, { key, keeping, value: outgoing, size: undefined }, options);
    }
    const bytes = bytesOf(outgoing);
    const args = { key, keeping, value: '', size: bytes.length };
    return this.connection.request(exchange, args, options, new BytesSource(bytes));
  }
}

/** The pairs of an object, a Map, or anything else that yields pairs. */
function checkPairs(pairs: Pairs): (readonly [string, Value])[] {
  if (typeof pairs !== 'object' || pairs === null) {
    throw wrongType('pairs are an object, a Map, or something that yields [key, value]');
  }
  return Symbol.iterator in pairs ? [...pairs] : Object.entries(pairs);
}

function checkArray(name: string, values: readonly string[]): readonly string[] {
  if (!Array.isArray(values)) {
    throw wrongType(`${name} are a string or an array of strings`);
  }
  return values;
}
