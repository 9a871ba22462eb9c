/** How much of a stream waits where, counted in bytes, against a node that grants and sends what a test says. */

import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MemCloud } from '../src';
import { DATA_COST_MIN, dataCost } from '../src/protocol/limits';
import { Op } from '../src/protocol/operations';
import { frame, ScriptedNode, type ScriptedPeer, u64s } from './support/scripted';

const KIB = 1024;
const MIB = 1024 * KIB;

/** The credit that a body begins with. */
const WINDOW = 2 * MIB;

/** So many turns of the event loop are enough for whatever is not held up. */
const TURNS = 200;

async function withScript(
  script: (peer: ScriptedPeer) => Promise<void>,
  run: (cloud: MemCloud) => Promise<void>,
): Promise<void> {
  const node = await ScriptedNode.listen(script);
  const cloud = new MemCloud({ socketPath: node.socketPath });
  try {
    await run(cloud);
  } finally {
    await cloud.close();
    await node.close();
  }
}

/** Lets everything happen that can. */
async function settle(): Promise<void> {
  for (let count = 0; count < TURNS; count++) {
    await turn();
  }
}

/** A node that opens a stream, takes what the first credit pays for, and waits until it may go on to the end. */
class Taking {
  taken = 0;
  readonly isFull: Promise<void>;
  private readonly mayGoOn: Promise<void>;
  private full: () => void = () => {};
  goOn: () => void = () => {};

  constructor() {
    this.isFull = new Promise((resolve) => {
      this.full = resolve;
    });
    this.mayGoOn = new Promise((resolve) => {
      this.goOn = resolve;
    });
  }

  readonly script = async (peer: ScriptedPeer): Promise<void> => {
    await peer.greet();
    const open = await peer.next();
    assert.equal(open?.op, Op.StreamOpen);
    peer.send(frame(Op.StreamOpen, open?.request as number, '{"id":77}'));
    const write = await peer.next();
    assert.equal(write?.op, Op.StreamWrite);
    const request = write?.request as number;
    let credit = WINDOW;
    while (credit >= DATA_COST_MIN) {
      const { length } = await this.data(peer);
      this.taken += length;
      credit -= dataCost(length);
    }
    assert.ok(credit >= 0);
    this.full();
    await this.mayGoOn;
    peer.send(frame(Op.Credit, request, u64s(WINDOW * WINDOW)));
    for (let bytes = await this.data(peer); bytes.length > 0; bytes = await this.data(peer)) {
      this.taken += bytes.length;
    }
    peer.send(frame(Op.StreamWrite, request, u64s(77, this.taken)));
    const finish = await peer.next();
    assert.equal(finish?.op, Op.StreamFinish);
    const finished = { id: 77, size_bytes: this.taken, stored_bytes: this.taken, known_bytes: 0 };
    peer.send(frame(Op.StreamFinish, finish?.request as number, JSON.stringify(finished)));
  };

  /** The bytes of the next frame of the body; none is the end. */
  private async data(peer: ScriptedPeer): Promise<Buffer> {
    const next = await peer.next();
    assert.equal(next?.op, Op.Data);
    assert.equal(next?.flags === 1, (next?.payload.length ?? 0) > 0);
    return next?.payload as Buffer;
  }
}

for (const [name, pieceSize] of [
  ['small', 100],
  ['large', 300 * KIB],
] as const) {
  test(`a source of ${name} pieces is asked for no more than credit and high-water mark`, async () => {
    const highWaterMark = 512 * KIB;
    const size = 20_000 * 1000;
    let given = 0;
    function* source(): Generator<Buffer> {
      while (given < size) {
        const length = Math.min(pieceSize, size - given);
        given += length;
        yield Buffer.alloc(length);
      }
    }
    const node = new Taking();
    await withScript(node.script, async (cloud) => {
      const storing = cloud.storeStream(source(), { highWaterMark });
      await node.isFull;
      await settle();
      assert.ok(node.taken <= WINDOW);
      assert.ok(given >= node.taken + highWaterMark, `${given} bytes were asked for`);
      assert.ok(given < WINDOW + highWaterMark + pieceSize, `${given} bytes were asked for`);
      node.goOn();
      const stored = await storing;
      assert.deepEqual(stored, { id: '77', size, storedBytes: size, knownBytes: 0 });
    });
  });
}

