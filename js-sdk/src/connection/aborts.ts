/** AbortSignals and the calls that end with them. A signal that many calls share gets one listener, not one for each. */

import type { Call } from './call';

/** Watches over signals. */
export class Aborts {
  private readonly watched = new Map<
    AbortSignal,
    { readonly calls: Set<Call>; readonly listener: () => void }
  >();

  /** `onAborted` hears of calls whose signal fired. */
  constructor(private readonly onAborted: (call: Call) => void) {}

  /** Ends the call when its signal fires. */
  watch(signal: AbortSignal, call: Call): void {
    const known = this.watched.get(signal);
    if (known !== undefined) {
      known.calls.add(call);
      return;
    }
    const calls = new Set([call]);
    const listener = (): void => {
      this.watched.delete(signal);
      for (const aborted of calls) {
        this.onAborted(aborted);
      }
    };
    signal.addEventListener('abort', listener, { once: true });
    this.watched.set(signal, { calls, listener });
  }

  /** The call has ended by itself. */
  forget(signal: AbortSignal, call: Call): void {
    const known = this.watched.get(signal);
    if (known === undefined) {
      return;
    }
    known.calls.delete(call);
    if (known.calls.size === 0) {
      this.watched.delete(signal);
      signal.removeEventListener('abort', known.listener);
    }
  }
}
