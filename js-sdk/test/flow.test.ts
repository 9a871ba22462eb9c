/** What waits for what: limits of the node, credit, back-pressure, deadlines and signals, against a scripted node. */

import assert from 'node:assert/strict';
import { EventEmitter, getEventListeners, once } from 'node:events';
import { test } from 'node:test';
import { CancelledError, MemCloud, type MemCloudOptions, TimeoutError, UnsupportedError } from '../src';
import type { BodySource } from '../src/connection/body';
import { Connection } from '../src/connection/connection';
import { resolveOptions } from '../src/options';
import { load, stream } from '../src/protocol/exchanges';
import { Op } from '../src/protocol/operations';
import { type Frame, frame, ScriptedNode, type ScriptedPeer, u64s, value } from './support/scripted';

const WINDOW = 2 * 1024 * 1024;

async function withScript(
  script: (peer: ScriptedPeer, number: number) => Promise<void>,
  run: (cloud: MemCloud, node: ScriptedNode) => Promise<void>,
  options: MemCloudOptions = {},
): Promise<void> {
  const node = await ScriptedNode.listen(script);
  const cloud = new MemCloud({ socketPath: node.socketPath, ...options });
  try {
    await run(cloud, node);
  } finally {
    await cloud.close();
    await node.close();
  }
}

function reply(request: Frame): Buffer {
  return request.op === Op.Get
    ? frame(Op.Get, request.request, value(request.payload.subarray(20)))
    : frame(request.op, request.request, u64s(1, 1));
}

test('no more calls are in flight than the node allows, however many are made', async () => {
  await withScript(
    async (peer) => {
      await peer.greet({ inFlightMax: 3 });
      for (let served = 0; served < 3000; served += 3) {
        const requests = await peer.nextFrames(3);
        assert.equal(peer.waiting, 0);
        peer.send(...requests.map(reply));
      }
    },
    async (cloud) => {
      const keys = Array.from({ length: 3000 }, (_, index) => String(index));
      assert.deepEqual((await Promise.all(keys.map((key) => cloud.get(key)))).map(String), keys);
    },
  );
});

test('values wait where the node would hold more than it does, and small calls go on', async () => {
  const bytes = Buffer.alloc(200 * 1024);
  const events = new EventEmitter();
  const settled = once(events, 'settled');
  await withScript(
    async (peer) => {
      // Half of it is for values in one frame: two of them.
      await peer.greet({ heldBytesMax: 1024 * 1024 });
      const first = await peer.nextFrames(2);
      assert.deepEqual(
        first.map(({ op }) => op),
        [Op.Set, Op.Set],
      );
      await settled;
      assert.equal(peer.waiting, 0);
      peer.send(...first.map(reply));
      peer.send(...(await peer.nextFrames(1)).map(reply));
    },
    async (cloud) => {
      await cloud.connect();
      const sets = ['a', 'b', 'c'].map((key) => cloud.set(key, bytes));
      await new Promise(setImmediate);
      events.emit('settled');
      await Promise.all(sets);
    },
  );
});

test('a large value goes as far as its credit, and small calls overtake it', async () => {
  const bytes = Buffer.alloc(5 * 1024 * 1024, 'abc');
  await withScript(
    async (peer) => {
      await peer.greet();
      const set = (await peer.next()) as Frame;
      assert.deepEqual(
        [set.op, set.flags, set.payload.readBigUInt64LE(0)],
        [Op.Set, 1, BigInt(bytes.length)],
      );
      const pieces: Buffer[] = [];
      let get: Frame | undefined;
      let [received, granted] = [0, WINDOW];
      for (let next = await peer.next(); next !== undefined; next = await peer.next()) {
        if (next.op === Op.Get) {
          get = next;
          peer.send(reply(next));
        } else {
          pieces.push(next.payload);
          received += next.payload.length;
        }
        assert.ok(received <= granted);
        if ((next.flags & 1) === 0 && next.op === Op.Data) {
          break;
        }
        if (received === granted && get !== undefined) {
          granted += 1_000_000;
          peer.send(frame(Op.Credit, set.request, u64s(1_000_000)));
        }
      }
      assert.ok(Buffer.concat(pieces).equals(bytes));
      peer.send(reply(set));
    },
    async (cloud) => {
      await cloud.connect();
      const [, small] = await Promise.all([cloud.set('large', bytes), cloud.get('small')]);
      assert.equal(String(small), 'small');
    },
  );
});

