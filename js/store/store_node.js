// store_node.js: the stores of Node are folders. Models can be had again, so theirs is a cache: $CLLA_CACHE/store, else
// $XDG_CACHE_HOME/clla/store or ~/.cache/clla/store. Chats cannot: $CLLA_DATA/chats, else $XDG_DATA_HOME/clla/chats or
// ~/.local/share/clla/chats, for their owner's eyes only.

import { homedir } from 'node:os';
import path from 'node:path';
import { createHasher } from './hasher.js';
import { processLocks, recordChannel } from './processes.js';
import { followRedirects } from './remote.js';
import { openShelf } from './shelf_folder.js';

const { env } = process;

export function storeFolder() {
  const cache = env.CLLA_CACHE || path.join(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'clla');
  return path.join(cache, 'store');
}

export function chatFolder() {
  const data = env.CLLA_DATA || path.join(env.XDG_DATA_HOME || path.join(homedir(), '.local', 'share'), 'clla');
  return path.join(data, 'chats');
}

/** @type {import('./types.d.ts').Fetch} */
const fetchHere = (url, headers, signal) =>
  followRedirects(
    (hop) => fetch(hop, { headers: { 'Accept-Encoding': 'identity', ...headers }, signal, redirect: 'manual' }),
    url,
  );

/** @param {string} folder @param {import('./types.d.ts').Shelf} shelf @returns {import('./types.d.ts').Store} */
function storeIn(folder, shelf) {
  return { shelf, locks: processLocks(folder), channel: recordChannel(shelf), fetch: fetchHere, openHasher: createHasher };
}

export const openStore = (folder = storeFolder()) => storeIn(folder, openShelf(folder));
export const openChats = (folder = chatFolder()) =>
  storeIn(folder, openShelf(folder, { fileOf: ({ id }) => `${id}.clla`, mode: 0o600 }));
