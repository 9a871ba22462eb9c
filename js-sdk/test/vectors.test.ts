/** The vectors of the protocol, which the Rust client is held to as well: what is written, and what is read. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ProtocolError } from '../src';
import { FrameDecoder } from '../src/protocol/decoder';
import type { FrameHeader } from '../src/protocol/header';
import { PREFACE } from '../src/protocol/limits';
import { Op } from '../src/protocol/operations';
import { PayloadReader } from '../src/protocol/reader';
import * as replies from '../src/protocol/replies';
import * as requests from '../src/protocol/requests';
import { errorOfStatus } from '../src/protocol/status';
import { FrameWriter } from '../src/protocol/writer';

// biome-ignore lint/suspicious/noExplicitAny: the meaning of a vector is JSON of many shapes.
type Meaning = any;

interface Vector {
  readonly name: string;
  readonly from: 'client' | 'node';
  readonly hex: string;
  readonly op: string;
  readonly request: string;
  readonly more: boolean;
  readonly status: number;
  readonly meaning: Meaning;
}

const folder = path.join(__dirname, '..', '..', '..', 'docs', 'protocol', 'vectors');
const { preface_hex: prefaceHex, vectors } = JSON.parse(
  readFileSync(path.join(folder, 'local-frames.json'), 'utf8'),
) as { preface_hex: string; vectors: Vector[] };

/** What this client does not use: nothing passes a descriptor to Node.js, or out of it. */
const UNUSED = ['ATTACH', 'GET_MAPPED', 'LOAD_MAPPED', 'SET_MAPPED', 'STORE_MAPPED', 'UNMAP', 'LOAD_INTO'];

const OPEN_ENDED = ['GET', 'LOAD'];

const used = vectors.filter(
  ({ op, from, meaning }) =>
    !UNUSED.includes(op) && (op !== 'STREAM_FILE' || from === 'node' || meaning.named !== undefined),
);

/** The number of an operation by its name in capital letters. */
function opOf(name: string): Op {
  const camel = name.toLowerCase().replace(/(^|_)([a-z])/g, (_, _dash, letter) => letter.toUpperCase());
  const op = Op[camel as keyof typeof Op];
  assert.notEqual(op, undefined, name);
  return op;
}

function keeping(meaning: Meaning): requests.Keeping {
  const places = { auto: 0, local: 1, remote: 2, peer: 3 } as const;
  return {
    ttlMs: meaning.ttl_ms === null ? undefined : Number(meaning.ttl_ms),
    class: meaning.class === 'cache' ? 1 : 0,
    place: places[meaning.placement as keyof typeof places],
    peer: meaning.peer,
    strict: meaning.strict ?? false,
  };
}

function nameOf({ key, id }: Meaning): string | number {
  return key ?? Number(id);
}

