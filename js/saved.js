// saved.js: a chat as a file: a session as the engine saves it (src/state.c), with what else makes the chat as its note.
// The bytes travel in pieces; nowhere is the whole file held but in a Blob that a caller asks for. Those of a stored chat
// stay in the worker.

import { CllaError, abortError } from './errors.js';
import { CHAT, checkIds, checkOptions, checkText } from './options.js';
import { COMPUTE, STORE } from './protocol.js';
import { piecesUntil } from './source.js';

/**
 * @typedef {import('./types.d.ts').ChatNote} ChatNote
 * @typedef {import('./types.d.ts').ModelSource} ModelSource
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 */

const VERSION = 1; // of the note
const ROLES = ['system', 'user', 'assistant'];

// ---- the note ------------------------------------------------------------------------------------------------------

/**
 * JSON knows no infinities, which logit biases may be; the seed stands beside the sampling.
 * @param {ChatNote} note
 */
function writeNote({ sampling: { seed: _, ...sampling }, ...note }) {
  const logitBias = sampling.logitBias?.map(([id, bias]) => [id, String(bias)]);
  return new TextEncoder().encode(JSON.stringify({ version: VERSION, ...note, sampling: { ...sampling, logitBias } }));
}

/** @param {any} message @returns {import('./types.d.ts').ChatEntry} */
function readMessage({ role, content, ids }) {
  if (!ROLES.includes(role)) throw new CllaError('BAD_FILE', `the saved chat has a message of ${JSON.stringify(role)}`);
  return { role, content: checkText('content', content), ...(ids === undefined ? {} : { ids: checkIds('ids', ids) }) };
}

/** @param {any} note @returns {ChatNote} */
function checkNote({ messages, sampling, template, trim, seed, attempt }) {
  const pairs = sampling.logitBias?.map((/** @type {[number, string]} */ [id, bias]) => [id, Number(bias)]);
  const logitBias = pairs && new Map(pairs);
  const settings = checkOptions('saved chat', { sampling: { ...sampling, logitBias, seed }, template, trim }, CHAT);
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(attempt) || seed < 0 || attempt < 0)
    throw new CllaError('BAD_FILE', `the saved chat has the seed ${seed} and the attempt ${attempt}`);
  return { messages: messages.map(readMessage), ...settings, seed, attempt };
}

/** @param {Uint8Array} bytes @returns {ChatNote} */
function readNote(bytes) {
  if (bytes.length === 0) throw new CllaError('BAD_FILE', 'the file holds a session, but no chat: it has no messages');
  try {
    const note = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    if (note.version > VERSION)
      throw new CllaError('UNSUPPORTED_VERSION', `the saved chat has version ${note.version}: this one reads version ${VERSION}`);
    return checkNote(note);
  } catch (error) {
    if (error instanceof CllaError && error.code !== 'BAD_ARGUMENT') throw error;
    throw new CllaError('BAD_FILE', `the messages of the saved chat cannot be read: ${error}`, { cause: error });
  }
}

// ---- files ---------------------------------------------------------------------------------------------------------

/**
 * The file of a chat, piece by piece.
 * @param {Runtime} runtime
 * @param {SessionFacts} own it must not change until this is done
 * @param {ChatNote} note
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>>}
 */
export async function* piecesOfChat(runtime, own, note, signal) {
  const { saver } = await runtime.call(COMPUTE.SAVE_BEGIN, { session: own.session, note: writeNote(note) });
  try {
    for (;;) {
      if (signal?.aborted) throw abortError(signal);
      const piece = await runtime.call(COMPUTE.SAVE_READ, { saver });
      if (piece.length === 0) return;
      yield piece;
    }
  } finally {
    await runtime.call(COMPUTE.SAVE_END, { saver }).catch(() => {}); // closed meanwhile: it is gone
  }
}

/**
 * @param {Parameters<typeof piecesOfChat>} what
 * @returns {Promise<Blob>}
 */
export async function saveSession(...what) {
  /** @type {Blob[]} which a browser may keep on disk */
  const parts = [];
  for await (const piece of piecesOfChat(...what)) parts.push(new Blob([piece]));
  return new Blob(parts);
}

/**
 * @param {Runtime} runtime
 * @param {number} restorer
 * @param {ModelSource} file
 * @param {AbortSignal} [signal]
 */
async function feedFile(runtime, restorer, file, signal) {
  for await (const bytes of piecesUntil(runtime.piecesOfFile(file), signal))
    await runtime.call(COMPUTE.RESTORE_FEED, { restorer, bytes }, { transfer: [/** @type {ArrayBuffer} */ (bytes.buffer)] });
}

/**
 * A session that the engine has from a file, and the chat that came with it.
 * @param {Runtime} runtime
 * @param {{session: number, context: number, length: number, kv: string, note: Uint8Array}} made
 * @returns {Promise<import('./types.d.ts').RestoredSession>}
 */
async function adopt(runtime, { session, context, length, kv, note }) {
  const own = { session, context, restored: true };
  try {
    return { session: own, length, cache: await runtime.cacheFactsOf(kv, own), note: readNote(note) };
  } catch (error) {
    await runtime.call(COMPUTE.SESSION_FREE, { session });
    throw error;
  }
}

/**
 * @param {Runtime} runtime
 * @param {ModelSource} file
 * @param {AbortSignal} [signal]
 */
export async function restoreSession(runtime, file, signal) {
  if (signal?.aborted) throw abortError(signal);
  await runtime.dropSpare(); // a chat from a file brings its own
  const { restorer } = await runtime.call(COMPUTE.RESTORE_BEGIN, runtime.wanted);
  try {
    await feedFile(runtime, restorer, file, signal);
    return await adopt(runtime, await runtime.call(COMPUTE.RESTORE_FINISH, { restorer }));
  } finally {
    await runtime.call(COMPUTE.RESTORE_END, { restorer }).catch(() => {}); // closed meanwhile: it is gone
  }
}

// ---- the store of chats --------------------------------------------------------------------------------------------

/**
 * @param {Runtime} runtime
 * @param {SessionFacts} own it must not change until this is done
 * @param {ChatNote} note
 * @param {string} name
 * @param {AbortSignal} [signal]
 * @returns {Promise<import('./store/types.d.ts').FileRecord>}
 */
export function storeSession(runtime, { session }, note, name, signal) {
  const chat = { model: runtime.modelName, messages: note.messages.length };
  return runtime.call(STORE.SAVE_CHAT, { name, session, note: writeNote(note), chat }, { signal });
}

/** @param {Runtime} runtime @param {string} name @param {AbortSignal} [signal] */
export async function openSession(runtime, name, signal) {
  await runtime.dropSpare();
  return adopt(runtime, await runtime.call(STORE.OPEN_CHAT, { name, ...runtime.wanted }, { signal }));
}
