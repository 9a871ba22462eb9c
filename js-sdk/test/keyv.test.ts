/** The Keyv adapter under both majors of Keyv, on a real node. Keyv's own test suite runs in test-adapters. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Keyv as Keyv5, type KeyvStoreAdapter } from 'keyv';
import { Keyv as Keyv6, type KeyvBridgeStore } from 'keyv6';
import { KeyvMemCloud, type KeyvMemCloudOptions } from '../src/adapters/keyv';
import { BatchError, MemCloud, type MemCloudError, NotRunningError, OutOfMemoryError } from '../src/index';
import { startPair, TestNode, until } from './support/node';

let node: TestNode;
let client: MemCloud;

before(async () => {
  node = await TestNode.start();
  client = new MemCloud({ socketPath: node.socketPath });
});
beforeEach(() => client.flush());
after(async () => {
  await client.close();
  await node.remove();
});

/** What both majors have, as these tests use it. */
interface EitherKeyv {
  get(key: string): Promise<unknown>;
  getMany(keys: string[]): Promise<unknown[]>;
  set(key: string, value: unknown, ttl?: number): Promise<boolean>;
  setMany(entries: { key: string; value: unknown; ttl?: number }[]): Promise<boolean[]>;
  delete(key: string): Promise<boolean>;
  has(key: string): Promise<boolean>;
  hasMany(keys: string[]): Promise<boolean[]>;
  clear(): Promise<void>;
  disconnect(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  iterator?(argument?: unknown): AsyncGenerator<unknown, void>;
}

/** The adapter is what each of the packages declares. */
const storeOf5 = (store: KeyvMemCloud): KeyvStoreAdapter => store;
// What has no namespace says so by `undefined`, which the type of Keyv 6 leaves out and its code does not.
const storeOf6 = (store: KeyvMemCloud): Omit<KeyvBridgeStore, 'namespace'> => store;

type Make = (store: KeyvMemCloud, namespace?: string) => EitherKeyv;

const MAJORS: [string, Make][] = [
  [
    'Keyv 5',
    (store, namespace) => {
      const keyv = new Keyv5({ store: storeOf5(store), useKeyPrefix: false });
      keyv.namespace = namespace;
      return keyv as EitherKeyv;
    },
  ],
  [
    'Keyv 6',
    (store, namespace) => {
      const keyv = new Keyv6({ store: storeOf6(store) });
      keyv.namespace = namespace;
      return keyv as EitherKeyv;
    },
  ],
];

async function nodeKeys(): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of client.keys()) {
    keys.push(key);
  }
  return keys.sort();
}

async function entriesOf(keyv: EitherKeyv): Promise<Map<unknown, unknown>> {
  assert.ok(keyv.iterator);
  const found: [unknown, unknown][] = [];
  for await (const entry of keyv.iterator()) {
    found.push(entry as [unknown, unknown]);
  }
  assert.equal(new Set(found.map(([key]) => key)).size, found.length, 'a key came twice');
  return new Map(found);
}

