/** The options of a client, checked and completed. */

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { wrongType } from './arguments';
import { BACKOFF_DEFAULTS, type BackoffSettings } from './connection/backoff';
import type { ConnectionSettings } from './connection/connection';
import type { Endpoint } from './connection/socket';
import { InvalidArgumentError, NotRunningError } from './errors';
import { CLIENT_NAME_LEN_MAX, TOKEN_LEN_MAX } from './protocol/limits';
import { VERSION } from './version';

/** Options of a client. All of them may be left out. */
export interface MemCloudOptions {
  /** The node's Unix socket. Default: where the node of this user listens, see `defaultSocketPath`. */
  readonly socketPath?: string | undefined;
  /** Connects over TCP instead: the host, 127.0.0.1 unless given. */
  readonly host?: string | undefined;
  /** Connects over TCP instead: the port, 7070 unless given. */
  readonly port?: number | undefined;
  /** The node's token, for TCP. Default: what stands in the file `tokenPath`. */
  readonly token?: string | undefined;
  /** The file with the token. Default: `token` in `$MEMCLOUD_HOME` or `~/.memcloud`. */
  readonly tokenPath?: string | undefined;
  /** After how many milliseconds a call rejects with TimeoutError; 0 is never. Default: 30,000. */
  readonly timeoutMs?: number | undefined;
  /** After how many milliseconds an attempt to connect fails. Default: 5,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** How a connection that was lost is made again; `false` is not at all. */
  readonly reconnect?: false | Partial<BackoffSettings> | undefined;
  /** How many bytes may wait for the socket before further calls wait. Default: 4 MiB. */
  readonly highWaterMark?: number | undefined;
  /** The name of the program, for the node's log. Default: `memcloud-js/VERSION`. */
  readonly name?: string | undefined;
  /** Whether `set`, `get`, `del`, `mget` and `mset` are strict where a call does not say. Default: false. */
  readonly strict?: boolean | undefined;
}

/** How long a call may take by default. */
export const DEFAULT_TIMEOUT_MS = 30_000;

const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
const DEFAULT_HIGH_WATER_MARK = 4 * 1024 * 1024;

/** Where the node listens on TCP unless it was told otherwise. */
const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = 7070;

/** The socket of a node that runs as a service of the system. */
const SYSTEM_SOCKET = '/run/memcloud/memnode.sock';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The path of the node's Unix socket: `$MEMCLOUD_SOCKET`, else `memnode.sock` in `$MEMCLOUD_HOME`, `$XDG_RUNTIME_DIR/memcloud` or
 * `~/.memcloud`. Where neither of the first two is set, and no socket lies at the place that follows, but one lies at
 * `/run/memcloud/memnode.sock`, it is that of the system's service. `undefined` where nothing is set.
 */
export function defaultSocketPath(
  environment: Environment = process.env,
  exists: (path: string) => boolean = existsSync,
): string | undefined {
  const { MEMCLOUD_SOCKET: socket, MEMCLOUD_HOME: home, XDG_RUNTIME_DIR: runtime } = environment;
  if (socket) {
    return socket;
  }
  if (home) {
    return path.join(home, 'memnode.sock');
  }
  const folder = runtime
    ? path.join(runtime, 'memcloud')
    : environment.HOME && path.join(environment.HOME, '.memcloud');
  const own = folder ? path.join(folder, 'memnode.sock') : undefined;
  return (own === undefined || !exists(own)) && exists(SYSTEM_SOCKET) ? SYSTEM_SOCKET : own;
}

