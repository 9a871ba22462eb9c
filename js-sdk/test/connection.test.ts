/** A connection against a node that does what no real one does. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ClosedError,
  ConnectionLostError,
  DeniedError,
  IncompatibleVersionError,
  MemCloud,
  type MemCloudOptions,
  NotRunningError,
  ProtocolError,
  TimeoutError,
} from '../src';
import { Op } from '../src/protocol/operations';
import {
  type Frame,
  frame,
  greeting,
  ScriptedNode,
  type ScriptedPeer,
  u64s,
  value,
} from './support/scripted';

/** Runs a test with a client of a scripted node. */
async function withScript(
  script: (peer: ScriptedPeer, number: number) => Promise<void> | void,
  run: (cloud: MemCloud) => Promise<void>,
  options: MemCloudOptions = {},
): Promise<void> {
  const node = await ScriptedNode.listen(script);
  const cloud = new MemCloud({ socketPath: node.socketPath, ...options });
  try {
    await run(cloud);
  } finally {
    await cloud.close();
    await node.close();
  }
}

/** The key of a GET. */
function keyOf(request: Frame): string {
  return request.payload.subarray(20).toString();
}

/** The reply to a GET whose value is its key. */
function echo(request: Frame): Buffer {
  return frame(Op.Get, request.request, value(keyOf(request)));
}

test('replies are matched by their ids, in any order', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      const requests = await peer.nextFrames(100);
      peer.send(...requests.reverse().map(echo));
    },
    async (cloud) => {
      const keys = Array.from({ length: 100 }, (_, index) => `key ${index}`);
      const values = await Promise.all(keys.map((key) => cloud.get(key)));
      assert.deepEqual(values.map(String), keys);
    },
  );
});

test('what arrives may be split at every byte', async () => {
  await withScript(
    async (peer) => {
      await peer.take(4);
      const hello = (await peer.next()) as Frame;
      await peer.sendByteByByte(frame(Op.Hello, hello.request, greeting()));
      const [small, large] = (await peer.nextFrames(2)) as [Frame, Frame];
      await peer.sendByteByByte(
        Buffer.concat([
          frame(Op.Get, large.request, Buffer.concat([u64s(1, 7, 7), Buffer.from('lar')]), { more: true }),
          echo(small),
          frame(Op.Data, large.request, 'ge', { more: true }),
          frame(Op.Data, large.request, '!!'),
        ]),
      );
    },
    async (cloud) => {
      const values = await Promise.all([cloud.get('small'), cloud.get('large')]);
      assert.deepEqual(values.map(String), ['small', 'large!!']);
    },
  );
});

const nonsense: Record<string, (request: Frame) => Buffer> = {
  'bytes that are no frame': () => Buffer.alloc(64, 0xff),
  'a length over the limit': (request) => {
    const bytes = frame(Op.Get, request.request);
    bytes.writeUInt32LE(266_241, 0);
    return bytes;
  },
  'a reply to another operation': (request) => frame(Op.Set, request.request, u64s(1, 1)),
  'a reply that ends too early': (request) => frame(Op.Get, request.request, u64s(1, 1)),
  'fewer bytes than the reply says': (request) =>
    frame(Op.Get, request.request, Buffer.concat([u64s(1, 5, 5), Buffer.from('four')])),
  'a body that ends early': (request) =>
    Buffer.concat([
      frame(Op.Get, request.request, u64s(1, 5, 5), { more: true }),
      frame(Op.Data, request.request, 'four'),
    ]),
  'a body that is longer than it said': (request) =>
    Buffer.concat([
      frame(Op.Get, request.request, u64s(1, 3, 3), { more: true }),
      frame(Op.Data, request.request, 'four'),
    ]),
  'a body without a reply': (request) => frame(Op.Data, request.request, 'four', { more: true }),
  'more bytes of a value than it has': (request) =>
    frame(Op.Get, request.request, Buffer.concat([u64s(1, 2, 4), Buffer.from('four')])),
};

for (const [what, answer] of Object.entries(nonsense)) {
  test(`${what}: the call rejects, and the connection ends`, async () => {
    let hasEnded = false;
    await withScript(
      async (peer) => {
        await peer.greet();
        peer.send(answer((await peer.next()) as Frame));
        hasEnded = (await peer.next()) === undefined;
      },
      async (cloud) => {
        await assert.rejects(cloud.get('a'), ProtocolError);
      },
      { reconnect: false },
    );
    assert.ok(hasEnded);
  });
}

