/** The deadlines of all calls of a client, by one timer: most calls end long before theirs, so that a timer for each would be set for nothing. */

import type { Call } from './call';

/** The longest time in milliseconds that a timer of the runtime takes; beyond it it fires at once. */
export const TIMER_MAX_MS = 2 ** 31 - 1;

/** Watches over deadlines. */
export class Deadlines {
  private timer: NodeJS.Timeout | undefined;
  /** When it fires. */
  private next = Infinity;

  /** `each` visits all calls; `onPassed` hears of those that are too late. */
  constructor(
    private readonly each: (visit: (call: Call) => void) => void,
    private readonly onPassed: (call: Call) => void,
  ) {}

  /** Gives a call the time that it may take. */
  watch(call: Call): void {
    const { timeoutMs } = call;
    if (timeoutMs === Infinity) {
      return;
    }
    const now = performance.now();
    call.deadline = now + timeoutMs;
    if (call.deadline < this.next) {
      this.arm(now, call.deadline);
    }
  }

  stop(): void {
    clearTimeout(this.timer);
    this.next = Infinity;
  }

  private arm(now: number, at: number): void {
    clearTimeout(this.timer);
    this.next = at;
    this.timer = setTimeout(this.look, Math.min(TIMER_MAX_MS, Math.max(1, Math.ceil(at - now))));
    // A call keeps the program running by its connection, not by its deadline.
    this.timer.unref?.();
  }

  private readonly look = (): void => {
    this.next = Infinity;
    const now = performance.now();
    const passed: Call[] = [];
    let next = Infinity;
    this.each((call) => {
      if (call.isOver) {
        return;
      }
      if (call.isHeldUpByProgram) {
        call.touch(now);
      }
      if (call.deadline <= now) {
        passed.push(call);
      } else if (call.deadline < next) {
        next = call.deadline;
      }
    });
    if (next !== Infinity) {
      this.arm(now, next);
    }
    for (const call of passed) {
      this.onPassed(call);
    }
  };
}
