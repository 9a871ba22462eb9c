/** Which devices are trusted for good. */

import { checkPeer } from '../arguments';
import type { CallOptions } from '../connection/call';
import { InvalidArgumentError } from '../errors';
import { Op } from '../protocol/operations';
import type { Freed } from '../types';
import { type Control, checkName, checkQuota } from './control';
import type { TrustAdded, TrustedDevice } from './types';

/** The trusted devices of a node: `cloud.trust`. */
export class Trust {
  /** For the client alone. */
  constructor(private readonly control: Control) {}

  /** All of them. */
  list(options?: CallOptions): Promise<TrustedDevice[]> {
    return this.control.ask(Op.TrustList, undefined, options);
  }

  /**
   * Trusts a device for good that need not have been met yet, by its public key: 64 hexadecimal digits, as `status` of its node or
   * `memcli trust key` there shows them.
   */
  async add(
    publicKey: string,
    options: CallOptions & { readonly name: string; readonly quotaBytes?: number | undefined },
  ): Promise<TrustAdded> {
    const key = checkName('a public key', publicKey);
    if (!/^[0-9a-fA-F]{64}$/.test(key)) {
      throw new InvalidArgumentError('a public key has 64 hexadecimal digits');
    }
    const addition = {
      public_key: key.toLowerCase(),
      name: checkName('the name of a device', options?.name),
      quota_bytes: checkQuota(options.quotaBytes),
    };
    return this.control.ask(Op.TrustAdd, addition, options);
  }

  /** Trusts a device no longer, and ends its link; with `freeData` also frees what it stored here. */
  async remove(
    peer: string,
    options?: CallOptions & { readonly freeData?: boolean | undefined },
  ): Promise<Freed> {
    const removal = { peer: checkPeer(peer), free_data: options?.freeData ?? false };
    return this.control.ask(Op.TrustRemove, removal, options);
  }
}
