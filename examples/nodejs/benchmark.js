#!/usr/bin/env node
// How fast the node of this machine answers this kind of program, beside a Redis where one runs. It is small, and one run on
// a busy machine says little; docs/benchmarks.md has figures that were made with care (`cargo xtask bench js`).
//
//   node benchmark.js --redis /run/redis/redis-server.sock

import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { MemCloud } from 'memcloud';

const USAGE = `Usage: node benchmark.js [--requests N] [--size BYTES] [--in-flight N] [--redis WHERE]

Sets and gets values, one after the other and many at the same time, in MemCloud and in Redis.

  --requests N   for each row; 20000 unless given
  --size BYTES   of a value; 1024 unless given
  --in-flight N  in the rows with many at the same time; 100 unless given
  --redis WHERE  a path of a Unix socket or HOST:PORT; 127.0.0.1:6379 unless given.
                 Where no Redis answers there, MemCloud is measured alone

The node is found as memcli finds it; MEMCLOUD_SOCKET names another one.
What it stores is deleted in the end.`;

// The runs of the two alternate, and the middle one of each counts: what disturbs the machine does not hit one of them alone.
const ROUNDS = 3;
const KEYS = 1000;

async function main() {
  const options = readOptions();
  if (options.help) {
    console.log(USAGE);
    return;
  }

  const cloud = new MemCloud();
  const redis = redisClient(options.redis);
  try {
    await cloud.connect();
    const stores = [memcloudStore(cloud)];
    const refusal = await redis.connect().then(
      () => undefined,
      (error) => error.message,
    );
    if (refusal === undefined) {
      stores.push(redisStore(redis));
    } else {
      console.error(`no Redis at ${options.redis} (${refusal}): MemCloud is measured alone`);
    }
    await compare(stores, options);
  } finally {
    redis.disconnect();
    await cloud.close();
  }
}

async function compare(stores, { requests, size, inFlight }) {
  const value = randomBytes(size);
  const keys = Array.from(
    { length: Math.min(KEYS, requests) },
    (_, number) => `benchmark:${process.pid}:${number}`,
  );
  console.log(`${requests} requests a row, values of ${size} bytes, requests a second`);
  console.log(['operation', 'in flight', ...stores.map((store) => store.name)].map(cell).join(''));
  try {
    for (const operation of ['set', 'get']) {
      for (const width of [1, inFlight]) {
        const rates = stores.map(() => []);
        for (let round = 0; round < ROUNDS; round += 1) {
          for (const [index, store] of stores.entries()) {
            rates[index].push(
              await rate(requests, width, (number) => store[operation](keys[number % keys.length], value)),
            );
          }
        }
        console.log([operation, width, ...rates.map((list) => Math.round(median(list)))].map(cell).join(''));
      }
    }
  } finally {
    for (const store of stores) {
      await store.del(keys);
    }
  }
}

/** Requests a second, with `width` of them in flight at any time. */
async function rate(requests, width, request) {
  let next = 0;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: Math.min(width, requests) }, async () => {
      while (next < requests) {
        next += 1;
        await request(next);
      }
    }),
  );
  return (requests / (performance.now() - started)) * 1000;
}

function memcloudStore(cloud) {
  return {
    name: 'MemCloud',
    set: (key, value) => cloud.set(key, value),
    get: (key) => cloud.get(key),
    del: (keys) => cloud.del(keys),
  };
}

function redisStore(redis) {
  return {
    name: 'Redis',
    set: (key, value) => redis.set(key, value),
    get: (key) => redis.getBuffer(key),
    del: (keys) => redis.del(keys),
  };
}

function redisClient(where) {
  const options = { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 };
  const [, host, port] = /^(.+):(\d+)$/.exec(where) ?? [];
  const redis =
    host === undefined
      ? new Redis({ ...options, path: where })
      : new Redis({ ...options, host, port: Number(port) });
  // Without a listener ioredis prints what connect() rejects with anyway.
  redis.on('error', () => {});
  return redis;
}

function median(list) {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
}

function cell(text) {
  return String(text).padEnd(12);
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '20000' },
      size: { type: 'string', default: '1024' },
      'in-flight': { type: 'string', default: '100' },
      redis: { type: 'string', default: '127.0.0.1:6379' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const [requests, size, inFlight] = ['requests', 'size', 'in-flight'].map((name) => {
    const number = Number(values[name]);
    if (!Number.isSafeInteger(number) || number < 1) {
      throw new Error(`--${name} takes a number from 1 on, not '${values[name]}'`);
    }
    return number;
  });
  return { ...values, requests, size, inFlight };
}

main().catch((error) => {
  // The message says what to do: for example that no node runs here, and how to start one.
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
});
