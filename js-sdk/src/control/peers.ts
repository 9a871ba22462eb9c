/** Peers: links to other nodes, and what each may use. */

import { checkCall, checkPeer } from '../arguments';
import type { CallOptions } from '../connection/call';
import { DeniedError, PeerUnreachableError, TimeoutError } from '../errors';
import { Op } from '../protocol/operations';
import { errorOfCode } from '../protocol/status';
import { type Control, checkQuota } from './control';
import type { GrantChanged, PeerInfo, PeerState } from './types';

/** Options of `connectPeer`. `timeoutMs` is the time that the other person has to answer; five minutes unless given. */
export interface ConnectPeerOptions extends CallOptions {
  /** How much of this node's budget the peer may use; the default grant of the node unless given. */
  readonly quotaBytes?: number | undefined;
  /** Whether this side's consent ends with the link. Otherwise the peer is trusted for good once it agreed. */
  readonly once?: boolean | undefined;
  /** Whether to go on where the address leads to a node with the name of a trusted device, but another key. */
  readonly acceptNewKey?: boolean | undefined;
}

/** How long a person has to answer, as with `memcli connect`. */
const CONSENT_MS = 5 * 60_000;

/** How long dialling may take: the node tries several addresses, and then a handshake. */
const DIAL_MS = 60_000;

/** How long one question to the node waits. Then it is asked again, so that a node that hangs is noticed. */
const WAIT_STEP_MS = 10_000;

/** While a peer is in one of these states the answer is still to come. */
const UNDECIDED: readonly PeerState[] = [
  'connecting',
  'waiting_for_our_consent',
  'waiting_for_their_consent',
];

/** Asks for a link, and waits until it is there, or until it is clear that it will not be. */
export async function connectPeer(
  control: Control,
  target: string,
  options: ConnectPeerOptions = {},
): Promise<PeerInfo> {
  checkCall(options);
  const { signal, once = false, acceptNewKey = false } = options;
  const patienceMs = options.timeoutMs ?? CONSENT_MS;
  const deadline = patienceMs === 0 ? Infinity : performance.now() + patienceMs;
  const request = {
    target: checkPeer(target),
    quota_bytes: checkQuota(options.quotaBytes),
    once,
    accept_new_key: acceptNewKey,
  };
  let peer = await control.ask<PeerInfo>(Op.Connect, request, options, DIAL_MS);
  while (UNDECIDED.includes(peer.state)) {
    const leftMs = Math.ceil(Math.min(WAIT_STEP_MS, deadline - performance.now()));
    if (leftMs <= 0) {
      throw new TimeoutError(
        `'${peer.name}' has not agreed within ${patienceMs} ms; the question stays open there until it expires`,
      );
    }
    const wait = { peer: peer.id ?? peer.name, known_state: peer.state, timeout_ms: leftMs };
    peer = await control.ask<PeerInfo>(Op.PeerWait, wait, { signal }, 2 * WAIT_STEP_MS);
  }
  if (peer.state !== 'connected') {
    throw whyNot(peer);
  }
  return peer;
}

/** Ends the link of a peer. */
export async function disconnectPeer(
  control: Control,
  peer: string,
  options?: CallOptions,
): Promise<PeerInfo> {
  return control.ask(Op.Disconnect, { peer: checkPeer(peer) }, options);
}

/** Changes how much of this node's budget a peer may use. */
export async function setGrant(
  control: Control,
  peer: string,
  quotaBytes: number,
  options?: CallOptions,
): Promise<GrantChanged> {
  const update = { peer: checkPeer(peer), quota_bytes: checkQuota(quotaBytes ?? null) };
  return control.ask(Op.PeerUpdate, update, options);
}

function whyNot(peer: PeerInfo): Error {
  const why = (reason: string): string => `'${peer.name}' is not connected: ${peer.lastError ?? reason}`;
  if (peer.state === 'denied') {
    return new DeniedError(why('one of the two sides said no'));
  }
  const message = why('the connection ended before both sides agreed');
  return peer.lastErrorCode === null
    ? new PeerUnreachableError(message)
    : errorOfCode(peer.lastErrorCode, message);
}
