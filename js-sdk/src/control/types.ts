/** What the node says of itself and its peers. Sizes are in bytes, ids of nodes have 32 hexadecimal digits. */

/** What a node is and where it listens. */
export interface NodeStatus {
  /** The name people chose. */
  readonly name: string;
  readonly nodeId: string;
  /** The Ed25519 public key, 64 hexadecimal digits: what `trust.add` takes on other nodes. */
  readonly publicKey: string;
  /** The version of `memnode`. */
  readonly version: string;
  readonly pid: number;
  readonly uptimeSecs: number;
  /** The folder of the node's files. */
  readonly home: string;
  /** The Unix socket of the local API. */
  readonly socket: string;
  /** Where peers are accepted. */
  readonly peerAddresses: readonly string[];
  /** The TCP address of the local API, where it is served. */
  readonly apiAddress: string | null;
  /** RAM that the node gives to the pool. */
  readonly budgetBytes: number;
  /** RAM of the budget that is in use. */
  readonly usedBytes: number;
  readonly peersConnected: number;
  /** The file of the log; `null` where it goes to stderr, which under a service manager is that one's log. */
  readonly logFile: string | null;
  /** Who started the node, if no person did: systemd, for the whole machine or for one user. */
  readonly serviceManager: 'systemd' | 'systemd_user' | null;
  /** The options of `memnode` with which it was started in the background; `null` where a terminal or a service manager looks after it. */
  readonly startedWith: readonly string[] | null;
  /** What the person should know, in whole sentences. */
  readonly warnings: readonly string[];
}

/** What lies in a node and what it did. */
export interface Stats {
  /** Blocks that lie here, chunks of streams included. */
  readonly blocks: number;
  /** Keys whose newest value this node wrote or holds. */
  readonly keys: number;
  readonly streams: number;
  /** RAM that the node gives to the pool. */
  readonly budgetBytes: number;
  /** RAM of the budget in use, with the cost of the entries. */
  readonly usedBytes: number;
  /** Parts of `usedBytes`: pinned, of class cache, and used by peers. */
  readonly pinnedBytes: number;
  readonly cacheBytes: number;
  readonly peersUsedBytes: number;
  /** Blocks that programs of this host have mapped, and the part of them that was freed meanwhile. */
  readonly mappedBytes: number;
  readonly mappedFreedBytes: number;
  /** Bytes that programs of this host have on peers. */
  readonly remoteBytes: number;
  /** Bytes of the chunks of this node's streams, and what they take where they lie. */
  readonly chunkBytes: number;
  readonly chunkStoredBytes: number;
  /** Resident memory of the process. */
  readonly residentBytes: number;
  /** Reads that found what they asked for, and those that did not. */
  readonly hits: number;
  readonly misses: number;
  readonly writes: number;
  /** Requests that were answered with an error, absence not included. */
  readonly errors: number;
  /** Blocks that were dropped to make room. */
  readonly evictions: number;
  /** Open connections of programs of this host. */
  readonly localConnections: number;
  readonly uptimeSecs: number;
  readonly operations: readonly OperationStats[];
  readonly peers: readonly PeerInfo[];
}

/** How often an operation was asked for, and how long its answers took in the node. */
export interface OperationStats {
  /** The operation in small letters, such as `get`. */
  readonly operation: string;
  readonly count: number;
  /** Answers in a second, on an average of the last ten. */
  readonly perSecond: number;
  /** What 50, 99 and 99.9 % of the answers took at most, in nanoseconds. */
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
}

/** How a peer is. */
export type PeerState =
  | 'discovered'
  | 'connecting'
  | 'waiting_for_our_consent'
  | 'waiting_for_their_consent'
  | 'connected'
  | 'lost'
  | 'denied';

/** A grant, and what is used of it. */
export interface GrantUse {
  readonly quotaBytes: number;
  readonly usedBytes: number;
}

/** Something odd about a peer: a known name with another key, or a known key with another name. */
export type ConsentWarning = 'known_name_new_key' | 'known_key_new_name';

/** One peer. */
export interface PeerInfo {
  /** `null` while only an address is known. */
  readonly id: string | null;
  /** The address while nothing else is known. */
  readonly name: string;
  /** The address of the link, or the last one known. */
  readonly address: string | null;
  readonly state: PeerState;
  /** What the peer may use here (`lent`), and this node there (`borrowed`); `null` where it is not known. */
  readonly grants: { readonly lent: GrantUse | null; readonly borrowed: GrantUse | null };
  /** Smoothed round trip of the link in microseconds. */
  readonly roundTripUs: number | null;
  /** Bytes over the present link. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Whether the peer is trusted for good. */
  readonly trusted: boolean;
  /** Whether this node is trusted for good there; known while connected. */
  readonly trustsUs: boolean | null;
  /** The six digits of the present handshake, for two people to compare. */
  readonly code: string | null;
  /** Why the last attempt or link failed, in words and as the code of an error. */
  readonly lastError: string | null;
  readonly lastErrorCode: string | null;
  readonly warning: ConsentWarning | null;
}

/** A peer that waits for the answer of the person at this machine. */
export interface ConsentRequest {
  readonly id: string;
  /** The name it gives itself. */
  readonly name: string;
  readonly address: string;
  /** The fingerprint of its key, in groups of four digits. */
  readonly fingerprint: string;
  /** The six digits that stand on both screens. */
  readonly code: string;
  /** What the peer grants this node there. */
  readonly offeredQuotaBytes: number;
  /** What it gets here unless the answer says otherwise. */
  readonly defaultQuotaBytes: number;
  /** Seconds since it asked, and until the question expires. */
  readonly ageSecs: number;
  readonly expiresInSecs: number;
  readonly warning: ConsentWarning | null;
}

/** A device that is trusted for good. */
export interface TrustedDevice {
  readonly id: string;
  /** 64 hexadecimal digits. */
  readonly publicKey: string;
  readonly name: string;
  /** How much of this node's budget it may use. */
  readonly quotaBytes: number;
  /** Seconds since 1970. */
  readonly trustedAtUnixSecs: number;
  /** Where it was reached, newest first. */
  readonly addresses: readonly string[];
}

/** What `trust.add` did. */
export interface TrustAdded {
  readonly device: TrustedDevice;
  /** Whether it was trusted before: then its name and quota were replaced. */
  readonly wasTrusted: boolean;
}

/** What became of a grant that was changed. */
export interface GrantChanged {
  readonly id: string;
  readonly name: string;
  /** The grant that the peer had. */
  readonly beforeBytes: number;
  /** The grant that it has now. More is used than that where what it has pinned does not fit: that stays. */
  readonly lent: GrantUse;
  /** What was evicted because it no longer fits. */
  readonly evicted: { readonly blocks: number; readonly bytes: number };
  /** Whether the grant is kept; else it ends with the link. */
  readonly trusted: boolean;
}

/** What was found, in the order in which a person would look. */
export interface DoctorReport {
  readonly checks: readonly Check[];
}

/** One thing that was looked at. */
export interface Check {
  /** What was looked at, such as `reach`. */
  readonly subject: string;
  /** The peer or address that it is about; `null` where it is about this machine. */
  readonly about: string | null;
  readonly result: 'ok' | 'warning' | 'problem';
  readonly found: string;
  /** What to do about it, where it is not fine. */
  readonly advice: string | null;
}
