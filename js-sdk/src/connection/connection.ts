/** The connection of a client: it comes up with the first call, comes back when it was lost, and carries any number of calls.
 *
 * Whoever has streams finds what they need in `body.ts`.
 *
 *     idle --call, connect--> connecting --greeted--> up --lost--> waiting --pause over--> connecting
 *       ^                         |                                   |
 *       +------ failed -----------+------- failed too often ----------+
 *
 * Calls that were not sent wait while it is being made; those that were sent are never sent twice.
 */

import {
  BusyError,
  ClosedError,
  ConnectionLostError,
  type MemCloudError,
  NotRunningError,
  ShuttingDownError,
  TimeoutError,
} from '../errors';
import { BODY_HELD, type BodyExchange, type Exchange } from '../protocol/exchanges';
import type { HelloReply, ReadHead } from '../protocol/replies';
import { Aborts } from './aborts';
import { Backoff, type BackoffSettings } from './backoff';
import type { BodySink, BodySource, Download } from './body';
import { Call, type CallOptions } from './call';
import { Deadlines, TIMER_MAX_MS } from './deadlines';
import { CallQueue } from './queue';
import { Session, type SessionOwner, type SessionSettings } from './session';
import type { Endpoint } from './socket';
import { Upload } from './upload';

/** How a connection is to be. */
export interface ConnectionSettings {
  /** Where the node is; asked at each attempt. May throw. */
  readonly endpoint: () => Endpoint;
  readonly name: string;
  readonly highWaterMark: number;
  /** How long a call may take where it does not say so itself. */
  readonly timeoutMs: number;
  /** How long an attempt to connect may take. */
  readonly connectTimeoutMs: number;
  /** `undefined` where a lost connection does not come back by itself. */
  readonly backoff: BackoffSettings | undefined;
}

/** Who hears how the connection is. */
export interface ConnectionEvents {
  up(node: HelloReply): void;
  /** It was up, and is no more. */
  lost(error: MemCloudError): void;
  reconnecting(attempt: number, delayMs: number): void;
}

type State = 'idle' | 'connecting' | 'up' | 'waiting' | 'lost' | 'closed';

/** Why a call fails that is made after `close`. */
const CLOSED = 'this client was closed: make another one';

/** A connection that may be up or not. */
export class Connection implements SessionOwner {
  private state: State = 'idle';
  private hasBeenUp = false;
  private session: Session | undefined;
  /** The timer of the attempt, or of the pause before it. */
  private timer: NodeJS.Timeout | undefined;
  private readonly backoff: Backoff | undefined;
  private readonly queue = new CallQueue();
  private readonly deadlines = new Deadlines(
    (visit) => this.each(visit),
    (call) => this.giveUp(call, this.tooLate(call)),
  );
  private readonly aborts = new Aborts((call) => this.giveUp(call, call.signal?.reason));
  /** Who waits for it to be up. */
  private waiters: { resolve(): void; reject(error: MemCloudError): void }[] = [];
  /** Who waits until no call is left. */
  private idlers: (() => void)[] = [];
  /** Why it is not up. */
  private failure: MemCloudError | undefined;

  constructor(
    private readonly settings: ConnectionSettings,
    private readonly events: ConnectionEvents,
  ) {
    this.backoff = settings.backoff && new Backoff(settings.backoff);
  }

  /** Makes a call; with `source` as the body of the request. */
  request<A, R>(exchange: Exchange<A, R>, args: A, options?: CallOptions, source?: BodySource): Promise<R> {
    return this.submit(this.call<A, R>(exchange, args, options, false, source)).promise;
  }

  /** Makes a call whose answer is `null` where there is no such key or block. */
  requestOrNull<A, R>(exchange: Exchange<A, R>, args: A, options?: CallOptions): Promise<R | null> {
    return this.submit(this.call<A, R | null>(exchange, args, options, true)).promise;
  }

