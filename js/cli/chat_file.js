// chat_file.js: `clla chat --resume FILE`: the chat that a command begins with, and where it goes when the command ends.
// What can be known of the file is looked at before anything else, so that no conversation is held in vain.

import { closeSync, openSync, unlinkSync } from 'node:fs';
import { access, constants, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { CllaError } from '../index.js';
import { processLocks } from '../store/processes.js';
import { samplingOptions } from './arguments.js';

/**
 * @typedef {import('../types.js').Model} Model
 * @typedef {import('../types.js').Chat} Chat
 * @typedef {import('./arguments.js').Given} Given
 */

const PRIVATE = 0o600; // a conversation is for its owner's eyes

/** @param {string} file @param {unknown} error */
function cannotSave(file, error) {
  const why = error instanceof Error ? error.message : error;
  return new CllaError('NOT_READABLE', `the chat cannot be saved to ${file || '""'}: ${why}`, { cause: error });
}

/** What a failure leaves where a file is missing; any other failure stays one. @param {any} error */
function missing(error) {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

/**
 * The file itself, behind symbolic links; it need not be there, its folder must.
 * @param {string} file
 * @returns {Promise<string>}
 */
async function behindLinks(file) {
  const found = await realpath(file).catch(missing);
  if (found !== undefined) return found;
  const link = await readlink(file).catch(missing);
  if (link !== undefined) return behindLinks(path.resolve(path.dirname(file), link));
  return path.join(await realpath(path.dirname(file)), path.basename(file));
}

/** @param {string} target */
const unfinishedOf = (target) => `${target}.${process.pid}.tmp`;

/**
 * Whether `target` can be written, be it there or not; what cannot be throws.
 * @param {string} target
 */
async function checkTarget(target) {
  const found = await stat(target).catch(missing);
  if (found && !found.isFile()) throw new Error('it is no regular file');
  if (found) await access(target, constants.R_OK | constants.W_OK);
  const unfinished = unfinishedOf(target);
  await rm(unfinished, { force: true }); // of a program that was killed; numbers of processes come again
  closeSync(openSync(unfinished, 'wx', PRIVATE));
  unlinkSync(unfinished); // at once: no signal comes between
}

/**
 * Whole or not at all: into another file, which takes the place of the old one with its owner and permissions.
 * @param {string} target
 * @param {Blob} blob
 */
async function writeFile(target, blob) {
  const unfinished = unfinishedOf(target);
  const old = await stat(target).catch(missing);
  const handle = await open(unfinished, 'wx', PRIVATE);
  try {
    try {
      for await (const piece of blob.stream()) await handle.writeFile(piece);
      if (old) await handle.chown(old.uid, old.gid).catch(() => {}); // only root can give files away
      if (old) await handle.chmod(old.mode & 0o777);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, target);
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => {});
    throw error;
  }
}

/**
 * Refused where the chat could not be saved.
 * @param {Given} given
 */
export async function openChatFile(given) {
  const file = String(given.resume);
  const refuse = (/** @type {unknown} */ error) => Promise.reject(cannotSave(file, error));
  if (file === '') return refuse('it has no name');
  const target = await behindLinks(file).catch(refuse);
  await checkTarget(target).catch(refuse);
  const inUse = () => {
    throw new CllaError('IN_USE', `${file} is in use: another program is going on with this chat`);
  };

  /** @param {Chat} chat What the command line says must be what the file has. */
  function checkSystem(chat) {
    const [first] = chat.messages;
    const saved = first?.role === 'system' ? first.content : undefined;
    if (given.system === undefined || given.system === saved) return chat;
    const told = saved === undefined ? 'without a system message' : `with the system message ${JSON.stringify(saved)}`;
    throw new CllaError('BAD_ARGUMENT', `${file} holds a chat ${told}: --system cannot change it`);
  }

  return {
    /**
     * What one program saves another would not know: the second one is refused.
     * @param {() => Promise<void>} work
     */
    alone: (work) => processLocks(path.dirname(target)).exclusive(path.basename(target), undefined, inUse, work),

    /**
     * @param {Model} model @param {AbortSignal} signal
     * @returns {Promise<Chat | undefined>} the saved chat; undefined where there is no file yet
     */
    async resume(model, signal) {
      if (!(await stat(target).catch(missing))) return undefined;
      return checkSystem(await model.restore(target, { sampling: samplingOptions(given), trim: given.trim, signal }));
    },

    /** @param {Chat} chat */
    save: async (chat) => writeFile(target, await chat.save()).catch(refuse),
  };
}
