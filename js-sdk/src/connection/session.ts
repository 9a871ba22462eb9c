/** One socket from its first byte to its last: greets, sends calls as the node's limits allow, and cancels them.
 *
 * A session never comes back: `Connection` makes another one. What the node sends is `Incoming`'s part.
 */

import type { Socket } from 'node:net';
import {
  ClosedError,
  ConnectionLostError,
  IncompatibleVersionError,
  MemCloudError,
  ProtocolError,
  UnsupportedError,
} from '../errors';
import { FrameDecoder } from '../protocol/decoder';
import { hello } from '../protocol/exchanges';
import { dataCost, PROTOCOL_VERSION } from '../protocol/limits';
import { Op } from '../protocol/operations';
import type { HelloReply } from '../protocol/replies';
import { writeCredit, writeEmpty } from '../protocol/requests';
import { Call } from './call';
import { Incoming, type IncomingOwner } from './incoming';
import { Outgoing } from './outgoing';
import { type Endpoint, openSocket, type SocketEvents } from './socket';

/** Request ids go round below this: they stay small integers, which the engine keeps without a heap object. */
const REQUEST_MAX = 2 ** 31 - 1;

/** Who has a session. */
export interface SessionOwner {
  /** The node has greeted: calls can be sent. */
  up(session: Session, node: HelloReply): void;
  /** The session is over, and its calls have failed. */
  lost(session: Session, error: MemCloudError): void;
  /** A call has left the session. */
  ended(call: Call): void;
  /** There may be room for further calls. */
  room(): void;
}

/** How a session is to be. */
export interface SessionSettings {
  readonly endpoint: Endpoint;
  /** The name of the program, for the node's log. */
  readonly name: string;
  /** Bytes that wait for the socket before further calls wait. */
  readonly highWaterMark: number;
}

/** One connection to a node. */
export class Session implements SocketEvents, IncomingOwner {
  /** What the node said of itself; `undefined` until then. */
  private node: HelloReply | undefined;
  private readonly socket: Socket;
  private readonly outgoing: Outgoing;
  private readonly decoder: FrameDecoder;
  private readonly inFlight = new Map<number, Call>();
  private lastRequest = 0;
  private isOver = false;
  /** What the node may be made to hold by calls with bodies, and as much again by the others. */
  private heldHalf = 0;
  private heldBySmall = 0;
  private heldByBodies = 0;

  constructor(
    private readonly settings: SessionSettings,
    private readonly owner: SessionOwner,
  ) {
    this.decoder = new FrameDecoder(new Incoming(this));
    this.socket = openSocket(settings.endpoint, this);
    this.outgoing = new Outgoing(this.socket, () => owner.room());
  }

  /** Calls whose end has not come. */
  get size(): number {
    return this.inFlight.size;
  }

  /** Whether a call may be sent now: the node's limits allow it, and the socket keeps up. */
  admits(call: Call): boolean {
    if (this.node === undefined || this.inFlight.size >= this.node.inFlightMax) {
      return false;
    }
    const waiting = this.outgoing.length;
    if (waiting > 0 && waiting >= this.settings.highWaterMark) {
      return false;
    }
    // What is too large for a half by itself goes alone.
    const held = call.upload === undefined ? this.heldBySmall : this.heldByBodies;
    return held === 0 || held + call.held <= this.heldHalf;
  }

  /** Sends a call. Where its arguments cannot be written it fails, and nothing is sent. */
  send(call: Call): void {
    const request = this.nextRequest();
    const { exchange, upload } = call;
    try {
      exchange.write(this.outgoing.writer, request, upload !== undefined, call.args);
    } catch (error) {
      this.outgoing.writer.rollback();
      call.fail(error);
      this.owner.ended(call);
      return;
    }
    call.request = request;
    this.inFlight.set(request, call);
    this.hold(call, call.held);
    this.outgoing.schedule();
    upload?.start(this.outgoing, call);
  }

  /** Tells the node to stop working on a call. It stays in flight until the node has. */
  cancel(call: Call): void {
    if (!this.isOver && this.inFlight.has(call.request)) {
      writeEmpty(this.outgoing.writer, Op.Cancel, call.request);
      this.outgoing.schedule();
    }
  }

