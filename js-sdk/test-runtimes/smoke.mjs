// What each runtime does with the package: every way in which bytes cross, events, errors, an abort, a stream of several chunks.
// It prints `ok` in the end, or fails. It runs in a project that has installed the package.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { MemCloud, MemCloudError, UnknownPeerError } from 'memcloud';
import { KeyvMemCloud } from 'memcloud/keyv';

const required = createRequire(import.meta.url)('memcloud');
assert.equal(required.MemCloud, MemCloud);

// Over the Unix socket, and over TCP with the token.
await use(new MemCloud());
await use(
  new MemCloud({ host: '127.0.0.1', port: Number(process.env.API_PORT), tokenPath: process.env.TOKEN_PATH }),
);
console.log('ok');

async function use(cloud) {
  let connected = 0;
  cloud.on('connect', () => {
    connected += 1;
  });
  await cloud.connect();
  assert.equal(connected, 1);

  await cloud.set('smoke', 'Hello');
  assert.equal((await cloud.get('smoke')).toString(), 'Hello');
  assert.ok(Buffer.isBuffer(await cloud.get('smoke')));
  assert.equal(await cloud.get('nothing'), null);
  await cloud.mset(
    new Map([
      ['a', new Uint8Array([1, 2])],
      ['b', new Uint8Array([3]).buffer],
    ]),
  );
  assert.deepEqual(
    (await cloud.mget(['a', 'b'])).map((value) => [...value]),
    [[1, 2], [3]],
  );
  assert.equal(await cloud.del(['a', 'b']), 2);

  const values = await Promise.all(
    Array.from({ length: 500 }, async (_, number) => {
      await cloud.set(`smoke:${number}`, String(number));
      return Number(await cloud.get(`smoke:${number}`));
    }),
  );
  assert.deepEqual(values, [...values.keys()]);
  let keys = 0;
  for await (const _key of cloud.keys('smoke:*')) {
    keys += 1;
  }
  assert.equal(keys, 500);

  // A whole number of words, so that it reads the same from the second word on.
  const large = Buffer.alloc(3_000_000, 'large');
  await cloud.set('large', large);
  assert.ok(large.equals(await cloud.get('large')));

  const stored = await cloud.storeStream(Readable.from([large, large]));
  assert.equal(stored.size, 2 * large.length);
  const parts = [];
  for await (const part of cloud.loadStream(stored.id, { start: 5, end: large.length + 4 })) {
    parts.push(part);
  }
  assert.ok(large.equals(Buffer.concat(parts)));
  const web = await new Response(cloud.loadWebStream(stored.id)).arrayBuffer();
  assert.equal(web.byteLength, stored.size);
  await cloud.free(stored.id);

  await assert.rejects(cloud.store('x', { peer: 'nobody' }), (error) => {
    return (
      error instanceof UnknownPeerError && error instanceof MemCloudError && error.code === 'unknown_peer'
    );
  });
  await assert.rejects(cloud.set('smoke', 42), TypeError);
  await assert.rejects(cloud.get('smoke', { signal: AbortSignal.abort(new Error('enough')) }), /enough/);

  const keyv = new KeyvMemCloud({ client: cloud });
  await keyv.set('key', 'value', 60_000);
  assert.equal(await keyv.get('key'), 'value');
  await keyv.clear();
  assert.equal(await keyv.get('key'), undefined);
  await cloud.close();
}
