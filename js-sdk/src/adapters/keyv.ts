/**
 * A storage adapter for Keyv: `new Keyv({ store: new KeyvMemCloud() })`.
 *
 * It imports nothing of Keyv, so any version may be installed; types are structural. It speaks the contract of Keyv 5, in
 * which a time to live is relative; Keyv 6 wraps such an adapter (`KeyvBridgeAdapter`) and does the sums. What Keyv
 * stores is text, the value and its expiry serialized by Keyv itself.
 */
import { EventEmitter } from 'node:events';
import { MemCloud } from '../client';
import { BatchError, PeerUnreachableError } from '../errors';
import type { MemCloudOptions } from '../options';
import { BATCH_KEYS_MAX } from '../protocol/limits';
import type { SetOptions, StrictOptions } from '../types';

/** Where keys lie that Keyv gave no namespace. There is always one, so that `clear()` frees nothing of other programs. */
const DEFAULT_NAMESPACE = 'keyv';

/** How a `KeyvMemCloud` reaches its node, and how it keeps values. */
export interface KeyvMemCloudOptions
  extends Pick<SetOptions, 'peer' | 'remote' | 'local' | 'strict' | 'timeoutMs'> {
  /** A client to share, which stays open after `disconnect()`; or the options of one of the adapter's own. */
  readonly client?: MemCloud | MemCloudOptions | undefined;
  /** Stands before every key, unless Keyv has a namespace of its own. Default: `keyv`. */
  readonly namespace?: string | undefined;
  /** Whether a value may be dropped to make room (`cache`, the default) or stays (`pinned`), so that a full node refuses new ones. */
  readonly class?: 'pinned' | 'cache' | undefined;
  /**
   * Whether a method rejects where the node cannot be asked or refuses. Otherwise (the default) it emits `error` and answers
   * as if the key were missing or the write had failed, so that a cache that is away slows a program and does not stop it.
   */
  readonly throwOnErrors?: boolean | undefined;
}

/** One entry of `setMany`. */
export interface KeyvMemCloudEntry {
  key: string;
  /** What Keyv serialized. */
  value: unknown;
  /** In milliseconds; without it, for good. */
  ttl?: number | undefined;
}

/**
 * Keeps the values of a Keyv in MemCloud. Their time to live is that of the node, which frees them by itself. The keys are
 * `NAMESPACE:KEY`; with Keyv 5's own prefix, which it puts in front unless `useKeyPrefix` is false, `NAMESPACE:NAMESPACE:KEY`.
 *
 * Emits `error` for what went wrong; Keyv passes it on.
 */
export class KeyvMemCloud extends EventEmitter {
  /**
   * Read by Keyv 5 alone, which offers `iterator()` only where `dialect` is one of seven names, without that of this
   * package. `redis` is the one whose adapter answers as this one does.
   */
  // biome-ignore lint/suspicious/noExplicitAny: Keyv's own type, and users put settings of theirs here.
  opts: any = { dialect: 'redis', url: 'memcloud:' };

  /** Set by Keyv to its own namespace. */
  namespace: string | undefined;

  /** The client, for what Keyv has no words for. */
  readonly client: MemCloud;

  private readonly ownsClient: boolean;
  private readonly writing: SetOptions;
  private readonly reading: StrictOptions;
  private readonly defaultNamespace: string;
  private readonly throwOnErrors: boolean;

  constructor(options: KeyvMemCloudOptions = {}) {
    super();
    const { client, namespace, throwOnErrors = false, class: kept = 'cache', ...write } = options;
    this.ownsClient = !(client instanceof MemCloud);
    this.client = client instanceof MemCloud ? client : new MemCloud(client);
    this.writing = { ...write, class: kept };
    this.reading = { strict: write.strict, timeoutMs: write.timeoutMs };
    this.namespace = namespace;
    this.defaultNamespace = namespace ?? DEFAULT_NAMESPACE;
    this.throwOnErrors = throwOnErrors;
  }

  /** The text that was stored, or undefined. */
  // biome-ignore lint/suspicious/noExplicitAny: Keyv 5 and 6 want different types here, and both mean text.
  async get(key: string): Promise<any> {
    try {
      return textOf(await this.client.get(this.nodeKey(key), this.reading));
    } catch (error) {
      return this.fail(error, undefined);
    }
  }

