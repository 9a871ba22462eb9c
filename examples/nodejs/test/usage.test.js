import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NOWHERE, runExample } from './support.js';

const EXAMPLES = ['quick-start.js', 'log-archiver.js', 'shared-cache.js', 'benchmark.js'];

for (const name of EXAMPLES) {
  test(`${name} explains itself without a node`, async () => {
    for (const flag of ['--help', '-h']) {
      const { code, stdout, stderr } = await runExample(name, [flag], NOWHERE);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
      assert.ok(stdout.startsWith(`Usage: node ${name}`), stdout);
    }
  });

  test(`${name} says what to do where no node runs, and where an option is wrong`, async () => {
    const away = await runExample(name, [], NOWHERE);
    assert.equal(away.code, 1);
    assert.match(away.stderr, /^error: .*memcli node start.*\n$/);
    assert.equal(away.stdout, '');

    const wrong = await runExample(name, ['--nonsense'], NOWHERE);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /^error: .*--nonsense/);
  });
}

test('numbers are checked before anything is done', async () => {
  for (const [name, option, said] of [
    ['log-archiver.js', '--lines=many', "--lines takes a number from 1 on, not 'many'"],
    ['log-archiver.js', '--level=10', "--level takes a number from 1 to 9, not '10'"],
    ['shared-cache.js', '--pages=0', "--pages takes a number from 1 on, not '0'"],
    ['shared-cache.js', '--ttl=-1', "--ttl takes a number of seconds above 0, not '-1'"],
    ['benchmark.js', '--size=1.5', "--size takes a number from 1 on, not '1.5'"],
  ]) {
    const { code, stderr } = await runExample(name, [option], NOWHERE);
    assert.deepEqual({ code, stderr }, { code: 1, stderr: `error: ${said}\n` });
  }
});
