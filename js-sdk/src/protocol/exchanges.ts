/** The exchanges: a request, how it is written, what it makes the node hold, and how its reply is read.
 *
 * This is all that a connection needs to know of an operation. Nothing here knows of sockets.
 */

import { ProtocolError } from '../errors';
import { ANSWER_HELD, BODY_WINDOW } from './limits';
import { Op } from './operations';
import type { PayloadReader } from './reader';
import type { BatchEntry, FreedReply, HelloReply, KeysReply, PutReply, ReadHead } from './replies';
import * as replies from './replies';
import type {
  BatchKeysArgs,
  BatchPairsArgs,
  KeysArgs,
  LifeArgs,
  OutgoingValue,
  PutArgs,
  ReadArgs,
  StreamFileArgs,
  StreamWriteArgs,
} from './requests';
import * as requests from './requests';
import type { FrameWriter } from './writer';

/** A request with arguments `A`, whose reply says `R`. */
export interface Exchange<A, R> {
  readonly op: Op;
  /** An estimate from above of the bytes that the node holds until it answers, the window of a body not counted. */
  held(args: A): number;
  /** Writes the request; with `more` where a body follows. */
  write(out: FrameWriter, request: number, more: boolean, args: A): void;
  /** Reads a reply, or one that was gathered from its frames. */
  read(reader: PayloadReader, args: A): R;
}

/** One whose reply may be followed by a body in DATA frames. */
export interface BodyExchange<A> extends Exchange<A, Buffer> {
  /** Reads what stands in front of the body. */
  head(reader: PayloadReader, args: A): ReadHead;
}

/** What a request without a value counts with: its arguments have at most some 1,300 bytes. */
const SMALL_HELD = 2 * 1024;

/** What a request with a body makes the node hold besides. */
export const BODY_HELD = BODY_WINDOW;

const held = () => SMALL_HELD;

/** HELLO with a name and a token. */
export const hello: Exchange<{ readonly name: string; readonly token: string }, HelloReply> = {
  op: Op.Hello,
  held,
  write: (out, request, _more, { name, token }) => requests.writeHello(out, request, name, token),
  read: (reader) => replies.readHello(reader),
};

/** PING. */
export const ping = empty(Op.Ping);

/** SET. */
export const set = put(Op.Set);

/** STORE. */
export const store = put(Op.Store);

/** STREAM. */
export const stream = put(Op.Stream);

/** GET. */
export const get = readOf(Op.Get);

/** LOAD. */
export const load = readOf(Op.Load);

/** DEL. */
export const del: Exchange<{ readonly key: string; readonly strict: boolean }, number> = {
  op: Op.Del,
  held,
  write: (out, request, _more, { key, strict }) => requests.writeDel(out, request, key, strict),
  read: (reader) => (replies.readDeleted(reader) ? 1 : 0),
};

/** FREE. */
export const free: Exchange<readonly number[], FreedReply> = {
  op: Op.Free,
  held: (ids) => SMALL_HELD + 8 * ids.length,
  write: (out, request, _more, ids) => requests.writeFree(out, request, ids),
  read: (reader) => replies.readFreed(reader),
};

/** TTL, EXPIRE and PERSIST. */
export const ttl = life(Op.Ttl);
export const expire = life(Op.Expire);
export const persist = life(Op.Persist);

/** KEYS. */
export const keys: Exchange<KeysArgs, KeysReply> = {
  op: Op.Keys,
  held: () => SMALL_HELD + ANSWER_HELD,
  write: (out, request, _more, args) => requests.writeKeys(out, request, args),
  read: (reader) => replies.readKeys(reader),
};

/** MGET. */
export const mget = batchOfKeys(Op.Mget, ANSWER_HELD);

/** MDEL. */
export const mdel = batchOfKeys(Op.Mdel, 0);

/** MSET. */
export const mset: Exchange<BatchPairsArgs, BatchEntry[]> = {
  op: Op.Mset,
  held: ({ pairs }) =>
    pairs.reduce((sum, [key, value]) => sum + 8 + 3 * key.length + valueHeld(value), SMALL_HELD),
  write: (out, request, _more, args) => requests.writeBatchPairs(out, request, args),
  read: (reader, { pairs }) => replies.readBatch(reader, pairs.length),
};

/** STREAM_WRITE. */
export const streamWrite: Exchange<StreamWriteArgs, PutReply> = {
  op: Op.StreamWrite,
  held: ({ value }) => SMALL_HELD + valueHeld(value),
  write: (out, request, more, args) => requests.writeStreamWrite(out, request, more, args),
  read: (reader) => replies.readPut(reader),
};

/** STREAM_FILE. */
export const streamFile: Exchange<StreamFileArgs, PutReply> = {
  op: Op.StreamFile,
  held,
  write: (out, request, _more, args) => requests.writeStreamFile(out, request, args),
  read: (reader) => replies.readPut(reader),
};

/** A control operation: JSON in, JSON out. `undefined` is no body. */
export function control<A, R>(op: Op): Exchange<A, R> {
  return {
    op,
    held: () => SMALL_HELD,
    write: (out, request, _more, args) => {
      const json = args === undefined ? '' : JSON.stringify(args);
      requests.writeControl(out, op, request, Buffer.from(json));
    },
    read: (reader) => {
      const { left } = reader;
      if (left === 0) {
        return undefined as R;
      }
      try {
        return JSON.parse(reader.text(left)) as R;
      } catch (error) {
        throw new ProtocolError('the node answered with broken JSON', { cause: error });
      }
    },
  };
}

function empty(op: Op): Exchange<undefined, undefined> {
  return {
    op,
    held,
    write: (out, request) => requests.writeEmpty(out, op, request),
    read: (reader) => {
      reader.finish();
      return undefined;
    },
  };
}

function put(op: Op): Exchange<PutArgs, PutReply> {
  return {
    op,
    held: ({ value }) => SMALL_HELD + valueHeld(value),
    write: (out, request, more, args) => requests.writePut(out, op, request, more, args),
    read: (reader) => replies.readPut(reader),
  };
}

function readOf(op: Op): BodyExchange<ReadArgs> {
  const head = (reader: PayloadReader, args: ReadArgs): ReadHead => {
    const read = replies.readReadHead(reader);
    if (args.length !== undefined && read.length !== undefined && read.length > args.length) {
      throw new ProtocolError(`the node sends ${read.length} bytes where ${args.length} were asked for`);
    }
    return read;
  };
  return {
    op,
    held,
    write: (out, request, _more, args) => requests.writeRead(out, op, request, args),
    head,
    read: (reader, args) => {
      const { length } = head(reader, args);
      if (length !== undefined && length !== reader.left) {
        throw new ProtocolError(`the node sent ${reader.left} bytes of a value where it said ${length}`);
      }
      return reader.copy(reader.left);
    },
  };
}

function life(op: Op): Exchange<LifeArgs, number | undefined> {
  return {
    op,
    held,
    write: (out, request, _more, args) => requests.writeLife(out, op, request, args),
    read: (reader) => replies.readTtl(reader),
  };
}

function batchOfKeys(op: Op, answerHeld: number): Exchange<BatchKeysArgs, BatchEntry[]> {
  return {
    op,
    held: ({ keys }) => keys.reduce((sum, key) => sum + 2 + 3 * key.length, SMALL_HELD + answerHeld),
    write: (out, request, _more, args) => requests.writeBatchKeys(out, op, request, args),
    read: (reader, { keys }) => replies.readBatch(reader, keys.length),
  };
}

function valueHeld(value: OutgoingValue): number {
  return typeof value === 'string' ? 3 * value.length : value.length;
}
