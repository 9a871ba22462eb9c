/** How long to wait between attempts to connect. */

/** How a lost connection is made again. */
export interface BackoffSettings {
  /** The pause before the first attempt, in milliseconds; each one after it is twice as long. */
  readonly minDelayMs: number;
  /** The longest pause. */
  readonly maxDelayMs: number;
  /** How many attempts follow one another before it is given up. */
  readonly attempts: number;
}

/** Fifty milliseconds pass while a node restarts; with these ten attempts it may take ten seconds. */
export const BACKOFF_DEFAULTS: BackoffSettings = { minDelayMs: 50, maxDelayMs: 2_000, attempts: 10 };

/** Counts attempts. */
export class Backoff {
  /** Attempts since the last success. */
  attempt = 0;

  constructor(private readonly settings: BackoffSettings) {}

  /**
   * Begins another attempt. Returns after how many milliseconds; `undefined` where it is to be given up. Up to half of a pause is left out at random, so that the
   * programs of a host do not all come back in the same moment.
   */
  next(random: () => number = Math.random): number | undefined {
    const { minDelayMs, maxDelayMs, attempts } = this.settings;
    if (this.attempt >= attempts) {
      return undefined;
    }
    const delayMs = Math.min(maxDelayMs, minDelayMs * 2 ** this.attempt);
    this.attempt += 1;
    return Math.round(delayMs * (1 - random() / 2));
  }

  reset(): void {
    this.attempt = 0;
  }
}
