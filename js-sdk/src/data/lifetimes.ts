/** How long values live. */

import { checkCall, checkKeyOrId, checkTtl } from '../arguments';
import type { CallOptions } from '../connection/call';
import type { Connection } from '../connection/connection';
import { expire, persist, ttl } from '../protocol/exchanges';
import type { KeyOrId } from '../types';

/** Milliseconds that are left; Infinity is for good, `null` where there is no such value. */
export async function timeLeft(
  connection: Connection,
  name: KeyOrId,
  options: CallOptions | undefined,
): Promise<number | null> {
  checkCall(options);
  const left = await connection.requestOrNull(ttl, { name: checkKeyOrId(name), ttlMs: 0 }, options);
  return left === null ? null : (left ?? Infinity);
}

/** Lets a value live so long from now on. Resolves with whether there is such a value. */
export async function setTimeLeft(
  connection: Connection,
  name: KeyOrId,
  ttlMs: number,
  options: CallOptions | undefined,
): Promise<boolean> {
  checkCall(options);
  const args = { name: checkKeyOrId(name), ttlMs: checkTtl(ttlMs) };
  return (await connection.requestOrNull(expire, args, options)) !== null;
}

/** Lets a value live for good. Resolves with whether there is such a value. */
export async function keepForGood(
  connection: Connection,
  name: KeyOrId,
  options: CallOptions | undefined,
): Promise<boolean> {
  checkCall(options);
  const args = { name: checkKeyOrId(name), ttlMs: 0 };
  return (await connection.requestOrNull(persist, args, options)) !== null;
}
