/** Batches against a real node. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BatchError, MemCloud } from '../src';
import { TestNode } from './support/node';

let node: TestNode;
let cloud: MemCloud;

before(async () => {
  node = await TestNode.start({ memory: '64mb' });
  cloud = new MemCloud({ socketPath: node.socketPath });
});

after(async () => {
  await cloud.close();
  await node.remove();
});

test('values are set from objects, maps and lists, and read in the order of the keys', async () => {
  await cloud.mset({ a: 'one', b: Buffer.from('two') });
  await cloud.mset(new Map([['c', 'three']]));
  await cloud.mset([['d', 'four'] as const]);
  const values = await cloud.mget(['d', 'nothing', 'b', 'a', 'c', 'a']);
  assert.deepEqual(
    values.map((value) => value && String(value)),
    ['four', null, 'two', 'one', 'three', 'one'],
  );
  assert.equal(await cloud.del(['a', 'b', 'nothing', 'c', 'd']), 4);
  assert.deepEqual(await cloud.mget(['a']), [null]);
  assert.deepEqual(await cloud.mget([]), []);
});

test('more keys and larger values than a frame has room for', async () => {
  const sizes = [...Array(3000).fill(400), 200_000, 262_144, 262_145, 1_500_000, 0, 150_000, 150_000];
  const pairs = sizes.map((size, index) => [`many:${index}`, Buffer.alloc(size, `${index} `)] as const);
  await cloud.mset(pairs);
  const values = await cloud.mget(pairs.map(([key]) => key));
  assert.ok(values.every((value, index) => pairs[index]?.[1].equals(value as Buffer)));
  assert.equal(await cloud.del(pairs.map(([key]) => key)), sizes.length);
});

test('entries that fail are named, and the others stand', async () => {
  const large = Buffer.alloc(100 * 1024 * 1024);
  const failure = await cloud.mset({ small: '1', large }).catch((error: unknown) => error);
  assert.ok(failure instanceof BatchError, String(failure));
  assert.deepEqual([...failure.errors.keys()], [1]);
  assert.equal(failure.errors.get(1)?.code, 'out_of_memory');
  assert.equal(String(await cloud.get('small')), '1');
});

test('strict operations, one by one and for all of a client', async () => {
  const strict = new MemCloud({ socketPath: node.socketPath, strict: true });
  await strict.mset({ a: '1', b: '2' });
  assert.deepEqual((await strict.mget(['a', 'b'])).map(String), ['1', '2']);
  assert.equal(await strict.del(['a', 'b']), 2);
  await cloud.set('c', '3', { strict: true });
  assert.equal(String(await cloud.get('c', { strict: true })), '3');
  assert.equal(await cloud.del('c', { strict: true }), 1);
  await strict.close();
});
