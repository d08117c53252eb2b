// processes.js: what programs that share a folder must agree on. A lock is a file with the number of the process that holds
// it and touches it now and then; one whose process is gone, or that nobody touches, counts for nothing. Those who wait look
// at the record to see how far the other one is.

import { mkdir, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { CllaError } from '../errors.js';
import { storedBytes } from './layout.js';
import { sleep } from './patience.js';
import { storageError } from './shelf_folder.js';

/**
 * @typedef {import('./types.d.ts').Locks} Locks
 * @typedef {import('./types.d.ts').Channel} Channel
 * @typedef {import('./types.d.ts').Shelf} Shelf
 */

const LOOK_MS = 200;
const TOUCH_MS = 2000;
const STALE_MS = 10_000;

/** @param {number} pid */
function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/** @param {string} file */
async function isHeld(file) {
  const found = await stat(file).catch(() => undefined);
  if (!found || Date.now() - found.mtimeMs > STALE_MS) return false;
  const holder = await readFile(file, 'utf8').catch(() => '');
  return !/^\d+$/.test(holder) || isAlive(Number(holder)); // one without a number is being written
}

/** @param {string} file */
function keepTouching(file) {
  const touch = () => void utimes(file, new Date(), new Date()).catch(() => {});
  return setInterval(touch, TOUCH_MS);
}

/** @param {string} folder @returns {Locks} */
export function processLocks(folder) {
  /** @param {string} name */
  const fileOf = (name) => path.join(folder, `.lock-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`);

  /** @param {string} file @returns {Promise<boolean>} whether it was not there before */
  async function create(file) {
    await mkdir(folder, { recursive: true });
    const handle = await open(file, 'wx').catch((error) => {
      if (error.code !== 'EEXIST') throw error;
    });
    try {
      await handle?.writeFile(String(process.pid));
    } catch (error) {
      await rm(file, { force: true }); // others would wait for its number
      throw error;
    } finally {
      await handle?.close();
    }
    return handle !== undefined;
  }

  /** @param {string} file @returns {Promise<boolean>} */
  async function take(file) {
    try {
      if (await create(file)) return true;
      if ((await isHeld(file)) || !(await breakUp(file))) return false;
    } catch (error) {
      throw storageError(error, folder);
    }
    return take(file);
  }

  /**
   * Remove a lock that nobody holds: one program at a time, or the second would remove what the first then made.
   * @param {string} file
   */
  async function breakUp(file) {
    const own = `${file}.break`;
    if (!(await create(own))) {
      if (!(await isHeld(own))) await rm(own, { force: true }); // of a program that ended just there
      return false;
    }
    if (!(await isHeld(file))) await rm(file, { force: true });
    await rm(own, { force: true });
    return true;
  }

  /** One that another program took over, because this one was stopped for long, is that one's. @param {string} file */
  async function release(file) {
    if ((await readFile(file, 'utf8').catch(() => '')) === String(process.pid)) await rm(file, { force: true });
  }

  /** Where there is no room for a lock nobody holds it. @param {string} file @returns {Promise<boolean>} */
  async function isFree(file) {
    try {
      return await take(file);
    } catch (error) {
      if (error instanceof CllaError && error.code === 'NO_SPACE') return true;
      throw error;
    }
  }

  return {
    async exclusive(name, signal, onWait, work) {
      const file = fileOf(name);
      for (let waits = 0; !(await take(file)); waits++) {
        if (waits === 0) onWait();
        await sleep(LOOK_MS, signal);
      }
      const timer = keepTouching(file);
      try {
        return await work();
      } finally {
        clearInterval(timer);
        await release(file);
      }
    },

    share: async () => () => {}, // a file that is removed stays readable for who has it open

    async ifFree(names, work) {
      for (const name of names) {
        if (!(await isFree(fileOf(name)))) return false;
        await rm(fileOf(name), { force: true });
      }
      await work();
      return true;
    },
  };
}

/** @param {Shelf} shelf @returns {Channel} */
export const recordChannel = (shelf) => ({
  post() {}, // the record says it

  listen(id, listener) {
    const timer = setInterval(async () => {
      const record = await shelf.get(id).catch(() => undefined);
      if (record) listener({ id, loaded: storedBytes(record), total: record.size });
    }, LOOK_MS);
    return () => clearInterval(timer);
  },
});
