import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { createGunzip } from 'node:zlib';
import { MemCloud } from 'memcloud';
import { logLine } from '../log-lines.js';
import { runExample, startNode, startPair } from './support.js';

/** 20 MB of log, some 3 MB gzipped: several chunks of the stream. */
const LINES = 20_000;

test('the log that was archived on a peer is the log that was made', async (t) => {
  const [laptop] = await startPair(t, 'Laptop', 'Workshop');
  const args = ['--lines', String(LINES), '--peer', 'Workshop', '--level', '1', '--key', 'log.gz'];
  const { code, stdout } = await runExample('log-archiver.js', args, laptop.socketPath);
  assert.equal(code, 0);

  let bytes = 0;
  for (let number = 0; number < LINES; number += 1) {
    bytes += Buffer.byteLength(logLine(number));
  }
  const said = Object.fromEntries(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => [line.slice(0, 12).trimEnd(), line.slice(13)]),
  );
  assert.equal(said.lines, String(LINES));
  assert.equal(said.log, `${bytes} bytes`);
  assert.match(said.took, /^\d+\.\d\d s$/);
  assert.match(said.rate, /^\d+\.\d MB\/s of log$/);
  assert.match(said['peak memory'], /^\d+\.\d MB, -?\d+\.\d MB more than before it began$/);
  assert.equal(said['read it with'], `memcli load ${said.stream} | gunzip`);

  // It lies on the peer, under its key, and comes back line by line.
  const cloud = new MemCloud({ socketPath: laptop.socketPath });
  t.after(() => cloud.close());
  const [peer] = await cloud.peers();
  const [, storedBytes] = /^(\d+) bytes, gzipped at level 1$/.exec(said.stored);
  assert.ok(Number(storedBytes) < bytes / 2, said.stored);
  assert.ok(
    peer.grants.borrowed.usedBytes >= Number(storedBytes),
    `${peer.grants.borrowed.usedBytes} of ${storedBytes}`,
  );
  assert.equal((await cloud.get('log.gz')).length, Number(storedBytes));

  let read = 0;
  const gunzip = cloud.loadStream(said.stream).pipe(createGunzip());
  for await (const line of createInterface({ input: gunzip })) {
    assert.equal(`${line}\n`, logLine(read));
    read += 1;
  }
  assert.equal(read, LINES);
});

test('a peer that nobody knows is named in the error', async (t) => {
  const laptop = await startNode(t, 'Laptop');
  const { code, stdout, stderr } = await runExample(
    'log-archiver.js',
    ['--lines', '10', '--peer', 'Nobody'],
    laptop.socketPath,
  );
  assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
  assert.match(stderr, /^error: .*Nobody/);
});
