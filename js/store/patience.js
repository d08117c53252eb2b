// patience.js: how long to try again: pauses that double, with some chance in them so that many clients do not come back
// at once; a browser that says it is online again ends the pause.

import { abortError } from '../errors.js';

/** @typedef {import('./types.d.ts').Patience} Patience */

/** @type {Patience} about a minute without a byte; a few seconds where there never was one */
export const PATIENCE = { attempts: 8, attemptsUnreached: 4, pauseMs: 500, longestPauseMs: 30_000, silenceMs: 30_000 };

/** A failure that may pass: what was sent so far stays good. */
export class Transient extends Error {
  /**
   * @param {string} message
   * @param {{cause?: unknown, waitMs?: number, unreached?: string}} [options] waitMs: the server said so; unreached: the
   *   likely reasons, if the server never answered before
   */
  constructor(message, { cause, waitMs, unreached } = {}) {
    super(message, { cause });
    this.waitMs = waitMs;
    this.unreached = unreached;
  }
}

/**
 * @param {number} failures in a row, 1 or more
 * @param {Patience} patience
 * @param {number} [waitMs] at least so long
 */
export function pauseBefore(failures, { pauseMs, longestPauseMs }, waitMs = 0) {
  const pause = Math.min(pauseMs * 2 ** (failures - 1), longestPauseMs) * (0.75 + Math.random() / 2);
  return Math.max(pause, Math.min(waitMs, 4 * longestPauseMs));
}

/** @param {number} ms @param {AbortSignal | undefined} signal */
export function sleep(ms, signal) {
  return /** @type {Promise<void>} */ (
    new Promise((resolve, reject) => {
      const stop = () => end(() => reject(abortError(signal)));
      const online = () => end(resolve);
      const timer = setTimeout(online, ms);
      /** @param {() => void} settle */
      function end(settle) {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
        globalThis.removeEventListener?.('online', online);
        settle();
      }
      signal?.addEventListener('abort', stop);
      globalThis.addEventListener?.('online', online);
      if (signal?.aborted) stop();
    })
  );
}
