/** cache-manager in its documented use, with a store of this package. It publishes no test suite for stores: its stores are Keyvs,
 * for whose adapters there is Keyv's own, which runs in test-adapters. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { createCache } from 'cache-manager';
import { Keyv } from 'keyv';
import { type CacheStoreOptions, createStore } from '../src/adapters/cache-manager';
import { MemCloud, NotRunningError } from '../src/index';
import { TestNode } from './support/node';

let node: TestNode;
let client: MemCloud;

before(async () => {
  node = await TestNode.start();
  client = new MemCloud({ socketPath: node.socketPath });
});
beforeEach(() => client.flush());
after(async () => {
  await client.close();
  await node.remove();
});

const storeOf = (options: CacheStoreOptions = {}) => createStore(Keyv, { client, ...options });

test('set, get, mset, mget, del, mdel and clear', async () => {
  const cache = createCache({ stores: [storeOf()] });
  assert.equal(await cache.get('foo'), undefined);
  assert.equal(await cache.set('foo', 'bar'), 'bar');
  assert.equal(await cache.get('foo'), 'bar');
  await cache.mset([
    { key: 'a', value: { n: 1 } },
    { key: 'b', value: [2], ttl: 60_000 },
  ]);
  assert.deepEqual(await cache.mget(['a', 'nobody', 'b']), [{ n: 1 }, undefined, [2]]);
  assert.equal(await cache.del('foo'), true);
  assert.equal(await cache.get('foo'), undefined);
  assert.equal(await cache.mdel(['a', 'nobody']), true);
  assert.deepEqual(await cache.mget(['a', 'b']), [undefined, [2]]);

  await client.set('mine', 'not of the cache');
  assert.equal(await cache.clear(), true);
  assert.equal(await cache.get('b'), undefined);
  assert.equal(String(await client.get('mine')), 'not of the cache');
});

test('wrap computes once, for all processes', async () => {
  let computed = 0;
  const compute = async () => {
    computed += 1;
    return { price: 1.99 };
  };
  const one = createCache({ stores: [storeOf({ namespace: 'prices' })] });
  const other = createCache({ stores: [storeOf({ namespace: 'prices' })] });
  assert.deepEqual(await one.wrap('apples', compute, 60_000), { price: 1.99 });
  assert.deepEqual(await one.wrap('apples', compute, 60_000), { price: 1.99 });
  assert.deepEqual(await other.wrap('apples', compute, 60_000), { price: 1.99 });
  assert.equal(computed, 1);
  const elsewhere = createCache({ stores: [storeOf({ namespace: 'other-prices' })] });
  await elsewhere.wrap('apples', compute, 60_000);
  assert.equal(computed, 2);
});

test('the time to live comes from the call, the cache or the store, and is the node’s', async () => {
  for (const [options, store, ttl] of [
    [{}, {}, 40_000],
    [{ ttl: 40_000 }, {}, undefined],
    [{}, { ttl: 40_000 }, undefined],
  ] as const) {
    const cache = createCache({ ...options, stores: [storeOf(store)] });
    await cache.set('foo', 'bar', ttl);
    const left = await client.ttl('cache:foo');
    assert.ok(left !== null && left > 0 && left <= 40_000, String(left));
    const expires = await cache.ttl('foo');
    assert.ok(expires !== undefined && Math.abs(expires - Date.now() - left) < 40_000, String(expires));
  }
});

test('behind a store in the memory of the process, for values that are asked for again and again', async () => {
  const near = new Keyv();
  const far = storeOf();
  const cache = createCache({ stores: [near, far] });
  await far.set('foo', 'far');
  assert.equal(await cache.wrap('foo', async () => 'made'), 'far');
  assert.equal(await near.get('foo'), 'far');
});

test('a node that is away makes a miss, and an error that can be heard', async () => {
  const store = storeOf({ client: { socketPath: path.join(node.home, 'nobody.sock') } });
  const errors: unknown[] = [];
  store.on('error', (error) => errors.push(error));
  const cache = createCache({ stores: [store] });
  assert.equal(await cache.wrap('foo', async () => 'made', 1000), 'made');
  assert.ok(errors.length > 0 && errors.every((error) => error instanceof NotRunningError), String(errors));
  await cache.disconnect();
});

test('disconnect closes the connection that the store made', async () => {
  const store = storeOf({ client: { socketPath: node.socketPath } });
  const cache = createCache({ stores: [store] });
  await cache.set('foo', 'bar');
  await cache.disconnect();
  await assert.rejects(store.store.client.get('foo'), { code: 'closed' });
});
