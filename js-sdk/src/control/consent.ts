/** Consent: peers that ask to connect, and the answers of the person at this machine. */

import { setTimeout as pause } from 'node:timers/promises';
import { checkPeer } from '../arguments';
import type { CallOptions } from '../connection/call';
import { ClosedError } from '../errors';
import { Op } from '../protocol/operations';
import { type Control, checkQuota } from './control';
import type { ConsentRequest } from './types';

/** How long one question to the node waits: its own limit. Then it is asked again. */
const WAIT_STEP_MS = 60_000;

/** Between two questions where the first one failed. */
const PAUSE_MS = 1_000;

/** Answers to peers that ask: `cloud.consent`. */
export class Consent {
  /** For the client alone. */
  constructor(private readonly control: Control) {}

  /** Who waits for an answer. */
  list(options?: CallOptions): Promise<ConsentRequest[]> {
    return this.control.ask(Op.ConsentList, undefined, options);
  }

  /** Lets a peer in until its link ends. `peer` is its name, id or an unambiguous prefix of its id. */
  allow(peer: string, options?: ConsentOptions): Promise<ConsentRequest> {
    return this.decide('allow', peer, options);
  }

  /** Lets a peer in for good. */
  trust(peer: string, options?: ConsentOptions): Promise<ConsentRequest> {
    return this.decide('trust', peer, options);
  }

  /** Does not let it in. */
  deny(peer: string, options?: CallOptions): Promise<ConsentRequest> {
    return this.decide('deny', peer, options);
  }

  private async decide(answer: string, peer: string, options?: ConsentOptions): Promise<ConsentRequest> {
    const decision = { peer: checkPeer(peer), answer, quota_bytes: checkQuota(options?.quotaBytes) };
    return this.control.ask(Op.ConsentDecide, decision, options);
  }
}

/** Options of an answer. */
export interface ConsentOptions extends CallOptions {
  /** How much of this node's budget the peer may use; the default grant unless given. */
  readonly quotaBytes?: number | undefined;
}

/** Watches for requests while somebody listens, with a question that the node answers when there is something new. */
export class ConsentWatch {
  private running: AbortController | undefined;

  constructor(
    private readonly control: Control,
    private readonly onRequest: (request: ConsentRequest) => void,
  ) {}

  /** Begins; does nothing where it runs. */
  start(): void {
    if (this.running === undefined) {
      this.running = new AbortController();
      void this.run(this.running.signal);
    }
  }

  /** Ends. */
  stop(): void {
    this.running?.abort();
    this.running = undefined;
  }

  private async run(signal: AbortSignal): Promise<void> {
    let revision: number | undefined;
    let known = new Set<string>();
    while (!signal.aborted) {
      try {
        const state = await this.control.ask<{ revision: number; requests: ConsentRequest[] }>(
          Op.ConsentWait,
          { known_revision: revision, timeout_ms: WAIT_STEP_MS },
          { signal },
          2 * WAIT_STEP_MS,
        );
        revision = state.revision;
        const fresh = state.requests.filter((request) => !known.has(nameOf(request)));
        known = new Set(state.requests.map(nameOf));
        for (const request of fresh) {
          // Not within this loop: what a listener throws is the program's, and ends no watch.
          process.nextTick(this.onRequest, request);
        }
      } catch (error) {
        if (signal.aborted || error instanceof ClosedError) {
          return;
        }
        // Another node may count its revisions otherwise.
        revision = undefined;
        await pause(PAUSE_MS, undefined, { ref: false });
      }
    }
  }
}

/** One who asks anew has another code. */
function nameOf({ id, code }: ConsentRequest): string {
  return `${id} ${code}`;
}
