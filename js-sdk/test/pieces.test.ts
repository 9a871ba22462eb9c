/** The queue between a source and a connection: what it holds, and in which pieces it gives it out. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Pieces } from '../src/streams/pieces';

const KIB = 1024;

/** Takes out all that is there. */
function drain(pieces: Pieces, max = 256 * KIB): Buffer {
  const taken: Uint8Array[] = [];
  for (let piece = pieces.pull(max); piece; piece = pieces.pull(max)) {
    assert.ok(piece.length > 0 && piece.length <= max);
    taken.push(piece);
  }
  return Buffer.concat(taken);
}

test('bytes come out in their order, whatever the sizes of the pieces were', () => {
  const pieces = new Pieces(Infinity);
  const put: Buffer[] = [];
  for (const [index, size] of [1, 20_000, 3, 16_383, 16_384, 70_000, 5, 5, 300_000, 1].entries()) {
    const piece = Buffer.alloc(size, index + 1);
    put.push(piece);
    pieces.push(piece);
  }
  const all = Buffer.concat(put);
  assert.equal(pieces.length, all.length);
  assert.deepEqual(drain(pieces, 10_000), all);
  assert.equal(pieces.length, 0);
});

test('small pieces leave together, and may be changed at once; large ones are not copied', () => {
  const pieces = new Pieces(Infinity);
  const small = Buffer.from('a line\n');
  for (let count = 0; count < 1000; count++) {
    pieces.push(small);
  }
  small.fill('x');
  const first = pieces.pull(256 * KIB);
  assert.equal(first?.length, 7000);
  assert.equal(Buffer.from(first as Uint8Array).toString(), 'a line\n'.repeat(1000));
  const large = Buffer.alloc(100 * KIB, 7);
  pieces.push(large);
  const [one, other] = [pieces.pull(64 * KIB), pieces.pull(64 * KIB)];
  assert.equal(one?.buffer, large.buffer);
  assert.equal(other?.length, 36 * KIB);
});

test('no more is wanted above the high-water mark, until enough was taken', async () => {
  const taken: number[] = [];
  const pieces = new Pieces(100 * KIB, undefined, (total) => taken.push(total));
  pieces.push(Buffer.alloc(99 * KIB));
  await pieces.wanted();
  pieces.push(Buffer.alloc(60 * KIB));
  let isWanted = false;
  const wanted = pieces.wanted().then(() => {
    isWanted = true;
  });
  pieces.pull(32 * KIB);
  await turn();
  assert.equal(isWanted, false);
  pieces.pull(32 * KIB);
  await wanted;
  assert.equal(pieces.length, 95 * KIB);
  assert.deepEqual(taken, [32 * KIB, 64 * KIB]);
});

test('the connection is woken when there is something, and at the end', async () => {
  const pieces = new Pieces(Infinity);
  let woken = 0;
  pieces.start(() => {
    woken += 1;
  });
  assert.equal(pieces.pull(KIB), undefined);
  pieces.push(Buffer.from('one'));
  pieces.push(Buffer.from('two'));
  assert.equal(woken, 0, 'what else comes in this turn is waited for');
  await turn();
  assert.equal(woken, 1);
  assert.equal(drain(pieces).toString(), 'onetwo');
  pieces.push(Buffer.alloc(64 * KIB));
  assert.equal(woken, 2, 'much is taken at once');
  drain(pieces);
  pieces.end();
  assert.equal(woken, 3);
  assert.equal(pieces.pull(KIB), null);
});

test('a failure drops what waits, and is what the next pull throws', async () => {
  const pieces = new Pieces(KIB);
  pieces.push(Buffer.alloc(2 * KIB));
  const failure = new Error('the disk is gone');
  pieces.fail(failure);
  assert.equal(pieces.length, 0);
  assert.throws(() => pieces.pull(KIB), failure);
});

test('when it is stopped nobody waits any more, and the reason is told', async () => {
  let reason: Error | undefined;
  const pieces = new Pieces(KIB, (error) => {
    reason = error;
  });
  pieces.push(Buffer.alloc(2 * KIB));
  const wanted = pieces.wanted();
  const error = new Error('no room');
  pieces.stop(error);
  await wanted;
  assert.equal(pieces.isStopped, true);
  assert.equal(reason, error);
  pieces.push(Buffer.alloc(KIB));
  assert.equal(pieces.length, 0);
});
