/** Arguments that cannot be: nothing of them is sent. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import vm from 'node:vm';
import {
  defaultSocketPath,
  InvalidArgumentError,
  MemCloud,
  type MemCloudOptions,
  TooLargeError,
} from '../src';
import { Backoff } from '../src/connection/backoff';
import { Gather } from '../src/connection/gather';
import { Op } from '../src/protocol/operations';
import { VERSION } from '../src/version';
import { frame, ScriptedNode, u64s } from './support/scripted';

// biome-ignore lint/suspicious/noExplicitAny: what a program without types passes.
type Wrong = any;

test('values of the wrong type: a TypeError says what is allowed, and nothing is sent', async () => {
  const seen: number[] = [];
  const node = await ScriptedNode.listen(async (peer) => {
    await peer.greet();
    for (let next = await peer.next(); next !== undefined; next = await peer.next()) {
      seen.push(next.op);
      peer.send(frame(next.op, next.request, u64s(1, 1)));
    }
  });
  const cloud = new MemCloud({ socketPath: node.socketPath });
  await cloud.connect();
  const wrong: Wrong[] = [
    7,
    { name: 'Alice' },
    null,
    undefined,
    true,
    [1],
    new Date(),
    new Uint16Array(2),
    1n,
  ];
  for (const value of wrong) {
    const calls = [cloud.set('k', value), cloud.store(value), cloud.mset({ k: value })];
    for (const outcome of await Promise.allSettled(calls)) {
      assert.ok(outcome.status === 'rejected' && outcome.reason instanceof TypeError);
      assert.match(outcome.reason.message, /string, Buffer, Uint8Array, ArrayBuffer or DataView/);
      assert.equal((outcome.reason as Wrong).code, 'invalid_argument');
    }
  }
  const calls: (() => Promise<unknown>)[] = [
    () => cloud.get(7 as Wrong),
    () => cloud.get(undefined as Wrong),
    () => cloud.del({} as Wrong),
    () => cloud.del([7] as Wrong),
    () => cloud.mget('a' as Wrong),
    () => cloud.mset(7 as Wrong),
    () => cloud.load(7 as Wrong),
    () => cloud.free([7] as Wrong),
    () => cloud.ttl(7 as Wrong),
    () => cloud.ttl({ id: 7 } as Wrong),
    () => cloud.expire('a', '1' as Wrong),
    () => cloud.get('a', 7 as Wrong),
    () => cloud.get('a', { signal: 7 as Wrong }),
    () => cloud.get('a', { timeoutMs: '7' as Wrong }),
    () => cloud.get('a', { start: '7' as Wrong }),
    () => cloud.set('a', 'b', { peer: 7 as Wrong }),
    () => cloud.set('a', 'b', { ttlMs: '7' as Wrong }),
    () => cloud.connectPeer(7 as Wrong),
    () => cloud.connectPeer('a', { quotaBytes: '7' as Wrong }),
    () => cloud.disconnectPeer(7 as Wrong),
    () => cloud.setGrant('a', undefined as Wrong),
    () => cloud.trust.add(7 as Wrong, { name: 'a' }),
    () => cloud.trust.remove(undefined as Wrong),
    () => cloud.consent.allow(7 as Wrong),
    () => cloud.pair.join(7 as Wrong),
    () => cloud.doctor(7 as Wrong),
    () => cloud.flush({ peer: 7 as Wrong }),
  ];
  for (const call of calls) {
    await assert.rejects(call(), (error: TypeError & { code?: string }) => {
      assert.ok(error instanceof TypeError, `${call}: ${error}`);
      assert.equal(error.code, 'invalid_argument', `${call}`);
      return true;
    });
  }
  await cloud.set('k', 'v');
  assert.deepEqual(seen, [Op.Set]);
  await cloud.close();
  await node.close();
});

test('what is out of its range is refused before it is sent', async () => {
  const cloud = new MemCloud({ socketPath: '/nowhere/memnode.sock' });
  const invalid: (() => Promise<unknown>)[] = [
    () => cloud.get(''),
    () => cloud.get('half \ud800 a character'),
    () => cloud.get('a', { start: -1 }),
    () => cloud.get('a', { start: 2, end: 1 }),
    () => cloud.get('a', { start: 0.5 }),
    () => cloud.get('a', { timeoutMs: -1 }),
    () => cloud.load('0'),
    () => cloud.load('9007199254740992'),
    () => cloud.load('1.5'),
    () => cloud.load(' 1'),
    () => cloud.set('a', 'b', { ttlMs: 0 }),
    () => cloud.set('a', 'b', { ttlMs: 1.5 }),
    () => cloud.set('a', 'b', { local: true, remote: true }),
    () => cloud.set('a', 'b', { peer: 'c', local: true }),
    () => cloud.set('a', 'b', { peer: '' }),
    () => cloud.set('a', 'b', { class: 'gold' as Wrong }),
    () => cloud.setGrant('a', -1),
    () => cloud.trust.add('abc', { name: 'a' }),
  ];
  for (const call of invalid) {
    await assert.rejects(call(), InvalidArgumentError, `${call}`);
  }
  await assert.rejects(cloud.get('k'.repeat(1025)), TooLargeError);
  await assert.rejects(cloud.get('ü'.repeat(513)), TooLargeError);
  await assert.rejects(cloud.set('a', 'b', { peer: 'p'.repeat(256) }), TooLargeError);
  await cloud.close();
});

test('options of a client that cannot be', () => {
  const wrong: Wrong[] = [
    { socketPath: 7 },
    { port: '7070' },
    { timeoutMs: 'soon' },
    { name: 7 },
    { reconnect: { attempts: 'many' } },
    null,
  ];
  for (const options of wrong) {
    assert.throws(() => new MemCloud(options), TypeError);
  }
  const invalid: MemCloudOptions[] = [
    { socketPath: '/s', port: 1 },
    { socketPath: '' },
    { token: 'x'.repeat(129), port: 1 },
    { port: 65_536 },
    { port: 1.5 },
    { highWaterMark: 0 },
    { timeoutMs: Number.NaN },
  ];
  for (const options of invalid) {
    assert.throws(() => new MemCloud(options), InvalidArgumentError);
  }
});

test('values of another realm are values', async () => {
  const stored: Buffer[] = [];
  const node = await ScriptedNode.listen(async (peer) => {
    await peer.greet();
    for (let next = await peer.next(); next !== undefined; next = await peer.next()) {
      stored.push(next.payload.subarray(24));
      peer.send(frame(next.op, next.request, u64s(1, 2)));
    }
  });
  const cloud = new MemCloud({ socketPath: node.socketPath });
  for (const code of [
    'new Uint8Array([1, 2])',
    'new Uint8Array([1, 2]).buffer',
    'new DataView(new Uint8Array([1, 2]).buffer)',
  ]) {
    await cloud.store(vm.runInNewContext(code));
  }
  assert.deepEqual(stored, Array(3).fill(Buffer.from([1, 2])));
  await cloud.close();
  await node.close();
});

test('the socket is looked for where the node has it', () => {
  const nothing = (): boolean => false;
  const all = {
    HOME: '/home/a',
    XDG_RUNTIME_DIR: '/run/user/1',
    MEMCLOUD_HOME: '/srv/node',
    MEMCLOUD_SOCKET: '/s',
  };
  assert.equal(defaultSocketPath(all, nothing), '/s');
  assert.equal(defaultSocketPath({ ...all, MEMCLOUD_SOCKET: '' }, nothing), '/srv/node/memnode.sock');
  const user = { HOME: '/home/a', XDG_RUNTIME_DIR: '/run/user/1' };
  assert.equal(defaultSocketPath(user, nothing), '/run/user/1/memcloud/memnode.sock');
  assert.equal(defaultSocketPath({ HOME: '/home/a' }, nothing), '/home/a/.memcloud/memnode.sock');
  assert.equal(defaultSocketPath({}, nothing), undefined);
  // The system's service, for those who have no node of their own.
  const system = '/run/memcloud/memnode.sock';
  assert.equal(
    defaultSocketPath(user, (path) => path === system),
    system,
  );
  assert.equal(
    defaultSocketPath({}, (path) => path === system),
    system,
  );
  assert.equal(
    defaultSocketPath(user, () => true),
    '/run/user/1/memcloud/memnode.sock',
  );
  assert.equal(
    defaultSocketPath(all, (path) => path === system),
    '/s',
  );
  assert.equal(
    defaultSocketPath({ ...user, MEMCLOUD_HOME: '/srv' }, (path) => path === system),
    '/srv/memnode.sock',
  );
});

test('pauses between attempts double up to their limit, and end', () => {
  const backoff = new Backoff({ minDelayMs: 10, maxDelayMs: 50, attempts: 5 });
  const delays = (random: () => number): (number | undefined)[] => {
    backoff.reset();
    return Array.from({ length: 6 }, () => backoff.next(random));
  };
  assert.deepEqual(
    delays(() => 0),
    [10, 20, 40, 50, 50, undefined],
  );
  assert.deepEqual(
    delays(() => 1),
    [5, 10, 20, 25, 25, undefined],
  );
});

test('a body of unknown length is gathered as it comes, up to a limit', () => {
  const gather = new Gather(undefined);
  const piece = Buffer.alloc(900_000, 'x');
  for (let count = 0; count < 4; count++) {
    gather.append(piece);
  }
  assert.ok(gather.finish().equals(Buffer.alloc(3_600_000, 'x')));
  assert.throws(() => {
    for (let count = 0; count < 100; count++) {
      gather.append(piece);
    }
  }, /more than the 67108864 bytes/);
});

test('the version that the node logs is that of the package', () => {
  const { version } = JSON.parse(readFileSync(path.join(__dirname, '..', '..', 'package.json'), 'utf8'));
  assert.equal(VERSION, version);
});
