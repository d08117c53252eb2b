// store_node.js: the store of Node: a folder, $CLLA_CACHE/store, else $XDG_CACHE_HOME/clla/store or ~/.cache/clla/store.

import { homedir } from 'node:os';
import path from 'node:path';
import { processLocks, recordChannel } from './processes.js';
import { followRedirects } from './remote.js';
import { openShelf } from './shelf_folder.js';

const { env } = process;

export function storeFolder() {
  const cache = env.CLLA_CACHE || path.join(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'clla');
  return path.join(cache, 'store');
}

/** @type {import('./types.d.ts').Fetch} */
const fetchHere = (url, headers, signal) =>
  followRedirects(
    (hop) => fetch(hop, { headers: { 'Accept-Encoding': 'identity', ...headers }, signal, redirect: 'manual' }),
    url,
  );

/** @returns {import('./types.d.ts').Store} */
export function openStore(folder = storeFolder()) {
  const shelf = openShelf(folder);
  return { shelf, locks: processLocks(folder), channel: recordChannel(shelf), fetch: fetchHere };
}
