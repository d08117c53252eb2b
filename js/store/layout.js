// layout.js: how a file lies in a store: chunks of one size in order, the last one shorter, and a record that counts them.
//
// A record is written in one step with each chunk, so that what it counts is there: after a crash the file goes on
// behind the last chunk. It keeps the SHA-256 of each chunk, by which damage is found while loading, and the unfinished
// SHA-256 of them all, so that going on re-reads nothing.

import { partNames } from '../source.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').StoreRequest} StoreRequest
 */

/** Small enough to lose when a connection breaks, large enough that a gigabyte is a few hundred of them. */
export const CHUNK_BYTES = 1 << 22;

/** @param {StoreRequest} request @returns {FileRecord} with nothing stored yet */
export function newRecord({ id, name, url, expected, chunkBytes = CHUNK_BYTES }) {
  return {
    id,
    name,
    url,
    writer: newWriter(),
    size: undefined,
    chunkBytes,
    chunkHashes: [],
    hashState: undefined,
    expected,
    sha256: undefined,
    validator: undefined,
    complete: false,
  };
}

/** A page that is no secure context has no randomUUID(). */
const newWriter = () => [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join('-');

/** @param {FileRecord} record */
export function storedBytes({ chunkHashes, chunkBytes, size }) {
  const bytes = chunkHashes.length * chunkBytes;
  return size === undefined ? bytes : Math.min(bytes, size);
}

/**
 * Where chunk `index` lies in its file.
 * @param {FileRecord} record @param {number} index
 */
export function chunkRange({ chunkBytes, size = Infinity }, index) {
  const start = index * chunkBytes;
  return { start, end: Math.min(start + chunkBytes, size) };
}

/** @param {string} url @returns {string} the last part of its path */
export function nameFromUrl(url) {
  const { pathname, hostname } = new URL(url);
  const last = pathname.split('/').filter(Boolean).pop() ?? hostname;
  try {
    return decodeURIComponent(last);
  } catch {
    return last; // a percent sign that encodes nothing
  }
}

/**
 * The records of a model: one, or those of its parts in order. Undefined: not all of them are known.
 * @param {FileRecord[]} records @param {string} name of the model or of its first part
 * @returns {FileRecord[] | undefined}
 */
export function recordsOf(records, name) {
  const parts = partNames(name).map((part) => records.find((record) => record.name === part));
  return parts.every((record) => record !== undefined) ? /** @type {FileRecord[]} */ (parts) : undefined;
}