test('a value that the node refuses in the middle is not sent on', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      const [set] = (await peer.nextFrames(2)) as [Frame];
      peer.send(frame(Op.Set, set.request, 'no room', { status: 3 }));
      for (let next = await peer.next(); next?.op === Op.Data; next = await peer.next()) {
        assert.equal(next.flags & 1, 1);
      }
    },
    async (cloud) => {
      await assert.rejects(cloud.set('large', Buffer.alloc(4 * WINDOW)), { code: 'out_of_memory' });
      await cloud.get('after').catch(() => {});
    },
    { timeoutMs: 50 },
  );
});

test('a large value is read with credit given back half a window at a time', async () => {
  const bytes = Buffer.alloc(5 * 1024 * 1024, 'xyz');
  const grants: number[] = [];
  await withScript(
    async (peer) => {
      await peer.greet();
      const get = (await peer.next()) as Frame;
      peer.send(frame(Op.Get, get.request, u64s(1, bytes.length, bytes.length), { more: true }));
      let credit = WINDOW;
      for (let at = 0; at < bytes.length; ) {
        const piece = bytes.subarray(at, at + Math.min(credit, 256 * 1024));
        if (piece.length === 0) {
          const grant = (await peer.next()) as Frame;
          assert.deepEqual([grant.op, grant.request], [Op.Credit, get.request]);
          grants.push(Number(grant.payload.readBigUInt64LE(0)));
          credit += grants.at(-1) as number;
          continue;
        }
        at += piece.length;
        credit -= piece.length;
        peer.send(frame(Op.Data, get.request, piece, { more: at < bytes.length }));
      }
    },
    async (cloud) => {
      assert.ok((await cloud.get('large'))?.equals(bytes));
    },
  );
  assert.ok(grants.length >= 3 && grants.every((grant) => grant >= WINDOW / 2));
});

test('a sink that takes nothing holds the node up, and no deadline passes for it', async () => {
  const node = await ScriptedNode.listen(async (peer) => {
    await peer.greet();
    const request = (await peer.next()) as Frame;
    peer.send(
      frame(Op.Load, request.request, u64s(1, 2_500_000, 2_500_000), { more: true }),
      ...Array.from({ length: 8 }, () =>
        frame(Op.Data, request.request, Buffer.alloc(250_000), { more: true }),
      ),
    );
    const credit = (await peer.next()) as Frame;
    assert.deepEqual([credit.op, credit.request], [Op.Credit, request.request]);
    peer.send(frame(Op.Data, request.request, Buffer.alloc(500_000).subarray(0, 250_000), { more: true }));
    peer.send(frame(Op.Data, request.request, Buffer.alloc(250_000)));
  });
  const settings = resolveOptions({ socketPath: node.socketPath, timeoutMs: 20 });
  const connection = new Connection(settings, { up: () => {}, lost: () => {}, reconnecting: () => {} });
  const pieces: Uint8Array[] = [];
  const events = new EventEmitter();
  const download = connection.open(
    load,
    { name: 1, offset: 0, length: undefined, strict: false, follow: false },
    {
      room: (length) => Buffer.alloc(length),
      filled: (bytes) => {
        pieces.push(bytes);
        if (pieces.length === 8) {
          events.emit('full');
        }
      },
      end: () => events.emit('end'),
      fail: (error) => events.emit('error', error),
    },
  );
  const full = once(events, 'full');
  assert.equal((await download.head).size, 2_500_000);
  await full;
  // Longer than the deadline of the call.
  await new Promise((resolve) => setTimeout(resolve, 60));
  const end = once(events, 'end');
  for (const piece of [...pieces]) {
    download.taken(piece);
  }
  await end;
  assert.equal(pieces.length, 10);
  connection.close();
  await node.close();
});

