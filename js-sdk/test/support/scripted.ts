/** A node that does what a test says, byte by byte: for what a real one never does. */

import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Op } from '../../src/protocol/operations';

/** A frame as it came. */
export interface Frame {
  readonly op: number;
  readonly flags: number;
  readonly status: number;
  readonly request: number;
  readonly payload: Buffer;
}

/** The bytes of a frame. */
export function frame(
  op: number,
  request: number,
  payload: Uint8Array | string = '',
  { more = false, status = 0 } = {},
): Buffer {
  const body = Buffer.from(payload as string);
  const bytes = Buffer.alloc(16 + body.length);
  bytes.writeUInt32LE(body.length, 0);
  bytes[4] = op;
  bytes[5] = more ? 1 : 0;
  bytes.writeUInt16LE(status, 6);
  bytes.writeBigUInt64LE(BigInt(request), 8);
  body.copy(bytes, 16);
  return bytes;
}

/** Integers of 64 bits, one behind the other. */
export function u64s(...values: readonly (number | bigint)[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [index, value] of values.entries()) {
    bytes.writeBigUInt64LE(BigInt(value), 8 * index);
  }
  return bytes;
}

/** What a node says of itself. */
export interface Greeting {
  readonly version?: number;
  readonly inFlightMax?: number;
  readonly heldBytesMax?: number;
  readonly nodeVersion?: string;
}

/** The payload of a reply to HELLO. */
export function greeting({
  version = 1,
  inFlightMax = 1024,
  heldBytesMax = 32 * 1024 * 1024,
  nodeVersion = '9.9.9',
}: Greeting = {}): Buffer {
  const head: Buffer = Buffer.alloc(32);
  head.writeUInt16LE(version, 0);
  head.writeUInt16LE(nodeVersion.length, 2);
  head.writeUInt32LE(inFlightMax, 4);
  head.writeBigUInt64LE(BigInt(heldBytesMax), 8);
  return Buffer.concat([head, Buffer.from(nodeVersion)]);
}

/** The payload of a reply to GET or LOAD that has all of the value. */
export function value(bytes: Uint8Array | string): Buffer {
  const body = Buffer.from(bytes as string);
  return Buffer.concat([u64s(1, body.length, body.length), body]);
}

/** One connection, seen from the node. */
export class ScriptedPeer {
  private received = Buffer.alloc(0);
  private waiter: (() => void) | undefined;
  private hasEnded = false;

  constructor(readonly socket: net.Socket) {
    socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.waiter?.();
    });
    socket.on('close', () => {
      this.hasEnded = true;
      this.waiter?.();
    });
    socket.on('error', () => {});
  }

  /** Bytes that came and were not taken. */
  get waiting(): number {
    return this.received.length;
  }

  /** This many bytes, when they are there; fewer where the connection ended. */
  async take(length: number): Promise<Buffer> {
    while (this.received.length < length && !this.hasEnded) {
      await new Promise<void>((resolve) => {
        this.waiter = resolve;
      });
    }
    const bytes = this.received.subarray(0, length);
    this.received = this.received.subarray(bytes.length);
    return bytes;
  }

  /** The next frame; `undefined` where the connection ended. */
  async next(): Promise<Frame | undefined> {
    const head = await this.take(16);
    if (head.length < 16) {
      return undefined;
    }
    return {
      op: head[4] as number,
      flags: head[5] as number,
      status: head.readUInt16LE(6),
      request: Number(head.readBigUInt64LE(8)),
      payload: Buffer.from(await this.take(head.readUInt32LE(0))),
    };
  }

  /** The next frames. */
  async nextFrames(count: number): Promise<Frame[]> {
    const frames: Frame[] = [];
    while (frames.length < count) {
      const next = await this.next();
      if (next === undefined) {
        break;
      }
      frames.push(next);
    }
    return frames;
  }

  /** Reads the preface and HELLO, and answers. Resolves with the HELLO. */
  async greet(as: Greeting = {}): Promise<Frame | undefined> {
    await this.take(4);
    const hello = await this.next();
    if (hello !== undefined) {
      this.send(frame(Op.Hello, hello.request, greeting(as)));
    }
    return hello;
  }

  /** Sends bytes. */
  send(...pieces: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(pieces));
  }

  /** Sends them one by one, each in a write of its own. */
  async sendByteByByte(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      await new Promise((resolve) => this.socket.write(Uint8Array.of(byte), resolve));
    }
  }
}

/** A node that follows a script on each of its connections. */
export class ScriptedNode {
  private readonly peers = new Set<ScriptedPeer>();
  /** What scripts threw. */
  private failure: unknown;

  private constructor(
    private readonly folder: string,
    private readonly server: net.Server,
  ) {}

  /** Listens; `script` is run for each connection. What it throws is thrown by `close`. */
  static async listen(
    script: (peer: ScriptedPeer, number: number) => Promise<void> | void,
  ): Promise<ScriptedNode> {
    const folder = await mkdtemp(path.join(tmpdir(), 'memcloud-js-'));
    const server = net.createServer();
    const node = new ScriptedNode(folder, server);
    server.on('connection', (socket) => {
      const peer = new ScriptedPeer(socket);
      node.peers.add(peer);
      Promise.resolve(script(peer, node.peers.size)).catch((error: unknown) => {
        node.failure ??= error;
        socket.destroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(node.socketPath, resolve));
    return node;
  }

  /** Where it listens. */
  get socketPath(): string {
    return path.join(this.folder, 'memnode.sock');
  }

  /** Ends it and all of its connections. */
  async close(): Promise<void> {
    for (const peer of this.peers) {
      peer.socket.destroy();
    }
    await new Promise((resolve) => this.server.close(resolve));
    await rm(this.folder, { recursive: true, force: true });
    if (this.failure !== undefined) {
      throw this.failure;
    }
  }
}
