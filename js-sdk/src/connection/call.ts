/** A call: a request that waits, is in flight, or is over. */

import type { BodyExchange, Exchange } from '../protocol/exchanges';
import type { FrameHeader } from '../protocol/header';
import type { PayloadReader } from '../protocol/reader';
import { readMessage } from '../protocol/replies';
import { errorOfStatus, STATUS_NOT_FOUND } from '../protocol/status';
import type { BodySink } from './body';
import type { ReceiveWindow } from './credit';
import type { Gather } from './gather';
import type { Upload } from './upload';

/** What every call takes. */
export interface CallOptions {
  /** Ends the call: it rejects with the signal's reason, and the node is told to stop working on it. */
  readonly signal?: AbortSignal | undefined;
  /**
   * After how many milliseconds it rejects with TimeoutError: a small call in all, one with a body from each sign of
   * progress to the next. 0 or Infinity is never. Default: that of the client.
   */
  readonly timeoutMs?: number | undefined;
}

type Resolve = (value: unknown) => void;
type Reject = (reason: unknown) => void;

let lastResolve: Resolve;
let lastReject: Reject;

// One function for all promises: a closure for each would be one object more per call.
function keep(resolve: Resolve, reject: Reject): void {
  lastResolve = resolve;
  lastReject = reject;
}

/** A call whose promise gives `R`: the reply; or with a sink what stands in front of the body. */
// biome-ignore lint/suspicious/noExplicitAny: a connection has calls of all kinds.
export class Call<A = any, R = any> {
  readonly promise: Promise<R>;
  private readonly resolve: Resolve;
  private readonly reject: Reject;

  /** The id on the wire; 0 until it was sent. */
  request = 0;
  /** When it is too late, by `performance.now()`. */
  deadline = Infinity;
  /** Whether nobody waits for anything any more. A call that was given up stays in flight until the node has ended it, too. */
  isOver = false;
  /** Whether its reply has come. Its body may still be under way. */
  isReplied = false;
  /** The flow of the body that comes in, once there is one. */
  window: ReceiveWindow | undefined;
  /** Bytes of that body that are still to come; `undefined` where nobody knows. */
  bodyLeft: number | undefined;
  /** Where that body is gathered, where there is no sink. */
  gather: Gather | undefined;

  constructor(
    readonly exchange: Exchange<A, R> | BodyExchange<A>,
    readonly args: A,
    readonly timeoutMs: number,
    readonly signal: AbortSignal | undefined,
    /** What the node holds for it, in bytes. */
    readonly held: number,
    /** Whether `not_found` is the answer `null`. */
    readonly orNull: boolean,
    /** The body that goes out. */
    readonly upload: Upload | undefined,
    /** Where the body goes that comes in; without one it is gathered. */
    readonly sink: BodySink | undefined,
  ) {
    this.promise = new Promise<unknown>(keep) as Promise<R>;
    this.resolve = lastResolve;
    this.reject = lastReject;
  }

  /** Gives it more time from now on. */
  touch(now: number): void {
    if (this.deadline !== Infinity) {
      this.deadline = now + this.timeoutMs;
    }
  }

  /** Whether it is the program that is slow, and not the node: no deadline passes meanwhile. */
  get isHeldUpByProgram(): boolean {
    if (this.sink && this.window?.isHeld) {
      return true;
    }
    return this.upload?.isWaitingForSource ?? false;
  }

  /** Gives the promise its value. Without a sink the call is over. */
  succeed(value: unknown): void {
    if (!this.isOver) {
      this.isOver = this.sink === undefined;
      this.resolve(value);
    }
  }

  /** All of the body has gone to the sink. */
  endSink(): void {
    if (!this.isOver) {
      this.isOver = true;
      this.sink?.end();
    }
  }

  /** Fails the call, or its sink where the promise has its value. */
  fail(error: unknown): void {
    if (this.isOver) {
      return;
    }
    this.isOver = true;
    this.upload?.stop(error as Error);
    if (this.sink !== undefined && this.isReplied) {
      this.sink.fail(error as Error);
    } else {
      this.reject(error);
    }
  }

  /** The node refused, or has no such thing. */
  refuse(header: FrameHeader, reader: PayloadReader): void {
    if (this.orNull && header.status === STATUS_NOT_FOUND) {
      this.upload?.stop(undefined);
      this.succeed(null);
    } else {
      this.fail(errorOfStatus(header.status, readMessage(reader)));
    }
  }
}
