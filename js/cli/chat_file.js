// chat_file.js: `clla chat --resume FILE`: the chat that a command begins with, and where it goes when the command ends.
// What can be known of the file is looked at before anything else, so that no conversation is held in vain.

import { closeSync, openSync, unlinkSync } from 'node:fs';
import { access, constants, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { CllaError } from '../index.js';
import { keeperOf } from '../chat.js';
import { piecesOfChat } from '../saved.js';
import { processLocks } from '../store/processes.js';
import { FULL } from '../store/shelf_folder.js';
import { samplingOptions } from './arguments.js';

/**
 * @typedef {import('../types.js').Model} Model
 * @typedef {import('../types.js').Chat} Chat
 * @typedef {import('../chat.js').Keeper} Keeper
 * @typedef {import('./arguments.js').Given} Given
 */

const PRIVATE = 0o600; // a conversation is for its owner's eyes

/** @param {string} file @param {any} error */
function cannotSave(file, error) {
  const why = error instanceof Error ? error.message : error;
  const code = FULL.includes(error.code) ? 'NO_SPACE' : 'NOT_READABLE';
  return new CllaError(code, `the chat cannot be saved to ${file || '""'}: ${why}`, { cause: error });
}

/** A refusal with the name of the file: the command line has the model's, too. @param {string} file @param {unknown} error */
function named(file, error) {
  if (!(error instanceof CllaError) || error.code === 'ABORTED' || error.code === 'NOT_READABLE') return error;
  return new CllaError(error.code, `${file}: ${error.message}`, { cause: error });
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
 * Whether a file is still the one that was seen.
 * @param {import('node:fs').Stats} now @param {import('node:fs').Stats | undefined} then
 */
const isSame = (now, then) => now.ino === then?.ino && now.mtimeMs === then.mtimeMs && now.size === then.size;

/**
 * Whole or not at all: into another file, which takes the place of the old one with its owner and permissions.
 * @param {string} target
 * @param {AsyncIterable<Uint8Array>} pieces
 */
async function writeFile(target, pieces) {
  const unfinished = unfinishedOf(target);
  const old = await stat(target).catch(missing);
  const handle = await open(unfinished, 'wx', PRIVATE);
  try {
    try {
      for await (const piece of pieces) await handle.writeFile(piece);
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
  const refuse = (/** @type {unknown} */ error) => Promise.reject(error instanceof CllaError ? error : cannotSave(file, error));
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

  /** The file whose place this chat is to take. @type {import('node:fs').Stats | undefined} */
  let seen;

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
      seen = await stat(target).catch(missing);
      if (!seen) return undefined;
      const restoring = model.restore(target, { sampling: samplingOptions(given), trim: given.trim, signal });
      return checkSystem(await restoring.catch((error) => Promise.reject(named(file, error))));
    },

    /**
     * Where it came from; but beside a file that another program has written meanwhile, because this one was stopped
     * (Ctrl-Z) or the other one asks for no lock.
     * @param {Chat} chat
     */
    async save(chat) {
      const keep = /** @type {Keeper} */ (keeperOf.get(chat));
      const found = await stat(target).catch(missing);
      const taken = found !== undefined && !isSame(found, seen);
      const beside = `${target}.${process.pid}`;
      await keep((...what) => writeFile(taken ? beside : target, piecesOfChat(...what))).catch(refuse);
      if (taken) throw new CllaError('IN_USE', `another program has saved a chat to ${file} meanwhile: this one is in ${beside}`);
    },
  };
}
