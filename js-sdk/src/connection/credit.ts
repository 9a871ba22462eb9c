/** Credit-based flow control of one body in one direction: docs/protocol/local.md, "Bodies and credit". */

import { ProtocolError } from '../errors';
import { BODY_WINDOW } from '../protocol/limits';

/** The sender's side: what it may still send. */
export class SendCredit {
  available = BODY_WINDOW;

  take(cost: number): void {
    this.available -= cost;
  }

  grant(bytes: number): void {
    this.available += bytes;
  }
}

/** The receiver's side: what the node may have under way, and when to grant more. */
export class ReceiveWindow {
  private outstanding = BODY_WINDOW;
  private consumed = 0;

  /** Notes what arrived. */
  receive(cost: number): void {
    if (cost > this.outstanding) {
      throw new ProtocolError(`the node sent ${cost} bytes of a body where ${this.outstanding} were granted`);
    }
    this.outstanding -= cost;
  }

  /** Notes what was passed on. Returns the credit to grant now: half a window, or nothing. */
  consume(cost: number): number {
    this.consumed += cost;
    if (this.consumed < BODY_WINDOW / 2) {
      return 0;
    }
    const grant = this.consumed;
    this.consumed = 0;
    this.outstanding += grant;
    return grant;
  }

  /** Whether something arrived that was not passed on yet: then it is not the node that is slow. */
  get isHeld(): boolean {
    return this.outstanding + this.consumed < BODY_WINDOW;
  }
}
