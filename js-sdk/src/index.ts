/** MemCloud for JavaScript: the idle RAM of the machines on your network as one store. */

export { MemCloud, type MemCloudEvents } from './client';
export type { Consent, ConsentOptions } from './control/consent';
export type { Pairing, PairOffer } from './control/pairing';
export type { ConnectPeerOptions } from './control/peers';
export type { Trust } from './control/trust';
export type * from './control/types';
export type { KeyEntry, KeyListing, KeysOptions, MissingNode } from './data/listing';
export * from './errors';
export { defaultSocketPath, type MemCloudOptions } from './options';
export type { StreamOptions } from './streams/options';
export type { StreamSource } from './streams/sources';
export type { StreamHolder, StreamStatus } from './streams/status';
export type { StoredStream } from './streams/store';
export type { GetStreamOptions, LoadStreamOptions, ReadStreamOptions } from './streams/streams';
export type { StreamWritable } from './streams/writable';
export type * from './types';