/** Checks options and fills in what was left out. Throws TypeError or InvalidArgumentError. */
export function resolveOptions(options: MemCloudOptions): ConnectionSettings & { readonly strict: boolean } {
  if (typeof options !== 'object' || options === null) {
    throw wrongType('the options of a client are an object');
  }
  const name = text('name', options.name) ?? `memcloud-js/${VERSION}`;
  return {
    endpoint: endpointOf(options),
    name: cut(name, CLIENT_NAME_LEN_MAX),
    highWaterMark: number('highWaterMark', options.highWaterMark, 1) ?? DEFAULT_HIGH_WATER_MARK,
    timeoutMs: number('timeoutMs', options.timeoutMs, 0) ?? DEFAULT_TIMEOUT_MS,
    connectTimeoutMs: number('connectTimeoutMs', options.connectTimeoutMs, 1) ?? DEFAULT_CONNECT_TIMEOUT_MS,
    backoff: backoffOf(options.reconnect),
    strict: options.strict ?? false,
  };
}

function backoffOf(reconnect: MemCloudOptions['reconnect']): BackoffSettings | undefined {
  if (reconnect === false) {
    return undefined;
  }
  return {
    minDelayMs: number('reconnect.minDelayMs', reconnect?.minDelayMs, 0) ?? BACKOFF_DEFAULTS.minDelayMs,
    maxDelayMs: number('reconnect.maxDelayMs', reconnect?.maxDelayMs, 0) ?? BACKOFF_DEFAULTS.maxDelayMs,
    attempts: number('reconnect.attempts', reconnect?.attempts, 0) ?? BACKOFF_DEFAULTS.attempts,
  };
}

function endpointOf(options: MemCloudOptions): () => Endpoint {
  const socketPath = text('socketPath', options.socketPath);
  const host = text('host', options.host);
  const port = number('port', options.port, 1);
  if (port !== undefined && !(Number.isInteger(port) && port <= 65_535)) {
    throw new InvalidArgumentError(`port is ${port}: it is a whole number from 1 to 65535`);
  }
  const token = text('token', options.token)?.trim();
  const tokenPath = text('tokenPath', options.tokenPath);
  if (token !== undefined && Buffer.byteLength(token) > TOKEN_LEN_MAX) {
    throw new InvalidArgumentError(`a token has 64 digits, and never more than ${TOKEN_LEN_MAX} bytes`);
  }
  if (socketPath !== undefined && (host !== undefined || port !== undefined)) {
    throw new InvalidArgumentError('give a socketPath, or a host and port, not both');
  }
  const isTcp =
    host !== undefined || port !== undefined || (socketPath === undefined && process.platform === 'win32');
  if (isTcp) {
    const file = tokenPath ?? defaultTokenPath(process.env);
    return () => ({
      host: host ?? DEFAULT_HOST,
      port: port ?? DEFAULT_PORT,
      token: token ?? readToken(file),
    });
  }
  return () => {
    const found = socketPath ?? defaultSocketPath();
    if (found === undefined) {
      throw new NotRunningError(
        'there is no telling where the node listens: give a socketPath, or set HOME or MEMCLOUD_SOCKET',
      );
    }
    return { path: found };
  };
}

/** The file with the token of this user's node. */
function defaultTokenPath(environment: Environment): string {
  const { MEMCLOUD_HOME: home } = environment;
  const user = environment.HOME || environment.USERPROFILE || '';
  return path.join(home || path.join(user, '.memcloud'), 'token');
}

function readToken(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new NotRunningError(
      `the node's token is not at ${file}: start the node with TCP, or give token or tokenPath`,
      { cause: error },
    );
  }
}

function text(name: string, value: unknown): string | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'string') {
    throw wrongType(`${name} is a string`);
  }
  if (value === '') {
    throw new InvalidArgumentError(`${name} is empty: leave it out, or name it`);
  }
  return value;
}

function number(name: string, value: unknown, min: number): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'number') {
    throw wrongType(`${name} is a number`);
  }
  if (!(value >= min)) {
    throw new InvalidArgumentError(`${name} is ${value}, at least ${min} is allowed`);
  }
  return value;
}

/** The longest beginning of a text that has at most so many bytes, and no half character. */
function cut(text: string, bytesMax: number): string {
  let bytes = 0;
  let end = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > bytesMax) {
      break;
    }
    end += character.length;
  }
  return text.slice(0, end);
}
