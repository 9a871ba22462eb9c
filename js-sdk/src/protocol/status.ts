/** The numbers of errors on the wire. See "Errors" in docs/protocol/local.md. */

import {
  AmbiguousPeerError,
  BusyError,
  CancelledError,
  ConsentPendingError,
  CorruptError,
  DeniedError,
  InternalError,
  InvalidArgumentError,
  type MemCloudError,
  NotFoundError,
  OutOfMemoryError,
  PeerUnreachableError,
  QuotaExceededError,
  ShuttingDownError,
  TimeoutError,
  TooLargeError,
  UnknownPeerError,
  UnsupportedError,
} from '../errors';

type ErrorClass = new (message: string, options?: ErrorOptions) => MemCloudError;

/** The errors of the protocol by their number. See "Errors" in docs/protocol/local.md. */
const BY_STATUS: readonly ErrorClass[] = [
  InvalidArgumentError,
  NotFoundError,
  OutOfMemoryError,
  QuotaExceededError,
  DeniedError,
  ConsentPendingError,
  TimeoutError,
  PeerUnreachableError,
  UnknownPeerError,
  AmbiguousPeerError,
  TooLargeError,
  UnsupportedError,
  CancelledError,
  BusyError,
  ShuttingDownError,
  CorruptError,
  InternalError,
];

/** The status of `not_found`, which reads take for an answer. */
export const STATUS_NOT_FOUND = 2;

/** The status with which this client breaks off a body. */
export const STATUS_CANCELLED = 13;

/** The error of a status of the protocol; a number that is not known is an internal error. */
export function errorOfStatus(status: number, message: string): MemCloudError {
  const Class = BY_STATUS[status - 1] ?? InternalError;
  return new Class(message === '' ? new Class('').code.replaceAll('_', ' ') : message);
}

/** The error of a name of the protocol, as it stands in JSON. */
export function errorOfCode(code: string, message: string): MemCloudError {
  const status = BY_STATUS.findIndex((Class) => new Class('').code === code) + 1;
  return errorOfStatus(status, message);
}
