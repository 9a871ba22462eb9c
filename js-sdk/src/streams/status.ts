/** How far a stream has come. */

/** The part of a stream that one node holds. */
export interface StreamHolder {
  /** The node's id. */
  readonly id: string;
  readonly name: string;
  /** Bytes of the stream that lie there, as they are before any compression. */
  readonly bytes: number;
  /** Bytes that are on their way there. */
  readonly underWayBytes: number;
  /** Whether the node can be reached now. */
  readonly connected: boolean;
}

/** How far a stream has come, and where it lies. */
export interface StreamStatus {
  readonly id: string;
  /** Bytes that were taken from the program that writes it. */
  readonly takenBytes: number;
  /** Part of them that lies where it is to stay. */
  readonly placedBytes: number;
  /** Part of `placedBytes` that did not have to be sent or stored, because an equal chunk was there already. */
  readonly knownBytes: number;
  /** What `placedBytes` takes where it lies, without what was there already. */
  readonly storedBytes: number;
  /** Where the bytes went, the node of this host included, in the order of the names. */
  readonly holders: readonly StreamHolder[];
  /** Whether the stream is whole. */
  readonly finished: boolean;
}

/** The same as the node says it. */
export interface StatusJson {
  readonly id: number;
  readonly taken_bytes: number;
  readonly placed_bytes: number;
  readonly known_bytes: number;
  readonly stored_bytes: number;
  readonly holders: readonly {
    readonly id: string;
    readonly name: string;
    readonly bytes: number;
    readonly under_way_bytes: number;
    readonly connected: boolean;
  }[];
  readonly finished: boolean;
}

/** Reads what the node says. */
export function readStatus(json: StatusJson): StreamStatus {
  return {
    id: String(json.id),
    takenBytes: json.taken_bytes,
    placedBytes: json.placed_bytes,
    knownBytes: json.known_bytes,
    storedBytes: json.stored_bytes,
    holders: json.holders.map(({ id, name, bytes, under_way_bytes, connected }) => ({
      id,
      name,
      bytes,
      underWayBytes: under_way_bytes,
      connected,
    })),
    finished: json.finished,
  };
}
