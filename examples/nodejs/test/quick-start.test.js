import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runExample, startNode } from './support.js';

test('the quick start does what it says and leaves nothing', async (t) => {
  const node = await startNode(t, 'Laptop');
  const { code, stdout, stderr } = await runExample('quick-start.js', [], node.socketPath);
  assert.equal(stderr, '');
  assert.match(
    stdout,
    /^connected to the node 'Laptop'\nuser:123 is Alice\npage:\/ lives for 60 s\nblock (\d+) holds 'My Data'\nstream (\d+) has 22 bytes\none line\nanother line\nuser:123 is null now\n$/,
  );
  assert.equal(code, 0);
});
