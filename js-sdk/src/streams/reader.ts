/** The bytes of an object as they come, a piece at a time. */

import type { BodySink, Download } from '../connection/body';

/**
 * Asks for a body when its first piece is wanted, and gives the node credit for a piece when that is taken out. So what waits here never has more bytes than a body's window.
 */
export class BodyReader implements BodySink {
  private readonly pieces: Uint8Array[] = [];
  private download: Download | undefined;
  /** How it has ended. */
  private ending: { readonly error: unknown } | 'end' | undefined;
  private waiter: (() => void) | undefined;

  /** `open` asks for the body, which then comes here. */
  constructor(private readonly open: (sink: BodySink) => Download) {}

  /** The next piece; `undefined` at the end. Not to be called again before it has answered. */
  async next(): Promise<Uint8Array | undefined> {
    this.begin();
    if (this.pieces.length === 0 && this.ending === undefined) {
      await new Promise<void>((resolve) => {
        this.waiter = resolve;
      });
    }
    const piece = this.pieces.shift();
    if (piece !== undefined) {
      this.download?.taken(piece);
      return piece;
    }
    if (this.ending !== undefined && this.ending !== 'end') {
      throw this.ending.error;
    }
    return undefined;
  }

  /** Stops it. What has come and was not taken is dropped. */
  cancel(reason: Error): void {
    this.pieces.length = 0;
    this.finish({ error: reason });
    this.download?.cancel(reason);
  }

  // The side of the connection.

  room(length: number): Uint8Array {
    return Buffer.allocUnsafeSlow(length);
  }

  filled(bytes: Uint8Array): void {
    if (this.ending === undefined) {
      this.pieces.push(bytes);
      this.tell();
    }
  }

  end(): void {
    this.finish('end');
  }

  fail(error: Error): void {
    this.finish({ error });
  }

  private begin(): void {
    if (this.download === undefined && this.ending === undefined) {
      this.download = this.open(this);
      this.download.head.catch((error: unknown) => this.finish({ error }));
    }
  }

  private finish(end: { readonly error: unknown } | 'end'): void {
    this.ending ??= end;
    this.tell();
  }

  private tell(): void {
    const { waiter } = this;
    this.waiter = undefined;
    waiter?.();
  }
}