  /** Makes a call whose reply has a body that goes into a sink. */
  open<A>(exchange: BodyExchange<A>, args: A, sink: BodySink, options?: CallOptions): Download {
    const call = this.call<A, ReadHead>(exchange, args, options, false, undefined, sink);
    this.submit(call);
    return {
      head: call.promise,
      taken: (bytes) => this.session?.taken(call, bytes.length),
      cancel: (reason) => this.giveUp(call, reason),
    };
  }

  /** Resolves when it is up. */
  connect(): Promise<void> {
    if (this.state === 'up') {
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      if (this.state === 'closed') {
        reject(new ClosedError(CLOSED));
        return;
      }
      this.waiters.push({ resolve, reject });
      if (this.state === 'idle' || this.state === 'lost') {
        this.attempt();
      }
    });
  }

  /** Resolves when no call is left. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.idlers.push(resolve);
      this.checkIdle();
    });
  }

  /** Ends it for good: what waits or is in flight fails with ClosedError. Returns whether it was open. */
  close(): boolean {
    if (this.state === 'closed') {
      return false;
    }
    this.state = 'closed';
    clearTimeout(this.timer);
    const error = new ClosedError(
      'the client was closed before the answer: the call may have been carried out or not',
    );
    this.session?.end(error);
    this.session = undefined;
    this.failWaiting(new ClosedError(CLOSED));
    this.deadlines.stop();
    return true;
  }

  // What the session says.

  up(_session: Session, node: HelloReply): void {
    clearTimeout(this.timer);
    this.state = 'up';
    this.hasBeenUp = true;
    this.failure = undefined;
    this.backoff?.reset();
    const { waiters } = this;
    this.waiters = [];
    for (const waiter of waiters) {
      waiter.resolve();
    }
    this.room();
    this.events.up(node);
  }

  lost(session: Session, error: MemCloudError): void {
    if (session !== this.session) {
      return;
    }
    this.session = undefined;
    clearTimeout(this.timer);
    const wasUp = this.state === 'up';
    this.failure = error;
    if (wasUp) {
      // Whoever hears of it may call and connect: that waits for what is decided below.
      this.state = 'waiting';
      this.events.lost(error);
    }
    this.retryOrFail(wasUp, error);
  }

  ended(call: Call): void {
    if (call.signal !== undefined) {
      this.aborts.forget(call.signal, call);
    }
    this.room();
    if (this.idlers.length > 0) {
      this.checkIdle();
    }
  }

  room(): void {
    const { session } = this;
    if (this.queue.size > 0 && session !== undefined) {
      this.queue.release((call) => this.sendNow(session, call));
    }
  }

  private call<A, R>(
    exchange: Exchange<A, unknown>,
    args: A,
    options: CallOptions | undefined,
    orNull: boolean,
    source?: BodySource,
    sink?: BodySink,
  ): Call<A, R> {
    const held = exchange.held(args);
    const timeoutMs = options?.timeoutMs ?? this.settings.timeoutMs;
    return new Call<A, R>(
      exchange as Exchange<A, R>,
      args,
      timeoutMs === 0 ? Infinity : timeoutMs,
      options?.signal,
      source === undefined ? held : held + BODY_HELD,
      orNull,
      source && new Upload(source),
      sink,
    );
  }

  /** Sends a call, now or when there is room. */
  private submit<A, R>(call: Call<A, R>): Call<A, R> {
    const { signal } = call;
    if (signal !== undefined) {
      if (signal.aborted) {
        call.fail(signal.reason);
        return call;
      }
      this.aborts.watch(signal, call);
    }
    this.deadlines.watch(call);
    const { session } = this;
    if (session !== undefined && this.queue.size === 0 && session.admits(call)) {
      session.send(call);
    } else {
      this.wait(call);
    }
    return call;
  }

  private wait(call: Call): void {
    switch (this.state) {
      case 'closed':
        this.giveUp(call, new ClosedError(CLOSED));
        return;
      case 'lost':
        this.giveUp(
          call,
          new ConnectionLostError(
            'the connection was lost, and is not to come back by itself: call connect()',
            { cause: this.failure },
          ),
        );
        return;
      default:
        this.queue.add(call);
        this.room();
        if (this.state === 'idle') {
          this.attempt();
        }
    }
  }

  /** Sends a call out of the queue. Returns whether there was room. */
  private sendNow(session: Session, call: Call): boolean {
    if (!session.admits(call)) {
      return false;
    }
    session.send(call);
    return true;
  }

  /** Ends a call that waits or is in flight, and tells the node where it knows of it. */
  private giveUp(call: Call, error: unknown): void {
    if (call.isOver) {
      return;
    }
    const wasQueued = this.queue.delete(call);
    call.fail(error);
    if (!wasQueued && call.request !== 0) {
      this.session?.cancel(call);
    }
    this.ended(call);
  }

  private attempt(): void {
    this.state = 'connecting';
    let endpoint: Endpoint;
    try {
      endpoint = this.settings.endpoint();
    } catch (error) {
      this.failure = error as MemCloudError;
      // Not within the call that wanted it: whoever waits is told as by an attempt that failed.
      process.nextTick(() => this.retryOrFail(false, error as MemCloudError));
      return;
    }
    const { name, highWaterMark, connectTimeoutMs } = this.settings;
    const settings: SessionSettings = { endpoint, name, highWaterMark };
    const session = new Session(settings, this);
    this.session = session;
    this.timer = setTimeout(
      () => session.end(new TimeoutError(`the node did not greet within ${connectTimeoutMs} ms`)),
      Math.min(connectTimeoutMs, TIMER_MAX_MS),
    );
  }

  /** An attempt failed, or the connection was lost: pauses before the next attempt, or lets all that wait fail. */
  private retryOrFail(wasUp: boolean, error: MemCloudError): void {
    if (this.state === 'closed') {
      return;
    }
    const isRetried = wasUp || ((this.backoff?.attempt ?? 0) > 0 && mayPass(error));
    const delayMs = isRetried ? this.backoff?.next() : undefined;
    if (delayMs === undefined) {
      this.state = this.hasBeenUp && this.backoff === undefined ? 'lost' : 'idle';
      this.backoff?.reset();
      this.failWaiting(error);
      return;
    }
    this.state = 'waiting';
    this.timer = setTimeout(() => this.attempt(), Math.min(delayMs, TIMER_MAX_MS));
    this.events.reconnecting(this.backoff?.attempt ?? 0, delayMs);
  }

  private failWaiting(error: MemCloudError): void {
    const { waiters } = this;
    this.waiters = [];
    for (const waiter of waiters) {
      waiter.reject(error);
    }
    for (const call of this.queue.drain()) {
      call.fail(error);
      this.ended(call);
    }
  }

  private each(visit: (call: Call) => void): void {
    this.queue.each(visit);
    this.session?.each(visit);
  }

  private tooLate(call: Call): TimeoutError {
    const after = `within ${call.timeoutMs} ms`;
    if (call.request !== 0) {
      return new TimeoutError(`no answer from the node ${after}: the call may have been carried out or not`);
    }
    if (this.state !== 'up') {
      const { failure } = this;
      const why = failure === undefined ? '' : `: ${failure.message}`;
      return new TimeoutError(`no connection to the node ${after}${why}`, { cause: failure });
    }
    return new TimeoutError(`no room for the call ${after}: too many others are under way`);
  }

  private checkIdle(): void {
    if (this.queue.size === 0 && (this.session?.size ?? 0) === 0) {
      const { idlers } = this;
      this.idlers = [];
      for (const resolve of idlers) {
        resolve();
      }
    }
  }
}

/** Whether a further attempt may succeed where one failed so. */
function mayPass(error: MemCloudError): boolean {
  return (
    error instanceof NotRunningError ||
    error instanceof ConnectionLostError ||
    error instanceof TimeoutError ||
    error instanceof BusyError ||
    error instanceof ShuttingDownError
  );
}
