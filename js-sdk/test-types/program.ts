// A program that uses all of the API, for the compiler alone: `npm run lint:package` checks it against the packed package, as an
// ES module, as CommonJS and through a bundler.

import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import {
  BatchError,
  ConnectionLostError,
  type ConsentRequest,
  MemCloud,
  MemCloudError,
  type MemCloudOptions,
  NotRunningError,
  OutOfMemoryError,
  type PeerInfo,
} from 'memcloud';
import { createStore } from 'memcloud/cache-manager';
import { KeyvMemCloud } from 'memcloud/keyv';

export async function program(signal: AbortSignal): Promise<void> {
  const options: MemCloudOptions = {
    socketPath: '/run/memcloud/memnode.sock',
    timeoutMs: 1000,
    reconnect: { attempts: 3 },
  };
  await using cloud = await new MemCloud(options).connect();
  cloud.on('disconnect', (error) => error.message.length);
  cloud.on('reconnecting', ({ attempt, delayMs }) => attempt + delayMs);
  cloud.on('consent', (request: ConsentRequest) => cloud.consent.trust(request.id, { quotaBytes: 1 }));
  // @ts-expect-error there is no such event
  cloud.on('connected', () => {});

  const { id, size }: { id: string; size: number } = await cloud.set('key', 'text', {
    ttlMs: 1,
    class: 'cache',
    signal,
  });
  const value: Buffer | null = await cloud.get('key', { start: 0, end: size, timeoutMs: 5 });
  // @ts-expect-error a number is no value
  await cloud.set('key', 42);
  // @ts-expect-error nor is an object
  await cloud.store({ value });
  // @ts-expect-error it may be null
  value.toString();

  await cloud.mset({ a: new Uint8Array(1), b: new ArrayBuffer(1) });
  await cloud.mset(new Map([['c', Buffer.alloc(1)]]), { peer: 'Workshop' });
  const values: (Buffer | null)[] = await cloud.mget(['a', 'b']);
  const deleted: number = (await cloud.del('a')) + (await cloud.del(['b', 'c'], { strict: true }));
  for await (const key of cloud.keys(['a*', 'b*'], { local: true })) {
    key.toUpperCase();
  }
  for await (const entry of cloud.entries()) {
    entry.key.concat(String(entry.size));
  }
  const ttl: number | null = await cloud.ttl({ id });
  const changed: boolean = (await cloud.expire('key', 5)) && (await cloud.persist('key'));

  const block = await cloud.store(new DataView(new ArrayBuffer(8)), { remote: true });
  const loaded: Buffer | null = await cloud.load(block.id);
  const freed: { blocks: number; bytes: number } = await cloud.free([block.id]);

  const stored = await cloud.storeStream(createReadStream('file'), {
    key: 'file',
    peers: ['A', 'B'],
    compress: 'always',
  });
  await pipeline(cloud.loadStream(stored.id, { start: 5 }), createWriteStream('copy'));
  const web: ReadableStream<Uint8Array> = cloud.loadWebStream(stored.id);
  await cloud.storeStream(web);
  const writable = cloud.createWriteStream({ live: true, key: 'log' });
  await pipeline(cloud.getStream('file'), writable);
  const storedBytes: number = (await writable.stored).storedBytes;

  const peers: PeerInfo[] = await cloud.peers();
  const lent: number | undefined = peers[0]?.grants.lent?.usedBytes;
  await cloud.connectPeer('Workshop', { quotaBytes: 1, once: true });
  await cloud.setGrant('Workshop', 1);
  await cloud.disconnectPeer('Workshop');
  const devices: string[] = (await cloud.trust.list()).map((device) => device.publicKey);
  await cloud.flush();

  try {
    await cloud.stop();
  } catch (error) {
    if (error instanceof BatchError) {
      error.results.at(0);
    } else if (
      error instanceof ConnectionLostError ||
      error instanceof NotRunningError ||
      error instanceof OutOfMemoryError
    ) {
      const code: 'connection_lost' | 'not_running' | 'out_of_memory' = error.code;
      code.length;
    } else if (error instanceof MemCloudError) {
      error.code.length;
    }
  }
  void [values, deleted, ttl, changed, loaded, freed, storedBytes, lent, devices];
}

/** Any class that takes Keyv's options; the packages themselves are not needed for these types. */
class Keyv {
  constructor(readonly options: { store: KeyvMemCloud; namespace?: string }) {}
}

export const store: Keyv = createStore(Keyv, { namespace: 'prices', ttl: 1000, client: { timeoutMs: 5 } });
export const adapter: KeyvMemCloud = new KeyvMemCloud({ client: new MemCloud(), class: 'pinned' });