test('a node of another version: both versions are named', async () => {
  await withScript(
    async (peer) => {
      await peer.greet({ version: 2, nodeVersion: '3.1.4' });
    },
    async (cloud) => {
      await assert.rejects(cloud.connect(), (error: Error) => {
        assert.ok(error instanceof IncompatibleVersionError);
        assert.match(error.message, /memnode 3\.1\.4 speaks version 2 .* this client speaks 1/);
        return true;
      });
    },
  );
});

test('a node that refuses the version: what it says is told', async () => {
  await withScript(
    async (peer) => {
      await peer.take(4);
      await peer.next();
      peer.send(frame(Op.Fault, 0, 'this node speaks 7', { status: 12 }));
      peer.socket.end();
    },
    async (cloud) => {
      await assert.rejects(cloud.get('a'), (error: Error) => {
        assert.ok(error instanceof IncompatibleVersionError);
        assert.match(error.message, /client speaks version 1 .* this node speaks 7/);
        return true;
      });
    },
  );
});

test('a node that refuses the token', async () => {
  await withScript(
    async (peer) => {
      await peer.take(4);
      await peer.next();
      peer.send(frame(Op.Fault, 0, 'wrong token', { status: 5 }));
      peer.socket.end();
    },
    async (cloud) => {
      await assert.rejects(cloud.connect(), DeniedError);
    },
  );
});

test('silence until the deadline: the call rejects, the node is told, and others go on', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      const silent = (await peer.next()) as Frame;
      const cancel = (await peer.next()) as Frame;
      assert.deepEqual([cancel.op, cancel.request], [Op.Cancel, silent.request]);
      const other = (await peer.next()) as Frame;
      peer.send(frame(Op.Get, silent.request, 'cancelled', { status: 13 }), echo(other));
    },
    async (cloud) => {
      await assert.rejects(cloud.get('silent', { timeoutMs: 20 }), TimeoutError);
      assert.equal(String(await cloud.get('other')), 'other');
    },
  );
});

test('death in flight: what was sent rejects, and what follows finds the node again', async () => {
  await withScript(
    async (peer, number) => {
      await peer.greet();
      const requests = await peer.nextFrames(number === 1 ? 2 : 1);
      if (number === 1) {
        peer.socket.destroy();
      } else {
        peer.send(...requests.map(echo));
      }
    },
    async (cloud) => {
      const events: string[] = [];
      cloud.on('disconnect', (error) => events.push(error.code));
      cloud.on('reconnecting', ({ attempt }) => events.push(`attempt ${attempt}`));
      cloud.on('connect', () => events.push('connect'));
      const lost = await Promise.allSettled([cloud.get('a'), cloud.get('b')]);
      for (const outcome of lost) {
        assert.ok(outcome.status === 'rejected' && outcome.reason instanceof ConnectionLostError);
      }
      assert.equal(String(await cloud.get('c')), 'c');
      assert.deepEqual(events, ['connect', 'connection_lost', 'attempt 1', 'connect']);
    },
    { reconnect: { minDelayMs: 1 } },
  );
});

test('close with calls in flight: they reject, and so does what follows', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      await peer.next();
    },
    async (cloud) => {
      await cloud.connect();
      const calls = [cloud.get('a'), cloud.set('b', Buffer.alloc(1_000_000)), cloud.connect()];
      void cloud.close();
      const [get, set] = await Promise.allSettled(calls);
      assert.ok(get?.status === 'rejected' && get.reason instanceof ClosedError);
      assert.ok(set?.status === 'rejected' && set.reason instanceof ClosedError);
      await assert.rejects(cloud.get('c'), ClosedError);
      await assert.rejects(cloud.connect(), ClosedError);
    },
  );
});

test('nobody listens', async () => {
  const cloud = new MemCloud({ socketPath: '/nowhere/memnode.sock' });
  await assert.rejects(cloud.connect(), NotRunningError);
  await assert.rejects(cloud.get('a'), (error: Error) => {
    assert.match(error.message, /\/nowhere\/memnode\.sock.*memcli node start/);
    return error instanceof NotRunningError;
  });
  await cloud.close();
});
