// engine.js: load a model into a worker. Everything heavy happens over there.

import { abortError } from './errors.js';
import { COMPUTE } from './protocol.js';
import { LOAD, checkOptions } from './options.js';
import { connect } from './rpc.js';
import { hardwareThreads, startWorker } from './endpoint_node.js';
import { fileBytes, filePath, piecesOf } from './source.js';
import { closedError, createRuntime, perSecond } from './runtime.js';
import { createModel } from './model.js';

/**
 * @typedef {import('./types.d.ts').Model} Model
 * @typedef {import('./types.d.ts').ModelSource} ModelSource
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./types.d.ts').LoadProgress} LoadProgress
 * @typedef {ReturnType<typeof connect>} Worker
 */

/**
 * Load a model. Rejects with a CllaError; nothing is left behind then.
 * @param {ModelSource} source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(source, options) {
  const checked = checkOptions('load', options, LOAD);
  const { signal } = checked;
  if (signal?.aborted) throw abortError(signal);
  const path = filePath(source);
  const stream = path === undefined ? piecesOf(source) : undefined;
  const started = performance.now();
  const worker = connect(startWorker());
  const aborted = new AbortController(); // of our own, so that nothing stays attached to the caller's
  const stop = () => {
    aborted.abort();
    void worker.close(abortError(signal));
  };
  signal?.addEventListener('abort', stop);
  try {
    const threads = checked.threads ?? hardwareThreads();
    const vocabularyOnly = checked.vocabularyOnly ?? false;
    const build = await worker.call(COMPUTE.OPEN, { variant: checked.variant, threads, vocabularyOnly });
    const report = progressReporter(checked.onProgress);
    const size = path !== undefined ? await feedFile(worker, path, report) : stream?.total;
    if (stream) await feedPieces(worker, stream, report, vocabularyOnly, aborted.signal);
    const facts = await worker.call(COMPUTE.FINISH);
    facts.info.file_bytes = size ?? facts.info.file_bytes; // header and all
    const wanted = { context: checked.context ?? 0, kv: checked.kv ?? '' };
    const session = vocabularyOnly ? undefined : await worker.call(COMPUTE.SESSION_CREATE, wanted);
    const loaded = { build, facts, wanted, session, loadMs: performance.now() - started };
    return createModel(await createRuntime(worker, loaded), loaded);
  } catch (error) {
    await worker.close(closedError());
    throw signal?.aborted ? abortError(signal) : error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * @param {((progress: LoadProgress) => void) | undefined} onProgress
 * @returns {(loaded: number, total: number | undefined) => void}
 */
function progressReporter(onProgress) {
  const start = performance.now();
  return (loaded, total) => {
    const bytesPerSecond = perSecond(loaded, performance.now() - start);
    const secondsLeft = total !== undefined && bytesPerSecond > 0 ? (total - loaded) / bytesPerSecond : undefined;
    onProgress?.({ phase: 'load', loaded, total, bytesPerSecond, secondsLeft });
  };
}

/** @param {Worker} worker @param {string} path @param {ReturnType<typeof progressReporter>} report */
async function feedFile(worker, path, report) {
  const total = await fileBytes(path);
  await worker.call(COMPUTE.READ_FILE, { path }, { onEvent: ({ fed }) => report(fed, total) });
  return total;
}

/**
 * @param {Worker} worker
 * @param {ReturnType<typeof piecesOf>} stream
 * @param {ReturnType<typeof progressReporter>} report
 * @param {boolean} headerOnly
 * @param {AbortSignal} signal a stream may keep us waiting for ever
 */
async function feedPieces(worker, { total, pieces }, report, headerOnly, signal) {
  const iterator = pieces[Symbol.asyncIterator]();
  /** @type {Promise<never>} */
  const aborted = new Promise((_, reject) => signal.addEventListener('abort', () => reject(abortError(signal))));
  aborted.catch(() => {});
  try {
    for (;;) {
      const { done, value: bytes } = await Promise.race([iterator.next(), aborted]);
      if (done) return;
      const transfer = [/** @type {ArrayBuffer} */ (bytes.buffer)];
      const progress = await worker.call(COMPUTE.FEED, { bytes }, { transfer });
      report(progress.fed, total ?? (progress.needed || undefined));
      if (headerOnly && progress.headerComplete) return;
    }
  } finally {
    void iterator.return?.(undefined); // not awaited: it may never answer
  }
}
