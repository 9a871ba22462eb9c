// Connects to the node of this host and does nothing else. Prints {"peak_bytes"}: the memory that a program has which streams nothing.

import { MemCloud } from 'memcloud';
import { peakBytes } from './memory.mjs';

const cloud = await new MemCloud().connect();
await cloud.status();
process.stdout.write(`${JSON.stringify({ peak_bytes: peakBytes() })}\n`);
await cloud.close();
