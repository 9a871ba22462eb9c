/** The node itself: what it is, what it did, what keeps it from others. */

import { checkPeer } from '../arguments';
import type { CallOptions } from '../connection/call';
import { Op } from '../protocol/operations';
import type { Freed } from '../types';
import type { Control } from './control';
import type { DoctorReport } from './types';

/** How long DOCTOR may take: it tries all addresses at once, a connection and a handshake each. */
const DOCTOR_MS = 30_000;

/** How long a flush may take: some ten million keys, or a million that peers are told of. */
const FLUSH_MS = 10 * 60_000;

/** Looks for what keeps nodes apart. */
export async function doctor(
  control: Control,
  target: string | undefined,
  options?: CallOptions,
): Promise<DoctorReport> {
  const request = { target: target === undefined ? undefined : checkPeer(target) };
  return control.ask(Op.Doctor, request, options, DOCTOR_MS);
}

/** Frees all that programs stored. */
export async function flush(
  control: Control,
  options?: CallOptions & { readonly peer?: string | undefined },
): Promise<Freed> {
  const request = { peer: options?.peer === undefined ? undefined : checkPeer(options.peer) };
  return control.ask(Op.Flush, request, options, FLUSH_MS);
}
