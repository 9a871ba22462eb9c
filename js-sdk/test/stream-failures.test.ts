/** Streams that come to nothing: what is left of them, and who is told. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CancelledError, ClosedError, ConnectionLostError, MemCloud, MemCloudError } from '../src';
import { TestNode, until } from './support/node';

const MIB = 1024 * 1024;

let node: TestNode;
let cloud: MemCloud;

before(async () => {
  node = await TestNode.start({ memory: '64mb' });
  cloud = new MemCloud({ socketPath: node.socketPath });
});

after(async () => {
  await cloud.close();
  await node.remove();
});

/** What the node holds. */
async function usedBytes(): Promise<number> {
  const { used_bytes: used } = (await node.cli('stats')) as { used_bytes: number };
  return used;
}

/** Runs something that is to leave nothing behind in the node. */
async function leavesNothing(work: () => Promise<unknown>): Promise<void> {
  const before = await usedBytes();
  await work();
  await until('the node holds what it held before', async () => (await usedBytes()) <= before);
}

/** Pieces without an end, and whether anybody still wants them. */
function endless(): { source: AsyncIterable<Buffer>; state: { given: number; isClosed: boolean } } {
  const state = { given: 0, isClosed: false };
  async function* pieces(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        yield randomBytes(64 * 1024);
        state.given += 64 * 1024;
        await turn();
      }
    } finally {
      state.isClosed = true;
    }
  }
  return { source: pieces(), state };
}

test('the error of a source is that of the call, and what came of the stream is freed', async () => {
  const failure = new Error('the disk is gone');
  async function* failing(): AsyncGenerator<Buffer> {
    yield randomBytes(3 * MIB);
    throw failure;
  }
  await leavesNothing(async () => {
    await assert.rejects(cloud.storeStream(failing()), failure);
    await assert.rejects(cloud.storeStream(Readable.from(failing())), failure);
    const web = Readable.toWeb(Readable.from(failing())) as ReadableStream;
    await assert.rejects(cloud.storeStream(web), failure);
    const writable = cloud.createWriteStream({ key: 'failing' });
    await assert.rejects(pipeline(failing(), writable), failure);
    await assert.rejects(writable.stored, failure);
  });
  assert.equal(await cloud.get('failing'), null);
});

test('a source that fails before its bytes are asked for fails the call', async () => {
  const failure = new Error('gone before it began');
  const source = new PassThrough();
  const storing = cloud.storeStream(source);
  source.destroy(failure);
  await assert.rejects(storing, failure);
});

test('a source that is destroyed before its end fails the call', async () => {
  const source = new PassThrough();
  source.write(randomBytes(MIB));
  await leavesNothing(async () => {
    const storing = cloud.storeStream(source);
    setImmediate(() => source.destroy());
    await assert.rejects(storing, { code: 'ERR_STREAM_PREMATURE_CLOSE' });
  });
});

test('what is no source, and what is no piece, is a TypeError', async () => {
  for (const source of [undefined, null, 7, {}, () => {}]) {
    const storing = cloud.storeStream(source as never);
    await assert.rejects(
      storing,
      (error) => error instanceof TypeError && /a stream is made of/.test(error.message),
    );
  }
  await leavesNothing(async () => {
    for (const piece of [7, {}, null, [1, 2]]) {
      const storing = cloud.storeStream(['fine', piece] as never);
      await assert.rejects(
        storing,
        (error) => error instanceof TypeError && /a value is/.test(error.message),
      );
    }
  });
});

test('options that contradict themselves are refused before anything is sent', async () => {
  const wrong = [
    { peer: 'a', remote: true },
    { peers: [] },
    { live: true },
    { ttlMs: 0 },
    { key: '' },
    { compress: 'maybe' },
    { class: 'held' },
    { highWaterMark: -1 },
  ];
  for (const options of wrong) {
    await assert.rejects(cloud.storeStream('bytes', options as never), { code: 'invalid_argument' });
    assert.throws(() => cloud.createWriteStream(options as never), { code: 'invalid_argument' });
  }
  await assert.rejects(cloud.storeStream('bytes', { peer: 'nobody' }), { code: 'unknown_peer' });
});

test('a signal ends a stream with its reason, and lets go of the source', async () => {
  await leavesNothing(async () => {
    const { source, state } = endless();
    const ending = new AbortController();
    const reason = new Error('enough');
    const storing = cloud.storeStream(source, { signal: ending.signal });
    await until('some of it has gone', () => state.given > MIB);
    ending.abort(reason);
    await assert.rejects(storing, reason);
    await until('the source is closed', () => state.isClosed);
    await assert.rejects(cloud.storeStream('bytes', { signal: ending.signal }), reason);
  });
});

test('a signal ends one whose source gives nothing', async () => {
  const source = new PassThrough();
  const ending = new AbortController();
  await leavesNothing(async () => {
    const storing = cloud.storeStream(source, { signal: ending.signal, onOpen: () => ending.abort() });
    await assert.rejects(storing, { name: 'AbortError' });
  });
  assert.equal(source.destroyed, true);
});

