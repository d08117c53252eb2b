// hashing.js: SHA-256, in one step for a chunk and in many for a file.
//
// The platform's own digest is the faster one but takes all bytes at once, and is missing in pages that are no secure
// context. hash-wasm goes step by step, and its state can be kept.

import { createSHA256, sha256 } from '../vendor/hash-wasm.js';

/** @param {Uint8Array} bytes */
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * @param {Uint8Array} bytes
 * @returns {Promise<string>} 64 hexadecimal digits
 */
export async function digest(bytes) {
  const native = globalThis.crypto?.subtle;
  return native ? toHex(new Uint8Array(await native.digest('SHA-256', /** @type {any} */ (bytes)))) : sha256(bytes);
}

/** A running SHA-256: update(), save(), load(), digest(). */
export const createRunning = async () => (await createSHA256()).init();

/** @param {string | null | undefined} text such as an ETag @returns {string | undefined} the SHA-256 that it is */
export const sha256In = (text) => /^(?:W\/)?"?([0-9a-f]{64})"?$/i.exec(text ?? '')?.[1].toLowerCase();