/** Writes the frame of a vector. */
function write(out: FrameWriter, { op: name, more, meaning }: Vector, request: number): unknown {
  const op = opOf(name);
  const value = Buffer.from(meaning.value_hex ?? '', 'hex');
  switch (op) {
    case Op.Hello:
      return requests.writeHelloFrame(out, request, meaning.name, meaning.token);
    case Op.Ping:
    case Op.Cancel:
      return requests.writeEmpty(out, op, request);
    case Op.Data:
      return requests.writeData(out, request, more, value);
    case Op.Set:
    case Op.Store:
    case Op.Stream: {
      const key = meaning.key ?? undefined;
      const size = meaning.size === null ? undefined : Number(meaning.size);
      return requests.writePut(out, op, request, more, { key, keeping: keeping(meaning), value, size });
    }
    case Op.Get:
    case Op.Load:
      return requests.writeRead(out, op, request, {
        name: nameOf(meaning),
        offset: Number(meaning.offset),
        length: meaning.length === null ? undefined : Number(meaning.length),
        strict: meaning.strict ?? false,
        follow: meaning.follow ?? false,
      });
    case Op.Del:
      return requests.writeDel(out, request, meaning.key, meaning.strict ?? false);
    case Op.Free:
      return requests.writeFree(out, request, meaning.ids.map(Number));
    case Op.Keys:
      return requests.writeKeys(out, request, { ...meaning, cursor: BigInt(meaning.cursor) });
    case Op.Mget:
    case Op.Mdel:
      return requests.writeBatchKeys(out, op, request, {
        keys: meaning.keys,
        strict: meaning.strict ?? false,
      });
    case Op.Mset:
      return requests.writeBatchPairs(out, request, {
        keeping: keeping(meaning),
        pairs: meaning.pairs.map((pair: Meaning) => [pair.key, Buffer.from(pair.value_hex, 'hex')]),
      });
    case Op.Ttl:
    case Op.Expire:
    case Op.Persist: {
      const ttlMs = meaning.ttl_ms === null ? 0 : Number(meaning.ttl_ms);
      return requests.writeLife(out, op, request, { name: nameOf(meaning), ttlMs });
    }
    case Op.StreamWrite:
      return requests.writeStreamWrite(out, request, more, { id: Number(meaning.id), value });
    case Op.StreamFile:
      return requests.writeStreamFile(out, request, {
        id: Number(meaning.id),
        offset: Number(meaning.offset),
        length: meaning.length === null ? undefined : Number(meaning.length),
        file: {
          descriptor: meaning.named.descriptor,
          device: BigInt(meaning.named.device),
          inode: BigInt(meaning.named.inode),
        },
      });
    case Op.StreamKnown:
      return requests.writeStreamKnown(
        out,
        request,
        Number(meaning.id),
        meaning.chunks.map(({ hash_hex: hash, length }: Meaning) => ({
          hash: Buffer.from(hash, 'hex'),
          length,
        })),
      );
    default: {
      const json = meaning.json === undefined ? '' : JSON.stringify(meaning.json);
      return requests.writeControl(out, op, request, Buffer.from(json));
    }
  }
}

/** What a frame of a node means, as its vector tells it. */
function read({ op: name, status, more, meaning }: Vector, reader: PayloadReader): Meaning {
  const op = opOf(name);
  if (status !== 0) {
    const { code, message } = errorOfStatus(status, replies.readMessage(reader));
    return { error: code, message };
  }
  switch (op) {
    case Op.Hello: {
      const reply = replies.readHello(reader);
      return {
        version: reply.version,
        in_flight_max: reply.inFlightMax,
        held_bytes_max: reply.heldBytesMax,
        node_id: reply.nodeId,
        node_version: reply.nodeVersion,
      };
    }
    case Op.Credit:
      return { bytes: String(reader.u64()) };
    case Op.Set:
    case Op.Store:
    case Op.Stream:
    case Op.StreamWrite:
    case Op.StreamFile: {
      const { id, size } = replies.readPut(reader);
      return { id, size: String(size) };
    }
    case Op.Get:
    case Op.Load: {
      const { id, size, length } = replies.readReadHead(reader);
      const bytes = reader.copy(reader.left);
      assert.ok(more || bytes.length === length);
      return {
        id: String(id),
        size: String(size),
        length: length === undefined ? null : String(length),
        value_hex: bytes.toString('hex'),
      };
    }
    case Op.Del:
      return { deleted: replies.readDeleted(reader) };
    case Op.Free: {
      const { blocks, bytes } = replies.readFreed(reader);
      return { blocks: String(blocks), bytes: String(bytes) };
    }
    case Op.Keys: {
      const { keys, missing, cursor } = replies.readKeys(reader);
      return {
        keys: keys.map(({ key, details }) =>
          details === undefined
            ? key
            : {
                key,
                node: details.node,
                holder: details.holder,
                size: String(details.size),
                class: details.class ?? null,
                ttl_ms: details.ttlMs === undefined ? null : String(details.ttlMs),
                is_stream: details.isStream,
              },
        ),
        missing: missing.map(({ id, name }) => ({ node: id, name })),
        cursor: String(cursor),
      };
    }
    case Op.Mget:
    case Op.Mset:
    case Op.Mdel: {
      const entries = replies.readBatch(reader, meaning.entries.length);
      return {
        entries: entries.map((entry, index) => {
          if ('laterSize' in entry) {
            return { later: String(entry.laterSize) };
          }
          if ('bytes' in entry) {
            return { value_hex: entry.bytes.toString('hex') };
          }
          // An error without a message is told by its name.
          const { message } = meaning.entries[index];
          return { error: entry.error.code, message: message === '' ? '' : entry.error.message };
        }),
      };
    }
    case Op.Ttl:
    case Op.Expire:
    case Op.Persist: {
      const ttlMs = replies.readTtl(reader);
      return { ttl_ms: ttlMs === undefined ? null : String(ttlMs) };
    }
    case Op.StreamKnown:
      return { appended: replies.readKnown(reader, meaning.appended.length) };
    default: {
      const { left } = reader;
      return left === 0 ? {} : { json: JSON.parse(reader.text(left)) };
    }
  }
}

