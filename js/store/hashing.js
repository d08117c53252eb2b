// hashing.js: SHA-256 of bytes that are all here, by the platform's own digest: several times as fast as WebAssembly. It is
// missing in pages that are no secure context.

import { sha256 } from '../vendor/hash-wasm.js';

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

/** @param {string | null | undefined} text such as an ETag @returns {string | undefined} the SHA-256 that it is */
export const sha256In = (text) => /^(?:W\/)?"?([0-9a-f]{64})"?$/i.exec(text ?? '')?.[1].toLowerCase();
