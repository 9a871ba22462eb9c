/** The socket of a node, as the system has it: a Unix socket, or TCP. */

import net from 'node:net';
import { ConnectionLostError, DeniedError, type MemCloudError, NotRunningError } from '../errors';

/** Where a node listens. */
export type Endpoint =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly token: string };

/** Who hears of a socket. */
export interface SocketEvents {
  connected(): void;
  /** Bytes arrived; their memory is used again. */
  bytes(bytes: Buffer, length: number): void;
  /** Where the next bytes are best read to, if there is such a place. */
  place(): Uint8Array | undefined;
  /** This many bytes were read to there. */
  placed(length: number): void;
  /** The socket is closed. Called once, last; with the reason where it is not that somebody closed it. */
  closed(error: MemCloudError | undefined): void;
}

/** The memory that is read into: what one read of a Unix socket brings at most where replies are small. */
const READ_SIZE = 64 * 1024;

/** Whether sockets read into memory that they are given (`onread`); elsewhere than in Node.js they bring their own. */
const HAS_ONREAD = process.versions.bun === undefined && !('Deno' in globalThis);

/** Begins to connect. */
export function openSocket(endpoint: Endpoint, events: SocketEvents): net.Socket {
  const address: net.NetConnectOpts =
    'path' in endpoint
      ? { path: endpoint.path }
      : // Without noDelay a small request waits for the acknowledgement of the one before, some 40 ms.
        { host: endpoint.host, port: endpoint.port, noDelay: true };
  const socket = net.connect(HAS_ONREAD ? { ...address, onread: reading(events) } : address);
  if (!HAS_ONREAD) {
    socket.on('data', (bytes: Buffer) => events.bytes(bytes, bytes.length));
  }
  let reason: MemCloudError | undefined;
  let isConnected = false;
  socket.on('connect', () => {
    isConnected = true;
    events.connected();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reason ??= isConnected ? lost(error) : unreachable(endpoint, error);
  });
  socket.on('end', () => socket.destroy());
  socket.on('close', () => events.closed(reason));
  return socket;
}

/** Reads into memory that is used again, or straight to where the bytes will stay. */
function reading(events: SocketEvents): net.OnReadOpts {
  const shared = Buffer.allocUnsafeSlow(READ_SIZE);
  let present: Uint8Array = shared;
  let isFirst = true;
  const buffer = (): Uint8Array => {
    const next = events.place() ?? shared;
    if (next === present && !isFirst) {
      // What is no memory leaves things as they are, which saves the socket some work.
      return undefined as unknown as Uint8Array;
    }
    isFirst = false;
    present = next;
    return next;
  };
  const callback = (length: number): boolean => {
    if (present === shared) {
      events.bytes(shared, length);
    } else {
      events.placed(length);
    }
    return true;
  };
  return { buffer, callback };
}

/** Why there is no connection. */
function unreachable(endpoint: Endpoint, error: NodeJS.ErrnoException): MemCloudError {
  const where = 'path' in endpoint ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new NotRunningError(
        `no node is running at ${where}: start one with "memcli node start", or say where it is`,
        { cause: error },
      );
    case 'EACCES':
    case 'EPERM':
      return new DeniedError(`the node at ${where} belongs to another user`, { cause: error });
    default:
      return new NotRunningError(`no node can be reached at ${where}: ${error.message}`, { cause: error });
  }
}

/** Why there is none any more. */
function lost(error: NodeJS.ErrnoException): MemCloudError {
  return new ConnectionLostError(`the connection to the node broke: ${error.message}`, { cause: error });
}
