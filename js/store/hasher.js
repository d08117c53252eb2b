// hasher.js: SHA-256 of a file chunk by chunk, and of each chunk by itself. In a page it runs in a thread of its own
// (store_web.js): hashing is the dearest part of storing a file.

import { createSHA256 } from '../vendor/hash-wasm.js';
import { digest } from './hashing.js';

/** @returns {import('./types.d.ts').Hasher} */
export function createHasher() {
  const ready = createSHA256();
  return {
    async begin(state) {
      const running = await ready;
      if (state) running.load(state);
      else running.init();
    },

    async add(bytes) {
      const running = await ready;
      const alone = digest(bytes); // in a thread of the platform
      running.update(bytes);
      const state = running.save();
      return { bytes, state, sha256: await alone };
    },

    end: async () => (await ready).digest(),
    close() {},
  };
}
