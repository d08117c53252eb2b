// source.js: where the bytes of a model come from. Whatever a caller passes becomes an ordered list of parts.
//
// A path or file: URL is read by the worker itself, straight into the engine's memory (readParts); everything else is
// iterated here and sent over in pieces (partsOf). A file named NAME-00001-of-0000N.gguf stands for all N of them.

import { open, stat } from 'node:fs/promises';
import { createReadStream, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CllaError } from './errors.js';

/** @typedef {import('./types.d.ts').ModelSource} ModelSource */

const SPLIT = /-(\d{5})-of-(\d{5})(\.gguf)$/i;
const PIECE_BYTES = 1 << 20;

/**
 * @param {string} name of the first part, or of the only one
 * @returns {string[]} all names, in order
 */
export function partNames(name) {
  const [, first, count] = SPLIT.exec(name) ?? [];
  if (count === undefined) return [name];
  if (Number(first) !== 1)
    throw new CllaError('BAD_ARGUMENT', `${name}: a split model is loaded from its first part (-00001-of-${count})`);
  return Array.from({ length: Number(count) }, (_, i) =>
    name.replace(SPLIT, `-${String(i + 1).padStart(5, '0')}-of-${count}$3`),
  );
}

/**
 * @param {ModelSource} source
 * @returns {string | undefined} the path, where the source is a file that the worker can open
 */
export function filePath(source) {
  if (source instanceof URL || (typeof source === 'string' && source.startsWith('file:'))) {
    const url = new URL(source);
    if (url.protocol === 'file:') return fileURLToPath(url);
    throw new CllaError('BAD_ARGUMENT', `source: cannot read ${url.protocol} URLs, only file:`);
  }
  if (typeof source !== 'string') return undefined;
  if (/^[a-z][a-z+.-]+:\/\//i.test(source))
    throw new CllaError('BAD_ARGUMENT', `source: cannot read ${source}; pass a path, a file: URL or a stream`);
  return source;
}

/** @param {string} path @param {unknown} error */
const notReadable = (path, error) =>
  new CllaError('NOT_READABLE', `${path}: ${error instanceof Error ? error.message : error}`, { cause: error });

/**
 * @param {string} path
 * @returns {Promise<number>} bytes of all parts together
 */
export async function fileBytes(path) {
  let total = 0;
  for (const name of partNames(path)) {
    const found = await stat(name).catch((error) => Promise.reject(notReadable(name, error)));
    if (found.isDirectory()) throw new CllaError('NOT_READABLE', `${name}: is a directory, not a GGUF file`);
    total += found.size;
  }
  return total;
}

/**
 * Read all parts of a file into the views that `buffer` hands out; `take` gets the number of bytes of each piece and
 * says whether to go on.
 * @param {string} path
 * @param {() => Uint8Array} buffer
 * @param {(size: number, part: number) => Promise<boolean>} take
 */
export async function readParts(path, buffer, take) {
  for (const [part, name] of partNames(path).entries()) {
    const file = await open(name).catch((error) => Promise.reject(notReadable(name, error)));
    try {
      const { size } = await file.stat();
      for (let position = 0; position < size; ) {
        const count = readPiece(file.fd, buffer(), position, name);
        if (count === 0)
          throw new CllaError('TRUNCATED_FILE', `${name}: shrank from ${size} to ${position} bytes while it was read`);
        position += count;
        if (!(await take(count, part))) return;
      }
    } finally {
      await file.close();
    }
  }
}

/**
 * The bytes of one file in pieces.
 * @param {string} path
 */
export async function* fileStream(path) {
  try {
    yield* createReadStream(path, { highWaterMark: PIECE_BYTES });
  } catch (error) {
    throw notReadable(path, error);
  }
}

/** @param {number} fd @param {Uint8Array} view @param {number} position @param {string} name */
function readPiece(fd, view, position, name) {
  try {
    return readSync(fd, view, 0, view.length, position);
  } catch (error) {
    throw notReadable(name, error);
  }
}

/**
 * Any other source as pieces of bytes.
 * @param {ModelSource} source
 * @returns {{total: number | undefined, pieces: AsyncIterable<Uint8Array>}}
 */
export function piecesOf(source) {
  if (source instanceof Blob) return { total: source.size, pieces: checked(source.stream()) };
  const whole = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  if (ArrayBuffer.isView(whole)) {
    const bytes = new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength);
    return { total: bytes.length, pieces: checked([bytes]) };
  }
  if (whole !== null && typeof whole === 'object' && (Symbol.asyncIterator in whole || Symbol.iterator in whole))
    return { total: undefined, pieces: checked(/** @type {AsyncIterable<Uint8Array>} */ (whole)) };
  throw new CllaError('BAD_ARGUMENT', 'source: want a path, a file: URL, a Blob, bytes, a stream or an async iterable');
}

/**
 * Pieces of at most PIECE_BYTES, copied: the caller's memory stays the caller's.
 * @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} chunks
 */
async function* checked(chunks) {
  for await (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) throw new CllaError('BAD_ARGUMENT', 'source: gives pieces that are not bytes');
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) yield new Uint8Array(chunk.subarray(at, at + PIECE_BYTES));
  }
}
