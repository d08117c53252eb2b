// source_node.js: files of Node. The worker reads them itself, straight into the engine's memory.

import { open, stat } from 'node:fs/promises';
import { createReadStream, readSync } from 'node:fs';
import { CllaError } from './errors.js';
import { partNames } from './source.js';

const PIECE_BYTES = 1 << 20;

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
