/** Real nodes for tests: each in a temporary home, on free ports, ended by its process id. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

/** After how long a wait has failed. */
export const PATIENCE_MS = 60_000;

/** Between two looks at a state that is waited for. */
const LOOK_MS = 10;

const built = path.join(__dirname, '..', '..', '..', '..', 'target', 'debug');

/** The programs under test. */
export const MEMNODE = process.env.MEMNODE ?? path.join(built, 'memnode');
export const MEMCLI = process.env.MEMCLI ?? path.join(built, 'memcli');

/** How a node is started. */
export interface NodeOptions {
  /** What it gives to the pool. */
  readonly memory?: string;
  readonly name?: string;
  /** Whether it listens on TCP, too, at a free port. */
  readonly tcp?: boolean;
  /** Further options of `memnode`. */
  readonly args?: readonly string[];
}

/** A node that runs, or did. */
export class TestNode {
  private child: ChildProcess | undefined;
  private log = '';

  private constructor(
    readonly home: string,
    private readonly options: NodeOptions,
  ) {}

  /** Starts a node. It answers when this resolves. */
  static async start(options: NodeOptions = {}): Promise<TestNode> {
    const node = new TestNode(await mkdtemp(path.join(tmpdir(), 'memcloud-js-')), options);
    try {
      await node.start();
    } catch (error) {
      await node.remove();
      throw error;
    }
    return node;
  }

  /** The Unix socket of its local API. */
  get socketPath(): string {
    return path.join(this.home, 'memnode.sock');
  }

  /** Starts it again in the same home. */
  async start(): Promise<void> {
    const { memory = '256mb', name = 'Test', tcp = false, args = [] } = this.options;
    const fixed = '--port 0 --listen 127.0.0.1 --discovery=false --notify off'.split(' ');
    const own = ['--home', this.home, '--memory', memory, '--name', name, '--api-port', tcp ? '0' : 'off'];
    // Nothing of the environment changes what is tested.
    const child = spawn(MEMNODE, [...fixed, ...own, ...args], {
      env: {},
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    let failure: Error | undefined;
    child.on('error', (error) => {
      failure = error;
    });
    await until('the node listens', async () => {
      if (failure !== undefined || child.exitCode !== null) {
        throw failure ?? new Error(`the node ended with ${child.exitCode}: ${this.log}`);
      }
      return listens(this.socketPath);
    });
  }

  /** Ends it, and keeps its home. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (
      child === undefined ||
      child.exitCode !== null ||
      child.signalCode !== null ||
      child.pid === undefined
    ) {
      return;
    }
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** Ends it, and removes its home. */
  async remove(): Promise<void> {
    await this.stop();
    await rm(this.home, { recursive: true, force: true });
  }

  /** The process id. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Where it listens on TCP, and the token. */
  async tcp(): Promise<{ host: string; port: number; token: string }> {
    const { api_address: address } = (await this.cli('node', 'status')) as { api_address: string };
    const colon = address.lastIndexOf(':');
    const token = await readFile(path.join(this.home, 'token'), 'utf8');
    return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)), token: token.trim() };
  }

  /** Runs `memcli --json` with these arguments. Resolves with what it printed. */
  async cli(...args: string[]): Promise<unknown> {
    const { stdout } = await promisify(execFile)(MEMCLI, ['--json', '--home', this.home, ...args], {
      env: {},
    });
    return stdout.trim() === '' ? undefined : JSON.parse(stdout);
  }
}

/** Two nodes that are connected, and trust each other. */
export async function startPair(
  first: NodeOptions = {},
  second: NodeOptions = {},
): Promise<readonly [TestNode, TestNode]> {
  const a = await TestNode.start({ name: 'NodeA', ...first });
  let b: TestNode | undefined;
  try {
    b = await TestNode.start({ name: 'NodeB', ...second });
    await befriend(a, b);
    return [a, b];
  } catch (error) {
    await Promise.all([a.remove(), b?.remove()]);
    throw error;
  }
}

/** Connects two nodes for good. */
export async function befriend(a: TestNode, b: TestNode): Promise<void> {
  const { node_id: id } = (await a.cli('node', 'status')) as { node_id: string };
  const status = (await b.cli('node', 'status')) as { peer_addresses: string[] };
  await a.cli('connect', status.peer_addresses[0] as string, '--no-wait');
  await until('the question arrives', async () => {
    const waiting = (await b.cli('consent')) as { id: string }[];
    return waiting.some((request) => request.id === id);
  });
  await b.cli('consent', '--trust', id);
  for (const node of [a, b]) {
    await until('the nodes are connected', async () => {
      const peers = (await node.cli('peer', 'list')) as { state: string }[];
      return peers.some((peer) => peer.state === 'connected');
    });
  }
}

/** Waits until this holds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) {
      throw new Error(`never so: ${what}`);
    }
    await pause(LOOK_MS);
  }
}

function listens(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
