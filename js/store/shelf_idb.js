// shelf_idb.js: files in IndexedDB. One object store has the records, one the chunks, by file, writer and place. A chunk
// and the record that counts it are written in one transaction: a tab that is killed leaves both or neither.

import { CllaError } from '../errors.js';
import { isRecord } from './record.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Shelf} Shelf
 */

const VERSION = 1;
const NO_DATABASE = 'this page has no IndexedDB, so that nothing can be stored: a Blob or a stream can still be loaded';
const FILES = 'files';
const CHUNKS = 'chunks';

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const result = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @param {string} name @returns {Promise<IDBDatabase>} */
function openDatabase(name) {
  return new Promise((resolve, reject) => {
    if (!globalThis.indexedDB) throw new CllaError('NOT_READABLE', NO_DATABASE);
    const request = indexedDB.open(name, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(FILES, { keyPath: 'id' });
      request.result.createObjectStore(CHUNKS);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {any} error @param {string} what */
function storageError(error, what) {
  if (error instanceof CllaError) return error;
  if (error?.name === 'QuotaExceededError') return new CllaError('NO_SPACE', `${what}: storage is full`, { cause: error });
  return new CllaError('NOT_READABLE', `${what}: the browser's storage fails: ${error?.message ?? error}`, { cause: error });
}

/** @param {FileRecord} record @param {number} index */
const chunkKey = ({ id, writer }, index) => [id, writer, index];
/** @param {string} id all chunks of a file: an array comes after every string */
const chunksOf = (id) => IDBKeyRange.bound([id], [id, []]);

/** @param {string} [name] of the database @returns {Shelf} */
export function openShelf(name = 'clla') {
  /** @type {Promise<IDBDatabase> | undefined} */
  let database;

  function opened() {
    database ??= openDatabase(name).then((db) => {
      const forget = () => (database = undefined);
      db.onversionchange = () => (db.close(), forget());
      db.onclose = forget;
      return db;
    });
    database.catch(() => (database = undefined));
    return database;
  }

  /**
   * One transaction; `work` makes requests only.
   * @template T
   * @param {IDBTransactionMode} mode @param {string} what for messages
   * @param {(files: IDBObjectStore, chunks: IDBObjectStore) => Promise<T> | T} work
   * @returns {Promise<T>}
   */
  async function transact(mode, what, work) {
    try {
      const transaction = (await opened()).transaction([FILES, CHUNKS], mode);
      const done = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was ended'));
      });
      done.catch(() => {});
      /** @type {T} */
      let value;
      try {
        value = await work(transaction.objectStore(FILES), transaction.objectStore(CHUNKS));
      } catch (error) {
        if (error instanceof CllaError) transaction.abort();
        throw error;
      }
      await done;
      return value;
    } catch (error) {
      throw storageError(error, what);
    }
  }

  /**
   * The record must be the one that this writer knows.
   * @param {IDBObjectStore} files @param {FileRecord} record @param {number} chunks
   */
  async function checkOwn(files, { id, name, writer }, chunks) {
    const found = await result(files.get(id));
    if (!isRecord(found) || found.writer !== writer || found.chunkHashes.length !== chunks)
      throw new CllaError('IN_USE', `${name}: was removed or begun anew meanwhile`);
  }

  return {
    async get(id) {
      const found = await transact('readonly', id, (files) => result(files.get(id)));
      return isRecord(found) ? found : undefined;
    },

    async list() {
      const found = await transact('readonly', 'the list of what is stored', (files) => result(files.getAll()));
      return found.filter(isRecord);
    },

    begin: (record) =>
      transact('readwrite', record.name, (files, chunks) => {
        chunks.delete(chunksOf(record.id));
        return result(files.put(record)).then(() => {});
      }),

    append: (record, bytes) =>
      transact('readwrite', record.name, async (files, chunks) => {
        const index = record.chunkHashes.length - 1;
        await checkOwn(files, record, index);
        chunks.put(bytes, chunkKey(record, index));
        files.put(record);
      }),

    finish: (record) =>
      transact('readwrite', record.name, async (files) => {
        await checkOwn(files, record, record.chunkHashes.length);
        files.put(record);
      }),

    replace: (record, index, bytes) =>
      transact('readwrite', record.name, async (files, chunks) => {
        await checkOwn(files, record, record.chunkHashes.length);
        chunks.put(bytes, chunkKey(record, index));
      }),

    async read(record, index) {
      const what = `${record.name}: chunk ${index + 1}`;
      const key = chunkKey(record, index);
      const bytes = await transact('readonly', what, (_, chunks) => result(chunks.get(key))).catch((error) => {
        if (error instanceof CllaError && error.cause instanceof DOMException) return undefined; // its file is gone or broken
        throw error;
      });
      return bytes instanceof Uint8Array ? /** @type {Uint8Array<ArrayBuffer>} */ (bytes) : undefined;
    },

    remove: (id) =>
      transact('readwrite', id, (files, chunks) => {
        chunks.delete(chunksOf(id));
        files.delete(id);
      }),

    async space() {
      const storage = globalThis.navigator?.storage;
      const estimate = await storage?.estimate?.().catch(() => undefined);
      const { usage, quota } = estimate ?? {};
      const persisted = (await storage?.persisted?.().catch(() => false)) ?? false;
      return { usage, quota, persisted };
    },

    close() {
      void database?.then((db) => db.close(), () => {});
      database = undefined;
    },
  };
}
