/** Values against a real node: in and out, of every type and size. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { MemCloud, NotFoundError } from '../src';
import { TestNode } from './support/node';

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

test('a value comes back as it went in', async () => {
  const bytes = randomBytes(3000);
  const values = {
    text: 'schlüssel 鍵 \u0000',
    empty: '',
    buffer: bytes,
    array: new Uint8Array(bytes),
    view: new DataView(bytes.buffer, bytes.byteOffset, 7),
    memory: new Uint8Array(bytes).buffer,
  };
  for (const [key, value] of Object.entries(values)) {
    const expected = typeof value === 'string' ? Buffer.from(value) : bytes.subarray(0, value.byteLength);
    const stored = await cloud.set(key, value);
    assert.equal(stored.size, expected.length);
    assert.deepEqual(await cloud.get(key), expected);
    const { id } = await cloud.store(value);
    assert.deepEqual(await cloud.load(id), expected);
    assert.match(id, /^[1-9][0-9]*$/);
  }
});

test('values of all sizes around the limits of a frame come back', async () => {
  const whole = randomBytes(9 * 1024 * 1024);
  const sizes = [
    4095,
    4097,
    16 * 1024,
    16 * 1024 + 1,
    65_536,
    262_144,
    262_145,
    2_097_152,
    2_097_153,
    whole.length,
  ];
  await Promise.all(
    sizes.map(async (size) => {
      const value = whole.subarray(0, size);
      await cloud.set(`size:${size}`, value);
      assert.ok((await cloud.get(`size:${size}`))?.equals(value), `${size} bytes`);
    }),
  );
});

test('a range has both of its ends', async () => {
  await cloud.set('range', 'Hello from MemCloud!');
  assert.equal(String(await cloud.get('range', { start: 6, end: 9 })), 'from');
  assert.equal(String(await cloud.get('range', { start: 11 })), 'MemCloud!');
  assert.equal(String(await cloud.get('range', { end: 0 })), 'H');
  assert.equal(String(await cloud.get('range', { start: 11, end: 1000 })), 'MemCloud!');
  const { id } = await cloud.store(Buffer.alloc(1_000_000, 'ab'));
  assert.equal((await cloud.load(id, { start: 1, end: 600_000 }))?.length, 600_000);
});

test('what is not there is null, and deleting it counts for nothing', async () => {
  assert.equal(await cloud.get('nothing'), null);
  assert.equal(await cloud.load('4503599627370000'), null);
  assert.equal(await cloud.del('nothing'), 0);
  await cloud.set('something', '1');
  assert.equal(await cloud.del('something'), 1);
  assert.equal(await cloud.get('something'), null);
});

test('what was stored is freed', async () => {
  const stored = await Promise.all([cloud.store('one'), cloud.store('three')]);
  const ids = stored.map(({ id }) => id);
  assert.deepEqual(await cloud.free(ids), { blocks: 2, bytes: 8 });
  assert.equal(await cloud.load(ids[0] as string), null);
  await assert.rejects(cloud.free(ids[0] as string), NotFoundError);
});