  /** As `get`, for each key in its place. */
  // biome-ignore lint/suspicious/noExplicitAny: as for `get`.
  async getMany(keys: string[]): Promise<any[]> {
    try {
      return (await this.valuesOf(keys.map((key) => this.nodeKey(key)))).map(textOf);
    } catch (error) {
      return this.fail(error, new Array(keys.length).fill(undefined));
    }
  }

  /** Stores a text, for `ttl` milliseconds or for good. False where it failed. */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    try {
      const text = serialized(value);
      const ttlMs = lifetimeMs(ttl);
      if (ttlMs === 0) {
        await this.deleteNodeKeys([this.nodeKey(key)]);
      } else {
        await this.client.set(this.nodeKey(key), text, this.keeping(ttlMs));
      }
      return true;
    } catch (error) {
      return this.fail(error, false);
    }
  }

  /** Stores many texts. Where a key comes twice, the last one counts. Each answer is false where that entry failed. */
  // biome-ignore lint/suspicious/noExplicitAny: Keyv 5 types this as void, and hands it on as what it is: a boolean for each entry.
  async setMany(entries: KeyvMemCloudEntry[]): Promise<any> {
    const failed = new Set<string>();
    try {
      for (const [ttlMs, values] of byLifetime(entries)) {
        if (ttlMs === 0) {
          await this.deleteNodeKeys(Array.from(values.keys(), (key) => this.nodeKey(key)));
        } else {
          await this.store(values, ttlMs, failed);
        }
      }
    } catch (error) {
      return this.fail(error, new Array(entries.length).fill(false));
    }
    return entries.map(({ key }) => !failed.has(key));
  }

  /** Whether there was such a key, which is gone now. */
  async delete(key: string): Promise<boolean> {
    return this.deleteMany([key]);
  }

  /** Whether there was any of these keys; they are gone now. */
  async deleteMany(keys: string[]): Promise<boolean> {
    try {
      return (await this.deleteNodeKeys(keys.map((key) => this.nodeKey(key)))) > 0;
    } catch (error) {
      return this.fail(error, false);
    }
  }

  /** Whether there is such a key; its value is not fetched. */
  async has(key: string): Promise<boolean> {
    const [there] = await this.hasMany([key]);
    return there === true;
  }

  /** As `has`, for each key in its place. */
  async hasMany(keys: string[]): Promise<boolean[]> {
    try {
      return await Promise.all(
        keys.map(async (key) => (await this.client.ttl(this.nodeKey(key), this.reading)) !== null),
      );
    } catch (error) {
      return this.fail(error, new Array<boolean>(keys.length).fill(false));
    }
  }

  /** Deletes the keys of the namespace, on all nodes, and no others. */
  async clear(): Promise<void> {
    try {
      for await (const keys of this.pages(this.namespace)) {
        await this.deleteNodeKeys(keys);
      }
    } catch (error) {
      this.fail(error, undefined);
    }
  }

  /** The keys of the namespace with their texts, in no order. What is set or deleted meanwhile may come or not. */
  async *iterator(namespace: string | undefined = this.namespace): AsyncGenerator<[string, string], void> {
    const prefixLength = this.prefix(namespace).length;
    try {
      for await (const keys of this.pages(namespace)) {
        const values = await this.valuesOf(keys);
        for (const [index, value] of values.entries()) {
          const key = keys[index];
          if (value !== null && key !== undefined) {
            yield [key.slice(prefixLength), value.toString()];
          }
        }
      }
    } catch (error) {
      this.fail(error, undefined);
    }
  }

  /** Closes the connection, unless the client was given to the adapter: then it belongs to whoever made it. */
  async disconnect(): Promise<void> {
    if (this.ownsClient) {
      await this.client.close();
    }
  }

  /** Colons of a namespace are escaped, so that no two namespaces share a key: `a:b` with `c`, and `a` with `b:c`. */
  private prefix(namespace: string | undefined): string {
    return `${(namespace ?? this.defaultNamespace).replaceAll('%', '%25').replaceAll(':', '%3A')}:`;
  }

  private nodeKey(key: string): string {
    return this.prefix(this.namespace) + key;
  }

  /** The node's keys of a namespace, a batch at a time. Fails behind the last one where there may be more on a node that is away. */
  private async *pages(namespace: string | undefined): AsyncGenerator<string[], void> {
    const literally = this.prefix(namespace).replace(/[\\*?[\]]/g, '\\$&');
    const listing = this.client.keys(`${literally}*`, { timeoutMs: this.reading.timeoutMs });
    let page: string[] = [];
    for await (const key of listing) {
      page.push(key);
      if (page.length === BATCH_KEYS_MAX) {
        yield page;
        page = [];
      }
    }
    if (page.length > 0) {
      yield page;
    }
    if (listing.missing.length > 0) {
      const names = listing.missing.map(({ name }) => `'${name}'`).join(', ');
      throw new PeerUnreachableError(
        `${names} cannot be asked now, and may have more keys of this namespace`,
      );
    }
  }

  private async valuesOf(nodeKeys: string[]): Promise<(Buffer | null)[]> {
    if (nodeKeys.length === 0) {
      return [];
    }
    try {
      return await this.client.mget(nodeKeys, this.reading);
    } catch (error) {
      if (!(error instanceof BatchError)) {
        throw error;
      }
      this.tolerate(error);
      return nodeKeys.map((_, index) => (error.results[index] as Buffer | null | undefined) ?? null);
    }
  }

  private keeping(ttlMs: number | undefined): SetOptions {
    return { ...this.writing, ttlMs };
  }

  private async store(
    values: Map<string, string>,
    ttlMs: number | undefined,
    failed: Set<string>,
  ): Promise<void> {
    const keys = [...values.keys()];
    const pairs = Array.from(values, ([key, value]): [string, string] => [this.nodeKey(key), value]);
    try {
      await this.client.mset(pairs, this.keeping(ttlMs));
    } catch (error) {
      if (!(error instanceof BatchError)) {
        throw error;
      }
      this.tolerate(error);
      for (const [index, key] of keys.entries()) {
        if (error.errors.has(index)) {
          failed.add(key);
        }
      }
    }
  }

  private async deleteNodeKeys(nodeKeys: string[]): Promise<number> {
    if (nodeKeys.length === 0) {
      return 0;
    }
    try {
      return await this.client.del(nodeKeys, this.reading);
    } catch (error) {
      if (!(error instanceof BatchError)) {
        throw error;
      }
      this.tolerate(error);
      return error.results.filter((deleted) => deleted === true).length;
    }
  }

  /** What some entries of a batch failed with, where the others count. */
  private tolerate(error: BatchError): void {
    if (this.throwOnErrors) {
      throw error;
    }
    this.emit('error', error);
  }

  /** What a method failed with as a whole, and its answer where it does not reject. */
  private fail<Answer>(error: unknown, answer: Answer): Answer {
    // An EventEmitter without a listener throws the error by itself: it is never lost.
    if (!this.throwOnErrors || this.listenerCount('error') > 0) {
      this.emit('error', error);
    }
    if (this.throwOnErrors) {
      throw error;
    }
    return answer;
  }
}

