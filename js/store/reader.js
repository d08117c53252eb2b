// reader.js: a stored file, chunk by chunk. While one chunk is used the next ones are read and checked. A chunk that is
// missing or damaged is fetched again, that chunk only, and put in its place.

import { CllaError } from '../errors.js';
import { chunkRange } from './layout.js';
import { digest } from './hashing.js';
import { PATIENCE, Transient, pauseBefore, sleep } from './patience.js';
import { fetchPiece } from './remote.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Store} Store
 */

const AHEAD = 2; // chunks that are read before they are asked for, where all will be

/** @param {FileRecord} record @param {number} index */
function whereIs(record, index) {
  const { start, end } = chunkRange(record, index);
  return `${record.name}: bytes ${start} to ${end - 1} (chunk ${index + 1} of ${record.chunkHashes.length})`;
}

/**
 * @param {Store} store @param {FileRecord} record @param {number} index @param {AbortSignal} signal
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function fetchAgain({ fetch }, record, index, signal) {
  const { url, chunkHashes } = record;
  const damaged = (/** @type {string} */ why, /** @type {unknown} */ cause) =>
    new CllaError('DAMAGED', `${whereIs(record, index)} are damaged in the store${why}`, { cause });
  if (url === undefined) throw damaged(record.chat ? '' : ': add the file again', undefined);
  for (let failures = 1; ; failures++) {
    try {
      const bytes = await fetchPiece(url, fetch, chunkRange(record, index), signal);
      if ((await digest(bytes)) === chunkHashes[index]) return bytes;
      throw damaged(`, and ${url} has another file now: remove it and pull it again`, undefined);
    } catch (error) {
      if (error instanceof CllaError && error.code === 'NOT_READABLE')
        throw damaged(` and cannot be fetched again: ${error.message}`, error);
      if (!(error instanceof Transient)) throw error;
      if (failures >= PATIENCE.attempts) throw damaged(` and cannot be fetched again: ${error.message}`, error);
      await sleep(pauseBefore(failures, PATIENCE, error.waitMs), signal);
    }
  }
}

/**
 * @param {Store} store @param {FileRecord} record @param {number} index @param {AbortSignal} signal
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function readChunk(store, record, index, signal) {
  const stored = await store.shelf.read(record, index);
  if (stored && (await digest(stored)) === record.chunkHashes[index]) return stored;
  const bytes = await fetchAgain(store, record, index, signal);
  await store.shelf.replace(record, index, bytes).catch(() => {}); // full storage: it is mended the next time
  return bytes;
}

/**
 * The chunks of a complete file in order. The caller may keep or hand on each of them.
 * @param {Store} store
 * @param {FileRecord} record
 * @param {AbortSignal} [signal]
 * @param {number} [aheadMax]
 */
export async function* readChunks(store, record, signal, aheadMax = AHEAD) {
  const left = new AbortController();
  const any = signal ? AbortSignal.any([signal, left.signal]) : left.signal;
  /** @type {Promise<Uint8Array<ArrayBuffer>>[]} */
  const ahead = [];
  try {
    for (let i = 0, asked = 0; i < record.chunkHashes.length; i++) {
      for (; asked < record.chunkHashes.length && asked <= i + aheadMax; asked++) {
        const chunk = readChunk(store, record, asked, any);
        chunk.catch(() => {}); // told when its turn comes
        ahead.push(chunk);
      }
      yield await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (ahead.shift());
    }
  } finally {
    left.abort();
  }
}