test('a Writable is full when its credit and its high-water marks are', async () => {
  const highWaterMark = 256 * KIB;
  const node = new Taking();
  await withScript(node.script, async (cloud) => {
    const writable = cloud.createWriteStream({ highWaterMark });
    let written = 0;
    const write = (): void => {
      while (writable.write(Buffer.alloc(64 * KIB)) && written < 100 * MIB) {
        written += 64 * KIB;
      }
      written += 64 * KIB;
    };
    writable.on('drain', write);
    write();
    await node.isFull;
    await settle();
    // One mark is that of the Writable itself, the other that of what stands behind it.
    assert.ok(written <= WINDOW + 2 * highWaterMark + 128 * KIB, `${written} bytes were written`);
    writable.removeListener('drain', write);
    writable.end();
    node.goOn();
    assert.equal((await writable.stored).size, written);
  });
});

test('a reader that does not read is sent no more than the window, and more when it goes on', async () => {
  const size = 8 * MIB;
  const highWaterMark = 128 * KIB;
  const piece = 256 * KIB;
  let granted = WINDOW;
  let sent = 0;
  const script = async (peer: ScriptedPeer): Promise<void> => {
    await peer.greet();
    const load = await peer.next();
    const request = load?.request as number;
    peer.send(frame(Op.Load, request, u64s(5, size, size), { more: true }));
    while (sent < size) {
      while (sent + piece <= granted && sent < size) {
        sent += piece;
        peer.send(frame(Op.Data, request, Buffer.alloc(piece, sent / piece), { more: sent < size }));
      }
      if (sent < size) {
        const credit = await peer.next();
        assert.equal(credit?.op, Op.Credit);
        granted += Number(credit?.payload.readBigUInt64LE(0));
      }
    }
  };
  await withScript(script, async (cloud) => {
    const readable = cloud.loadStream('5', { highWaterMark });
    let taken = 0;
    let goOn: () => void = () => {};
    const slow = new Writable({
      highWaterMark: 1,
      write(bytes: Buffer, _encoding, callback) {
        assert.equal(bytes[0], taken / piece + 1);
        taken += bytes.length;
        goOn = callback;
      },
    });
    const ended = new Promise((resolve) => slow.once('finish', resolve));
    readable.pipe(slow);
    while (taken < size) {
      await settle();
      assert.ok(readable.readableLength < highWaterMark + piece, `${readable.readableLength} bytes wait`);
      // What was taken out of the window is in the Readable, in the pipe, or was read.
      assert.ok(granted <= taken + highWaterMark + 3 * piece + WINDOW, `${granted} bytes were granted`);
      const callback = goOn;
      goOn = () => {};
      callback();
    }
    goOn();
    await ended;
    assert.equal(taken, size);
  });
});

test('destroy() sends CANCEL, and so does the end of a web stream', async () => {
  const cancelled: number[] = [];
  const script = async (peer: ScriptedPeer): Promise<void> => {
    await peer.greet();
    for (let count = 0; count < 2; count++) {
      const load = await peer.next();
      const request = load?.request as number;
      peer.send(frame(Op.Load, request, u64s(5, 100, 100), { more: true }));
      peer.send(frame(Op.Data, request, Buffer.alloc(10), { more: true }));
      const cancel = await peer.next();
      assert.equal(cancel?.op, Op.Cancel);
      assert.equal(cancel?.request, request);
      cancelled.push(request);
      peer.send(frame(Op.Data, request, 'cancelled', { status: 13 }));
    }
  };
  await withScript(script, async (cloud) => {
    const readable = cloud.loadStream('5');
    await new Promise((resolve) => readable.once('data', resolve));
    readable.destroy();
    const reader = cloud.loadWebStream('5').getReader();
    await reader.read();
    await reader.cancel();
    while (cancelled.length < 2) {
      await turn();
    }
  });
});
