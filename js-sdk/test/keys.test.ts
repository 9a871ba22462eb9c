/** Keys: their names, and how long they live. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { InvalidArgumentError, MemCloud, TooLargeError } from '../src';
import { TestNode, until } from './support/node';

let node: TestNode;
let cloud: MemCloud;

before(async () => {
  node = await TestNode.start();
  cloud = new MemCloud({ socketPath: node.socketPath });
});

after(async () => {
  await cloud.close();
  await node.remove();
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) {
    list.push(item);
  }
  return list;
}

test('keys that match are listed once each, over many pages', async () => {
  const keys = Array.from({ length: 1000 }, (_, index) => `user:${String(index).padStart(4, '0')}`);
  await cloud.mset(keys.map((key) => [key, key] as const));
  await cloud.set('other', '1');
  const listing = cloud.keys('user:*', { pageSize: 7 });
  assert.deepEqual((await all(listing)).sort(), keys);
  assert.deepEqual(listing.missing, []);
  assert.deepEqual((await all(cloud.keys(['user:000[12]', 'oth?r']))).sort(), [
    'other',
    'user:0001',
    'user:0002',
  ]);
  assert.equal((await all(cloud.keys('*', { local: true }))).length, 1001);
});

test('a listing can be left at any place', async () => {
  for await (const key of cloud.keys('*', { pageSize: 1 })) {
    assert.equal(typeof key, 'string');
    break;
  }
});

test('entries say what is known of the values', async () => {
  await cloud.set('detailed', 'four', { class: 'cache', ttlMs: 60_000 });
  const [entry] = await all(cloud.entries('detailed'));
  const { nodeId } = await cloud.status();
  assert.ok(entry !== undefined && entry.ttlMs > 50_000 && entry.ttlMs <= 60_000);
  assert.deepEqual(
    { ...entry, ttlMs: 0 },
    { key: 'detailed', node: nodeId, holder: nodeId, size: 4, ttlMs: 0, class: 'cache', isStream: false },
  );
  await cloud.set('endless', '');
  assert.equal((await all(cloud.entries('endless')))[0]?.ttlMs, Infinity);
});

test('patterns that cannot be', () => {
  assert.throws(() => cloud.keys([]), InvalidArgumentError);
  assert.throws(() => cloud.keys('x'.repeat(1025)), TooLargeError);
  assert.throws(() => cloud.keys(Array(65).fill('x')), TooLargeError);
  assert.throws(() => cloud.keys('*', { pageSize: 0 }), InvalidArgumentError);
  assert.throws(() => cloud.keys(7 as unknown as string), TypeError);
});

test('values live as long as they are let', async () => {
  await cloud.set('mortal', 'x');
  assert.equal(await cloud.ttl('mortal'), Infinity);
  assert.equal(await cloud.expire('mortal', 3_600_000), true);
  const left = await cloud.ttl('mortal');
  assert.ok(left !== null && left > 3_500_000 && left <= 3_600_000);
  assert.equal(await cloud.persist('mortal'), true);
  assert.equal(await cloud.ttl('mortal'), Infinity);
  const { id } = await cloud.store('x', { ttlMs: 3_600_000 });
  assert.equal(await cloud.persist({ id }), true);
  assert.equal(await cloud.ttl({ id }), Infinity);
  await cloud.expire({ id }, 1);
  await until('the block has expired', async () => (await cloud.load(id)) === null);
});

test('what is not there does not live', async () => {
  assert.equal(await cloud.ttl('nothing'), null);
  assert.equal(await cloud.expire('nothing', 1000), false);
  assert.equal(await cloud.persist('nothing'), false);
});