for (const [major, make] of MAJORS) {
  describe(major, () => {
    const keyvOf = (options: KeyvMemCloudOptions = {}, namespace?: string) =>
      make(new KeyvMemCloud({ client, ...options }), namespace);

    test('values go out and come back, with their type', async () => {
      const keyv = keyvOf({}, 'users');
      assert.equal(await keyv.set('alice', { age: 42, tags: ['ä', '😀'] }), true);
      assert.deepEqual(await keyv.get('alice'), { age: 42, tags: ['ä', '😀'] });
      assert.equal(await keyv.get('bob'), undefined);
      assert.equal(await keyv.has('alice'), true);
      assert.equal(await keyv.has('bob'), false);
      assert.equal(await keyv.delete('alice'), true);
      assert.equal(await keyv.delete('alice'), false);
      assert.equal(await keyv.get('alice'), undefined);
    });

    test('many at once, each in its place', async () => {
      const keyv = keyvOf();
      const entries = Array.from({ length: 2500 }, (_, number) => ({ key: `k${number}`, value: number }));
      assert.deepEqual(
        await keyv.setMany([...entries, { key: 'k1', value: 'again' }]),
        Array(2501).fill(true),
      );
      assert.deepEqual(await keyv.getMany(['k2499', 'nobody', 'k0', 'k1']), [2499, undefined, 0, 'again']);
      assert.deepEqual(await keyv.hasMany(['k2499', 'nobody', 'k0']), [true, false, true]);
      assert.deepEqual(await keyv.getMany([]), []);
      const found = await entriesOf(keyv);
      assert.equal(found.size, 2500);
      assert.equal(found.get('k2499'), 2499);
      await keyv.clear();
      assert.deepEqual(await nodeKeys(), []);
    });

    test('a value of several megabytes', async () => {
      const keyv = keyvOf();
      const text = 'large '.repeat(500_000);
      assert.equal(await keyv.set('large', text), true);
      assert.equal(await keyv.get('large'), text);
      assert.deepEqual(
        await keyv.setMany([
          { key: 'a', value: text },
          { key: 'b', value: 1 },
        ]),
        [true, true],
      );
      assert.deepEqual(await keyv.getMany(['a', 'b']), [text, 1]);
    });

    test('the node holds the time to live, and cache unless told otherwise', async () => {
      await keyvOf({}, 'short').set('a', 1, 60_000);
      await keyvOf({ class: 'pinned' }, 'long').setMany([
        { key: 'a', value: 1 },
        { key: 'b', value: 2, ttl: 30_000.5 },
      ]);
      const left = await client.ttl('short:a');
      assert.ok(left !== null && left > 0 && left <= 60_000, String(left));
      assert.equal(await client.ttl('long:a'), Infinity);
      const rounded = await client.ttl('long:b');
      assert.ok(rounded !== null && rounded > 0 && rounded <= 30_001, String(rounded));
      const classes = new Map<string, unknown>();
      for await (const entry of client.entries()) {
        classes.set(entry.key, entry.class);
      }
      assert.deepEqual(
        classes,
        new Map(
          [
            ['short:a', 'cache'],
            ['long:a', 'pinned'],
            ['long:b', 'pinned'],
          ].sort() as [string, string][],
        ),
      );
    });

    test('a time to live that is over deletes what was there', async () => {
      const adapter = new KeyvMemCloud({ client });
      await adapter.set('a', 'old');
      await adapter.set('b', 'old');
      assert.equal(await adapter.set('a', 'new', -1), true);
      assert.deepEqual(
        await adapter.setMany([
          { key: 'b', value: 'new', ttl: 0 },
          { key: 'c', value: 'new' },
        ]),
        [true, true],
      );
      assert.deepEqual(await adapter.getMany(['a', 'b', 'c']), [undefined, undefined, 'new']);
    });

    test('a namespace is its own: listed, cleared and found alone', async () => {
      await client.set('mine', 'not of any Keyv');
      const one = keyvOf({}, 'a');
      const other = keyvOf({}, 'a:b');
      const third = keyvOf({}, 'a*');
      await one.set('b:c', 1);
      await other.set('c', 2);
      await third.set('c', 3);
      await keyvOf().set('c', 4);
      assert.equal(await one.get('b:c'), 1);
      assert.equal(await other.get('c'), 2);
      assert.deepEqual(await entriesOf(one), new Map([['b:c', 1]]));
      await third.clear();
      assert.equal(await third.get('c'), undefined);
      await other.clear();
      assert.equal(await one.get('b:c'), 1);
      await keyvOf().clear();
      assert.deepEqual(await nodeKeys(), ['a:b:c', 'mine']);
    });

    test('a node that is away is an error event, and as if nothing were there', async () => {
      const away = { socketPath: path.join(node.home, 'nobody.sock'), reconnect: false } as const;
      const keyv = make(new KeyvMemCloud({ client: away }));
      const errors: Error[] = [];
      keyv.on('error', (error) => errors.push(error));
      assert.equal(await keyv.get('a'), undefined);
      assert.deepEqual(await keyv.getMany(['a', 'b']), [undefined, undefined]);
      assert.equal(await keyv.set('a', 1), false);
      assert.deepEqual(await keyv.setMany([{ key: 'a', value: 1 }]), [false]);
      assert.equal(await keyv.delete('a'), false);
      assert.equal(await keyv.has('a'), false);
      await keyv.clear();
      assert.equal((await entriesOf(keyv)).size, 0);
      assert.equal(errors.length, 8);
      assert.ok(
        errors.every((error) => error instanceof NotRunningError),
        String(errors),
      );
      await keyv.disconnect();
    });

    test('disconnect closes the connection that the adapter made, and no other', async () => {
      await keyvOf().disconnect();
      assert.equal(await client.get('nothing'), null);
      const own = new KeyvMemCloud({ client: { socketPath: node.socketPath } });
      const keyv = make(own);
      await keyv.set('a', 1);
      await keyv.disconnect();
      await assert.rejects(own.client.get('a'), { code: 'closed' });
    });
  });
}

test('Keyv 5 with its own prefix keeps its keys apart as well', async () => {
  const keyv = new Keyv5({ store: new KeyvMemCloud({ client }), namespace: 'a' });
  await keyv.set('b', 1);
  assert.equal(await keyv.get('b'), 1);
  assert.deepEqual(await entriesOf(keyv as EitherKeyv), new Map([['b', 1]]));
  assert.deepEqual(await nodeKeys(), ['a:a:b']);
  await keyv.clear();
  assert.deepEqual(await nodeKeys(), []);
});

