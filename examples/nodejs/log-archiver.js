#!/usr/bin/env node
// A log of any size goes gzipped into another machine's RAM, and never lies in the memory of this one: a pipeline makes the
// lines, compresses them on the fly and streams them away. The slowest part sets the pace of all.
//
//   node log-archiver.js --peer Workshop

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { createGzip } from 'node:zlib';
import { MemCloud } from 'memcloud';
import { logLine } from './log-lines.js';

const USAGE = `Usage: node log-archiver.js [--lines N] [--peer NAME] [--level 1-9] [--key KEY]

Writes a log of N lines of about 1 KB each, gzips it on the fly and stores it as a stream.

  --lines N     how many lines; 1000000 unless given, which is 1 GB
  --peer NAME   the machine that keeps it, by name or id; without it, the node chooses
  --level 1-9   from 1, quick, to 9, small; 6 unless given
  --key KEY     a name for the stream, beside its id

The node is found as memcli finds it; MEMCLOUD_SOCKET names another one.`;

// Lines are handed on in batches: a stream costs the same for each piece, whatever its size.
const BATCH_BYTES = 64 * 1024;
const PROGRESS_EVERY_MS = 1000;

async function main() {
  const options = readOptions();
  if (options.help) {
    console.log(USAGE);
    return;
  }

  const cloud = new MemCloud();
  try {
    await cloud.connect();
    const idleBytes = process.memoryUsage().rss;
    const written = { lines: 0, bytes: 0 };
    const started = performance.now();

    // cloud.storeStream(readable) does the same for who has a Readable. A Writable fits at the end of a pipeline.
    const archive = cloud.createWriteStream({ peer: options.peer, key: options.key });
    const progress = setInterval(() => show(written, options.lines), PROGRESS_EVERY_MS);
    try {
      await pipeline(
        Readable.from(batches(options.lines, written)),
        createGzip({ level: options.level }),
        archive,
      );
    } finally {
      clearInterval(progress);
    }
    const stored = await archive.stored;

    const seconds = (performance.now() - started) / 1000;
    console.log(`lines        ${written.lines}`);
    console.log(`log          ${written.bytes} bytes`);
    console.log(`stored       ${stored.size} bytes, gzipped at level ${options.level}`);
    console.log(`took         ${seconds.toFixed(2)} s`);
    console.log(`rate         ${(written.bytes / 1e6 / seconds).toFixed(1)} MB/s of log`);
    console.log(
      `peak memory  ${megabytes(peakBytes())} MB, ${megabytes(peakBytes() - idleBytes)} MB more than before it began`,
    );
    console.log(`stream       ${stored.id}`);
    console.log(`read it with memcli load ${stored.id} | gunzip`);
  } finally {
    await cloud.close();
  }
}

/** The lines as buffers of about BATCH_BYTES. */
function* batches(lines, written) {
  let batch = '';
  for (let number = 0; number < lines; number += 1) {
    batch += logLine(number);
    if (batch.length >= BATCH_BYTES || number === lines - 1) {
      const bytes = Buffer.from(batch);
      written.lines = number + 1;
      written.bytes += bytes.length;
      batch = '';
      yield bytes;
    }
  }
}

/** The most memory that this process has had so far. */
function peakBytes() {
  return process.resourceUsage().maxRSS * 1024;
}

function show(written, lines) {
  const percent = Math.floor((written.lines / lines) * 100);
  console.error(
    `${percent} %, ${megabytes(written.bytes)} MB of log, peak memory ${megabytes(peakBytes())} MB`,
  );
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      lines: { type: 'string', default: '1000000' },
      peer: { type: 'string' },
      level: { type: 'string', default: '6' },
      key: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const lines = Number(values.lines);
  if (!Number.isSafeInteger(lines) || lines < 1) {
    throw new Error(`--lines takes a number from 1 on, not '${values.lines}'`);
  }
  const level = Number(values.level);
  if (!Number.isInteger(level) || level < 1 || level > 9) {
    throw new Error(`--level takes a number from 1 to 9, not '${values.level}'`);
  }
  return { ...values, lines, level };
}

main().catch((error) => {
  // The message says what to do: for example that no node runs here, or that no peer has this name.
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
});
