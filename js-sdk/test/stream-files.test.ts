/** Files that the node reads itself: which sources are taken for one, what the node is told, and what happens where it cannot. */

import assert from 'node:assert/strict';
import { createReadStream, type ReadStream } from 'node:fs';
import { mkdtemp, open, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { MemCloud, UnsupportedError } from '../src';
import { Op } from '../src/protocol/operations';
import { type Frame, frame, ScriptedNode, u64s } from './support/scripted';

/** Elsewhere no node opens files of programs, and none is asked to. */
const skip = process.platform === 'linux' ? false : 'files are opened by their numbers on Linux alone';

const BYTES = Buffer.from('0123456789');
const STATUS_UNSUPPORTED = 12;

/** What a node was asked for that opens, reads and finishes one stream. */
interface Asked {
  /** The requests that append. */
  readonly appends: Frame[];
  /** What the descriptor that was named stood for. */
  file: string | undefined;
  /** The bytes that came through the socket. */
  bytes: Buffer;
}

let folder: string;
let file: string;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'memcloud-js-files-'));
  file = path.join(folder, 'file');
  await writeFile(file, BYTES);
});

after(() => rm(folder, { recursive: true, force: true }));

/** Lets `run` store a stream at a node that answers a STREAM_FILE with this status. */
async function storeAt(status: number, run: (cloud: MemCloud) => Promise<unknown>): Promise<Asked> {
  const asked: Asked = { appends: [], file: undefined, bytes: Buffer.alloc(0) };
  const node = await ScriptedNode.listen(async (peer) => {
    await peer.greet();
    for (let request = await peer.next(); request !== undefined; request = await peer.next()) {
      switch (request.op) {
        case Op.StreamOpen:
          peer.send(frame(Op.StreamOpen, request.request, '{"id":77}'));
          break;
        case Op.StreamFile: {
          asked.appends.push(request);
          asked.file = await readlink(`/proc/self/fd/${request.payload.readUInt32LE(28)}`);
          const reply = status === 0 ? u64s(77, BYTES.length) : 'not here';
          peer.send(frame(Op.StreamFile, request.request, reply, { status }));
          break;
        }
        case Op.StreamWrite:
          asked.appends.push(request);
          for (let more = request.flags === 1; more; ) {
            const data = await peer.next();
            asked.bytes = Buffer.concat([asked.bytes, data?.payload ?? Buffer.alloc(0)]);
            more = data?.flags === 1;
          }
          peer.send(frame(Op.StreamWrite, request.request, u64s(77, asked.bytes.length)));
          break;
        case Op.StreamFinish: {
          const size = asked.bytes.length || BYTES.length;
          const finished = { id: 77, size_bytes: size, stored_bytes: size, known_bytes: 0 };
          peer.send(frame(Op.StreamFinish, request.request, JSON.stringify(finished)));
          break;
        }
        default:
          peer.send(frame(request.op, request.request, u64s(1, 1)));
      }
    }
  });
  const cloud = new MemCloud({ socketPath: node.socketPath });
  try {
    await run(cloud);
  } finally {
    await cloud.close();
    await node.close();
  }
  return asked;
}

test('the node reads the file of a stream of which nothing was read', { skip }, async () => {
  const ranges: [options: Parameters<typeof createReadStream>[1], offset: number, length: bigint][] = [
    [{}, 0, 2n ** 64n - 1n],
    [{ start: 3 }, 3, 2n ** 64n - 1n],
    [{ start: 3, end: 5 }, 3, 3n],
    [{ start: 3, end: 500 }, 3, 7n],
  ];
  for (const [options, offset, length] of ranges) {
    const source = createReadStream(file, options);
    const { appends, file: named } = await storeAt(0, (cloud) => cloud.storeStream(source));
    assert.deepEqual(
      appends.map(({ op }) => op),
      [Op.StreamFile],
    );
    const { payload } = appends[0] as Frame;
    const { dev, ino } = await stat(file, { bigint: true });
    assert.equal(payload.length, 48);
    assert.equal(payload.readBigUInt64LE(0), 77n);
    assert.equal(payload.readBigUInt64LE(8), BigInt(offset));
    assert.equal(payload.readBigUInt64LE(16), length);
    assert.equal(payload.readUInt32LE(24), 1);
    assert.equal(payload.readBigUInt64LE(32), dev);
    assert.equal(payload.readBigUInt64LE(40), ino);
    assert.equal(named, file);
    assert.equal(source.bytesRead, 0);
    assert.equal(source.destroyed, true);
  }
});

test('a handle is read from where it stands, and stays open', { skip }, async () => {
  const handle = await open(file);
  await handle.read(Buffer.alloc(4), 0, 4);
  const { appends } = await storeAt(0, (cloud) => cloud.storeStream(handle));
  assert.equal(appends[0]?.op, Op.StreamFile);
  assert.equal(appends[0]?.payload.readBigUInt64LE(8), 4n);
  assert.equal((await handle.read(Buffer.alloc(20), 0, 20)).bytesRead, 6);
  await handle.close();
});

test('the bytes are sent where the node cannot open the file', { skip }, async () => {
  const source = createReadStream(file, { start: 2 });
  const stream = await storeAt(STATUS_UNSUPPORTED, (cloud) => cloud.storeStream(source));
  assert.deepEqual(
    stream.appends.map(({ op }) => op),
    [Op.StreamFile, Op.StreamWrite],
  );
  assert.deepEqual(stream.bytes, BYTES.subarray(2));
  const handle = await open(file);
  const { bytes } = await storeAt(STATUS_UNSUPPORTED, (cloud) => cloud.storeStream(handle));
  assert.deepEqual(bytes, BYTES);
  await handle.close();
});

test('any other refusal is the error of the call, and the stream is freed', { skip }, async () => {
  const source = createReadStream(file);
  const { bytes } = await storeAt(1, (cloud) =>
    assert.rejects(cloud.storeStream(source), (error) => !(error instanceof UnsupportedError)),
  );
  assert.equal(bytes.length, 0);
  assert.equal(source.destroyed, true);
});

test('a stream that somebody reads, or that gives other bytes, is none of a file', async () => {
  const begun = createReadStream(file, { highWaterMark: 3 });
  await new Promise((resolve) => begun.once('readable', resolve));
  begun.read(3);
  const flowing = createReadStream(file);
  flowing.pause();
  const sources: [source: ReadStream, expected: string][] = [
    [begun, '3456789'],
    [flowing, '0123456789'],
    [createReadStream(file, { encoding: 'hex' }), BYTES.toString('hex')],
    [createReadStream(file, { start: 10 }), ''],
    [createReadStream(file, { autoClose: false }), '0123456789'],
  ];
  for (const [source, expected] of sources) {
    const { appends, bytes } = await storeAt(0, (cloud) => cloud.storeStream(source));
    assert.deepEqual(
      appends.map(({ op }) => op),
      [Op.StreamWrite],
    );
    assert.equal(bytes.toString(), expected);
  }
});
