/** Checks what a program passes, before anything is sent: types with a TypeError, ranges with an InvalidArgumentError or TooLargeError. */

import { isAnyArrayBuffer, isDataView, isUint8Array } from 'node:util/types';
import { InvalidArgumentError, TooLargeError } from './errors';
import { KEY_LEN_MAX, OBJECT_SIZE_MAX, PEER_NAME_LEN_MAX, TTL_MS_MAX } from './protocol/limits';
import { type Keeping, type OutgoingValue, Place, ValueClass } from './protocol/requests';
import type { CallOptions, KeyOrId, PutOptions, RangeOptions, Value } from './types';

/** Texts up to this length are turned into UTF-8 when they are written, next to what stands before them. */
const SHORT_VALUE = 4 * 1024;

/** Returns the key; it has 1 to 1,024 bytes of UTF-8. */
export function checkKey(key: unknown): string {
  if (typeof key !== 'string') {
    throw wrongType(`a key is a string, not ${nameOf(key)}`);
  }
  const { length } = key;
  let isAscii = length <= KEY_LEN_MAX;
  for (let index = 0; index < length && isAscii; index++) {
    isAscii = key.charCodeAt(index) < 0x80;
  }
  if (length === 0 || !isAscii) {
    checkText('a key', key, KEY_LEN_MAX);
  }
  return key;
}

/** The bytes of a value, or the value itself where it is a short text. */
export function checkValue(value: unknown): OutgoingValue {
  if (typeof value === 'string') {
    return value.length <= SHORT_VALUE ? value : Buffer.from(value, 'utf8');
  }
  return checkBytes(value);
}

/** The bytes of a value. */
export function bytesOf(value: Value): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : checkBytes(value);
}

/** The number of an id. */
export function checkId(id: unknown): number {
  if (typeof id !== 'string') {
    throw wrongType(`an id is a string of decimal digits, not ${nameOf(id)}`);
  }
  const number = /^[1-9][0-9]{0,15}$/.test(id) ? Number(id) : 0;
  if (number === 0 || number > Number.MAX_SAFE_INTEGER) {
    throw new InvalidArgumentError(
      `"${id.slice(0, 64)}" is no id: it is a decimal number from 1 to 2^53 - 1`,
    );
  }
  return number;
}

/** A key, or the number of an id. */
export function checkKeyOrId(name: KeyOrId): string | number {
  if (typeof name === 'object' && name !== null) {
    return checkId(name.id);
  }
  return checkKey(name);
}

/** Returns the time to live in milliseconds. */
export function checkTtl(ttlMs: unknown): number {
  if (typeof ttlMs !== 'number') {
    throw wrongType(`ttlMs is a number of milliseconds, not ${nameOf(ttlMs)}`);
  }
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > TTL_MS_MAX) {
    throw new InvalidArgumentError(`ttlMs is ${ttlMs}: it is a whole number from 1 to 2^53 - 1`);
  }
  return ttlMs;
}

/** Returns the name of a peer; it has 1 to 255 bytes of UTF-8. */
export function checkPeer(peer: unknown): string {
  if (typeof peer !== 'string') {
    throw wrongType(`a peer is named by a string, not by ${nameOf(peer)}`);
  }
  checkText('the name of a peer', peer, PEER_NAME_LEN_MAX);
  return peer;
}

/** Checks what all calls take. */
export function checkCall(options: CallOptions | undefined): void {
  if (options === undefined) {
    return;
  }
  if (typeof options !== 'object' || options === null) {
    throw wrongType(`the options of a call are an object, not ${nameOf(options)}`);
  }
  const { signal, timeoutMs } = options;
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw wrongType(`signal is an AbortSignal, not ${nameOf(signal)}`);
  }
  if (timeoutMs !== undefined) {
    if (typeof timeoutMs !== 'number') {
      throw wrongType(`timeoutMs is a number of milliseconds, not ${nameOf(timeoutMs)}`);
    }
    if (!(timeoutMs >= 0)) {
      throw new InvalidArgumentError(`timeoutMs is ${timeoutMs}: it is 0 (never) or more`);
    }
  }
}