test('a Writable that is destroyed frees what came of it', async () => {
  await leavesNothing(async () => {
    const writable = cloud.createWriteStream();
    writable.write(randomBytes(2 * MIB));
    writable.destroy();
    await assert.rejects(writable.stored, CancelledError);

    const ending = new AbortController();
    const aborted = cloud.createWriteStream({ signal: ending.signal });
    const failed = new Promise((resolve) => aborted.once('error', resolve));
    aborted.write(randomBytes(2 * MIB));
    const reason = new Error('enough');
    ending.abort(reason);
    await assert.rejects(aborted.stored, reason);
    assert.equal(await failed, reason);
    const late = cloud.createWriteStream({ signal: ending.signal });
    late.on('error', () => {});
    await assert.rejects(late.stored, reason);
    assert.equal(late.destroyed, true);
  });
});

test('a node without room ends the stream and the source', async () => {
  await leavesNothing(async () => {
    const { source, state } = endless();
    await assert.rejects(cloud.storeStream(source), { code: 'out_of_memory' });
    await until('the source is closed', () => state.isClosed);
    const readable = Readable.from(endless().source);
    const writable = cloud.createWriteStream();
    await assert.rejects(pipeline(readable, writable), { code: 'out_of_memory' });
    await assert.rejects(writable.stored, { code: 'out_of_memory' });
  });
});

test('what onProgress throws ends the stream', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'memcloud-js-files-'));
  try {
    const file = path.join(folder, 'file');
    await writeFile(file, randomBytes(2 * MIB));
    const failure = new Error('the screen is gone');
    const onProgress = () => {
      throw failure;
    };
    await leavesNothing(async () => {
      await assert.rejects(cloud.storeStream(createReadStream(file), { onProgress }), failure);
      await assert.rejects(cloud.storeStream(randomBytes(MIB), { onProgress }), failure);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a reader that goes away frees its place at the node', async () => {
  const bytes = randomBytes(20 * MIB);
  const { id } = await cloud.storeStream(bytes);
  for (let count = 0; count < 30; count++) {
    const readable = cloud.loadStream(id);
    await new Promise((resolve) => readable.once('data', resolve));
    readable.destroy();
    const web = cloud.loadWebStream(id).getReader();
    await web.read();
    await web.cancel();
  }
  const failure = new Error('not this');
  const readable = cloud.loadStream(id);
  const failed = new Promise((resolve) => readable.once('error', resolve));
  readable.once('data', () => readable.destroy(failure));
  assert.equal(await failed, failure);
  assert.ok((await cloud.load(id))?.equals(bytes));
  await cloud.free(id);
});

test('a stream that is freed while it is read breaks off, and never ends as if it were whole', async () => {
  const { opened, onOpen } = hear();
  const growing = cloud.createWriteStream({ onOpen });
  growing.on('error', () => {});
  growing.write(randomBytes(MIB));
  const id = await opened;
  const followed = cloud.loadStream(id, { follow: true }).resume();
  const failed = new Promise<Error>((resolve) => followed.once('error', resolve));
  await until('something was read', () => followed.readableDidRead);
  await cloud.free(id);
  assert.ok((await failed) instanceof MemCloudError);
  growing.end('more');
  await assert.rejects(growing.stored, MemCloudError);
});

test('a node that dies in mid-stream fails writers and readers, and the client comes back', async () => {
  const { id } = await cloud.storeStream(randomBytes(20 * MIB));
  const reading = cloud.loadStream(id);
  await new Promise((resolve) => reading.once('readable', resolve));
  const broken = new Promise<Error>((resolve) => reading.once('error', resolve));
  const { source, state } = endless();
  const storing = cloud.storeStream(source);
  const writable = cloud.createWriteStream();
  writable.write(randomBytes(MIB));
  await until('some of it has gone', () => state.given > MIB);
  const lost = Promise.all([
    assert.rejects(storing, ConnectionLostError),
    assert.rejects(writable.stored, ConnectionLostError),
  ]);
  writable.on('error', () => {});
  await node.stop('SIGKILL');
  await lost;
  reading.resume();
  assert.ok((await broken) instanceof ConnectionLostError);
  await until('the source is closed', () => state.isClosed);
  await node.start();
  const stored = await cloud.storeStream('after it');
  assert.equal((await cloud.load(stored.id))?.toString(), 'after it');
});

test('close() ends streams that are under way', async () => {
  const other = new MemCloud({ socketPath: node.socketPath });
  const { source, state } = endless();
  const storing = other.storeStream(source);
  await until('some of it has gone', () => state.given > MIB);
  await Promise.all([assert.rejects(storing, ClosedError), other.close()]);
  await until('the source is closed', () => state.isClosed);
});

/** The id of a stream that will be opened. */
function hear(): { opened: Promise<string>; onOpen: (id: string) => void } {
  let onOpen: (id: string) => void = () => {};
  const opened = new Promise<string>((resolve) => {
    onOpen = resolve;
  });
  return { opened, onOpen };
}
