/** Streams against real nodes: what goes in comes out, from every kind of source and into every kind of reader. */

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import { createGunzip, createGzip } from 'node:zlib';
import { MemCloud, NotFoundError } from '../src';
import { startPair, type TestNode, until } from './support/node';

const MIB = 1024 * 1024;

/** Around the sizes of a frame, a chunk and the first credit. */
const SIZES = [
  0,
  1,
  16_383,
  16_384,
  262_143,
  262_144,
  262_145,
  MIB - 1,
  MIB,
  MIB + 1,
  2 * MIB,
  2 * MIB + 1,
  5 * MIB + 17,
];

let a: TestNode;
let b: TestNode;
let cloud: MemCloud;
let folder: string;

before(async () => {
  [a, b] = await startPair();
  cloud = new MemCloud({ socketPath: a.socketPath });
  folder = await mkdtemp(path.join(tmpdir(), 'memcloud-js-files-'));
});

after(async () => {
  await cloud.close();
  await Promise.all([a.remove(), b.remove(), rm(folder, { recursive: true, force: true })]);
});

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** What a stream holds, and that nothing of it is left afterwards. */
async function loadAndFree(id: string): Promise<Buffer> {
  const bytes = await collect(cloud.loadStream(id));
  await cloud.free(id);
  return bytes;
}

/** The id of a stream that will be opened. */
function hear(): { opened: Promise<string>; onOpen: (id: string) => void } {
  let onOpen: (id: string) => void = () => {};
  const opened = new Promise<string>((resolve) => {
    onOpen = resolve;
  });
  return { opened, onOpen };
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    yield bytes.subarray(at, at + size);
  }
}

test('streams of all sizes around frames, chunks and credit come back', async () => {
  const whole = randomBytes(Math.max(...SIZES));
  for (const size of SIZES) {
    const bytes = whole.subarray(0, size);
    const stored = await cloud.storeStream(inPieces(bytes, 100_000));
    assert.equal(stored.size, size);
    assert.match(stored.id, /^[1-9][0-9]*$/);
    assert.ok((await loadAndFree(stored.id)).equals(bytes), `${size} bytes`);
  }
});

test('a stream is made of anything that has pieces', async () => {
  const bytes = randomBytes(700_000);
  const text = 'schlüssel 鍵\n';
  const lines = Array.from({ length: 20_000 }, (_, number) => `line ${number} ${text}`);
  const sources: Record<string, [source: () => Parameters<MemCloud['storeStream']>[0], expected: Buffer]> = {
    'a Readable': [() => Readable.from(inPieces(bytes, 33_333)), bytes],
    'a Readable of strings': [() => Readable.from(lines), Buffer.from(lines.join(''))],
    'a Readable with an encoding': [
      () => Readable.from(lines, { objectMode: false, encoding: 'utf8' }),
      Buffer.from(lines.join('')),
    ],
    'a web stream': [() => Readable.toWeb(Readable.from(inPieces(bytes, 50_000))) as ReadableStream, bytes],
    'an async iterable': [() => inPieces(bytes, 1000), bytes],
    'an iterable': [() => lines, Buffer.from(lines.join(''))],
    'an iterable of views': [
      () =>
        new Set([
          new DataView(bytes.buffer, bytes.byteOffset, 5),
          new Uint8Array(bytes.subarray(5, 9)).buffer,
        ]),
      bytes.subarray(0, 9),
    ],
    'a Buffer': [() => bytes, bytes],
    'a string': [() => text, Buffer.from(text)],
    'an iterable of empty pieces': [() => ['', Buffer.alloc(0), 'end'], Buffer.from('end')],
  };
  for (const [name, [source, expected]] of Object.entries(sources)) {
    const { id, size } = await cloud.storeStream(source());
    assert.equal(size, expected.length, name);
    assert.ok((await loadAndFree(id)).equals(expected), name);
  }
});

