/** How a stream is to be stored: what programs say, and what the node is told. */

import { checkCall, checkKey, checkPeer, checkTtl, nameOf, wrongType } from '../arguments';
import { InvalidArgumentError } from '../errors';
import { STREAM_PEERS_MAX } from '../protocol/limits';
import type { PutOptions } from '../types';

/** How a stream is kept. At most one of `peer`, `peers`, `remote` and `local` may be given; its time to live counts from when it is whole. */
export interface StreamOptions extends PutOptions {
  /** The key that names the stream once it is whole. */
  readonly key?: string | undefined;
  /** Whether the key names it from its first byte on, so that others read along; it needs a key. */
  readonly live?: boolean | undefined;
  /** On these peers, up to 64, and nowhere else. */
  readonly peers?: readonly string[] | undefined;
  /** Whether it is compressed: `auto` where the links are slower than that, `always`, `never`. Default: `auto`. */
  readonly compress?: 'auto' | 'always' | 'never' | undefined;
  /** How many bytes wait in this program beside what the node has allowed it to send. Default: 256 KiB. */
  readonly highWaterMark?: number | undefined;
  /** Hears the id, under which others read the stream while it grows. */
  readonly onOpen?: ((id: string) => void) | undefined;
  /** Hears how many bytes have gone so far. What it throws ends the stream. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** The same as the node is told, see `StreamOptions` in memproto/src/stream.rs. */
export interface StreamJson {
  readonly key?: string;
  readonly live?: boolean;
  readonly ttl?: number;
  readonly class?: string;
  readonly placement?: string | { readonly peers: readonly string[] };
  readonly compress?: string;
}

/** Checks what programs say, and gives what the node is told. */
export function checkStreamOptions(options: StreamOptions): StreamJson {
  checkCall(options);
  const { key, live, ttlMs, class: kept, compress, highWaterMark, onOpen, onProgress } = options;
  checkHighWaterMark(highWaterMark);
  for (const [name, listener] of Object.entries({ onOpen, onProgress })) {
    if (listener !== undefined && typeof listener !== 'function') {
      throw wrongType(`${name} is a function, not ${nameOf(listener)}`);
    }
  }
  if (live === true && key === undefined) {
    throw new InvalidArgumentError('a live stream is read along by its key: give it one');
  }
  const placement = placementOf(options);
  return {
    ...(key !== undefined && { key: checkKey(key) }),
    ...(live !== undefined && { live }),
    ...(ttlMs !== undefined && { ttl: checkTtl(ttlMs) }),
    ...(kept !== undefined && { class: oneOf('class', kept, ['pinned', 'cache']) }),
    ...(placement !== undefined && { placement }),
    ...(compress !== undefined && { compress: oneOf('compress', compress, ['auto', 'always', 'never']) }),
  };
}

/** Checks how many bytes may wait. */
export function checkHighWaterMark(highWaterMark: unknown): void {
  if (highWaterMark === undefined) {
    return;
  }
  if (typeof highWaterMark !== 'number') {
    throw wrongType(`highWaterMark is a number of bytes, not ${nameOf(highWaterMark)}`);
  }
  if (!(highWaterMark >= 0)) {
    throw new InvalidArgumentError(`highWaterMark is ${highWaterMark}: it is 0 or more`);
  }
}

function placementOf({ peer, peers, remote, local }: StreamOptions): StreamJson['placement'] {
  const places = [peer !== undefined, peers !== undefined, remote === true, local === true];
  if (places.filter(Boolean).length > 1) {
    throw new InvalidArgumentError('give at most one of peer, peers, remote and local');
  }
  if (peer !== undefined) {
    return { peers: [checkPeer(peer)] };
  }
  if (peers !== undefined) {
    return { peers: checkPeers(peers) };
  }
  if (remote === true) {
    return 'remote';
  }
  return local === true ? 'local' : undefined;
}

function checkPeers(peers: readonly string[]): readonly string[] {
  if (!Array.isArray(peers)) {
    throw wrongType(`peers are an array of names, not ${nameOf(peers)}`);
  }
  if (peers.length === 0 || peers.length > STREAM_PEERS_MAX) {
    throw new InvalidArgumentError(`a stream lies on 1 to ${STREAM_PEERS_MAX} peers, not on ${peers.length}`);
  }
  return peers.map(checkPeer);
}

function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value)) {
    const names = allowed.map((each) => `'${each}'`).join(', ');
    throw new InvalidArgumentError(
      `${name} is one of ${names}, not ${JSON.stringify(value) ?? nameOf(value)}`,
    );
  }
  return value;
}
