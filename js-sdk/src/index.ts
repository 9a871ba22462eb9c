/** MemCloud for JavaScript: the idle RAM of the machines on your network as one store. */

export { MemCloud, type MemCloudEvents } from './client';
export * from './errors';
export { defaultSocketPath, type MemCloudOptions } from './options';
export type * from './types';
