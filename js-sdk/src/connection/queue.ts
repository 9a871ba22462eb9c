/** Calls that were not sent yet: the connection is not up, or the node or the socket have no room for them now. */

import type { Call } from './call';

/** Two rows, so that large values that wait for the node's room hold up no small ones. */
export class CallQueue {
  private readonly small = new Set<Call>();
  private readonly bodies = new Set<Call>();

  get size(): number {
    return this.small.size + this.bodies.size;
  }

  add(call: Call): void {
    this.rowOf(call).add(call);
  }

  delete(call: Call): boolean {
    return this.rowOf(call).delete(call);
  }

  /** Takes out calls, the oldest of a row first, as long as `send` takes them. */
  release(send: (call: Call) => boolean): void {
    for (const row of [this.small, this.bodies]) {
      for (const call of row) {
        if (!send(call)) {
          break;
        }
        row.delete(call);
      }
    }
  }

  /** Takes out all of them. */
  drain(): Call[] {
    const calls = [...this.small, ...this.bodies];
    this.small.clear();
    this.bodies.clear();
    return calls;
  }

  each(visit: (call: Call) => void): void {
    this.small.forEach(visit);
    this.bodies.forEach(visit);
  }

  private rowOf(call: Call): Set<Call> {
    return call.upload === undefined ? this.small : this.bodies;
  }
}
