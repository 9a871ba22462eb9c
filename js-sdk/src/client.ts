/// <reference lib="esnext.disposable" preserve="true" />

/** The client: what a program sees. */

import type { Readable } from 'node:stream';
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
import { Consent, ConsentWatch } from './control/consent';
import { Control } from './control/control';
import { doctor, flush } from './control/node';
import { Pairing } from './control/pairing';
import { type ConnectPeerOptions, connectPeer, disconnectPeer, setGrant } from './control/peers';
import { Trust } from './control/trust';
import type {
  ConsentRequest,
  DoctorReport,
  GrantChanged,
  NodeStatus,
  PeerInfo,
  Stats,
} from './control/types';
import { deleteMany, getMany, type Pair, setMany } from './data/batches';
import { keepForGood, setTimeLeft, timeLeft } from './data/lifetimes';
import { type KeyEntry, type KeyListing, type KeysOptions, listEntries, listKeys } from './data/listing';
import { typedEmitter } from './emitter';
import type { MemCloudError } from './errors';
import { type MemCloudOptions, resolveOptions } from './options';
import { del, type Exchange, free, get, load, ping, set, store } from './protocol/exchanges';
import { FREE_IDS_MAX, INLINE_MAX } from './protocol/limits';
import { Op } from './protocol/operations';
import type { PutReply } from './protocol/replies';
import type { Keeping, PutArgs } from './protocol/requests';
import type { StreamOptions } from './streams/options';
import type { StreamSource } from './streams/sources';
import type { StreamStatus } from './streams/status';
import type { StoredStream } from './streams/store';
import { type GetStreamOptions, type LoadStreamOptions, Streams } from './streams/streams';
import type { StreamWritable } from './streams/writable';
import type {
  Freed,
  GetOptions,
  KeyOrId,
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
  /** A peer asks to connect. The node is watched for it as long as somebody listens, from those who wait already on. */
  consent: [request: ConsentRequest];
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
        this.consentWatch.stop();
        await this.connection.idle();
        await this.close();
      },
      configurable: true,
      writable: true,
    });
  }

  private readonly connection: Connection;
  private readonly strict: boolean;
  private readonly streams: Streams;
  private readonly control: Control;
  private readonly consentWatch: ConsentWatch;

  /** The devices that are trusted for good. */
  readonly trust: Trust;
  /** The peers that ask to connect, and the answers to them. */
  readonly consent: Consent;
  /** Pairing by a code that is told from one person to the other. */
  readonly pair: Pairing;

  /** Throws TypeError or InvalidArgumentError where an option is wrong. Nothing is connected yet. */
  constructor(options: MemCloudOptions = {}) {
    super();
    const settings = resolveOptions(options);
    this.strict = settings.strict;
    this.connection = new Connection(settings, {
      up: () => this.tell('connect'),
      lost: (error) => this.tell('disconnect', error),
      reconnecting: (attempt, delayMs) => this.tell('reconnecting', { attempt, delayMs }),
    });
    this.control = new Control(this.connection, settings.timeoutMs);
    this.trust = new Trust(this.control);
    this.consent = new Consent(this.control);
    this.pair = new Pairing(this.control);
    this.consentWatch = new ConsentWatch(this.control, (request) => this.emit('consent', request));
    this.watchListeners();
    this.streams = new Streams(this.connection, settings);
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
    this.consentWatch.stop();
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

  /**
   * The keys of the pool that match any of the patterns: globs with `*`, `?`, `[a-z]`, `[^a-z]` and `\\` before a character that is to be taken as it is. Throws where a pattern
   * cannot be.
   */
  keys(patterns: string | readonly string[] = '*', options?: KeysOptions): KeyListing<string> {
    return listKeys(this.connection, patterns, options);
  }

  /** The same with what is known of their values: size, class, time to live, and where they lie. */
  entries(patterns: string | readonly string[] = '*', options?: KeysOptions): KeyListing<KeyEntry> {
    return listEntries(this.connection, patterns, options);
  }

  /** How many milliseconds a value has to live; Infinity is for good, `null` where there is no such value. */
  ttl(name: KeyOrId, options?: CallOptions): Promise<number | null> {
    return timeLeft(this.connection, name, options);
  }

  /** Lets a value live so many milliseconds from now on. Resolves with whether there is such a value. */
  expire(name: KeyOrId, ttlMs: number, options?: CallOptions): Promise<boolean> {
    return setTimeLeft(this.connection, name, ttlMs, options);
  }

  /** Lets a value live for good. Resolves with whether there is such a value. */
  persist(name: KeyOrId, options?: CallOptions): Promise<boolean> {
    return keepForGood(this.connection, name, options);
  }

  /** Waits for the answer to an empty request. */
  async ping(options?: CallOptions): Promise<void> {
    checkCall(options);
    await this.connection.request(ping, undefined, options);
  }

  /** What the node is and where it listens. */
  status(options?: CallOptions): Promise<NodeStatus> {
    return this.control.ask(Op.Status, undefined, options);
  }

  /** What lies in the node and what it did. */
  stats(options?: CallOptions): Promise<Stats> {
    return this.control.ask(Op.Stats, undefined, options);
  }

  /** All peers that the node knows. */
  peers(options?: CallOptions): Promise<PeerInfo[]> {
    return this.control.ask(Op.Peers, undefined, options);
  }

  /**
   * Asks for a link to a known peer, or to the node at `HOST:PORT`; that is the consent of this side. Resolves when both sides have agreed.
   *
   * Rejects with DeniedError where the other side said no, and TimeoutError where it said nothing.
   */
  connectPeer(target: string, options?: ConnectPeerOptions): Promise<PeerInfo> {
    return connectPeer(this.control, target, options);
  }

  /** Ends the link of a peer. */
  disconnectPeer(peer: string, options?: CallOptions): Promise<PeerInfo> {
    return disconnectPeer(this.control, peer, options);
  }

  /**
   * Changes how much of this node's budget a peer may use; 0 lets it read, not store. Where it uses more, its data of class cache is evicted until
   * the rest fits; what is pinned stays.
   */
  setGrant(peer: string, quotaBytes: number, options?: CallOptions): Promise<GrantChanged> {
    return setGrant(this.control, peer, quotaBytes, options);
  }

  /** Looks for what keeps nodes apart: on this machine, and between it and one peer, or all that should be connected and are not. */
  doctor(target?: string, options?: CallOptions): Promise<DoctorReport> {
    return doctor(this.control, target, options);
  }

  /** Frees all keys, blocks and streams that programs of this host stored; with `peer` those of its host, where its owner allows that. */
  flush(options?: CallOptions & { readonly peer?: string | undefined }): Promise<Freed> {
    return flush(this.control, options);
  }

  /** Asks the node to stop. Resolves when it agreed, which is before it is gone. */
  async stop(options?: CallOptions): Promise<void> {
    await this.control.ask(Op.Stop, undefined, options);
  }

  /** Emits an event of the connection, which goes on whatever a listener throws: that is the program's, as everywhere. */
  private tell<N extends keyof MemCloudEvents>(event: N, ...args: MemCloudEvents[N]): void {
    try {
      this.emit(event, ...args);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** As of every EventEmitter; with no event, all listeners of the program. */
  override removeAllListeners(event?: string | symbol): this {
    if (event === undefined) {
      super.removeAllListeners();
    } else {
      super.removeAllListeners(event);
    }
    if (event === undefined || event === 'newListener' || event === 'removeListener') {
      this.watchListeners();
    }
    if (this.listenerCount('consent') === 0) {
      this.consentWatch.stop();
    }
    return this;
  }

  /** Watches for requests for consent exactly as long as somebody listens. */
  private watchListeners(): void {
    if (!this.listeners('newListener').includes(this.listenerAdded)) {
      this.on('newListener', this.listenerAdded);
    }
    if (!this.listeners('removeListener').includes(this.listenerRemoved)) {
      this.on('removeListener', this.listenerRemoved);
    }
  }

  private readonly listenerAdded = (event: string | symbol): void => {
    if (event === 'consent') {
      this.consentWatch.start();
    }
  };

  private readonly listenerRemoved = (): void => {
    if (this.listenerCount('consent') === 0) {
      this.consentWatch.stop();
    }
  };

  /**
   * Stores what a source gives as a stream, of any size: it passes through this program in pieces, at the pace of the slowest, and lies where there is room, on peers first. A file of which
   * nothing was read (`fs.createReadStream`, a FileHandle) is read by the node itself where that can be.
   *
   * Pieces of 16 KiB and more are not copied, and must stay as they are. Where anything fails, what came of the stream is freed, the source is destroyed, and this rejects with why: with the source's own error where
   * that has failed.
   */
  storeStream(source: StreamSource, options?: StreamOptions): Promise<StoredStream> {
    return this.streams.store(source, options);
  }

  /**
   * A Writable whose bytes become a stream, for the end of a pipeline. `finish` comes when the node has all of it; `stored` tells what came of it. Where it is destroyed before, what came of it is freed.
   */
  createWriteStream(options?: StreamOptions): StreamWritable {
    return this.streams.writable(options);
  }

  /**
   * A Readable of the block or stream with this id, or of the part of it that `start` and `end` name. The node is asked when somebody reads, and sends no faster than they do. It is destroyed with a
   * NotFoundError where there is no such thing.
   */
  loadStream(id: string, options?: LoadStreamOptions): Readable {
    return this.streams.load(id, options);
  }

  /** The same as a web stream. */
  loadWebStream(id: string, options?: LoadStreamOptions): ReadableStream<Uint8Array> {
    return this.streams.loadWeb(id, options);
  }

  /** A Readable of the value of a key, as `loadStream` is one of an id. */
  getStream(key: string, options?: GetStreamOptions): Readable {
    return this.streams.get(key, options);
  }

  /** The same as a web stream. */
  getWebStream(key: string, options?: GetStreamOptions): ReadableStream<Uint8Array> {
    return this.streams.getWeb(key, options);
  }

  /** How far a stream has come that is being written, and where it lies. */
  streamStatus(id: string, options?: CallOptions): Promise<StreamStatus> {
    return this.streams.status(id, options);
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
