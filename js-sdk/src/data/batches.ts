/** Many keys in few requests: MGET, MSET and MDEL, as many keys in each as a frame has room for. */

import type { CallOptions } from '../connection/call';
import type { Connection } from '../connection/connection';
import { BatchError, type MemCloudError } from '../errors';
import { get, mdel, mget, mset } from '../protocol/exchanges';
import { BATCH_KEYS_MAX, FRAME_PAYLOAD_MAX, INLINE_MAX } from '../protocol/limits';
import type { Keeping, OutgoingValue } from '../protocol/requests';
import { STATUS_NOT_FOUND } from '../protocol/status';

/** What stands in front of the keys of a request, and of the entries of a reply. */
const HEAD_LEN = 8;

/** What an entry of a reply takes beside its value. */
const ENTRY_LEN = 16;

/** What stands in front of the pairs of an MSET, the name of the peer included. */
const PAIRS_HEAD_LEN = 24 + 255;

/** What a pair of an MSET takes beside its key and value. */
const PAIR_LEN = 8;

/** A key and its value. */
export type Pair = readonly [key: string, value: OutgoingValue];

/** Puts one value under its key, however large it is. */
export type SetOne = (pair: Pair) => Promise<unknown>;

/** The values of keys, in their order; `null` where there is no such key. */
export async function getMany(
  connection: Connection,
  keys: readonly string[],
  strict: boolean,
  options: CallOptions | undefined,
): Promise<(Buffer | null)[]> {
  const outcome = new Outcome<Buffer | null>(keys.length);
  /** Asks for these keys. Resolves with those whose values had no room in the answer, with their sizes. */
  const ask = async (indexes: readonly number[]): Promise<Later[]> => {
    const asked = indexes.map((index) => keys[index] as string);
    const entries = await connection.request(mget, { keys: asked, strict }, options);
    const later: Later[] = [];
    entries.forEach((entry, at) => {
      const index = indexes[at] as number;
      if ('laterSize' in entry) {
        later.push({ index, size: entry.laterSize });
      } else if ('bytes' in entry) {
        outcome.succeed(index, entry.bytes);
      } else if (entry.status === STATUS_NOT_FOUND) {
        outcome.succeed(index, null);
      } else {
        outcome.fail(index, entry.error);
      }
    });
    return later;
  };
  const askOne = async (index: number): Promise<void> => {
    const args = { name: keys[index] as string, offset: 0, length: undefined, strict, follow: false };
    try {
      outcome.succeed(index, await connection.requestOrNull(get, args, options));
    } catch (error) {
      outcome.fail(index, error as MemCloudError);
    }
  };
  const first = split(keys.length, HEAD_LEN, (index) => 2 + Buffer.byteLength(keys[index] as string));
  const later = (await Promise.all(first.map(ask))).flat();
  // Values that fit a frame are asked for in frames as full as can be; one that has grown since then, alone.
  const [fitting, large] = partition(later, ({ size }) => size <= INLINE_MAX);
  const second = split(fitting.length, HEAD_LEN, (at) => ENTRY_LEN + (fitting[at] as Later).size);
  const grown = await Promise.all(
    second.map((group) => ask(group.map((at) => (fitting[at] as Later).index))),
  );
  await Promise.all([...large, ...grown.flat()].map(({ index }) => askOne(index)));
  return outcome.finish('read');
}

/** Puts values under keys. Where a key comes several times, its last value stays. */
export async function setMany(
  connection: Connection,
  pairs: readonly Pair[],
  keeping: Keeping,
  setOne: SetOne,
  options: CallOptions | undefined,
): Promise<void> {
  const outcome = new Outcome<true>(pairs.length);
  const lengthOf = ([key, value]: Pair): number =>
    PAIR_LEN + Buffer.byteLength(key) + (typeof value === 'string' ? Buffer.byteLength(value) : value.length);
  const all = pairs.map((pair, index) => ({ pair, index, length: lengthOf(pair) }));
  const [fitting, large] = partition(all, ({ length }) => PAIRS_HEAD_LEN + length <= FRAME_PAYLOAD_MAX);
  const groups = split(fitting.length, PAIRS_HEAD_LEN, (at) => fitting[at]?.length ?? 0);
  const inGroups = groups.map(async (group) => {
    const members = group.map((at) => fitting[at] as (typeof fitting)[number]);
    const entries = await connection.request(
      mset,
      { keeping, pairs: members.map(({ pair }) => pair) },
      options,
    );
    entries.forEach((entry, at) => {
      const { index } = members[at] as (typeof fitting)[number];
      if ('error' in entry) {
        outcome.fail(index, entry.error);
      } else {
        outcome.succeed(index, true);
      }
    });
  });
  const alone = large.map(async ({ pair, index }) => {
    try {
      await setOne(pair);
      outcome.succeed(index, true);
    } catch (error) {
      outcome.fail(index, error as MemCloudError);
    }
  });
  await Promise.all([...inGroups, ...alone]);
  outcome.finish('stored');
}

/** Deletes keys. Resolves with how many there were. */
export async function deleteMany(
  connection: Connection,
  keys: readonly string[],
  strict: boolean,
  options: CallOptions | undefined,
): Promise<number> {
  const outcome = new Outcome<boolean>(keys.length);
  const groups = split(keys.length, HEAD_LEN, (index) => 2 + Buffer.byteLength(keys[index] as string));
  await Promise.all(
    groups.map(async (group) => {
      const asked = group.map((index) => keys[index] as string);
      const entries = await connection.request(mdel, { keys: asked, strict }, options);
      entries.forEach((entry, at) => {
        const index = group[at] as number;
        if (!('error' in entry)) {
          outcome.succeed(index, true);
        } else if (entry.status === STATUS_NOT_FOUND) {
          outcome.succeed(index, false);
        } else {
          outcome.fail(index, entry.error);
        }
      });
    }),
  );
  return outcome.finish('deleted').filter((deleted) => deleted).length;
}

/** An entry whose value had no room in a reply. */
interface Later {
  readonly index: number;
  readonly size: number;
}

/** What came of the entries of a batch. */
class Outcome<T> {
  private readonly results: (T | undefined)[];
  private readonly errors = new Map<number, MemCloudError>();

  constructor(count: number) {
    this.results = new Array<T | undefined>(count).fill(undefined);
  }

  succeed(index: number, result: T): void {
    this.results[index] = result;
  }

  fail(index: number, error: MemCloudError): void {
    this.errors.set(index, error);
  }

  /** The results, or a BatchError where entries failed. */
  finish(done: string): T[] {
    const { results, errors } = this;
    if (errors.size > 0) {
      const [first] = errors.values();
      throw new BatchError(
        `${errors.size} of ${results.length} entries were not ${done}, the first because: ${first?.message}`,
        results,
        new Map([...errors].sort(([a], [b]) => a - b)),
      );
    }
    return results as T[];
  }
}

/** Splits the numbers below `count` into groups that fit a frame each. */
function split(count: number, headLength: number, lengthOf: (index: number) => number): number[][] {
  const groups: number[][] = [];
  let group: number[] = [];
  let length = headLength;
  for (let index = 0; index < count; index++) {
    const added = lengthOf(index);
    if (group.length === BATCH_KEYS_MAX || (group.length > 0 && length + added > FRAME_PAYLOAD_MAX)) {
      groups.push(group);
      group = [];
      length = headLength;
    }
    group.push(index);
    length += added;
  }
  return group.length === 0 ? groups : [...groups, group];
}

function partition<T>(items: readonly T[], holds: (item: T) => boolean): [T[], T[]] {
  return [items.filter(holds), items.filter((item) => !holds(item))];
}