test('a source that fails breaks the body off, and the call fails with its error', async () => {
  const answered = new EventEmitter();
  const node = await ScriptedNode.listen(async (peer) => {
    await peer.greet();
    const frames = await peer.nextFrames(3);
    const [put, data, end] = frames as [Frame, Frame, Frame];
    assert.deepEqual([put.op, data.op, String(data.payload)], [Op.Stream, Op.Data, 'first']);
    assert.deepEqual([end.op, end.flags, end.status], [Op.Data, 0, 13]);
    peer.send(frame(Op.Stream, put.request, 'broken off', { status: 13 }));
    answered.emit('answered');
  });
  const settings = resolveOptions({ socketPath: node.socketPath });
  const connection = new Connection(settings, { up: () => {}, lost: () => {}, reconnecting: () => {} });
  const stops: unknown[] = [];
  const failure = new Error('the disk is gone');
  let pulls = 0;
  const source: BodySource = {
    start: () => {},
    pull: () => {
      pulls += 1;
      if (pulls === 1) {
        return Buffer.from('first');
      }
      throw failure;
    },
    stop: (error) => stops.push(error),
  };
  const keeping = { ttlMs: undefined, class: 0, place: 0, peer: '', strict: false } as const;
  const wait = once(answered, 'answered');
  await assert.rejects(
    connection.request(stream, { key: undefined, keeping, value: '', size: undefined }, undefined, source),
    failure,
  );
  assert.deepEqual(stops, [failure]);
  await wait;
  await connection.idle();
  connection.close();
  await node.close();
});

test('a node that does not read: calls wait, and none is lost', async () => {
  const events = new EventEmitter();
  const made = once(events, 'made');
  const bytes = Buffer.alloc(64 * 1024, 'b');
  await withScript(
    async (peer) => {
      await peer.greet();
      peer.socket.pause();
      await made;
      assert.ok(peer.waiting < 100 * bytes.length);
      peer.socket.resume();
      for (let served = 0; served < 100; served++) {
        peer.send(reply((await peer.next()) as Frame));
      }
    },
    async (cloud) => {
      await cloud.connect();
      const sets = Array.from({ length: 100 }, (_, index) => cloud.set(`key ${index}`, bytes));
      await new Promise(setImmediate);
      events.emit('made');
      await Promise.all(sets);
    },
    { highWaterMark: 128 * 1024 },
  );
});

test('calls end with their signal: before they are sent, and in flight, where the node is told', async () => {
  const frames: Frame[] = [];
  await withScript(
    async (peer) => {
      await peer.greet({ inFlightMax: 1 });
      const get = (await peer.next()) as Frame;
      const cancel = (await peer.next()) as Frame;
      frames.push(get, cancel);
      peer.send(frame(Op.Get, get.request, 'as asked', { status: 13 }));
      peer.send(reply((await peer.next()) as Frame));
    },
    async (cloud) => {
      await assert.rejects(
        cloud.get('never', { signal: AbortSignal.abort(new Error('at once')) }),
        /at once/,
      );
      const controller = new AbortController();
      const { signal } = controller;
      const calls = [cloud.get('in flight', { signal }), cloud.get('waits', { signal })];
      const after = cloud.get('after');
      await cloud.connect();
      await new Promise(setImmediate);
      controller.abort(new Error('changed my mind'));
      for (const outcome of await Promise.allSettled(calls)) {
        assert.ok(outcome.status === 'rejected');
        assert.match(outcome.reason.message, /changed my mind/);
      }
      assert.equal(String(await after), 'after');
    },
  );
  assert.deepEqual(
    frames.map(({ op }) => op),
    [Op.Get, Op.Cancel],
  );
  assert.equal(frames[0]?.request, frames[1]?.request);
});

