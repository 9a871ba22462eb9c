/** Pairing: one machine shows a code, the other one is told it, and both trust each other for good. */

import { checkPeer } from '../arguments';
import type { CallOptions } from '../connection/call';
import { Op } from '../protocol/operations';
import { type Control, checkName, checkQuota } from './control';
import type { PeerInfo } from './types';

/** A code that is offered. */
export interface PairOffer {
  /** For the person at the other machine, such as `417-582-9310`. It serves for one attempt. */
  readonly code: string;
  readonly expiresInSecs: number;
  /** The peer, when somebody typed the code there; rejects with why not. An AbortSignal of the offer takes the code back. */
  readonly joined: Promise<PeerInfo>;
}

/** How long a pairing may take once somebody tries a code: finding the node, dialling, the exchange and the agreement. */
const PAIR_MS = 45_000;

/** Pairing with other nodes: `cloud.pair`. */
export class Pairing {
  /** For the client alone. */
  constructor(private readonly control: Control) {}

  /** Offers a code. It is good as long as this client is connected, and no longer than it says. */
  async offer(
    options?: CallOptions & {
      /** How much of this node's budget the other one may use; the default grant unless given. */
      readonly quotaBytes?: number | undefined;
    },
  ): Promise<PairOffer> {
    const offer = { quota_bytes: checkQuota(options?.quotaBytes) };
    const shown = await this.control.ask<{ number: number; code: string; expiresInSecs: number }>(
      Op.PairOffer,
      offer,
      options,
    );
    const { number, code, expiresInSecs } = shown;
    // Behind its expiry the node still sees an exchange that has begun to its end.
    const patienceMs = PAIR_MS + 1000 * expiresInSecs;
    const joined = this.control.ask<PeerInfo>(
      Op.PairWait,
      { number },
      { signal: options?.signal, timeoutMs: options?.timeoutMs ?? patienceMs },
    );
    // Who does not wait for it has no use for its failure.
    joined.catch(() => {});
    return { code, expiresInSecs, joined };
  }

  /** Tries a code that another node offers. Resolves when both trust each other for good. */
  async join(
    code: string,
    options?: CallOptions & {
      /** A known peer's name, id or prefix of an id, or `HOST:PORT`; without it the node that the code names is looked for. */
      readonly at?: string | undefined;
      /** How much of this node's budget the other one may use; the default grant unless given. */
      readonly quotaBytes?: number | undefined;
    },
  ): Promise<PeerInfo> {
    const join = {
      code: checkName('a code', code),
      at: options?.at === undefined ? undefined : checkPeer(options.at),
      quota_bytes: checkQuota(options?.quotaBytes),
    };
    return this.control.ask(Op.PairJoin, join, options, PAIR_MS);
  }
}
