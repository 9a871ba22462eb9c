// Real nodes, by the support that the package's own tests have, and examples that run on them.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import nodes from '../../../js-sdk/build/test/support/node.js';

const examples = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** A socket at which no node listens. */
export const NOWHERE = '/nowhere/memnode.sock';

/** Starts a node that ends with the test. */
export async function startNode(test, name) {
  const node = await nodes.TestNode.start({ name, memory: '128mb' });
  test.after(() => node.remove());
  return node;
}

/** Starts two nodes that are connected, and end with the test. */
export async function startPair(test, first, second) {
  const pair = await nodes.startPair({ name: first, memory: '128mb' }, { name: second, memory: '128mb' });
  test.after(() => Promise.all(pair.map((node) => node.remove())));
  return pair;
}

/** Runs an example to its end on a node, and gives its exit code and what it printed. */
export async function runExample(name, args, socketPath) {
  const child = promisify(execFile)(process.execPath, [path.join(examples, name), ...args], {
    env: { MEMCLOUD_SOCKET: socketPath },
    timeout: nodes.PATIENCE_MS,
  });
  try {
    return { code: 0, ...(await child) };
  } catch (error) {
    if (typeof error.code !== 'number') {
      throw error;
    }
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}