test('a file is stored from a stream of it, from a part of it, and from a handle', async () => {
  const file = path.join(folder, 'file');
  const bytes = randomBytes(3 * MIB + 5);
  await writeFile(file, bytes);
  const parts: [options: Parameters<typeof createReadStream>[1], expected: Buffer][] = [
    [{}, bytes],
    [{ start: 1_000_000 }, bytes.subarray(1_000_000)],
    [{ start: 5, end: 5 }, bytes.subarray(5, 6)],
    [{ end: MIB }, bytes.subarray(0, MIB + 1)],
    [{ start: 10, end: 100 * MIB }, bytes.subarray(10)],
    [{ start: 100 * MIB }, Buffer.alloc(0)],
    [{ encoding: 'hex' }, Buffer.from(bytes.toString('hex'))],
    [{ autoClose: false }, bytes],
  ];
  for (const [options, expected] of parts) {
    const source = createReadStream(file, options);
    const { id } = await cloud.storeStream(source);
    assert.ok((await loadAndFree(id)).equals(expected), JSON.stringify(options));
    source.destroy();
  }

  const handle = await open(file);
  try {
    await handle.read(Buffer.alloc(7), 0, 7);
    const { id } = await cloud.storeStream(handle);
    assert.ok((await loadAndFree(id)).equals(bytes.subarray(7)), 'a handle, from where it is');
  } finally {
    await handle.close();
  }

  // One of which something was read is not taken for the file.
  const begun = createReadStream(file, { highWaterMark: 1000 });
  begun.once('readable', () => {});
  await new Promise((resolve) => begun.once('readable', resolve));
  const head = begun.read(1000) as Buffer;
  const { id } = await cloud.storeStream(begun);
  assert.ok(Buffer.concat([head, await loadAndFree(id)]).equals(bytes), 'a stream that was begun');

  // The system makes it as it is read, and says that it is empty.
  const status = createReadStream('/proc/self/status');
  const made = await cloud.storeStream(status);
  assert.match((await loadAndFree(made.id)).toString(), /^Name:/);
});

test('a file that is not there, or a folder, is the error of its stream', async () => {
  const missing = cloud.storeStream(createReadStream(path.join(folder, 'missing')));
  await assert.rejects(missing, { code: 'ENOENT' });
  await assert.rejects(cloud.storeStream(createReadStream(folder)), { code: 'EISDIR' });
});

test('a stream goes to a peer, and is read from there', async () => {
  const bytes = randomBytes(6 * MIB);
  let progress = 0;
  const { id, storedBytes, knownBytes } = await cloud.storeStream(inPieces(bytes, 64 * 1024), {
    peer: 'NodeB',
    compress: 'never',
    onProgress: (taken) => {
      assert.ok(taken >= progress);
      progress = taken;
    },
  });
  assert.equal(progress, bytes.length);
  assert.equal(storedBytes, bytes.length);
  assert.equal(knownBytes, 0);
  const again = await cloud.storeStream(bytes, { peers: ['NodeB'], compress: 'never' });
  assert.equal(again.knownBytes, bytes.length);
  assert.ok((await loadAndFree(id)).equals(bytes));
  assert.ok((await loadAndFree(again.id)).equals(bytes));
});

test('a stream that is being written tells how far it has come, and where it lies', async () => {
  const { opened, onOpen } = hear();
  const growing = cloud.createWriteStream({ peer: 'NodeB', onOpen });
  growing.write(randomBytes(3 * MIB));
  const id = await opened;
  await until('two chunks lie on the peer', async () => {
    const { takenBytes, placedBytes, holders, finished } = await cloud.streamStatus(id);
    assert.equal(finished, false);
    assert.ok(placedBytes <= takenBytes && takenBytes <= 3 * MIB);
    const there = holders.find((holder) => holder.name === 'NodeB');
    return there?.connected === true && there.bytes >= 2 * MIB;
  });
  growing.end();
  await growing.stored;
  await assert.rejects(cloud.streamStatus(id), NotFoundError);
  await cloud.free(id);
});

test('pipelines end in a node and begin there', async () => {
  const log = Buffer.from(
    Array.from({ length: 50_000 }, (_, line) => `${line} something happened\n`).join(''),
  );
  const archive = cloud.createWriteStream({ key: 'archive', peer: 'NodeB' });
  await pipeline(inPieces(log, 10_000), createGzip(), archive);
  const { id, size } = await archive.stored;
  assert.ok(size < log.length / 4);
  assert.ok((await collect(cloud.loadStream(id).pipe(createGunzip()))).equals(log));
  assert.ok((await collect(cloud.getStream('archive').pipe(createGunzip()))).equals(log));
  await cloud.del('archive');
});

