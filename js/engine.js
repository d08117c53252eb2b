// engine.js: load a model into a worker. Everything heavy happens over there.

import { abortError } from './errors.js';
import { COMPUTE, STORE } from './protocol.js';
import { LOAD, checkOptions } from './options.js';
import { connect } from './rpc.js';
import { locate, locateWasm } from './locate.js';
import { piecesOf, piecesUntil } from './source.js';
import { progressReporter } from './progress.js';
import { closedError, createRuntime } from './runtime.js';
import { createModel } from './model.js';

/**
 * @typedef {import('./types.d.ts').Model} Model
 * @typedef {import('./types.d.ts').Platform} Platform
 * @typedef {import('./types.d.ts').LoadProgress} LoadProgress
 * @typedef {import('./store/types.d.ts').StoreRequest} StoreRequest
 * @typedef {ReturnType<typeof connect>} Worker
 * @typedef {ReturnType<typeof progressReporter>} Report
 * @typedef {{vocabularyOnly: boolean, onProgress?: (progress: LoadProgress) => void, signal: AbortSignal}} Feed
 */

/**
 * load() of a platform. It rejects with a CllaError; nothing is left behind then but what was stored.
 * @param {Platform} platform
 * @returns {typeof import('./types.d.ts').load}
 */
export const createLoad = (platform) => async (source, options) => {
  const checked = checkOptions('load', options, LOAD);
  const { signal } = checked;
  if (signal?.aborted) throw abortError(signal);
  const started = performance.now();
  const wasmUrls = checked.wasmUrl && locateWasm(platform, checked.wasmUrl);
  const place = await locate(platform, source);
  const stream = 'bytes' in place ? piecesOf(place.bytes) : undefined;
  if (signal?.aborted) throw abortError(signal);
  const worker = connect(platform.startWorker());
  const aborted = new AbortController(); // of our own, so that nothing stays attached to the caller's
  const stop = () => {
    aborted.abort();
    void worker.close(abortError(signal));
  };
  signal?.addEventListener('abort', stop);
  try {
    const threads = checked.threads ?? platform.hardwareThreads();
    const vocabularyOnly = checked.vocabularyOnly ?? false;
    /** @type {Feed} */
    const feed = { vocabularyOnly, onProgress: checked.onProgress, signal: aborted.signal };
    if ('requests' in place) await bring(platform, worker, place.requests, feed);
    const build = await worker.call(COMPUTE.OPEN, { variant: checked.variant, threads, vocabularyOnly, wasmUrls });
    const report = progressReporter(checked.onProgress, 'load');
    const size =
      'requests' in place ? await feedStored(platform, worker, place.requests, report)
      : 'path' in place ? await feedFile(platform, worker, place.path, report)
      : stream?.total;
    if (stream) await feedPieces(worker, stream, report, feed);
    const facts = await worker.call(COMPUTE.FINISH);
    facts.info.file_bytes = size ?? facts.info.file_bytes; // header and all
    const wanted = { context: checked.context ?? 0, kv: checked.kv ?? '' };
    const session = vocabularyOnly ? undefined : await worker.call(COMPUTE.SESSION_CREATE, wanted);
    const loaded = { build, facts, wanted, session, loadMs: performance.now() - started };
    return createModel(await createRuntime(platform, worker, loaded), loaded);
  } catch (error) {
    await worker.close(closedError());
    throw signal?.aborted ? abortError(signal) : error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
};

/**
 * Bring what is not stored yet into the store.
 * @param {Platform} platform @param {Worker} worker @param {StoreRequest[]} requests @param {Feed} feed
 */
async function bring(platform, worker, requests, { onProgress }) {
  const report = progressReporter(onProgress, 'download');
  const onEvent = (/** @type {any} */ { loaded, total }) => {
    platform.askToKeep(); // not for what is stored already
    report(loaded, total);
  };
  await worker.call(STORE.PULL, { requests }, { onEvent });
}

/**
 * @param {Platform} platform @param {Worker} worker @param {StoreRequest[]} requests @param {Report} report
 * @returns {Promise<number>} bytes of all files
 */
async function feedStored({ openStore }, worker, requests, report) {
  const { shelf } = openStore();
  const ids = requests.map(({ id }) => id);
  const records = await Promise.all(ids.map((id) => shelf.get(id))).finally(() => shelf.close());
  const total = records.reduce((bytes, record) => bytes + (record?.size ?? 0), 0);
  await worker.call(STORE.READ, { ids }, { onEvent: ({ fed }) => report(fed, total) });
  return total;
}

/** @param {Platform} platform @param {Worker} worker @param {string} path @param {Report} report */
async function feedFile({ files }, worker, path, report) {
  const total = await files?.bytes(path);
  await worker.call(COMPUTE.READ_FILE, { path }, { onEvent: ({ fed }) => report(fed, total) });
  return total;
}

/**
 * @param {Worker} worker
 * @param {ReturnType<typeof piecesOf>} stream
 * @param {Report} report
 * @param {Feed} feed
 */
async function feedPieces(worker, { total, pieces }, report, { vocabularyOnly, signal }) {
  for await (const bytes of piecesUntil(pieces, signal)) {
    const transfer = [/** @type {ArrayBuffer} */ (bytes.buffer)];
    const progress = await worker.call(COMPUTE.FEED, { bytes }, { transfer });
    report(progress.fed, total ?? (progress.needed || undefined));
    if (vocabularyOnly && progress.headerComplete) return;
  }
}
