// hash_worker.js: the thread that hashes what is being stored.

import { HASH } from './protocol.js';
import { serve } from './rpc.js';
import { createHasher } from './store/hasher.js';

/** @typedef {import('./types.d.ts').CallContext} CallContext */

/** @param {import('./types.d.ts').Endpoint} endpoint */
export function serveHasher(endpoint) {
  const hasher = createHasher();
  serve(endpoint, {
    /** @param {{state?: Uint8Array}} params */
    [HASH.BEGIN]: ({ state }) => hasher.begin(state),

    /** @param {{bytes: Uint8Array<ArrayBuffer>}} params @param {CallContext} call */
    [HASH.ADD]({ bytes }, { transfer }) {
      transfer.push(bytes.buffer);
      return hasher.add(bytes);
    },

    [HASH.END]: () => hasher.end(),
  });
}
