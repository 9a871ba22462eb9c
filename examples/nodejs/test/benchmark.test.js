import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { MemCloud } from 'memcloud';
import { runExample, startNode } from './support.js';

const QUICK = ['--requests', '50', '--size', '100', '--in-flight', '10'];

test('MemCloud is measured alone where no Redis answers, and nothing is left', async (t) => {
  const node = await startNode(t, 'Laptop');
  const { code, stdout, stderr } = await runExample(
    'benchmark.js',
    [...QUICK, '--redis', '/nowhere/redis.sock'],
    node.socketPath,
  );
  assert.equal(code, 0);
  assert.match(stderr, /^no Redis at \/nowhere\/redis\.sock \(.*\): MemCloud is measured alone\n$/);
  assert.deepEqual(rows(stdout), [
    ['operation', 'in flight', 'MemCloud'],
    ['set', '1', 'RATE'],
    ['set', '10', 'RATE'],
    ['get', '1', 'RATE'],
    ['get', '10', 'RATE'],
  ]);
  const cloud = new MemCloud({ socketPath: node.socketPath });
  t.after(() => cloud.close());
  assert.equal((await cloud.stats()).keys, 0);
});

test('Redis stands beside it where one answers', async (t) => {
  const redis = await startRedis(t);
  if (redis === undefined) {
    t.skip('redis-server is not installed');
    return;
  }
  const node = await startNode(t, 'Laptop');
  const { code, stdout, stderr } = await runExample(
    'benchmark.js',
    [...QUICK, '--redis', redis],
    node.socketPath,
  );
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  assert.deepEqual(rows(stdout), [
    ['operation', 'in flight', 'MemCloud', 'Redis'],
    ['set', '1', 'RATE', 'RATE'],
    ['set', '10', 'RATE', 'RATE'],
    ['get', '1', 'RATE', 'RATE'],
    ['get', '10', 'RATE', 'RATE'],
  ]);
});

/** The table, with the rates made equal: they are whole numbers above 0. */
function rows(stdout) {
  const [headline, ...lines] = stdout.trimEnd().split('\n');
  assert.equal(headline, '50 requests a row, values of 100 bytes, requests a second');
  return lines.map((line, row) =>
    line
      .trimEnd()
      .split(/ {2,}/)
      .map((cell, column) => (row > 0 && column > 1 && /^[1-9]\d*$/.test(cell) ? 'RATE' : cell)),
  );
}

/** The path of a Redis that ends with the test; undefined where there is none on this machine. */
async function startRedis(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'memcloud-example-'));
  const socket = path.join(folder, 'redis.sock');
  const args = ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', folder];
  const server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const started = await Promise.race([
    once(server, 'spawn').then(() => true),
    once(server, 'error').then(() => false),
  ]);
  t.after(async () => {
    if (started) {
      const ended = once(server, 'exit');
      server.kill();
      await ended;
    }
    await rm(folder, { recursive: true, force: true });
  });
  if (!started) {
    return undefined;
  }
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.includes('eady to accept connections')) {
      break;
    }
  }
  server.stdout.resume();
  return socket;
}