/** How most values are kept: one object for all of them. */
const AS_USUAL: Keeping = {
  ttlMs: undefined,
  class: ValueClass.Pinned,
  place: Place.Auto,
  peer: '',
  strict: false,
};
const AS_USUAL_STRICTLY: Keeping = { ...AS_USUAL, strict: true };

/** How a value is to be kept. */
export function checkKeeping(options: PutOptions | undefined, strict: boolean): Keeping {
  if (options === undefined) {
    return strict ? AS_USUAL_STRICTLY : AS_USUAL;
  }
  const place = placeOf(options);
  return {
    ttlMs: options.ttlMs === undefined ? undefined : checkTtl(options.ttlMs),
    class: classOf(options.class),
    place,
    peer: place === Place.Peer ? checkPeer(options.peer) : '',
    strict,
  };
}

/** The offset and length of a range. */
export function checkRange(range: RangeOptions | undefined): { offset: number; length: number | undefined } {
  const start = checkPosition('start', range?.start) ?? 0;
  const end = checkPosition('end', range?.end);
  if (end !== undefined && end < start) {
    throw new InvalidArgumentError(`a range from ${start} to ${end} has no byte: both ends belong to it`);
  }
  return { offset: start, length: end === undefined ? undefined : end - start + 1 };
}

/** A TypeError with the code `invalid_argument`: a value of a type that is not allowed. */
export function wrongType(message: string): TypeError & { readonly code: 'invalid_argument' } {
  return Object.assign(new TypeError(message), { code: 'invalid_argument' as const });
}

/** What a value is, for a message. */
export function nameOf(value: unknown): string {
  if (value === null || value === undefined) {
    return String(value);
  }
  if (Array.isArray(value)) {
    return 'an array';
  }
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function checkBytes(value: unknown): Uint8Array {
  // The second test also knows what other realms made, such as the sandbox of a test runner.
  if (value instanceof Uint8Array || isUint8Array(value)) {
    return value;
  }
  if (isAnyArrayBuffer(value)) {
    return new Uint8Array(value);
  }
  if (isDataView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  throw wrongType(
    `a value is a string, Buffer, Uint8Array, ArrayBuffer or DataView, not ${nameOf(value)}; JSON.stringify makes a string of most things`,
  );
}

function checkText(what: string, text: string, bytesMax: number): void {
  const bytes = text.length > bytesMax ? text.length : Buffer.byteLength(text);
  if (bytes === 0) {
    throw new InvalidArgumentError(`${what} is empty`);
  }
  if (bytes > bytesMax) {
    throw new TooLargeError(`${what} has at most ${bytesMax} bytes of UTF-8`);
  }
  // Half of a surrogate pair has no UTF-8, and would become the same as any other half.
  if (Buffer.from(text).toString() !== text) {
    throw new InvalidArgumentError(`${what} has half a character, which UTF-8 cannot express`);
  }
}

function checkPosition(name: string, value: unknown): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'number') {
    throw wrongType(`${name} is a number, not ${nameOf(value)}`);
  }
  if (value === Infinity && name === 'end') {
    return undefined;
  }
  if (!Number.isInteger(value) || value < 0 || value > OBJECT_SIZE_MAX) {
    throw new InvalidArgumentError(`${name} is ${value}: it is a whole number from 0 to 2^46`);
  }
  return value;
}

function placeOf(options: PutOptions): Place {
  const { peer, remote, local } = options;
  const given = Number(peer !== undefined) + Number(remote === true) + Number(local === true);
  if (given > 1) {
    throw new InvalidArgumentError('give at most one of peer, remote and local');
  }
  if (peer !== undefined) {
    return Place.Peer;
  }
  if (remote === true) {
    return Place.Remote;
  }
  return local === true ? Place.Local : Place.Auto;
}

function classOf(name: unknown): ValueClass {
  switch (name) {
    case undefined:
    case 'pinned':
      return ValueClass.Pinned;
    case 'cache':
      return ValueClass.Cache;
    default:
      throw new InvalidArgumentError(
        `class is 'pinned' or 'cache', not ${JSON.stringify(name) ?? nameOf(name)}`,
      );
  }
}
