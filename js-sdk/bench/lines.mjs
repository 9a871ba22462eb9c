// `lines.mjs LINES`: what the log archiver of the examples makes and compresses, to stdout.

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { logLine } from '../../examples/nodejs/log-lines.js';

/** As the archiver has them. */
const BATCH_BYTES = 64 * 1024;
const LEVEL = 6;

function* batches(lines) {
  let batch = '';
  for (let number = 0; number < lines; number++) {
    batch += logLine(number);
    if (batch.length >= BATCH_BYTES || number === lines - 1) {
      yield Buffer.from(batch);
      batch = '';
    }
  }
}

const lines = Number(process.argv[2]);
await pipeline(Readable.from(batches(lines)), createGzip({ level: LEVEL }), process.stdout);
