/** The body of a request on its way out: pulled as the node's credit and the socket allow. */

import { DATA_COST_MIN, dataCost, INLINE_MAX } from '../protocol/limits';
import { writeData, writeDataFailed } from '../protocol/requests';
import { STATUS_CANCELLED } from '../protocol/status';
import type { BodySource } from './body';
import type { Call } from './call';
import { SendCredit } from './credit';
import type { Outgoing } from './outgoing';

/** One body. */
export class Upload {
  /** Whether the next move is the source's. */
  isWaitingForSource = false;

  private readonly credit = new SendCredit();
  private outgoing: Outgoing | undefined;
  private call: Call | undefined;
  private isStopped = false;
  private isPumping = false;
  /** Whether its last frame was written. */
  private hasEnded = false;

  constructor(private readonly source: BodySource) {}

  /** Begins behind the frame of the request, which had no bytes of the body. */
  start(outgoing: Outgoing, call: Call): void {
    this.outgoing = outgoing;
    this.call = call;
    this.source.start(() => this.pump());
    this.pump();
  }

  /** More may be sent. */
  grant(bytes: number): void {
    this.credit.grant(bytes);
    this.pump();
  }

  /** Nothing more is to be sent. */
  stop(error: Error | undefined): void {
    if (!this.isStopped) {
      this.isStopped = true;
      this.source.stop(error);
    }
  }

  /** Sends what can be sent now. */
  pump(): void {
    const { outgoing, call } = this;
    if (this.isPumping || outgoing === undefined || call === undefined) {
      return;
    }
    this.isPumping = true;
    while (this.step(outgoing, call)) {}
    this.isPumping = false;
  }

  /** Sends a frame. Returns whether another one may follow. */
  private step(outgoing: Outgoing, call: Call): boolean {
    if (this.isStopped || this.hasEnded) {
      return false;
    }
    this.isWaitingForSource = false;
    // A credit below the least cost of a frame pays for none.
    if (this.credit.available < DATA_COST_MIN) {
      return false;
    }
    if (!outgoing.hasRoomForBodies) {
      outgoing.waitForRoom(this);
      return false;
    }
    const bytes = this.pull(Math.min(INLINE_MAX, this.credit.available), outgoing, call);
    if (bytes === undefined) {
      return false;
    }
    call.touch(performance.now());
    if (bytes === null) {
      this.hasEnded = true;
      writeData(outgoing.writer, call.request, false, EMPTY);
    } else {
      this.credit.take(dataCost(bytes.length));
      writeData(outgoing.writer, call.request, true, bytes);
    }
    outgoing.schedule();
    return bytes !== null;
  }

  private pull(max: number, outgoing: Outgoing, call: Call): Uint8Array | null | undefined {
    try {
      const bytes = this.source.pull(max);
      this.isWaitingForSource = bytes === undefined;
      return bytes;
    } catch (error) {
      this.hasEnded = true;
      writeDataFailed(outgoing.writer, call.request, STATUS_CANCELLED, 'the program broke the value off');
      outgoing.schedule();
      call.fail(error);
      return undefined;
    }
  }
}

const EMPTY = new Uint8Array(0);
