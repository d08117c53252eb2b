// progress.js: what a caller is told while bytes move.

/** @typedef {import('./types.d.ts').LoadProgress} LoadProgress */

/**
 * @param {((progress: LoadProgress) => void) | undefined} onProgress
 * @param {LoadProgress['phase']} phase
 * @returns {(loaded: number, total: number | undefined) => void}
 */
export function progressReporter(onProgress, phase) {
  const start = performance.now();
  /** What was there before does not count for the speed. @type {number | undefined} */
  let before;
  return (loaded, total) => {
    before ??= phase === 'load' ? 0 : loaded;
    const seconds = (performance.now() - start) / 1000;
    const bytesPerSecond = loaded > before && seconds > 0 ? (loaded - before) / seconds : 0;
    const secondsLeft = total !== undefined && bytesPerSecond > 0 ? (total - loaded) / bytesPerSecond : undefined;
    onProgress?.({ phase, loaded, total, bytesPerSecond, secondsLeft });
  };
}
