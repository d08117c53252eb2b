// kept.js: chats in a store. Each save is a file of its own; the newest whole one of a name is the chat of that name. So a
// save is done in one step, when its file is: before, the earlier chat is there, and a crash leaves it so; then the earlier
// files go. Of two tabs that save under one name one waits for the other.

import { CllaError, abortError } from '../errors.js';
import { listed, shortened } from '../shown.js';
import { checkSpace } from './intake.js';
import { CHUNK_BYTES, newRecord } from './layout.js';
import { readChunks } from './reader.js';
import { createSink } from './sink.js';

/**
 * @typedef {import('./types.d.ts').ChatFacts} ChatFacts
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Shelf} Shelf
 * @typedef {import('./types.d.ts').Store} Store
 */

/** @param {string} name whoever saves or removes holds this */
const chatLock = (name) => `clla chat ${name}`;

/** @param {FileRecord} record */
const versionOf = ({ chat }) => chat?.version ?? 0;

/** @param {FileRecord[]} records @returns {FileRecord[]} the chat of each name */
export function newestOfEach(records) {
  /** @type {Map<string, FileRecord>} */
  const newest = new Map();
  for (const record of records.filter(({ complete, chat }) => complete && chat)) {
    const other = newest.get(record.name);
    if (!other || versionOf(record) > versionOf(other)) newest.set(record.name, record);
  }
  return [...newest.values()];
}

/** A file that is not to be had any more is none to tell of. @param {Shelf} shelf @param {FileRecord[]} records */
async function forget(shelf, records) {
  for (const { id } of records) await shelf.remove(id).catch(() => {});
}

/** @param {unknown} error @param {string} name @param {number} missing bytes */
function withMissing(error, name, missing) {
  if (!(error instanceof CllaError) || error.code !== 'NO_SPACE' || error.cause === undefined) return error;
  const said = `${name}: storage is full: ${(missing / 1e6).toFixed(1)} MB are missing; what was saved before is kept`;
  return new CllaError('NO_SPACE', said, { cause: error });
}

/**
 * @param {Store} store
 * @param {{name: string, size: number, chat: Omit<ChatFacts, 'version' | 'date'>}} facts
 * @param {AsyncIterable<Uint8Array>} pieces
 * @param {AbortSignal} signal
 * @returns {Promise<FileRecord>}
 */
export const keepChat = ({ shelf, locks, openHasher }, { name, size, chat }, pieces, signal) =>
  locks.exclusive(chatLock(name), signal, () => {}, async () => {
    const others = (await shelf.list()).filter((record) => record.name === name);
    await forget(shelf, others.filter(({ complete }) => !complete)); // of tabs that are gone
    await checkSpace(shelf, name, size);
    const id = [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join('-');
    const hasher = openHasher();
    const record = newRecord({ id, name, url: undefined, chunkBytes: Math.min(CHUNK_BYTES, size) });
    const sink = await createSink(shelf, hasher, record, false);
    let written = 0;
    try {
      await sink.restart();
      for await (const bytes of pieces) {
        if (signal.aborted) throw abortError(signal);
        await sink.write(bytes);
        written += bytes.length;
      }
      const sha256 = await sink.end();
      const facts = { ...chat, version: 1 + Math.max(0, ...others.map(versionOf)), date: Date.now() };
      const done = { ...sink.record, size, sha256, hashState: undefined, complete: true, chat: facts };
      await shelf.finish(done);
      await forget(shelf, others);
      return done;
    } catch (error) {
      await sink.settle();
      await forget(shelf, [sink.record]);
      throw withMissing(error, name, size - written);
    } finally {
      hasher.close();
    }
  });

/**
 * @template T
 * @param {Store} store
 * @param {string} name
 * @param {AbortSignal} signal
 * @param {(chunks: AsyncIterable<Uint8Array<ArrayBuffer>>) => Promise<T>} use
 * @returns {Promise<T>}
 */
export async function readChat(store, name, signal, use) {
  for (;;) {
    const all = newestOfEach(await store.shelf.list());
    const record = all.find((found) => found.name === name);
    if (!record) throw notStored(name, all);
    try {
      return await use(readChunks(store, record, signal));
    } catch (error) {
      if (signal.aborted || (await stays(store, record, signal))) throw error; // else another one took its place meanwhile
    }
  }
}

/**
 * Whether a chat is there that nobody is about to remove.
 * @param {Store} store @param {FileRecord} record @param {AbortSignal} signal
 */
const stays = ({ shelf, locks }, record, signal) =>
  locks.exclusive(chatLock(record.name), signal, () => {}, () => shelf.get(record.id)).catch(() => true);

/** @param {Store} store @param {string} name */
export async function removeChat({ shelf, locks }, name) {
  const work = async () => {
    const all = await shelf.list();
    const found = all.filter((record) => record.name === name);
    if (newestOfEach(found).length === 0) throw notStored(name, newestOfEach(all));
    for (const { id } of found) await shelf.remove(id);
  };
  try {
    await locks.exclusive(chatLock(name), undefined, () => {}, work);
  } catch (error) {
    if (!(error instanceof CllaError) || error.code !== 'NO_SPACE') throw error;
    await work(); // no room for the lock: this makes some
  }
}

/** @param {string} name @param {FileRecord[]} all */
function notStored(name, all) {
  const there = all.length ? `there is ${listed(all.map((record) => record.name))}` : 'none is';
  return new CllaError('NOT_STORED', `${shortened(name)}: no chat of this name is saved here; ${there}`);
}
