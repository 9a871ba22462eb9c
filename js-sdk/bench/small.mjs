// `small.mjs CLIENT SOCKET MS set|get IN_FLIGHT`: values of 1 KiB. Prints {"rate"}: requests that were answered in a second.

import { connect } from './clients.mjs';
import { pattern } from './pattern.mjs';

/** How many keys there are: a value is not the one that was read or set just before. */
const KEYS = 256;

/** How long it asks before it counts: the code is compiled by then. */
const WARM_UP_MS = 300;

const [name, socket, ms, operation, inFlight] = process.argv.slice(2);
const client = await connect(name, socket);
const value = pattern(1024);
const keys = Array.from({ length: KEYS }, (_, number) => `small:${number}`);
await Promise.all(keys.map((key) => client.set(key, value)));

let next = 0;
const ask =
  operation === 'set'
    ? () => client.set(keys[next++ % KEYS], value)
    : async () => {
        const found = await client.get(keys[next++ % KEYS]);
        if (found.length !== value.length) {
          throw new Error(`a value has ${found.length} bytes`);
        }
      };

/** Has so many requests in flight for so long. Returns how many were answered in a second. */
async function askFor(durationMs) {
  const start = performance.now();
  let answered = 0;
  await Promise.all(
    Array.from({ length: Number(inFlight) }, async () => {
      while (performance.now() - start < durationMs) {
        await ask();
        answered++;
      }
    }),
  );
  return answered / ((performance.now() - start) / 1000);
}

await askFor(WARM_UP_MS);
const rate = await askFor(Number(ms));
const found = await client.get(keys[0]);
if (!value.equals(found)) {
  throw new Error('other bytes than were set');
}
process.stdout.write(`${JSON.stringify({ rate })}\n`);
await client.close();
