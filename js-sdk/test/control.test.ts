/** What a node tells of itself and its peers, and what people decide. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import {
  type ConsentRequest,
  DeniedError,
  InvalidArgumentError,
  MemCloud,
  QuotaExceededError,
  TimeoutError,
  UnknownPeerError,
} from '../src';
import { TestNode, until } from './support/node';

let a: TestNode;
let b: TestNode;
let alice: MemCloud;
let bob: MemCloud;
let address: string;

before(async () => {
  a = await TestNode.start({ name: 'NodeA' });
  b = await TestNode.start({ name: 'NodeB' });
  alice = new MemCloud({ socketPath: a.socketPath });
  bob = new MemCloud({ socketPath: b.socketPath });
  address = (await bob.status()).peerAddresses[0] as string;
});

after(async () => {
  await Promise.all([alice.close(), bob.close()]);
  await Promise.all([a.remove(), b.remove()]);
});

/** The next request for consent at a node. */
function nextRequest(cloud: MemCloud): Promise<ConsentRequest> {
  return new Promise((resolve) => cloud.once('consent', resolve));
}

test('a node tells what it is', async () => {
  const status = await alice.status();
  assert.equal(status.name, 'NodeA');
  assert.equal(status.pid, a.pid);
  assert.equal(status.socket, a.socketPath);
  assert.match(status.publicKey, /^[0-9a-f]{64}$/);
  assert.deepEqual(status.peerAddresses.length, 1);
  assert.equal(status.budgetBytes, 256 * 1024 * 1024);
  assert.equal(status.apiAddress, null);
  await alice.ping();
});

test('a node tells what it did', async () => {
  await alice.set('counted', 'x');
  await alice.get('counted');
  const stats = await alice.stats();
  assert.ok(stats.writes >= 1 && stats.hits >= 1 && stats.keys >= 1);
  assert.ok(stats.operations.some(({ operation, p999Ns }) => operation === 'get' && p999Ns > 0));
});

test('devices are trusted by their keys, and no longer', async () => {
  const { publicKey, nodeId } = await bob.status();
  const added = await alice.trust.add(publicKey, { name: 'desk', quotaBytes: 123 });
  assert.equal(added.wasTrusted, false);
  const { device } = added;
  assert.deepEqual([device.id, device.name, device.quotaBytes], [nodeId, 'desk', 123]);
  assert.deepEqual(await alice.trust.list(), [device]);
  assert.deepEqual(await alice.trust.remove('desk', { freeData: true }), { blocks: 0, bytes: 0 });
  await assert.rejects(alice.trust.remove('desk'), UnknownPeerError);
  await assert.rejects(alice.trust.add('1234', { name: 'desk' }), InvalidArgumentError);
});

test('a peer is refused, then let in, and what it may use is changed', async () => {
  const denied = nextRequest(bob).then((request) => bob.consent.deny(request.id));
  await assert.rejects(alice.connectPeer(address), DeniedError);
  assert.equal((await denied).name, 'NodeA');

  const allowed = nextRequest(bob).then(async (request) => {
    assert.deepEqual(
      (await bob.consent.list()).map(({ id, code }) => ({ id, code })),
      [{ id: request.id, code: request.code }],
    );
    return bob.consent.trust(request.id, { quotaBytes: 1_000_000 });
  });
  const peer = await alice.connectPeer(address, { quotaBytes: 2_000_000 });
  await allowed;
  assert.equal(peer.name, 'NodeB');
  assert.equal(peer.state, 'connected');
  assert.equal(peer.grants.borrowed?.quotaBytes, 1_000_000);
  assert.equal(peer.grants.lent?.quotaBytes, 2_000_000);
  assert.deepEqual(
    (await alice.peers()).map(({ name, state }) => [name, state]),
    [['NodeB', 'connected']],
  );

  const stored = await alice.store('over there', { peer: 'NodeB' });
  assert.equal(String(await alice.load(stored.id)), 'over there');

  const changed = await bob.setGrant('NodeA', 500_000);
  assert.equal(changed.beforeBytes, 1_000_000);
  assert.equal(changed.lent.quotaBytes, 500_000);

  const [trusted] = await bob.trust.list();
  assert.equal(trusted?.quotaBytes, 500_000);
  assert.equal((await alice.disconnectPeer('NodeB')).name, 'NodeB');
});

test('two nodes pair by a code', async () => {
  await Promise.all([alice.trust.remove('NodeB'), bob.trust.remove('NodeA')]);
  const offer = await bob.pair.offer({ quotaBytes: 3_000_000 });
  assert.match(offer.code, /^[0-9]{3}-[0-9]{3}-[0-9]{4}$/);
  assert.equal((await alice.pair.join(offer.code, { at: address })).name, 'NodeB');
  assert.equal((await offer.joined).name, 'NodeA');
  await until('both are connected', async () =>
    (await alice.peers()).some(({ state }) => state === 'connected'),
  );
});

test('an offer that is taken back', async () => {
  const controller = new AbortController();
  const offer = await bob.pair.offer({ signal: controller.signal });
  controller.abort(new Error('changed my mind'));
  await assert.rejects(offer.joined, /changed my mind/);
});

test('a peer of which nobody knows', async () => {
  await assert.rejects(alice.disconnectPeer('nobody'), UnknownPeerError);
  await assert.rejects(alice.setGrant('nobody', 1), UnknownPeerError);
  await assert.rejects(alice.store('x', { peer: 'nobody' }), UnknownPeerError);
});

test('a peer that is let in once, and may not flush', async () => {
  await Promise.all([alice.trust.remove('NodeB'), bob.trust.remove('NodeA')]);
  const allowed = nextRequest(bob).then(({ id }) => bob.consent.allow(id, { quotaBytes: 0 }));
  const peer = await alice.connectPeer(address, { once: true });
  assert.equal((await allowed).name, 'NodeA');
  assert.deepEqual([peer.grants.borrowed?.quotaBytes, peer.trustsUs, peer.trusted], [0, false, false]);
  await assert.rejects(alice.store('no room', { peer: 'NodeB' }), QuotaExceededError);
  await assert.rejects(alice.flush({ peer: 'NodeB' }), DeniedError);
  await alice.disconnectPeer('NodeB');
  assert.deepEqual([await alice.trust.list(), await bob.trust.list()], [[], []]);
});

test('nobody answers the question for consent', async () => {
  await assert.rejects(alice.connectPeer(address, { timeoutMs: 300 }), TimeoutError);
  for (const { id } of await bob.consent.list()) {
    await bob.consent.deny(id);
  }
});

test('doctor and flush', async () => {
  const { checks } = await alice.doctor();
  assert.ok(
    checks.some(({ subject, result, advice }) => subject === 'listening' && result === 'problem' && advice),
  );
  await alice.set('flushed', '1');
  assert.ok((await alice.flush()).blocks > 0);
  assert.equal(await alice.get('flushed'), null);
});

test('a node that is asked to stop', async () => {
  const lost = once(bob, 'disconnect');
  await bob.stop();
  await lost;
});
