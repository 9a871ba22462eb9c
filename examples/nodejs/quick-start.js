#!/usr/bin/env node
// The first steps: a value by its name, a value that expires, a block by its id, a stream.
//
//   node quick-start.js

import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { MemCloud } from 'memcloud';

const USAGE = `Usage: node quick-start.js

Stores a few values in the node of this machine, reads them back and frees them.
The node is found as memcli finds it; MEMCLOUD_SOCKET names another one.`;

async function main() {
  const { values: options } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } });
  if (options.help) {
    console.log(USAGE);
    return;
  }

  const cloud = new MemCloud();
  try {
    await cloud.connect();
    const status = await cloud.status();
    console.log(`connected to the node '${status.name}'`);

    // A value by its name. Names are seen on all connected machines; values are bytes, and text is stored as UTF-8.
    await cloud.set('user:123', JSON.stringify({ name: 'Alice' }));
    const user = await cloud.get('user:123'); // a Buffer, or null where there is no such key
    console.log(`user:123 is ${JSON.parse(user.toString()).name}`);

    // It may live for a while only, and make room for others: that is a cache.
    await cloud.set('page:/', '<h1>Hello</h1>', { ttlMs: 60_000, class: 'cache' });
    console.log(`page:/ lives for ${Math.ceil((await cloud.ttl('page:/')) / 1000)} s`);

    // A block has no name: whoever has the id can read it, from any of the machines.
    const block = await cloud.store('My Data');
    console.log(`block ${block.id} holds '${await cloud.load(block.id)}'`);

    // What is larger than this process wants to hold goes through it as a stream.
    const stream = await cloud.storeStream(Readable.from(['one line\n', 'another line\n']));
    console.log(`stream ${stream.id} has ${stream.size} bytes`);
    process.stdout.write(await text(cloud.loadStream(stream.id)));

    // What nobody needs any more is given back; else it stays until the node ends.
    await cloud.del(['user:123', 'page:/']);
    await cloud.free([block.id, stream.id]);
    console.log(`user:123 is ${await cloud.get('user:123')} now`);
  } finally {
    await cloud.close();
  }
}

main().catch((error) => {
  // The message says what to do: for example that no node runs here, and how to start one.
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
});
