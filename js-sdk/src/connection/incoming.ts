/** What comes from the node: frames are matched to the calls in flight, whose replies and bodies they are. */

import { type MemCloudError, ProtocolError, TooLargeError } from '../errors';
import type { FrameHandler } from '../protocol/decoder';
import type { FrameHeader } from '../protocol/header';
import { dataCost } from '../protocol/limits';
import { Op } from '../protocol/operations';
import { PayloadReader } from '../protocol/reader';
import { readMessage } from '../protocol/replies';
import { errorOfStatus } from '../protocol/status';
import type { Call } from './call';
import { ReceiveWindow } from './credit';
import { Gather } from './gather';

/** Who sends for the incoming side. */
export interface IncomingOwner {
  /** The call in flight with this id. */
  find(request: number): Call | undefined;
  /** Nothing more comes for the call. */
  remove(call: Call): void;
  /** Bytes of its body went on their way. */
  taken(call: Call, length: number): void;
  /** The rest of its body is not wanted. */
  cancel(call: Call): void;
  /** The node ends the connection. */
  faulted(error: MemCloudError): void;
}

/** The incoming side of one connection. What it throws ends the connection. */
export class Incoming implements FrameHandler {
  private readonly reader = new PayloadReader();
  /** What is being filled for a sink. */
  private piece: Uint8Array | undefined;

  constructor(private readonly owner: IncomingOwner) {}

  frame(header: FrameHeader, bytes: Buffer, start: number, end: number, owned: boolean): void {
    const reader = this.reader.reset(bytes, start, end, owned);
    if (header.op === Op.Fault) {
      this.owner.faulted(errorOfStatus(header.status, readMessage(reader)));
      return;
    }
    // What is for nobody in flight is late, not wrong.
    const call = this.find(header);
    if (call === undefined) {
      return;
    }
    switch (header.op) {
      case Op.Credit:
        call.touch(performance.now());
        call.upload?.grant(reader.u64());
        break;
      case Op.Data:
        this.bodyStopped(call, header, reader);
        break;
      default:
        this.replied(call, header, reader);
    }
  }

  room(header: FrameHeader): Uint8Array | undefined {
    const call = this.find(header);
    if (call === undefined) {
      return undefined;
    }
    receive(call, header.length);
    if (call.isOver) {
      return undefined;
    }
    if (call.gather !== undefined) {
      return call.gather.room(header.length);
    }
    this.piece = call.sink?.room(header.length);
    return this.piece;
  }

  filled(header: FrameHeader, wanted: boolean): void {
    const call = this.find(header);
    if (call === undefined) {
      return;
    }
    if (wanted && !call.isOver) {
      call.touch(performance.now());
      if (call.gather !== undefined) {
        call.gather.filled(header.length);
        this.owner.taken(call, header.length);
      } else if (this.piece !== undefined) {
        call.sink?.filled(this.piece);
      }
    }
    this.piece = undefined;
    if (!header.more) {
      this.bodyEnded(call);
    }
  }

  private find(header: FrameHeader): Call | undefined {
    return header.requestHigh === 0 ? this.owner.find(header.requestLow) : undefined;
  }

  private replied(call: Call, header: FrameHeader, reader: PayloadReader): void {
    if (call.isReplied || header.op !== call.exchange.op) {
      throw new ProtocolError('the node sent a reply that belongs to no request');
    }
    if (header.status !== 0) {
      this.owner.remove(call);
      call.refuse(header, reader);
      return;
    }
    // The node has taken the body of the request, or wants no more of it.
    call.upload?.stop(undefined);
    if (header.more || call.sink !== undefined) {
      this.bodyBegins(call, header, reader);
      return;
    }
    const value = call.isOver ? undefined : call.exchange.read(reader, call.args);
    this.owner.remove(call);
    call.succeed(value);
  }

  private bodyBegins(call: Call, header: FrameHeader, reader: PayloadReader): void {
    const { exchange, sink } = call;
    const head = 'head' in exchange ? exchange.head(reader, call.args) : undefined;
    const { left } = reader;
    call.window = new ReceiveWindow();
    call.bodyLeft = head?.length;
    if (sink === undefined) {
      this.gather(call);
    } else {
      call.succeed(head);
    }
    call.isReplied = true;
    if (header.more) {
      receive(call, left);
    } else {
      count(call, left);
    }
    if (left > 0 && !call.isOver) {
      if (call.gather !== undefined) {
        call.gather.append(reader.view(left));
        this.owner.taken(call, left);
      } else {
        sink?.filled(reader.copy(left));
      }
    }
    if (!header.more) {
      this.bodyEnded(call);
    }
  }

  /** Makes the memory for a body that is to be had in one piece. */
  private gather(call: Call): void {
    if (call.isOver) {
      return;
    }
    try {
      call.gather = new Gather(call.bodyLeft);
    } catch (error) {
      call.fail(
        new TooLargeError(
          `there is no memory for ${call.bodyLeft} bytes in one piece: read it as a stream, or in ranges`,
          { cause: error },
        ),
      );
      this.owner.cancel(call);
    }
  }

  /** A DATA frame without bytes, or with a status. */
  private bodyStopped(call: Call, header: FrameHeader, reader: PayloadReader): void {
    if (call.window === undefined) {
      throw new ProtocolError('the node sent bytes of a value before its reply');
    }
    if (header.status !== 0) {
      this.owner.remove(call);
      call.refuse(header, reader);
    } else if (!header.more) {
      this.bodyEnded(call);
    }
  }

  private bodyEnded(call: Call): void {
    if (call.bodyLeft !== undefined && call.bodyLeft > 0 && !call.isOver) {
      throw new ProtocolError(`the node ended a value ${call.bodyLeft} bytes early`);
    }
    this.owner.remove(call);
    const { gather } = call;
    if (gather === undefined) {
      call.endSink();
    } else if (!call.isOver) {
      call.gather = undefined;
      const whole = gather.finish();
      // A value is its bytes; of everything else the whole is read as if it had come in one frame.
      const { exchange } = call;
      call.succeed(
        'head' in exchange
          ? whole
          : exchange.read(this.reader.reset(whole, 0, whole.length, true), call.args),
      );
    }
  }
}

/** Notes bytes of a body that cost credit. */
function receive(call: Call, length: number): void {
  if (call.window === undefined) {
    throw new ProtocolError('the node sent bytes of a value before its reply');
  }
  call.window.receive(dataCost(length));
  count(call, length);
}

/** Notes bytes of a body against its length. */
function count(call: Call, length: number): void {
  if (call.bodyLeft === undefined) {
    return;
  }
  if (length > call.bodyLeft) {
    throw new ProtocolError('the node sent more bytes of a value than it said');
  }
  call.bodyLeft -= length;
}
