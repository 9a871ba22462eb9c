import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NOWHERE, runExample, startPair } from './support.js';

test('what one process made, the other one finds on its own node', async (t) => {
  const [laptop, workshop] = await startPair(t, 'Laptop', 'Workshop');

  const first = await runExample('shared-cache.js', ['--pages', '3', '--socket', laptop.socketPath], NOWHERE);
  assert.deepEqual({ code: first.code, stderr: first.stderr }, { code: 0, stderr: '' });
  assert.match(
    first.stdout,
    /^(made {3}page [1-3], made on 'Laptop'\n){3}on 'Laptop': 0 found, 3 made, in \d+ ms\n$/,
  );

  const second = await runExample(
    'shared-cache.js',
    ['--pages', '4', '--socket', workshop.socketPath],
    NOWHERE,
  );
  assert.deepEqual({ code: second.code, stderr: second.stderr }, { code: 0, stderr: '' });
  assert.match(
    second.stdout,
    /^(found {2}page [1-3], made on 'Laptop'\n){3}made {3}page 4, made on 'Workshop'\non 'Workshop': 3 found, 1 made, in \d+ ms\n$/,
  );
});