test('who asked for errors gets them', async () => {
  const adapter = new KeyvMemCloud({
    client: { socketPath: path.join(node.home, 'nobody.sock') },
    throwOnErrors: true,
  });
  await assert.rejects(adapter.get('a'), NotRunningError);
  await assert.rejects(adapter.set('a', 'b'), NotRunningError);
  await assert.rejects(adapter.clear(), NotRunningError);
  await assert.rejects(adapter.iterator().next(), NotRunningError);
  await adapter.disconnect();
});

test('an adapter of which nobody hears errors rejects with them', async () => {
  const adapter = new KeyvMemCloud({ client: { socketPath: path.join(node.home, 'nobody.sock') } });
  await assert.rejects(adapter.get('a'), NotRunningError);
  await adapter.disconnect();
});

test('what is no text is refused with the reason', async () => {
  const adapter = new KeyvMemCloud({ client, throwOnErrors: true });
  for (const value of [{ value: 1 }, null, 1, Buffer.from('a')]) {
    await assert.rejects(adapter.set('a', value), /leave Keyv's serialization on/);
  }
  await assert.rejects(
    adapter.setMany([
      { key: 'a', value: 'text' },
      { key: 'b', value: undefined },
    ]),
    TypeError,
  );
  assert.deepEqual(await nodeKeys(), []);
});

test('an entry of a batch that fails takes no other with it', async () => {
  const small = await TestNode.start({ memory: '32mb' });
  const options = { client: { socketPath: small.socketPath } };
  const adapter = new KeyvMemCloud(options);
  const strict = new KeyvMemCloud({ ...options, throwOnErrors: true });
  try {
    const errors: unknown[] = [];
    adapter.on('error', (error) => errors.push(error));
    const tooLarge = 'x'.repeat(40 * 1024 * 1024);
    const entries = [
      { key: 'a', value: 'a' },
      { key: 'b', value: tooLarge },
      { key: 'c', value: 'c', ttl: 60_000 },
    ];
    assert.deepEqual(await adapter.setMany(entries), [true, false, true]);
    assert.deepEqual(await adapter.getMany(['a', 'b', 'c']), ['a', undefined, 'c']);
    assert.equal(errors.length, 1);
    assert.ok(errors[0] instanceof BatchError && errors[0].cause instanceof OutOfMemoryError, String(errors));
    await assert.rejects(strict.setMany(entries), BatchError);
  } finally {
    await Promise.all([adapter.disconnect(), strict.disconnect()]);
    await small.remove();
  }
});

test('what lies on a peer that is away is missed, and said to be', async () => {
  const [here, there] = await startPair();
  const options = { client: { socketPath: here.socketPath } };
  const adapter = new KeyvMemCloud(options);
  const strict = new KeyvMemCloud({ ...options, throwOnErrors: true });
  try {
    const errors: MemCloudError[] = [];
    adapter.on('error', (error) => errors.push(error));
    await adapter.set('a', 'here');
    const onPeer = new KeyvMemCloud({ client: adapter.client, peer: 'NodeB' });
    assert.deepEqual(await onPeer.setMany([{ key: 'b', value: 'there' }]), [true]);
    // A key that the peer itself has set, so that it answers for it.
    await there.cli('set', 'keyv:c', 'there');
    assert.deepEqual(await adapter.getMany(['a', 'b', 'c']), ['here', 'there', 'there']);

    await there.stop('SIGKILL');
    await until('the link is gone', async () => {
      const peers = (await here.cli('peer', 'list')) as { state: string }[];
      return peers.every(({ state }) => state !== 'connected');
    });
    assert.deepEqual((await adapter.getMany(['a', 'b'])).slice(0, 2), ['here', undefined]);
    assert.deepEqual(
      errors.map(({ code }) => code),
      ['batch'],
    );
    await assert.rejects(strict.getMany(['a', 'b']), BatchError);
    const asking = new KeyvMemCloud({ client: adapter.client, strict: true });
    const refusals: unknown[] = [];
    asking.on('error', (error) => refusals.push(error));
    assert.equal(await asking.deleteMany(['a', 'b']), false);
    assert.ok(refusals.length === 1 && refusals[0] instanceof BatchError, String(refusals));
    assert.deepEqual([...refusals[0].errors.keys()], [0, 1]);
    await adapter.clear();
    assert.equal(await adapter.get('a'), undefined);
    assert.deepEqual(
      errors.map(({ code }) => code),
      ['batch', 'peer_unreachable'],
    );
    await assert.rejects(strict.clear(), /'NodeB' cannot be asked/);
  } finally {
    await Promise.all([adapter.disconnect(), strict.disconnect()]);
    await Promise.all([here.remove(), there.remove()]);
  }
});
