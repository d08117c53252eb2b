// models.js: the models on this device: list them, bring them, remove them, take them out again.

import { CllaError, abortError } from './errors.js';
import { isBlob, isUrl } from './kinds.js';
import { ADD, PULL, checkOptions, checkText } from './options.js';
import { progressReporter } from './progress.js';
import { STORE } from './protocol.js';
import { closedError } from './runtime.js';
import { connect } from './rpc.js';
import { checkPart, namesBeside } from './source.js';
import { locate, looksLikeUrl, unknownName } from './locate.js';
import { listed, shortened } from './shown.js';
import { recordsOf, storedBytes } from './store/layout.js';
import { blobOrigin, streamOrigin, validatorOf } from './store/local.js';
import { obtain, useLock, writeLock } from './store/obtain.js';
import { sleep } from './store/patience.js';
import { readChunks } from './store/reader.js';

/**
 * @typedef {import('./types.d.ts').Platform} Platform
 * @typedef {import('./types.d.ts').StoredModel} StoredModel
 * @typedef {import('./store/types.d.ts').FileRecord} FileRecord
 * @typedef {import('./store/types.d.ts').Store} Store
 * @typedef {import('./store/types.d.ts').StoreRequest} StoreRequest
 */

/** A worker that was ended, or another removal, has its locks a little longer. */
const LET_GO_MS = 1500;
const LOOK_MS = 50;

/** @param {(number | undefined)[]} numbers @returns {number | undefined} undefined: one of them is */
const sum = (numbers) => numbers.reduce((a, b) => (a === undefined || b === undefined ? undefined : a + b), 0);

/** One file, or the parts of a model in order. @param {FileRecord[]} records @returns {StoredModel} */
function describe(records) {
  const [first] = records;
  return {
    name: first.name,
    url: first.url,
    stored: records.reduce((bytes, record) => bytes + storedBytes(record), 0),
    bytes: sum(records.map((record) => record.size)),
    complete: records.every((record) => record.complete),
    sha256: first.sha256,
    verified: records.every((record) => record.complete && record.expected !== undefined),
    parts: records.length,
  };
}

/** @param {FileRecord[]} records @returns {StoredModel[]} */
function describeAll(records) {
  const names = new Set(records.map(({ name }) => namesBeside(name)[0]));
  return [...names].sort().map((name) => {
    const parts = namesBeside(name);
    const found = records.filter((record) => parts.includes(record.name)).sort((a, b) => a.name.localeCompare(b.name));
    const whole = describe(found);
    if (found.length === parts.length) return whole;
    return { ...whole, name, complete: false, verified: false, bytes: undefined, parts: parts.length };
  });
}

/** @param {Platform} platform @param {string} name @returns {Promise<{store: Store, records: FileRecord[]}>} */
async function findStored(platform, name) {
  const store = platform.openStore();
  const all = await store.shelf.list();
  const parts = namesBeside(checkText('name', name));
  const records = parts.flatMap((part) => all.filter((record) => record.name === part || record.url === part));
  if (records.length > 0) return { store, records };
  store.shelf.close();
  const names = describeAll(all).map((model) => model.name);
  const others = names.length ? `there is ${listed(names)}` : 'nothing is';
  throw new CllaError('NOT_STORED', `${shortened(name)}: is not stored here; ${others}`);
}

/** @param {Platform} platform @param {string} name @returns {Promise<boolean>} false: somebody has it */
async function removeIfFree(platform, name) {
  const { store, records } = await findStored(platform, name);
  try {
    const locks = records.flatMap(({ id }) => [writeLock(id), useLock(id)]);
    return await store.locks.ifFree(locks, async () => {
      for (const { id } of records) await store.shelf.remove(id);
    });
  } finally {
    store.shelf.close();
  }
}

/**
 * One call in a worker of its own.
 * @param {Platform} platform @param {string} method @param {object} params
 * @param {{signal?: AbortSignal, onEvent: (event: any) => void}} options
 */
async function inWorker(platform, method, params, { signal, onEvent }) {
  if (signal?.aborted) throw abortError(signal);
  const worker = connect(platform.startWorker());
  try {
    return await worker.call(method, params, { signal, onEvent });
  } catch (error) {
    throw signal?.aborted ? abortError(signal) : error;
  } finally {
    await worker.close(closedError());
  }
}

/** @param {Platform} platform @param {string[]} ids @returns {Promise<StoredModel>} */
async function describeStored(platform, ids) {
  const { shelf } = platform.openStore();
  const records = await Promise.all(ids.map((id) => shelf.get(id))).finally(() => shelf.close());
  return describe(records.filter((record) => record !== undefined));
}

