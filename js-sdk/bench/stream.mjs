// `stream.mjs file|bytes FILE PEER`: stores a file at a peer, as a file or as bytes that pass through this program. Prints {"id", "size", "secs",
// "peak_bytes"}.

import { createReadStream } from 'node:fs';
import { MemCloud } from 'memcloud';
import { peakBytes } from './memory.mjs';

const [how, file, peer] = process.argv.slice(2);
const cloud = await new MemCloud().connect();
const start = performance.now();
const source = createReadStream(file, { highWaterMark: 256 * 1024 });
const { id, size } = await cloud.storeStream(how === 'file' ? source : bytesOf(source), { peers: [peer] });
const secs = (performance.now() - start) / 1000;
// The command line takes an id as a number.
const streamed = { id: Number(id), size, secs, peak_bytes: peakBytes() };
process.stdout.write(`${JSON.stringify(streamed)}\n`);
await cloud.close();

/** What comes of a source of which nothing is known but its bytes. */
async function* bytesOf(chunks) {
  yield* chunks;
}
