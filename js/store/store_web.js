// store_web.js: the stores of a page, for models and for chats: a database each in IndexedDB.

import { startHashWorker } from '../endpoint_web.js';
import { CllaError } from '../errors.js';
import { HASH } from '../protocol.js';
import { connect } from '../rpc.js';
import { sha256In } from './hashing.js';
import { Transient } from './patience.js';
import { openShelf } from './shelf_idb.js';
import { tabChannel, tabLocks } from './tabs.js';

/** A page is not told why; where the browser is offline it may soon be back. @param {string} url @param {unknown} error */
function noAnswer(url, error) {
  if (globalThis.navigator?.onLine === false) return new Transient(`${url}: the browser is offline`, { cause: error });
  const unreached =
    'the server cannot be reached, or it does not let other sites read the file (CORS), ' +
    'or the policy of this page does not let it ask there (connect-src)';
  return new Transient(`${url}: ${error instanceof Error ? error.message : error}`, { cause: error, unreached });
}

/** @type {import('./types.d.ts').Fetch} */
async function fetchHere(url, headers, signal) {
  const { 'If-Range': condition, ...simple } = headers;
  const own = new URL(url).origin === globalThis.location?.origin;
  // To another site If-Range would need its leave first (a preflight), which few give; answers are compared instead.
  const sent = own && condition !== undefined ? headers : simple;
  const init = /** @type {const} */ ({ cache: 'no-store', credentials: own ? 'same-origin' : 'omit' });
  const response = await fetch(url, { headers: sent, signal, ...init }).catch((error) => {
    throw noAnswer(url, error);
  });
  return { response, linked: sha256In(response.headers.get('x-linked-etag')) };
}

/** A thread that hashes, started when there is something to hash. @returns {import('./types.d.ts').Hasher} */
function openHasher() {
  /** @type {ReturnType<typeof connect> | undefined} */
  let started;
  const worker = () => (started ??= connect(startHashWorker()));
  return {
    async begin(state) {
      if (state || started) await worker().call(HASH.BEGIN, { state });
    },
    add: (bytes) => worker().call(HASH.ADD, { bytes }, { transfer: [bytes.buffer] }),
    end: () => worker().call(HASH.END),
    close: () => void started?.close(new CllaError('CLOSED', 'the file is not being stored any more')),
  };
}

/** @returns {import('./types.d.ts').Store} */
function openNamed(/** @type {string} */ name) {
  return { shelf: openShelf(name), locks: tabLocks(), channel: tabChannel, fetch: fetchHere, openHasher };
}

export const openStore = () => openNamed('clla');
export const openChats = () => openNamed('clla chats');