test('a thousand calls with one signal leave one listener, and in the end none', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      peer.send(...(await peer.nextFrames(1000)).map(reply));
    },
    async (cloud) => {
      const { signal } = new AbortController();
      const calls = Array.from({ length: 1000 }, (_, index) => cloud.get(`key ${index}`, { signal }));
      assert.equal(getEventListeners(signal, 'abort').length, 1);
      await Promise.all(calls);
      assert.equal(getEventListeners(signal, 'abort').length, 0);
    },
  );
});

test('what the node says of a call becomes its error', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      const [unknown, cancelled, later] = (await peer.nextFrames(3)) as [Frame, Frame, Frame];
      peer.send(
        frame(Op.Get, unknown.request, 'what is this?', { status: 12 }),
        frame(Op.Get, cancelled.request, '', { status: 13 }),
        frame(Op.Get, later.request, 'from the future', { status: 999 }),
      );
    },
    async (cloud) => {
      const calls = ['a', 'b', 'c'].map((key) => cloud.get(key));
      const [unknown, cancelled, later] = (await Promise.allSettled(calls)).map(
        (outcome) => outcome.status === 'rejected' && outcome.reason,
      );
      assert.ok(unknown instanceof UnsupportedError && unknown.message === 'what is this?');
      assert.ok(cancelled instanceof CancelledError);
      assert.equal(later.code, 'internal');
    },
  );
});

test('no room within the deadline', async () => {
  await withScript(
    async (peer) => {
      await peer.greet({ inFlightMax: 1 });
      await peer.next();
    },
    async (cloud) => {
      const first = cloud.get('first');
      await assert.rejects(cloud.get('second', { timeoutMs: 20 }), (error: Error) => {
        assert.match(error.message, /no room for the call/);
        return error instanceof TimeoutError;
      });
      void cloud.close();
      await assert.rejects(first);
    },
  );
});

test('a client that is disposed of waits for what is in flight', async () => {
  await withScript(
    async (peer) => {
      await peer.greet();
      const request = (await peer.next()) as Frame;
      setImmediate(() => peer.send(reply(request)));
    },
    async (cloud) => {
      const call = cloud.get('last');
      cloud.on('consent', () => {});
      await cloud[Symbol.asyncDispose]();
      assert.equal(String(await call), 'last');
      await assert.rejects(cloud.get('later'), { code: 'closed' });
    },
  );
});

test('the node is asked who waits for consent while somebody listens, and not after', async () => {
  const request = { id: '01'.repeat(16), name: 'NodeB', code: '482913', expires_in_secs: 60 };
  await withScript(
    async (peer) => {
      await peer.greet();
      const json = ({ payload }: Frame): unknown => JSON.parse(String(payload));
      const tell = (asked: Frame, state: unknown): void => {
        peer.send(frame(Op.ConsentWait, asked.request, JSON.stringify(state)));
      };
      const first = (await peer.next()) as Frame;
      assert.deepEqual([first.op, json(first)], [Op.ConsentWait, { timeout_ms: 60_000 }]);
      tell(first, { revision: 7, requests: [request] });
      const second = (await peer.next()) as Frame;
      assert.deepEqual(json(second), { known_revision: 7, timeout_ms: 60_000 });
      // The same one still waits, and asks anew: with another code.
      tell(second, { revision: 8, requests: [request, { ...request, code: '111111' }] });
      const third = (await peer.next()) as Frame;
      const cancel = (await peer.next()) as Frame;
      assert.deepEqual([cancel.op, cancel.request], [Op.Cancel, third.request]);
      peer.send(frame(Op.ConsentWait, third.request, '', { status: 13 }));
      const get = (await peer.next()) as Frame;
      assert.equal(get.op, Op.Get);
      peer.send(reply(get));
    },
    async (cloud) => {
      const codes: string[] = [];
      await new Promise<void>((resolve) => {
        cloud.on('consent', ({ code, expiresInSecs }) => {
          assert.equal(expiresInSecs, 60);
          codes.push(code);
          if (codes.length === 2) {
            resolve();
          }
        });
        cloud.once('consent', () => {});
      });
      await new Promise(setImmediate);
      cloud.removeAllListeners();
      await cloud.get('a');
      assert.deepEqual(codes, ['482913', '111111']);
    },
  );
});
