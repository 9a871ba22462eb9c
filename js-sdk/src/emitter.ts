/** An EventEmitter that knows its events. Types alone: it costs nothing, and asks nothing of the version of `@types/node`. */

import { EventEmitter } from 'node:events';

/** Events by their names, each with the arguments of its listeners. */
type Events = Record<string, unknown[]>;

/** An EventEmitter of these events. */
export interface TypedEmitter<E extends Events> extends EventEmitter {
  on<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  on(event: 'newListener' | 'removeListener', listener: (event: string | symbol) => void): this;
  once<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  off<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  addListener<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  removeListener<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  prependListener<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  prependOnceListener<N extends keyof E & string>(event: N, listener: (...args: E[N]) => void): this;
  emit<N extends keyof E & string>(event: N, ...args: E[N]): boolean;
}

/** The class of such an emitter. */
export function typedEmitter<E extends Events>(): new () => TypedEmitter<E> {
  return EventEmitter as unknown as new () => TypedEmitter<E>;
}