/** What has the same time to live is stored in one batch. Where a key comes twice, its last value is the one. */
function byLifetime(entries: KeyvMemCloudEntry[]): Map<number | undefined, Map<string, string>> {
  const last = new Map(entries.map((entry) => [entry.key, entry]));
  const batches = new Map<number | undefined, Map<string, string>>();
  for (const { key, value, ttl } of last.values()) {
    const ttlMs = lifetimeMs(ttl);
    const batch = batches.get(ttlMs) ?? new Map<string, string>();
    batches.set(ttlMs, batch.set(key, serialized(value)));
  }
  return batches;
}

/** The time to live for the node, in whole milliseconds: 0 for what has expired already, undefined for good. */
function lifetimeMs(ttl: number | undefined): number | undefined {
  if (ttl === undefined || Number.isNaN(ttl) || ttl >= Number.MAX_SAFE_INTEGER) {
    return undefined;
  }
  return Math.max(0, Math.ceil(ttl));
}

function serialized(value: unknown): string {
  if (typeof value !== 'string') {
    const type = value === null ? 'null' : typeof value;
    throw new TypeError(
      `KeyvMemCloud keeps the text that Keyv makes of a value, not ${type}: leave Keyv's serialization on`,
    );
  }
  return value;
}

function textOf(value: Buffer | null): string | undefined {
  return value === null ? undefined : value.toString();
}
