import { readFileSync } from 'node:fs';

/** The most resident memory that this process has had, in bytes (proc(5), `VmHWM`). */
export function peakBytes() {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(kib) * 1024;
}
