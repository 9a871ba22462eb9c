/** The memory that requests are written to. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Op } from '../src/protocol/operations';
import { writeControl, writeData, writeEmpty } from '../src/protocol/requests';
import { COPY_MAX, FrameWriter } from '../src/protocol/writer';
import { frame } from './support/scripted';

/** All that was written, as the socket would get it. */
function taken(out: FrameWriter): Buffer {
  return Buffer.concat(out.take());
}

test('small values are copied next to their frames, large ones are pieces of their own', () => {
  const out = new FrameWriter();
  const [small, large] = [Buffer.alloc(COPY_MAX, 's'), Buffer.alloc(COPY_MAX + 1, 'l')];
  writeData(out, 1, true, small);
  writeData(out, 1, true, large);
  writeData(out, 1, false, small);
  const expected = [
    frame(Op.Data, 1, small, { more: true }),
    frame(Op.Data, 1, large, { more: true }),
    frame(Op.Data, 1, small),
  ];
  assert.equal(out.length, Buffer.concat(expected).length);
  const pieces = out.take();
  assert.equal(pieces.length, 3);
  assert.equal(pieces[1], large);
  assert.deepEqual(Buffer.concat(pieces), Buffer.concat(expected));
  assert.equal(out.length, 0);
});

test('what was taken stays as it is until it is said to have been written', () => {
  const out = new FrameWriter();
  writeData(out, 1, false, Buffer.from('first'));
  const [first] = out.take();
  writeData(out, 2, false, Buffer.from('second'));
  // The second one is not taken yet: neither may be written over.
  out.reuse();
  writeData(out, 3, false, Buffer.from('third'));
  assert.deepEqual(first, frame(Op.Data, 1, 'first'));
  assert.deepEqual(taken(out), Buffer.concat([frame(Op.Data, 2, 'second'), frame(Op.Data, 3, 'third')]));
  out.reuse();
  writeData(out, 4, false, Buffer.from('fourth'));
  assert.deepEqual(taken(out), frame(Op.Data, 4, 'fourth'));
});

test('more than the memory that is there', () => {
  const out = new FrameWriter();
  const value = Buffer.alloc(10_000, 'v');
  const expected: Buffer[] = [];
  for (let request = 1; request <= 100; request++) {
    writeData(out, request, false, value);
    expected.push(frame(Op.Data, request, value));
  }
  assert.deepEqual(taken(out), Buffer.concat(expected));
});

test('a frame that is taken back leaves those before it', () => {
  const out = new FrameWriter();
  writeEmpty(out, Op.Ping, 1);
  out.begin(Op.Set, 0, 0, 2, 0, 100);
  out.text('half of it');
  out.rollback();
  // Where none was begun, none is taken back.
  out.rollback();
  writeControl(out, Op.Status, 3, Buffer.alloc(0));
  assert.deepEqual(taken(out), Buffer.concat([frame(Op.Ping, 1), frame(Op.Status, 3)]));
});

test('texts of every length and script', () => {
  const out = new FrameWriter();
  const texts = [
    '',
    'a',
    'x'.repeat(63),
    'x'.repeat(65),
    'schlüssel',
    `${'x'.repeat(40)}鍵`,
    '💾'.repeat(30),
  ];
  for (const text of texts) {
    out.begin(Op.Get, 0, 0, 1, 0, 3 * text.length);
    assert.equal(out.text(text), Buffer.byteLength(text));
    out.end();
  }
  assert.deepEqual(taken(out), Buffer.concat(texts.map((text) => frame(Op.Get, 1, text))));
});