/** @param {Platform} platform @returns {typeof import('./types.d.ts').models} */
export function createModels(platform) {
  return {
    async list() {
      const { shelf } = platform.openStore();
      return describeAll(await shelf.list().finally(() => shelf.close()));
    },

    async pull(source, options) {
      const { onProgress, signal, sha256 } = checkOptions('pull', options, PULL);
      const place = await locate(platform, isUrl(source) ? source : checkText('pull: a name or a URL', source));
      if ('path' in place && !platform.files?.exists(place.path)) throw await unknownName(platform, String(source));
      if (!('requests' in place))
        throw new CllaError('BAD_ARGUMENT', `pull: ${source} is here already, as a file: models.add() stores files`);
      const { requests } = place;
      if (sha256 !== undefined) requests[0].expected = sha256;
      platform.askToKeep();
      const report = progressReporter(onProgress, 'download');
      const onEvent = (/** @type {any} */ { loaded, total }) => report(loaded, total);
      await inWorker(platform, STORE.PULL, { requests }, { signal, onEvent });
      return describeStored(platform, requests.map(({ id }) => id));
    },

    async add(file, options) {
      const { onProgress, signal, sha256: expected, ...given } = checkOptions('add', options, ADD);
      const name = given.name ?? /** @type {Partial<File>} */ (file)?.name;
      if (!name) throw new CllaError('BAD_ARGUMENT', 'add: this has no name: give it one by the option "name"');
      if (looksLikeUrl(name))
        throw new CllaError('BAD_ARGUMENT', `add: ${shortened(name)}: is a URL: give it another name by the option "name"`);
      checkPart(name);
      const request = { id: `own:${name}`, name, url: undefined, expected };
      await checkFree(platform, request);
      platform.askToKeep();
      const report = progressReporter(onProgress, 'store');
      if (isBlob(file)) await addBlob(platform, file, request, report, signal);
      else await addStream(platform, file, request, report, signal);
      return describeStored(platform, [request.id]);
    },

    async remove(name) {
      const late = performance.now() + LET_GO_MS;
      for (; !(await removeIfFree(platform, name)); await sleep(LOOK_MS, undefined))
        if (performance.now() > late)
          throw new CllaError('IN_USE', `${name}: is loaded or being downloaded, here or elsewhere: close it first`);
    },

    async usage() {
      const { shelf } = platform.openStore();
      try {
        const bytes = (await shelf.list()).reduce((all, record) => all + storedBytes(record), 0);
        return { bytes, ...(await shelf.space()) };
      } finally {
        shelf.close();
      }
    },

    async export(name) {
      const { store, records } = await findStored(platform, name);
      const whole = recordsOf(records, records[0].name);
      if (!whole?.every((record) => record.complete)) throw new CllaError('NOT_STORED', `${name}: is not complete yet`);
      return streamOf(store, whole);
    },
  };
}

/** @param {Platform} platform @param {StoreRequest} request */
async function checkFree(platform, { id, name }) {
  const { shelf } = platform.openStore();
  const taken = (await shelf.list().finally(() => shelf.close())).some((record) => record.name === name && record.id !== id);
  if (taken)
    throw new CllaError(
      'BAD_ARGUMENT',
      `add: another stored model is called ${name}: give this one a name by the option "name"`,
    );
}

/**
 * @param {Platform} platform @param {Blob} blob @param {StoreRequest} request
 * @param {ReturnType<typeof progressReporter>} report @param {AbortSignal | undefined} signal
 */
async function addBlob(platform, blob, request, report, signal) {
  const validator = validatorOf(blob);
  const wanted = { ...request, validator, replace: validator === undefined };
  // Node cannot send all Blobs.
  if (platform.files) return addHere(platform, wanted, blobOrigin(blob, request.name), report, signal);
  const onEvent = (/** @type {any} */ { loaded, total }) => report(loaded, total);
  return inWorker(platform, STORE.ADD, { blob, request: wanted }, { signal, onEvent });
}

/**
 * A stream stays in the thread where it is: not every browser can hand it over.
 * @param {Platform} platform @param {any} stream @param {StoreRequest} request
 * @param {ReturnType<typeof progressReporter>} report @param {AbortSignal | undefined} signal
 */
async function addStream(platform, stream, request, report, signal) {
  if (stream === null || typeof stream !== 'object' || !(Symbol.asyncIterator in stream || 'getReader' in stream))
    throw new CllaError('BAD_ARGUMENT', 'add: want a Blob, a File, a stream or an async iterable of bytes');
  await addHere(platform, { ...request, replace: true }, streamOrigin(stream, request.name), report, signal);
}

/**
 * @param {Platform} platform @param {StoreRequest} request @param {import('./store/types.d.ts').Origin} origin
 * @param {ReturnType<typeof progressReporter>} report @param {AbortSignal} [signal]
 */
async function addHere(platform, request, origin, report, signal = new AbortController().signal) {
  const store = platform.openStore();
  try {
    await obtain(store, request, origin, report, signal);
  } finally {
    store.shelf.close();
  }
}

/** @param {Store} store @param {FileRecord[]} records @returns {ReadableStream<Uint8Array>} */
function streamOf(store, records) {
  async function* chunks() {
    for (const record of records) yield* readChunks(store, record);
  }
  const iterator = chunks();
  const end = () => store.shelf.close();
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await iterator.next().catch((error) => (end(), Promise.reject(error)));
        if (!done) return controller.enqueue(value);
        end();
        controller.close();
      },
      async cancel() {
        await iterator.return(undefined);
        end();
      },
    },
    { highWaterMark: 0 },
  );
}
