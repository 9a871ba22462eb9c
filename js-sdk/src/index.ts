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
export type * from './types';