  /** Notes that bytes of a body went on their way, so that the node may send as many again. */
  taken(call: Call, length: number): void {
    if (call.window === undefined || call.isOver || this.isOver) {
      return;
    }
    call.touch(performance.now());
    const grant = call.window.consume(dataCost(length));
    if (grant > 0) {
      writeCredit(this.outgoing.writer, call.request, grant);
      this.outgoing.schedule();
    }
  }

  /** Ends the session. Calls in flight fail. */
  end(error: MemCloudError): void {
    this.decoder.stop();
    this.socket.destroy();
    this.over(error);
  }

  /** Visits the calls in flight. */
  each(visit: (call: Call) => void): void {
    this.inFlight.forEach(visit);
  }

  // What the socket says.

  connected(): void {
    const { name, endpoint } = this.settings;
    const token = 'token' in endpoint ? endpoint.token : '';
    const greeting = new Call(hello, { name, token }, Infinity, undefined, 0, false, undefined, undefined);
    greeting.promise.then(
      (node: HelloReply) => this.greeted(node),
      (error: MemCloudError) => this.end(asGreetingError(error)),
    );
    this.send(greeting);
  }

  bytes(bytes: Buffer, length: number): void {
    try {
      this.decoder.push(bytes, 0, length);
    } catch (error) {
      this.broken(error);
    }
  }

  place(): Uint8Array | undefined {
    return this.decoder.place();
  }

  placed(length: number): void {
    try {
      this.decoder.placed(length);
    } catch (error) {
      this.broken(error);
    }
  }

  closed(error: MemCloudError | undefined): void {
    this.decoder.stop();
    this.over(error ?? this.hungUp());
  }

  // What the frames say.

  find(request: number): Call | undefined {
    return this.inFlight.get(request);
  }

  remove(call: Call): void {
    if (this.inFlight.delete(call.request)) {
      this.hold(call, -call.held);
      this.owner.ended(call);
    }
  }

  faulted(error: MemCloudError): void {
    this.end(this.node === undefined ? asGreetingError(error) : error);
  }

  private greeted(node: HelloReply): void {
    if (this.isOver) {
      return;
    }
    if (node.version !== PROTOCOL_VERSION) {
      this.end(
        new IncompatibleVersionError(
          `memnode ${node.nodeVersion} speaks version ${node.version} of the local protocol, this client speaks ${PROTOCOL_VERSION}: update the older of the two`,
        ),
      );
      return;
    }
    this.node = node;
    this.heldHalf = node.heldBytesMax / 2;
    this.owner.up(this, node);
  }

  private hungUp(): MemCloudError {
    return new ConnectionLostError(
      this.node === undefined
        ? 'the node closed the connection without a word: it belongs to another user, or serves as many programs as it may'
        : 'the node closed the connection',
    );
  }

  private broken(error: unknown): void {
    this.end(
      error instanceof MemCloudError
        ? error
        : new ProtocolError('what the node sent could not be dealt with', { cause: error }),
    );
  }

  /** Fails all that is in flight, once. */
  private over(error: MemCloudError): void {
    if (this.isOver) {
      return;
    }
    this.isOver = true;
    const failure = this.node === undefined ? error : asLost(error);
    const calls = [...this.inFlight.values()];
    this.inFlight.clear();
    for (const call of calls) {
      call.fail(failure);
      this.owner.ended(call);
    }
    this.owner.lost(this, failure);
  }

  private hold(call: Call, bytes: number): void {
    if (call.upload === undefined) {
      this.heldBySmall += bytes;
    } else {
      this.heldByBodies += bytes;
    }
  }

  private nextRequest(): number {
    do {
      this.lastRequest = (this.lastRequest % REQUEST_MAX) + 1;
    } while (this.inFlight.has(this.lastRequest));
    return this.lastRequest;
  }
}

/** What the node says to a greeting that it cannot answer. */
function asGreetingError(error: MemCloudError): MemCloudError {
  return error instanceof UnsupportedError
    ? new IncompatibleVersionError(
        `this client speaks version ${PROTOCOL_VERSION} of the local protocol, and the node answered: ${error.message}`,
        { cause: error },
      )
    : error;
}

/** Why calls in flight fail: they may have been carried out or not, unless this client closed, or the node talks nonsense. */
function asLost(error: MemCloudError): MemCloudError {
  return error instanceof ClosedError ||
    error instanceof ProtocolError ||
    error instanceof ConnectionLostError
    ? error
    : new ConnectionLostError(`the connection ended: ${error.message}`, { cause: error });
}
