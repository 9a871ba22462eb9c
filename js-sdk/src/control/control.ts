/** Asks the node about itself and its peers: one JSON out, one JSON back. */

import { checkCall, nameOf, wrongType } from '../arguments';
import type { CallOptions } from '../connection/call';
import type { Connection } from '../connection/connection';
import { InvalidArgumentError } from '../errors';
import { control } from '../protocol/exchanges';
import type { Op } from '../protocol/operations';
import { fromWire } from './json';

/** The control operations of a client. */
export class Control {
  constructor(
    private readonly connection: Connection,
    /** How long a call may take where it does not say so itself. */
    private readonly timeoutMs: number,
  ) {}

  /** Asks. A question of people or other machines may take `atLeastMs` where the call does not say how long. */
  async ask<R>(op: Op, args: unknown, options: CallOptions | undefined, atLeastMs = 0): Promise<R> {
    checkCall(options);
    const usual = this.timeoutMs === 0 ? 0 : Math.max(this.timeoutMs, atLeastMs);
    const timeoutMs = options?.timeoutMs ?? usual;
    const json = await this.connection.request(control(op), args, { signal: options?.signal, timeoutMs });
    return fromWire(json) as R;
  }
}

/** A quota in bytes, where one is given. */
export function checkQuota(quotaBytes: unknown): number | undefined {
  if (quotaBytes === undefined) {
    return undefined;
  }
  if (typeof quotaBytes !== 'number') {
    throw wrongType(`quotaBytes is a number of bytes, not ${nameOf(quotaBytes)}`);
  }
  if (!Number.isSafeInteger(quotaBytes) || quotaBytes < 0) {
    throw new InvalidArgumentError(`quotaBytes is ${quotaBytes}: it is a whole number of bytes, 0 or more`);
  }
  return quotaBytes;
}

/** A text that is to be named. */
export function checkName(what: string, text: unknown): string {
  if (typeof text !== 'string') {
    throw wrongType(`${what} is a string, not ${nameOf(text)}`);
  }
  if (text === '') {
    throw new InvalidArgumentError(`${what} is empty`);
  }
  return text;
}
