// `large.mjs CLIENT SOCKET MS BYTES`: reads a large value. Prints {"rate"}: how often it came in a second.

import { connect } from './clients.mjs';
import { pattern } from './pattern.mjs';

/** It is read so often at least, however long that takes. */
const READS_MIN = 3;

const [name, socket, ms, size] = process.argv.slice(2);
const client = await connect(name, socket);
const value = pattern(Number(size));
await client.set('large', value);
// The first one touches memory that nobody touched before.
let found = await client.get('large');

const start = performance.now();
let reads = 0;
while (reads < READS_MIN || performance.now() - start < Number(ms)) {
  found = await client.get('large');
  reads++;
}
const rate = reads / ((performance.now() - start) / 1000);
if (!value.equals(found)) {
  throw new Error('other bytes than were set');
}
process.stdout.write(`${JSON.stringify({ rate })}\n`);
await client.close();
