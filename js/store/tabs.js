// tabs.js: what the tabs of one site must agree on: who downloads, who uses a model, how far a download is. Web Locks end
// with the tab that holds them, so that one that dies hands its work on. Pages that are no secure context have none:
// there the records alone tell two writers apart (shelf_idb.js).

import { abortError } from '../errors.js';

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

/** @returns {Locks} */
export function tabLocks() {
  const locks = globalThis.navigator?.locks;
  if (!locks) return WITHOUT;

  /** @type {Locks['ifFree']} */
  async function ifFree([name, ...others], work) {
    if (name === undefined) return work().then(() => true);
    return locks.request(name, { ifAvailable: true }, async (lock) => lock !== null && ifFree(others, work));
  }

  return {
    ifFree,

    async exclusive(name, signal, onWait, work) {
      const ifTaken = async (/** @type {Lock | null} */ lock) => (lock ? { value: await work() } : undefined);
      const first = await locks.request(name, { ifAvailable: true }, ifTaken);
      if (first) return first.value;
      onWait();
      let working = false;
      const held = locks.request(name, { signal }, async () => {
        working = true;
        return work();
      });
      return held.catch((error) => {
        throw signal?.aborted && !working ? abortError(signal) : error;
      });
    },

    share: (name) =>
      new Promise((resolve, reject) => {
        const held = locks.request(name, { mode: 'shared' }, () => new Promise((release) => resolve(() => release(undefined))));
        held.catch(reject);
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
