/** Bytes that nobody would think of: whatever a node sends, a call ends or waits, and nothing is thrown but ProtocolError. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemCloudError, ProtocolError } from '../src';
import { Call } from '../src/connection/call';
import { Incoming } from '../src/connection/incoming';
import { FrameDecoder } from '../src/protocol/decoder';
import * as exchanges from '../src/protocol/exchanges';
import { Op } from '../src/protocol/operations';
import { frame, u64s, value } from './support/scripted';

/** Numbers below `limit`, always the same for a seed (xorshift, Marsaglia 2003). */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

const read = { offset: 0, length: undefined, strict: false, follow: false };

/** Calls of every kind of reply, by their ids. */
function makeCalls(): Map<number, Call> {
  const sink = {
    room: (length: number) => Buffer.alloc(length),
    filled: () => {},
    end: () => {},
    fail: () => {},
  };
  const kinds = [
    [exchanges.get, { ...read, name: 'key' }],
    [exchanges.get, { ...read, name: 'key', length: 6 }],
    [exchanges.load, { ...read, name: 7 }, sink],
    [exchanges.set, undefined],
    [exchanges.del, undefined],
    [exchanges.free, [1]],
    [exchanges.ttl, undefined],
    [exchanges.keys, undefined],
    [exchanges.mget, { keys: ['a', 'b'], strict: false }],
    [exchanges.control(Op.Stats), undefined],
  ] as const;
  const calls = new Map<number, Call>();
  for (const [index, [exchange, args, into]] of kinds.entries()) {
    const call = new Call(exchange, args, Infinity, undefined, 0, true, undefined, into);
    call.request = index + 1;
    call.promise.catch(() => {});
    calls.set(call.request, call);
  }
  return calls;
}

/** Good answers to all of them. */
function answers(): Buffer {
  const key = Buffer.from('\u0003\u0000key');
  const page = Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]), u64s(0), key]);
  const entry = Buffer.from([0, 0, 0, 0, 2, 0, 0, 0, 0x68, 0x69]);
  const batch = Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), entry, entry]);
  return Buffer.concat([
    frame(Op.Get, 1, value('a value')),
    frame(Op.Get, 2, Buffer.concat([u64s(1, 9, 6), Buffer.from('six')]), { more: true }),
    frame(Op.Load, 3, u64s(7, 5, 5), { more: true }),
    frame(Op.Credit, 4, u64s(1024)),
    frame(Op.Data, 3, 'hel', { more: true }),
    frame(Op.Data, 2, 'six'),
    frame(Op.Data, 3, 'lo', { more: true }),
    frame(Op.Data, 3),
    frame(Op.Set, 4, u64s(7, 7)),
    frame(Op.Del, 5, Buffer.from([1])),
    frame(Op.Free, 6, 'no such block', { status: 2 }),
    frame(Op.Ttl, 7, u64s(600_000)),
    frame(Op.Keys, 8, page),
    frame(Op.Mget, 9, batch),
    frame(Op.Stats, 10, '{"blo', { more: true }),
    frame(Op.Data, 10, 'cks":1}'),
  ]);
}

/** Gives bytes to a connection in pieces. Returns its calls, and what was thrown. */
function receive(bytes: Buffer, pieceLength: () => number): { calls: Map<number, Call>; thrown: unknown } {
  const calls = makeCalls();
  const inFlight = new Map(calls);
  let decoder: FrameDecoder;
  const incoming = new Incoming({
    find: (request) => inFlight.get(request),
    remove: (call) => inFlight.delete(call.request),
    taken: () => {},
    cancel: () => {},
    faulted: () => decoder.stop(),
  });
  decoder = new FrameDecoder(incoming);
  try {
    for (let at = 0; at < bytes.length; ) {
      const piece = Buffer.from(bytes.subarray(at, at + pieceLength()));
      decoder.push(piece, 0, piece.length);
      at += piece.length;
    }
  } catch (error) {
    return { calls, thrown: error };
  }
  return { calls, thrown: undefined };
}

test('good answers end all calls', async () => {
  for (const size of [1, 7, 4096]) {
    const { calls, thrown } = receive(answers(), () => size);
    assert.equal(thrown, undefined);
    const results = await Promise.all([...calls.values()].map(({ promise }) => promise));
    assert.deepEqual(results, [
      Buffer.from('a value'),
      Buffer.from('sixsix'),
      { id: 7, size: 5, length: 5 },
      { id: '7', size: 7 },
      1,
      null,
      600_000,
      { keys: [{ key: 'key', details: undefined }], missing: [], cursor: 0n },
      [{ bytes: Buffer.from('hi') }, { bytes: Buffer.from('hi') }],
      { blocks: 1 },
    ]);
  }
});

test('answers that were tampered with', async () => {
  for (let seed = 1; seed <= 3000; seed++) {
    const random = generator(seed);
    const bytes = answers();
    for (let count = 1 + random(6); count > 0; count--) {
      bytes[random(bytes.length)] = random(2) === 0 ? random(256) : 0xff;
    }
    const [from, to] = [random(bytes.length), random(bytes.length)];
    const cut = random(4) === 0 ? Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]) : bytes;
    const { calls, thrown } = receive(cut, () => 1 + random(100));
    assert.ok(thrown === undefined || thrown instanceof ProtocolError, `seed ${seed}: ${thrown}`);
    for (const call of calls.values()) {
      const outcome = call.isOver && (await call.promise.catch((error: unknown) => error));
      assert.ok(!(outcome instanceof Error) || outcome instanceof MemCloudError, `seed ${seed}: ${outcome}`);
    }
  }
});