test('a Writable takes texts, many small pieces and none', async () => {
  const writable = cloud.createWriteStream();
  const expected: string[] = [];
  for (let number = 0; number < 10_000; number++) {
    expected.push(`${number}ä,`);
    writable.write(`${number}ä,`);
  }
  writable.end(Buffer.from('end'));
  const { id } = await writable.stored;
  assert.equal((await loadAndFree(id)).toString(), `${expected.join('')}end`);
  const empty = cloud.createWriteStream();
  empty.end();
  assert.equal((await empty.stored).size, 0);
});

test('parts are read by both ends, as of a file', async () => {
  const bytes = randomBytes(2 * MIB + 100);
  const { id } = await cloud.storeStream(bytes, { key: 'parts' });
  const ranges = [
    { start: 0, end: 0 },
    { start: MIB - 1, end: MIB },
    { start: 2 * MIB },
    { end: 9 },
    { start: 10, end: 10 * MIB },
    { start: bytes.length },
  ];
  for (const range of ranges) {
    const expected = bytes.subarray(range.start ?? 0, (range.end ?? Infinity) + 1);
    const message = JSON.stringify(range);
    assert.ok((await collect(cloud.loadStream(id, range))).equals(expected), message);
    assert.ok((await collect(cloud.getStream('parts', range))).equals(expected), message);
    const web = cloud.loadWebStream(id, range);
    assert.ok((await collect(web as unknown as AsyncIterable<Uint8Array>)).equals(expected), message);
  }
  assert.throws(() => cloud.loadStream(id, { start: 2, end: 1 }), { code: 'invalid_argument' });
  await cloud.del('parts');
});

test('values of any size are read as streams, too', async () => {
  for (const size of [0, 100, 300_000, 3 * MIB]) {
    const bytes = randomBytes(size);
    const { id } = await cloud.set('value', bytes);
    assert.ok((await collect(cloud.getStream('value'))).equals(bytes));
    assert.ok((await collect(cloud.loadStream(id))).equals(bytes));
    const web = cloud.getWebStream('value');
    assert.ok((await collect(web as unknown as AsyncIterable<Uint8Array>)).equals(bytes));
  }
});

test('what is not there is an error of its reader', async () => {
  await assert.rejects(collect(cloud.loadStream('9007199254740991')), NotFoundError);
  await assert.rejects(collect(cloud.getStream('nothing')), NotFoundError);
  await assert.rejects(cloud.getWebStream('nothing').getReader().read(), NotFoundError);
  await assert.rejects(cloud.streamStatus('9007199254740991'), NotFoundError);
});

test('a reader asks the node for nothing before it is read', async () => {
  const readable = cloud.loadStream('9007199254740991');
  const web = cloud.loadWebStream('9007199254740991');
  await cloud.set('meanwhile', 'answered');
  assert.equal(readable.destroyed, false);
  readable.destroy();
  await web.cancel();
});

test('a live stream is followed while it grows', async () => {
  const { opened, onOpen } = hear();
  const growing = cloud.createWriteStream({ key: 'growing', live: true, onOpen });
  const written = createHash('sha256');
  const first = randomBytes(MIB);
  written.update(first);
  growing.write(first);
  const id = await opened;
  const followed = collect(cloud.loadStream(id, { follow: true }).pipe(new PassThrough()));
  for (let count = 0; count < 3; count++) {
    const more = randomBytes(300_000);
    written.update(more);
    growing.write(more);
  }
  growing.end();
  await growing.stored;
  assert.equal(
    createHash('sha256')
      .update(await followed)
      .digest('hex'),
    written.digest('hex'),
  );
  await cloud.del('growing');
});

test('the example of a large file holds', async () => {
  const file = path.join(folder, 'huge.log');
  await writeFile(file, randomBytes(8 * MIB));
  const { id } = await cloud.storeStream(createReadStream(file), { remote: true });
  const copy = path.join(folder, 'copy.log');
  const target = await open(copy, 'w');
  await pipeline(cloud.loadStream(id), target.createWriteStream());
  assert.ok((await readFile(copy)).equals(await readFile(file)));
});
