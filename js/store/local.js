// local.js: files of one's own as sources: a Blob can begin anywhere, a stream at its beginning only.

import { CllaError } from '../errors.js';
import { piecesIn, slicesOf } from '../source.js';

/** @typedef {import('./types.d.ts').Origin} Origin */

/** @param {Blob} blob @returns {string | undefined} what tells a File from its later versions; a Blob has nothing */
export function validatorOf(blob) {
  const { lastModified } = /** @type {Partial<File>} */ (blob);
  return lastModified === undefined ? undefined : `${blob.size}-${lastModified}`;
}

/** @param {Blob} blob @param {string} name @returns {Origin} */
export function blobOrigin(blob, name) {
  const validator = validatorOf(blob);
  return {
    name,
    retries: false,
    reopens: true,
    async open(from) {
      return { from, total: blob.size, validator, sha256: undefined, body: slicesOf(blob, from), close() {} };
    },
  };
}

/** @param {AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>} stream @param {string} name @returns {Origin} */
export function streamOrigin(stream, name) {
  return {
    name,
    retries: false,
    reopens: false,
    async open() {
      return { from: 0, total: undefined, validator: undefined, sha256: undefined, body: streamed(stream, name), close() {} };
    },
  };
}

/** @param {AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>} source @param {string} name */
async function* streamed(source, name) {
  for await (const bytes of piecesIn(source)) {
    if (!ArrayBuffer.isView(bytes)) throw new CllaError('BAD_ARGUMENT', `${name}: gives pieces that are not bytes`);
    yield new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength); // of another frame too
  }
}
