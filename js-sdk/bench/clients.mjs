// The clients that are measured, each behind the same three functions. Values are Buffers for all of them, both ways.

import { Redis } from 'ioredis';
import { MemCloud } from 'memcloud';
import { createClient, RESP_TYPES } from 'redis';

/** Connects the client of this name to the server behind a Unix socket. */
export async function connect(name, socketPath) {
  switch (name) {
    case 'memcloud': {
      const cloud = await new MemCloud({ socketPath }).connect();
      return {
        set: (key, value) => cloud.set(key, value),
        get: (key) => cloud.get(key),
        close: () => cloud.close(),
      };
    }
    case 'ioredis': {
      const redis = new Redis({ path: socketPath, lazyConnect: true });
      await redis.connect();
      return {
        set: (key, value) => redis.set(key, value),
        get: (key) => redis.getBuffer(key),
        close: () => redis.quit(),
      };
    }
    case 'redis': {
      const redis = createClient({ socket: { path: socketPath } }).withTypeMapping({
        [RESP_TYPES.BLOB_STRING]: Buffer,
      });
      await redis.connect();
      return {
        set: (key, value) => redis.set(key, value),
        get: (key) => redis.get(key),
        close: () => redis.close(),
      };
    }
    default:
      throw new Error(`there is no client '${name}'`);
  }
}
