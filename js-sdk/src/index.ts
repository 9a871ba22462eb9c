/** MemCloud for JavaScript: the idle RAM of the machines on your network as one store. */

export * from './errors';
