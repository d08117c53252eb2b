// obtain.js: a file in the store, whoever brings it there. One tab downloads; others that want the same file wait and
// show its progress, and take over where it stopped if it ends.

import { takeIn } from './intake.js';
import { storedBytes } from './layout.js';
import { remote } from './remote.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Origin} Origin
 * @typedef {import('./types.d.ts').Store} Store
 * @typedef {import('./types.d.ts').StoreRequest} StoreRequest
 * @typedef {(loaded: number, total: number | undefined) => void} Report
 */

/** @param {string} id whoever writes the file holds this */
export const writeLock = (id) => `clla write ${id}`;
/** @param {string} id whoever uses the file shares this */
export const useLock = (id) => `clla use ${id}`;

const REPORT_MS = 50;

/** Not more often than anyone can see. @param {Report} report @returns {Report} */
function throttled(report) {
  let last = -Infinity;
  return (loaded, total) => {
    const now = performance.now();
    if (now - last < REPORT_MS && loaded !== total) return;
    last = now;
    report(loaded, total);
  };
}

/** @param {FileRecord | undefined} record @param {StoreRequest} request */
function isThere(record, { expected, validator, replace }) {
  if (!record?.complete || replace) return false;
  if (validator !== undefined && validator !== record.validator) return false;
  return expected === undefined || record.sha256 === expected;
}

/**
 * @param {Store} store
 * @param {StoreRequest} request
 * @param {Origin | undefined} given undefined: its URL
 * @param {Report} report
 * @param {AbortSignal} signal
 * @returns {Promise<FileRecord>}
 */
export async function obtain(store, request, given, report, signal) {
  const { shelf, locks, channel, openHasher } = store;
  const { id } = request;
  const found = await shelf.get(id);
  if (found && isThere(found, request)) return found;
  const origin = given ?? remote(/** @type {string} */ (request.url), store.fetch);
  const tell = throttled((loaded, total) => {
    report(loaded, total);
    channel.post({ id, loaded, total });
  });
  let stopListening = () => {};
  const onWait = () => {
    if (found) report(storedBytes(found), found.size);
    stopListening = channel.listen(id, ({ loaded, total }) => report(loaded, total));
  };
  try {
    return await locks.exclusive(writeLock(id), signal, onWait, async () => {
      stopListening();
      const record = await shelf.get(id);
      return record && isThere(record, request) ? record : takeIn({ shelf, openHasher, origin, request, report: tell, signal });
    });
  } finally {
    stopListening();
  }
}