/** A frame as its handler saw it. */
interface Seen {
  readonly op: number;
  readonly request: bigint;
  readonly more: boolean;
  readonly status: number;
  readonly payload: Buffer;
}

/** Decodes bytes that come in pieces of this size. */
function decode(bytes: Buffer, size: number): Seen[] {
  const seen: Seen[] = [];
  const see = (header: FrameHeader, payload: Buffer): void => {
    const request = (BigInt(header.requestHigh) << 32n) | BigInt(header.requestLow);
    seen.push({ op: header.op, request, more: header.more, status: header.status, payload });
  };
  let body = Buffer.alloc(0);
  const decoder = new FrameDecoder({
    frame: (header, payload, start, end) => see(header, Buffer.from(payload.subarray(start, end))),
    room: (header) => {
      body = Buffer.alloc(header.length);
      return body;
    },
    filled: (header) => see(header, body),
  });
  for (let at = 0; at < bytes.length; at += size) {
    // Memory that is used again, as that of a socket.
    const piece = Buffer.from(bytes.subarray(at, at + size));
    decoder.push(piece, 0, piece.length);
    piece.fill(0xee);
  }
  return seen;
}

test('the preface is that of the vectors', () => {
  assert.equal(Buffer.from(PREFACE).toString('hex'), prefaceHex);
});

for (const vector of used.filter(({ from }) => from === 'client')) {
  test(`writes: ${vector.name}`, () => {
    const expected = Buffer.from(vector.hex, 'hex');
    const out = new FrameWriter();
    write(out, vector, 1);
    const written = Buffer.concat(out.take());
    // This client has no request ids of 64 bits.
    expected.copy(written, 8, 8, 16);
    if (vector.meaning.json === undefined) {
      assert.equal(written.toString('hex'), vector.hex);
    } else {
      assert.deepEqual(written.subarray(4, 16), expected.subarray(4, 16));
      assert.deepEqual(JSON.parse(String(written.subarray(16))), vector.meaning.json);
    }
  });
}

for (const vector of used.filter(({ from }) => from === 'node')) {
  test(`reads: ${vector.name}`, () => {
    const bytes = Buffer.from(vector.hex, 'hex');
    for (const size of [bytes.length, 1, 3, 16, 17]) {
      const [frame, ...others] = decode(bytes, size);
      assert.ok(frame !== undefined && others.length === 0);
      assert.equal(frame.op, opOf(vector.op));
      assert.equal(frame.request, BigInt(vector.request));
      assert.equal(frame.more, vector.more);
      assert.equal(frame.status, vector.status);
      const { payload } = frame;
      const reader = new PayloadReader().reset(payload, 0, payload.length, size !== 1);
      assert.deepEqual(read(vector, reader), vector.meaning);
    }
    assert.deepEqual(decode(bytes.subarray(0, -1), bytes.length), []);
  });

  // How long a text or body at the end of a frame is, its header alone says.
  const isOpen = vector.status !== 0 || vector.meaning.json !== undefined || OPEN_ENDED.includes(vector.op);
  test(`is refused where it is cut short: ${vector.name}`, { skip: isOpen }, () => {
    const payload = Buffer.from(vector.hex, 'hex').subarray(16);
    for (let length = 0; length < payload.length; length++) {
      const reader = new PayloadReader().reset(payload, 0, length, false);
      assert.throws(() => read(vector, reader), ProtocolError, `${length} of ${payload.length} bytes`);
    }
  });
}

test('all frames of the node in one go, in pieces of every size', () => {
  const bytes = Buffer.concat(used.map(({ hex }) => Buffer.from(hex, 'hex')));
  for (let size = 1; size < 70; size++) {
    assert.equal(decode(bytes, size).length, used.length);
  }
});

test('a frame that is too long is refused by its header', () => {
  for (const hex of ['01100400100000000100000000000000', 'ffffffff100000000100000000000000']) {
    assert.throws(() => decode(Buffer.from(hex, 'hex'), 16), ProtocolError);
  }
});
