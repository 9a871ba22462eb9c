// As smoke.mjs, for who requires the package. Prints `ok`.

const assert = require('node:assert/strict');
const { MemCloud } = require('memcloud');
const { createStore } = require('memcloud/cache-manager');

async function main() {
  assert.equal(typeof createStore, 'function');
  const cloud = new MemCloud();
  await cloud.set('smoke', 'Hello');
  assert.equal((await cloud.get('smoke')).toString(), 'Hello');
  await cloud.close();
  assert.equal((await import('memcloud')).MemCloud, MemCloud);
  console.log('ok');
}

main();
