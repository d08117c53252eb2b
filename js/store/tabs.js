// tabs.js: what the tabs of one site must agree on: who downloads, who uses a model, how far a download is. Web Locks end
// with the tab that holds them, so that one that dies hands its work on. Pages that are no secure context have none:
// there the records alone tell two writers apart (shelf_idb.js).

import { CllaError, abortError } from '../errors.js';

/**
 * @typedef {import('./types.d.ts').Locks} Locks
 * @typedef {import('./types.d.ts').Channel} Channel
 */

/** @type {Locks} */
const WITHOUT = {
  exclusive: (name, signal, onWait, work) => work(),
  share: async () => () => {},
  async ifFree(names, work) {
    await work();
    return true;
  },
};

/**
 * What `work` throws stays as it is; what the browser refuses is told so.
 * @template T
 * @param {LockManager} locks @param {string} name @param {LockOptions} options
 * @param {(lock: Lock | null) => Promise<T>} work
 * @returns {Promise<T>}
 */
async function request(locks, name, options, work) {
  let asked = false;
  const begun = (/** @type {Lock | null} */ lock) => ((asked = true), work(lock));
  try {
    return await locks.request(name, options, begun);
  } catch (error) {
    if (asked) throw error;
    if (options.signal?.aborted) throw abortError(options.signal);
    throw new CllaError('NOT_READABLE', `the browser refuses locks, without which nothing is stored: ${error}`, { cause: error });
  }
}

/** @returns {Locks} */
export function tabLocks() {
  const locks = globalThis.navigator?.locks;
  if (!locks) return WITHOUT;

  /** @type {Locks['ifFree']} */
  async function ifFree([name, ...others], work) {
    if (name === undefined) return work().then(() => true);
    return request(locks, name, { ifAvailable: true }, async (lock) => lock !== null && ifFree(others, work));
  }

  return {
    ifFree,

    async exclusive(name, signal, onWait, work) {
      const ifTaken = async (/** @type {Lock | null} */ lock) => (lock ? { value: await work() } : undefined);
      const first = await request(locks, name, { ifAvailable: true }, ifTaken);
      if (first) return first.value;
      onWait();
      return request(locks, name, { signal }, work);
    },

    share: (name) =>
      new Promise((resolve, reject) => {
        const hold = () => new Promise((release) => resolve(() => release(undefined)));
        request(locks, name, { mode: 'shared' }, hold).catch(reject);
      }),
  };
}

/** @type {BroadcastChannel | undefined} one for this thread, made when first needed */
let shared;

function channel() {
  if (typeof BroadcastChannel !== 'undefined') shared ??= new BroadcastChannel('clla');
  return shared;
}

/** @type {Channel} */
export const tabChannel = {
  post: (message) => channel()?.postMessage(message),
  listen(id, listener) {
    /** @param {MessageEvent} event */
    const heard = ({ data }) => data.id === id && listener(data);
    channel()?.addEventListener('message', heard);
    return () => channel()?.removeEventListener('message', heard);
  },
};
