/**
 * A store for cache-manager 6 and 7: `createCache({ stores: [createStore(Keyv)] })`.
 *
 * cache-manager takes Keyvs. The class is passed in and not imported, for it must be the one that cache-manager knows, and a
 * program without cache-manager should not have to install it.
 */
import { KeyvMemCloud, type KeyvMemCloudOptions } from './keyv';

/** Where the keys of a cache lie that has no namespace. */
const DEFAULT_NAMESPACE = 'cache';

/** How the store of a cache reaches its node, and how it keeps values. */
export interface CacheStoreOptions extends KeyvMemCloudOptions {
  /** How long a value lives where neither `set` nor the cache says it, in milliseconds. Default: for good. */
  readonly ttl?: number | undefined;
}

/** The class `Keyv` of the package keyv, version 5. */
// biome-ignore lint/suspicious/noExplicitAny: the options belong to a package that is not imported here.
export type KeyvClass<Keyv> = new (options: any) => Keyv;

/**
 * A Keyv that keeps its values in MemCloud, for `stores` of `createCache`. Its keys are `NAMESPACE:KEY`, and its `disconnect()`
 * closes the connection that it made.
 */
export function createStore<Keyv>(Keyv: KeyvClass<Keyv>, options: CacheStoreOptions = {}): Keyv {
  const { ttl, namespace = DEFAULT_NAMESPACE, ...adapter } = options;
  const store = new KeyvMemCloud({ ...adapter, namespace });
  // The adapter puts the namespace in front: once is enough.
  return new Keyv({
    store,
    namespace,
    ttl,
    useKeyPrefix: false,
    throwOnErrors: adapter.throwOnErrors ?? false,
  });
}

export { KeyvMemCloud, type KeyvMemCloudOptions };
