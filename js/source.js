// source.js: bytes that the caller has, in pieces; and the names of a split model: a file named
// NAME-00001-of-0000N.gguf stands for all N of them. locate.js says what else a source may be.

import { CllaError, abortError } from './errors.js';
import { isBlob, isBuffer, isStream } from './kinds.js';

/** @typedef {import('./types.d.ts').ModelSource} ModelSource */

const SPLIT = /-(\d{5})(-of-(\d{5})\.gguf)$/i;
const PIECE_BYTES = 1 << 20;
const SLICE_BYTES = 1 << 22;

/**
 * A Blob from some place on. Not its stream(): Firefox and WebKit give all of it in one piece.
 * @param {Blob} blob @param {number} [from]
 */
export async function* slicesOf(blob, from = 0) {
  for (let at = from; at < blob.size; at += SLICE_BYTES) {
    const slice = blob.slice(at, at + SLICE_BYTES);
    const bytes = await slice.arrayBuffer().catch((/** @type {unknown} */ error) => {
      throw new CllaError('NOT_READABLE', `the file cannot be read: ${error}`, { cause: error });
    });
    yield new Uint8Array(bytes);
  }
}

/** @typedef {AsyncIterable<Uint8Array> | Iterable<Uint8Array> | ReadableStream<Uint8Array>} Pieces */

/** What a caller's stream or iterable gives. @param {Pieces} source */
export async function* piecesIn(source) {
  if ('locked' in source && source.locked)
    throw new CllaError('BAD_ARGUMENT', 'source: the stream is locked: somebody else reads it');
  try {
    if (Symbol.asyncIterator in source || Symbol.iterator in source) yield* source;
    else yield* piecesRead(source);
  } catch (error) {
    if (error instanceof CllaError) throw error;
    throw new CllaError('NOT_READABLE', `the stream cannot be read: ${error}`, { cause: error });
  }
}

/** Not every browser iterates streams. @param {ReadableStream<Uint8Array>} source */
async function* piecesRead(source) {
  const reader = source.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @param {string} name @param {number} part @returns {string} the name of that part of the same model */
const partOf = (name, part) => name.replace(SPLIT, `-${String(part).padStart(5, '0')}$2`);

/** A part of none, or the fifth of three. @param {string} name */
export function checkPart(name) {
  const [, part, , count] = SPLIT.exec(name) ?? [];
  if (count === undefined || (Number(part) >= 1 && Number(part) <= Number(count))) return;
  throw new CllaError('BAD_ARGUMENT', `${name}: no split model has a part ${Number(part)} of ${Number(count)}`);
}

/**
 * @param {string} name of the first part, or of the only one
 * @returns {string[]} all names, in order
 */
export function partNames(name) {
  checkPart(name);
  const [, part, , count] = SPLIT.exec(name) ?? [];
  if (count === undefined) return [name];
  if (Number(part) !== 1)
    throw new CllaError('BAD_ARGUMENT', `${name}: a split model is loaded from its first part (-00001-of-${count})`);
  return Array.from({ length: Number(count) }, (_, i) => partOf(name, i + 1));
}

/**
 * @param {string} name of any part, or of the only one
 * @returns {string[]} all names, in order; a file with the name of a part that no model has stands for itself
 */
export function namesBeside(name) {
  const [, part, , count] = SPLIT.exec(name) ?? [];
  return Number(part) >= 1 && Number(part) <= Number(count) ? partNames(partOf(name, 1)) : [name];
}

/**
 * A source as pieces of bytes.
 * @param {Exclude<ModelSource, string | URL>} source
 * @returns {{total: number | undefined, pieces: AsyncIterable<Uint8Array>}}
 */
export function piecesOf(source) {
  if (isBlob(source)) return { total: source.size, pieces: checked(slicesOf(source)) };
  if (isBuffer(source) || ArrayBuffer.isView(source)) {
    const bytes = bytesOf(source);
    return { total: bytes.length, pieces: checked([bytes]) };
  }
  const given = source !== null && typeof source === 'object';
  if (given && (isStream(source) || Symbol.asyncIterator in source || Symbol.iterator in source))
    return { total: undefined, pieces: checked(piecesIn(source)) };
  throw new CllaError('BAD_ARGUMENT', 'source: want a name, a path, a URL, a Blob, bytes, a stream or an async iterable');
}

/**
 * Pieces until a signal comes: a stream may keep us waiting for ever.
 * @param {AsyncIterable<Uint8Array>} pieces @param {AbortSignal} [signal]
 */
export async function* piecesUntil(pieces, signal) {
  const iterator = pieces[Symbol.asyncIterator]();
  let stop = () => {};
  /** @type {Promise<never>} */
  const aborted = new Promise((_, reject) => (stop = () => reject(abortError(signal))));
  aborted.catch(() => {});
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);
  try {
    for (;;) {
      const { done, value } = await Promise.race([aborted, iterator.next()]);
      if (done) return;
      yield value;
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    void iterator.return?.(undefined); // not awaited: it may never answer
  }
}

/** @param {ArrayBuffer | ArrayBufferView} given */
function bytesOf(given) {
  try {
    return ArrayBuffer.isView(given) ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : new Uint8Array(given);
  } catch (error) {
    throw new CllaError('BAD_ARGUMENT', 'source: these bytes are gone: their buffer was handed over', { cause: error });
  }
}

/**
 * Pieces of at most PIECE_BYTES, copied: the caller's memory stays the caller's.
 * @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} chunks
 */
async function* checked(chunks) {
  for await (const chunk of chunks) {
    if (!ArrayBuffer.isView(chunk)) throw new CllaError('BAD_ARGUMENT', 'source: gives pieces that are not bytes');
    const bytes = bytesOf(chunk); // of another frame too
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.slice(at, at + PIECE_BYTES);
  }
}
