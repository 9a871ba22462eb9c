/** The keys of the pool, a page at a time. */

import { checkCall, nameOf, wrongType } from '../arguments';
import type { CallOptions } from '../connection/call';
import type { Connection } from '../connection/connection';
import { InvalidArgumentError, TooLargeError } from '../errors';
import { keys } from '../protocol/exchanges';
import { KEYS_PAGE_MAX, PATTERN_LEN_MAX, PATTERNS_LEN_MAX, PATTERNS_MAX } from '../protocol/limits';
import type { ListedKey, MissingNode } from '../protocol/replies';

export type { MissingNode };

/** Options of `keys` and `entries`. `timeoutMs` is that of each page. */
export interface KeysOptions extends CallOptions {
  /** Only keys that this host's node answers for. */
  readonly local?: boolean | undefined;
  /** The most keys that are asked for at a time, 1 to 4,096. */
  readonly pageSize?: number | undefined;
}

/** A key with what is known of its value. */
export interface KeyEntry {
  readonly key: string;
  /** The node that answers for it, and the one that has its bytes: 32 hexadecimal digits each. */
  readonly node: string;
  readonly holder: string;
  /** In bytes. */
  readonly size: number;
  /** Milliseconds that are left; Infinity is for good. */
  readonly ttlMs: number;
  /** `null` where only the holder knows it. */
  readonly class: 'pinned' | 'cache' | null;
  /** Whether it is a stream, whose chunks may lie on several nodes. */
  readonly isStream: boolean;
}

/** What is asked of a listing. */
interface Question<T> {
  readonly patterns: readonly string[];
  readonly options: KeysOptions | undefined;
  readonly details: boolean;
  readonly item: (listed: ListedKey) => T;
}

/**
 * A walk through the keys of the pool, which may change meanwhile: `for await (const key of listing)`. Each key comes once, in no order.
 * One that is set or deleted meanwhile may come or not.
 */
export class KeyListing<T> implements AsyncIterable<T> {
  /** The nodes whose keys are missing, as far as the walk came to them: they are not connected, or did not answer. */
  readonly missing: MissingNode[] = [];

  /** For the client alone. */
  constructor(
    private readonly connection: Connection,
    private readonly question: Question<T>,
  ) {}

  /** Walks through all pages. Each walk begins anew. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    const { patterns, options, details, item } = this.question;
    const limit = options?.pageSize ?? KEYS_PAGE_MAX;
    const local = options?.local ?? false;
    const seen = new Set<string>();
    let cursor = 0n;
    do {
      const page = await this.connection.request(keys, { patterns, cursor, limit, local, details }, options);
      cursor = page.cursor;
      for (const node of page.missing) {
        if (!this.missing.some(({ id }) => id === node.id)) {
          this.missing.push(node);
        }
      }
      for (const listed of page.keys) {
        // The node remembers nothing of a walk, so that a key may come to it twice.
        if (!seen.has(listed.key)) {
          seen.add(listed.key);
          yield item(listed);
        }
      }
    } while (cursor !== 0n);
  }
}

/** The names of keys that match. Throws where a pattern or an option cannot be. */
export function listKeys(
  connection: Connection,
  patterns: string | readonly string[],
  options: KeysOptions | undefined,
): KeyListing<string> {
  const checked = checkQuestion(patterns, options);
  return new KeyListing(connection, { ...checked, details: false, item: ({ key }) => key });
}

/** The same with what is known of their values. */
export function listEntries(
  connection: Connection,
  patterns: string | readonly string[],
  options: KeysOptions | undefined,
): KeyListing<KeyEntry> {
  return new KeyListing(connection, { ...checkQuestion(patterns, options), details: true, item: entryOf });
}

function entryOf({ key, details }: ListedKey): KeyEntry {
  return {
    key,
    node: details?.node ?? '',
    holder: details?.holder ?? '',
    size: details?.size ?? 0,
    ttlMs: details?.ttlMs ?? Infinity,
    class: details?.class ?? null,
    isStream: details?.isStream ?? false,
  };
}

function checkQuestion(
  patterns: string | readonly string[],
  options: KeysOptions | undefined,
): { patterns: readonly string[]; options: KeysOptions | undefined } {
  checkCall(options);
  const { pageSize } = options ?? {};
  if (pageSize !== undefined && !(Number.isInteger(pageSize) && pageSize >= 1 && pageSize <= KEYS_PAGE_MAX)) {
    throw new InvalidArgumentError(
      `pageSize is ${pageSize}: it is a whole number from 1 to ${KEYS_PAGE_MAX}`,
    );
  }
  const list = typeof patterns === 'string' ? [patterns] : patterns;
  if (!Array.isArray(list)) {
    throw wrongType(`patterns are a string or an array of strings, not ${nameOf(patterns)}`);
  }
  let length = 0;
  for (const pattern of list as readonly unknown[]) {
    if (typeof pattern !== 'string') {
      throw wrongType(`a pattern is a string, not ${nameOf(pattern)}`);
    }
    const bytes = Buffer.byteLength(pattern);
    if (bytes > PATTERN_LEN_MAX) {
      throw new TooLargeError(`a pattern has at most ${PATTERN_LEN_MAX} bytes of UTF-8`);
    }
    length += bytes;
  }
  if (list.length === 0) {
    throw new InvalidArgumentError("without a pattern nothing is listed: '*' lists all keys");
  }
  if (list.length > PATTERNS_MAX || length > PATTERNS_LEN_MAX) {
    throw new TooLargeError(
      `a listing has at most ${PATTERNS_MAX} patterns, and ${PATTERNS_LEN_MAX} bytes of them together`,
    );
  }
  return { patterns: list, options };
}
