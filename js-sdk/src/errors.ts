/** The errors of this package. Programs go by `code` or by class; messages are for people. */

/** The names of all errors. */
export type ErrorCode =
  | 'invalid_argument'
  | 'not_found'
  | 'out_of_memory'
  | 'quota_exceeded'
  | 'denied'
  | 'consent_pending'
  | 'timeout'
  | 'peer_unreachable'
  | 'unknown_peer'
  | 'ambiguous_peer'
  | 'too_large'
  | 'unsupported'
  | 'cancelled'
  | 'busy'
  | 'shutting_down'
  | 'corrupt'
  | 'internal'
  | 'not_running'
  | 'connection_lost'
  | 'closed'
  | 'protocol'
  | 'incompatible_version'
  | 'batch';

/** Whatever goes wrong between a program and its node. A value of the wrong type is a TypeError instead. */
export abstract class MemCloudError extends Error {
  /** The stable name of what went wrong. */
  abstract readonly code: ErrorCode;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    // The name under which it is printed is that of its class, also where a bundler gave the class another one.
    Object.defineProperty(this, 'name', { value: new.target.label, configurable: true, writable: true });
  }

  /** The name of the class. */
  protected static readonly label: string = 'MemCloudError';
}

/** An argument is malformed, or out of its range. */
export class InvalidArgumentError extends MemCloudError {
  readonly code = 'invalid_argument';
  protected static override readonly label = 'InvalidArgumentError';
}

/** No connected node has the block, stream or key. Reads of a missing key give `null` instead. */
export class NotFoundError extends MemCloudError {
  readonly code = 'not_found';
  protected static override readonly label = 'NotFoundError';
}

/** There is no room in the budget of any node that may be used. */
export class OutOfMemoryError extends MemCloudError {
  readonly code = 'out_of_memory';
  protected static override readonly label = 'OutOfMemoryError';
}

/** What the peer grants is used up. */
export class QuotaExceededError extends MemCloudError {
  readonly code = 'quota_exceeded';
  protected static override readonly label = 'QuotaExceededError';
}

/** The caller may not do this: a wrong token, a peer that refuses. */
export class DeniedError extends MemCloudError {
  readonly code = 'denied';
  protected static override readonly label = 'DeniedError';
}

/** The person at the other machine has not answered yet. */
export class ConsentPendingError extends MemCloudError {
  readonly code = 'consent_pending';
  protected static override readonly label = 'ConsentPendingError';
}

/** A deadline passed. A write may have happened or not. */
export class TimeoutError extends MemCloudError {
  readonly code = 'timeout';
  protected static override readonly label = 'TimeoutError';
}

/** The peer that has the data is not connected, or went away. */
export class PeerUnreachableError extends MemCloudError {
  readonly code = 'peer_unreachable';
  protected static override readonly label = 'PeerUnreachableError';
}

/** No known peer has this name or id. */
export class UnknownPeerError extends MemCloudError {
  readonly code = 'unknown_peer';
  protected static override readonly label = 'UnknownPeerError';
}

/** Several peers have this name or prefix of an id; the message lists them. */
export class AmbiguousPeerError extends MemCloudError {
  readonly code = 'ambiguous_peer';
  protected static override readonly label = 'AmbiguousPeerError';
}

/** A value, key or request is over its limit. */
export class TooLargeError extends MemCloudError {
  readonly code = 'too_large';
  protected static override readonly label = 'TooLargeError';
}

/** The node's version lacks this. */
export class UnsupportedError extends MemCloudError {
  readonly code = 'unsupported';
  protected static override readonly label = 'UnsupportedError';
}

/** The node stopped working on it, as it was asked to. */
export class CancelledError extends MemCloudError {
  readonly code = 'cancelled';
  protected static override readonly label = 'CancelledError';
}

/** A limit on requests or connections is reached; later it may work. */
export class BusyError extends MemCloudError {
  readonly code = 'busy';
  protected static override readonly label = 'BusyError';
}

/** The node is stopping. */
export class ShuttingDownError extends MemCloudError {
  readonly code = 'shutting_down';
  protected static override readonly label = 'ShuttingDownError';
}

/** Data failed its check. */
export class CorruptError extends MemCloudError {
  readonly code = 'corrupt';
  protected static override readonly label = 'CorruptError';
}

/** A fault of the node; its log has more. */
export class InternalError extends MemCloudError {
  readonly code = 'internal';
  protected static override readonly label = 'InternalError';
}

/** No node listens where this client looks for one. */
export class NotRunningError extends MemCloudError {
  readonly code = 'not_running';
  protected static override readonly label = 'NotRunningError';
}

/** The connection ended before the answer: the call may have been carried out or not. `cause` says why, where that is known. */
export class ConnectionLostError extends MemCloudError {
  readonly code = 'connection_lost';
  protected static override readonly label = 'ConnectionLostError';
}

/** This client was closed. What was in flight may have been carried out or not. */
export class ClosedError extends MemCloudError {
  readonly code = 'closed';
  protected static override readonly label = 'ClosedError';
}

/** What came from the other side is not the protocol of a node. */
export class ProtocolError extends MemCloudError {
  readonly code = 'protocol';
  protected static override readonly label = 'ProtocolError';
}

/** The node and this client have no version of the protocol in common. The message names those of both. */
export class IncompatibleVersionError extends MemCloudError {
  readonly code = 'incompatible_version';
  protected static override readonly label = 'IncompatibleVersionError';
}

/** Some entries of a batch failed. What the others did stands. */
export class BatchError<T = unknown> extends MemCloudError {
  readonly code = 'batch';
  protected static override readonly label = 'BatchError';

  constructor(
    message: string,
    /** What came of each entry, in the order of the call; `undefined` where it failed. */
    readonly results: readonly (T | undefined)[],
    /** Why entries failed, by their index. */
    readonly errors: ReadonlyMap<number, MemCloudError>,
  ) {
    super(message, { cause: errors.values().next().value });
  }
}
