/** A client from its first call to its last, against a real node that comes and goes. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { ConnectionLostError, DeniedError, MemCloud, NotRunningError } from '../src';
import { TestNode, until } from './support/node';

let node: TestNode;

before(async () => {
  node = await TestNode.start({ tcp: true, memory: '64mb' });
});

after(async () => {
  await node.remove();
});

test('over TCP, with the token as text, in a file, and where the node keeps it', async () => {
  const { host, port, token } = await node.tcp();
  const tokenPath = path.join(node.home, 'token');
  for (const options of [
    { host, port, token },
    { port, tokenPath },
  ]) {
    const cloud = new MemCloud(options);
    const large = Buffer.alloc(3_000_000, 'tcp');
    await cloud.set('tcp', large);
    assert.ok((await cloud.get('tcp'))?.equals(large));
    await cloud.close();
  }
});

test('over TCP without the right token', async () => {
  const { host, port } = await node.tcp();
  const wrong = new MemCloud({ host, port, token: 'ff'.repeat(32) });
  await assert.rejects(wrong.connect(), DeniedError);
  await wrong.close();
  const absent = path.join(node.home, 'no-token');
  const none = new MemCloud({ host, port, tokenPath: absent });
  await assert.rejects(none.get('a'), (error: Error) => {
    assert.ok(error.message.includes(absent));
    return error instanceof NotRunningError;
  });
  await writeFile(path.join(node.home, 'long-token'), 'f'.repeat(1000));
  const long = new MemCloud({ host, port, tokenPath: path.join(node.home, 'long-token') });
  await assert.rejects(long.get('a'));
  await Promise.all([none.close(), long.close()]);
});

test('thousands of calls at once, each with its own answer', async () => {
  const cloud = new MemCloud({ socketPath: node.socketPath });
  const keys = Array.from({ length: 10_000 }, (_, index) => `parallel:${index}`);
  await Promise.all(keys.map((key) => cloud.set(key, key)));
  const values = await Promise.all(keys.map((key) => cloud.get(key)));
  assert.deepEqual(values.map(String), keys);
  assert.equal(await cloud.del(keys), keys.length);
  await cloud.close();
});

test('large and small values at once', async () => {
  const cloud = new MemCloud({ socketPath: node.socketPath });
  const large = Buffer.alloc(2_500_000, 'large');
  const work = Array.from({ length: 200 }, async (_, index) => {
    const [key, value] =
      index % 20 === 0 ? [`large:${index}`, large] : [`small:${index}`, Buffer.from(`${index}`)];
    await cloud.set(key, value);
    assert.ok((await cloud.get(key))?.equals(value), key);
    await cloud.del(key);
  });
  await Promise.all(work);
  await cloud.close();
});

test('a large value that nobody wants any more in the middle', async () => {
  const cloud = new MemCloud({ socketPath: node.socketPath });
  const large = Buffer.alloc(16_000_000, 'large');
  const { id } = await cloud.store(large);
  for (const call of [
    (signal: AbortSignal) => cloud.load(id, { signal }),
    (signal: AbortSignal) => cloud.set('broken off', large, { signal }),
  ]) {
    const controller = new AbortController();
    const outcome = call(controller.signal);
    setImmediate(() => controller.abort(new Error('not any more')));
    await assert.rejects(outcome, /not any more/);
  }
  // The connection goes on, and the node has forgotten them.
  assert.ok((await cloud.load(id))?.equals(large));
  assert.equal(await cloud.get('broken off'), null);
  await cloud.free(id);
  await cloud.close();
});

test('a node that is killed in flight and started again', async () => {
  const own = await TestNode.start();
  const cloud = new MemCloud({ socketPath: own.socketPath, reconnect: { maxDelayMs: 100, attempts: 1000 } });
  await cloud.set('before', '1');
  const lost = once(cloud, 'disconnect');
  const large = Buffer.alloc(64_000_000);
  const inFlight = Promise.allSettled([cloud.set('large', large), cloud.store(large), cloud.store(large)]);
  await new Promise(setImmediate);
  await own.stop('SIGKILL');
  for (const outcome of await inFlight) {
    assert.ok(outcome.status === 'rejected' && outcome.reason instanceof ConnectionLostError);
  }
  await lost;
  // Made while there is no node: it waits for the next one, which knows nothing.
  const waiting = cloud.get('before');
  await own.start();
  assert.equal(await waiting, null);
  await cloud.set('after', '2');
  await cloud.close();
  await own.remove();
});

test('a connection that is not to come back by itself', async () => {
  const own = await TestNode.start();
  const cloud = new MemCloud({ socketPath: own.socketPath, reconnect: false });
  await cloud.connect();
  const lost = once(cloud, 'disconnect');
  await own.stop();
  await lost;
  await assert.rejects(cloud.get('a'), ConnectionLostError);
  await assert.rejects(cloud.connect(), NotRunningError);
  await own.start();
  await cloud.connect();
  assert.equal(await cloud.get('a'), null);
  await cloud.close();
  await own.remove();
});

test('attempts that are given up, and a call that begins anew', async () => {
  const own = await TestNode.start();
  const cloud = new MemCloud({ socketPath: own.socketPath, reconnect: { minDelayMs: 1, attempts: 3 } });
  const attempts: number[] = [];
  cloud.on('reconnecting', ({ attempt }) => attempts.push(attempt));
  await cloud.connect();
  const lost = once(cloud, 'disconnect');
  await own.stop();
  await lost;
  await assert.rejects(cloud.get('a'), NotRunningError);
  assert.deepEqual(attempts, [1, 2, 3]);
  await own.start();
  assert.equal(await cloud.get('a'), null);
  await cloud.close();
  await own.remove();
});

test('what a listener throws is for the program to catch, and the connection goes on', async () => {
  const script = `
    const { MemCloud } = require(${JSON.stringify(path.join(__dirname, '..', 'src'))});
    const cloud = new MemCloud({ socketPath: ${JSON.stringify(node.socketPath)} });
    process.on('uncaughtException', (error) => process.stdout.write(error.message + ', '));
    cloud.on('connect', () => { throw new Error('thrown by a listener'); });
    cloud.ping().then(() => cloud.close()).then(() => process.stdout.write('and closed'));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script]);
  assert.equal(stdout, 'thrown by a listener, and closed');
});

test('a program ends when it has closed its client', async () => {
  const script = `
    const { MemCloud } = require(${JSON.stringify(path.join(__dirname, '..', 'src'))});
    const cloud = new MemCloud({ socketPath: ${JSON.stringify(node.socketPath)} });
    cloud.on('consent', () => {});
    cloud.set('from a program', '1').then(() => cloud.close());
  `;
  await promisify(execFile)(process.execPath, ['-e', script]);
  const cloud = new MemCloud({ socketPath: node.socketPath });
  assert.equal(String(await cloud.get('from a program')), '1');
  await until('its connection is gone', async () => (await cloud.stats()).localConnections === 1);
  await cloud.close();
});
