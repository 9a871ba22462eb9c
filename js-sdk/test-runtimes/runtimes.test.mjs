// `npm run test:runtimes`: the packed package under each runtime that the README names, against a real node. The runtimes come
// from npm, nearly 1 GB of them, so this is no part of `cargo xtask test`.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import nodes from '../build/test/support/node.js';
import { installInto, withPacked } from '../scripts/packed.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(here, 'node_modules');

/** Where each runtime's program lies, and what stands in front of a script. */
const RUNTIMES = [
  ...['node18', 'node20', 'node22', 'node24', 'node26'].map((name) => [
    name,
    path.join(modules, name, 'bin', 'node'),
    [],
  ]),
  ['bun', path.join(modules, '@oven', 'bun-linux-x64', 'bin', 'bun'), []],
  // It asks for the environment, for the socket's and the token's files, and for the network.
  [
    'deno',
    path.join(modules, '@deno', 'linux-x64-glibc', 'deno'),
    ['run', '--allow-env', '--allow-read', '--allow-write', '--allow-net'],
  ],
];

test('the packed package works under each runtime', async (t) => {
  const node = await nodes.TestNode.start({ tcp: true });
  t.after(() => node.remove());
  const { port } = await node.tcp();
  const env = {
    MEMCLOUD_SOCKET: node.socketPath,
    API_PORT: String(port),
    TOKEN_PATH: path.join(node.home, 'token'),
  };
  await withPacked(async ({ folder, tarball }) => {
    const project = installInto(folder, tarball);
    for (const script of ['smoke.mjs', 'smoke.cjs']) {
      copyFileSync(path.join(here, script), path.join(project, script));
      for (const [name, program, args] of RUNTIMES) {
        await t.test(`${name}: ${script}`, async () => {
          const options = { cwd: project, env: { ...env, HOME: project }, timeout: nodes.PATIENCE_MS };
          const { stdout } = await promisify(execFile)(program, [...args, script], options);
          assert.equal(stdout, 'ok\n');
        });
      }
    }
  });
});
