#!/usr/bin/env node
// A cache that all connected machines share: what one process has computed, no other one has to, wherever it runs.
// Start it on two machines, or in two terminals, and compare what they print.
//
//   node shared-cache.js

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { MemCloud } from 'memcloud';

const USAGE = `Usage: node shared-cache.js [--pages N] [--ttl SECONDS] [--socket PATH]

Asks for N pages, and makes those that no process on any connected machine has made before.

  --pages N      how many; 20 unless given
  --ttl SECONDS  how long a page is good for; 60 unless given
  --socket PATH  the node to use, where several run on this machine`;

// What making a page takes: a database and a template, say.
const SLOW_MS = 50;

async function main() {
  const options = readOptions();
  if (options.help) {
    console.log(USAGE);
    return;
  }

  const cloud = new MemCloud({ socketPath: options.socket });
  try {
    await cloud.connect();
    const { name } = await cloud.status();
    const started = performance.now();
    const count = { found: 0, made: 0 };
    for (let number = 1; number <= options.pages; number += 1) {
      const { page, found } = await cached(cloud, `shared-cache:page:${number}`, options.ttlMs, () =>
        makePage(number, name),
      );
      count[found ? 'found' : 'made'] += 1;
      console.log(`${found ? 'found' : 'made '}  ${page}`);
    }
    const ms = Math.round(performance.now() - started);
    console.log(`on '${name}': ${count.found} found, ${count.made} made, in ${ms} ms`);
  } finally {
    await cloud.close();
  }
}

/**
 * Cache-aside: the value of the key, or what `make` gives, which is stored for others. Data of class `cache` makes room for
 * other data by itself, the least used first, so that nobody has to tidy up.
 */
async function cached(cloud, key, ttlMs, make) {
  const stored = await cloud.get(key);
  if (stored !== null) {
    return { page: stored.toString(), found: true };
  }
  const page = await make();
  await cloud.set(key, page, { ttlMs, class: 'cache' });
  return { page, found: false };
}

async function makePage(number, node) {
  await sleep(SLOW_MS);
  return `page ${number}, made on '${node}'`;
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      pages: { type: 'string', default: '20' },
      ttl: { type: 'string', default: '60' },
      socket: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const pages = Number(values.pages);
  if (!Number.isSafeInteger(pages) || pages < 1) {
    throw new Error(`--pages takes a number from 1 on, not '${values.pages}'`);
  }
  const ttlMs = Math.round(Number(values.ttl) * 1000);
  if (!Number.isSafeInteger(ttlMs) || ttlMs < 1) {
    throw new Error(`--ttl takes a number of seconds above 0, not '${values.ttl}'`);
  }
  return { ...values, pages, ttlMs };
}

main().catch((error) => {
  // The message says what to do: for example that no node runs here, and how to start one.
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
});
