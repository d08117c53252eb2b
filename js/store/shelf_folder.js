// shelf_folder.js: files in a folder. NAME.part grows chunk by chunk and is renamed to NAME when it is complete and right,
// so that what has its name is whole; NAME.json is the record, itself written beside and renamed. A name that no file can
// have is changed; then a hash of the id tells it from others that become the same.

import { createHash } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CllaError } from '../errors.js';
import { chunkRange } from './layout.js';
import { isRecord } from './record.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Shelf} Shelf
 */

const STALE_MS = 60_000;
const NAME_MAX = 200; // of the 255 bytes that file systems take, endings apart
const STEM_MAX = 160;
const ENDINGS = ['', '.part', '.json']; // in the order of removal: a record shows what is left

export const FULL = ['ENOSPC', 'EDQUOT', 'EFBIG']; // codes of a disk that has no room

/** @param {any} error @param {string} what @returns {CllaError} */
export function storageError(error, what) {
  if (error instanceof CllaError) return error;
  const full = FULL.includes(error?.code);
  const said = `${what}: ${full ? 'storage is full: ' : ''}${error?.message ?? error}`;
  return new CllaError(full ? 'NO_SPACE' : 'NOT_READABLE', said, { cause: error });
}

/** What is left of a file that went while the folder was read. @param {any} error */
function removed(error) {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

/** The same of a record, and of one that this program may not read. @param {any} error */
function unreadable(error) {
  if (['EACCES', 'EISDIR', 'EPERM'].includes(error.code)) return undefined;
  return removed(error);
}

/**
 * One that every file system takes and no other record has: a plain name is kept, and none of those has a "=".
 * @param {FileRecord} record
 */
function fileName({ id, name }) {
  if (/^[\w+~-][\w.+~-]*\.gguf$/i.test(name) && name.length <= NAME_MAX) return name;
  const stem = name.replace(/\.gguf$/i, '').replace(/[^\w.+~-]/g, '_').replace(/^\.+/, '_').slice(0, STEM_MAX);
  return `${stem}=${createHash('sha256').update(id).digest('hex').slice(0, 16)}.gguf`;
}

/** @param {FileRecord} record */
function toJson({ hashState, file: _, ...record }) {
  return JSON.stringify({ ...record, hashState: hashState && Buffer.from(hashState).toString('base64') }, undefined, 1);
}

/** What JSON leaves out. */
const UNKNOWN = { size: undefined, url: undefined, hashState: undefined, expected: undefined, sha256: undefined,
  validator: undefined };

/** @param {string} text @returns {FileRecord | undefined} undefined: damaged, which must not keep the others from being read */
function fromJson(text) {
  try {
    const record = JSON.parse(text);
    if (typeof record.hashState === 'string') record.hashState = new Uint8Array(Buffer.from(record.hashState, 'base64'));
    return isRecord(record) ? { ...UNKNOWN, ...record } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} folder
 * @param {{fileOf?: (record: FileRecord) => string, mode?: number}} [options] the name of a file, and who may read it
 * @returns {Shelf}
 */
export function openShelf(folder, { fileOf = fileName, mode = 0o666 } = {}) {
  /** @param {FileRecord} record @param {string} [ending] */
  const at = (record, ending = '') => path.join(folder, (record.file ?? fileOf(record)) + ending);

  /** @template T @param {string} what @param {() => Promise<T>} work @returns {Promise<T>} */
  const named = (what, work) => work().catch((error) => Promise.reject(storageError(error, what)));

  async function list() {
    const names = await readdir(folder).catch(() => /** @type {string[]} */ ([]));
    const files = names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length));
    const found = await Promise.all(files.map(readRecord));
    return found.filter((record) => record !== undefined);
  }

  /** @param {string} file as the folder has it, which may be the name that an earlier version gave it */
  async function readRecord(file) {
    const text = await readFile(path.join(folder, `${file}.json`), 'utf8').catch(unreadable);
    const record = text === undefined ? undefined : fromJson(text);
    return record && fileOf(record) !== file ? { ...record, file } : record;
  }

  /** A file that an earlier version gave the name of this one goes where it belongs. @param {FileRecord} record */
  async function makeWay(record) {
    const other = (await list()).find(({ id, file }) => id !== record.id && file === fileOf(record));
    if (!other) return;
    for (const ending of ENDINGS) await rename(at(other, ending), path.join(folder, fileOf(other) + ending)).catch(removed);
  }

  /** @param {FileRecord} record */
  async function writeRecord(record) {
    const target = at(record, '.json');
    await writeFile(`${target}.new`, toJson(record), { mode });
    await rename(`${target}.new`, target);
  }

  /** Records that a program was writing when it was killed. */
  async function sweep() {
    for (const name of (await readdir(folder)).filter((found) => found.endsWith('.json.new'))) {
      const file = path.join(folder, name);
      const found = await stat(file).catch(removed);
      if (found && Date.now() - found.mtimeMs > STALE_MS) await rm(file, { force: true });
    }
  }

  /** @param {FileRecord} record @param {number} chunks that the record on disk must have */
  async function checkOwn(record, chunks) {
    const found = (await list()).find(({ id }) => id === record.id);
    if (found?.writer !== record.writer || found.chunkHashes.length !== chunks)
      throw new CllaError('IN_USE', `${record.name}: was removed or begun anew meanwhile`);
  }

  /** @param {string} file @param {FileRecord} record @param {number} index @param {Uint8Array} bytes */
  async function writeChunk(file, record, index, bytes) {
    const handle = await open(file, index === 0 && !record.complete ? 'w' : 'r+', mode);
    try {
      const { bytesWritten } = await handle.write(bytes, 0, bytes.length, chunkRange(record, index).start);
      if (bytesWritten < bytes.length) throw Object.assign(new Error('the disk is full'), { code: 'ENOSPC' });
    } finally {
      await handle.close();
    }
  }

  /** @param {string} id */
  async function remove(id) {
    for (const record of (await list()).filter((found) => found.id === id))
      for (const ending of ENDINGS) await rm(at(record, ending), { force: true });
  }

  return {
    list: () => named(folder, list),
    get: (id) => named(folder, async () => (await list()).find((record) => record.id === id)),
    remove: (id) => named(folder, () => remove(id)),

    begin: (record) =>
      named(record.name, async () => {
        await mkdir(folder, { recursive: true });
        await sweep();
        await remove(record.id);
        await makeWay(record);
        await writeRecord(record);
      }),

    append: (record, bytes) =>
      named(at(record), async () => {
        const index = record.chunkHashes.length - 1;
        await checkOwn(record, index);
        await writeChunk(at(record, '.part'), record, index, bytes);
        await writeRecord(record);
      }),

    finish: (record) =>
      named(at(record), async () => {
        await checkOwn(record, record.chunkHashes.length);
        await rename(at(record, '.part'), at(record)).catch((error) => {
          if (error.code !== 'ENOENT') throw error; // renamed already, before the record could be written
        });
        await writeRecord(record);
      }),

    replace: (record, index, bytes) => named(at(record), () => writeChunk(at(record), record, index, bytes)),

    async read(record, index) {
      const { start, end } = chunkRange(record, index);
      const bytes = new Uint8Array(end - start);
      const handle = await open(at(record, record.complete ? '' : '.part')).catch(() => undefined);
      try {
        const { bytesRead } = (await handle?.read(bytes, 0, bytes.length, start)) ?? { bytesRead: 0 };
        return bytesRead === 0 ? undefined : bytes.subarray(0, bytesRead);
      } finally {
        await handle?.close();
      }
    },

    async space() {
      await mkdir(folder, { recursive: true }).catch(() => {});
      const disk = await statfs(folder).catch(() => undefined);
      if (!disk) return { usage: undefined, quota: undefined, persisted: true };
      const quota = disk.blocks * disk.bsize;
      return { usage: quota - disk.bavail * disk.bsize, quota, persisted: true };
    },

    close() {},
  };
}
