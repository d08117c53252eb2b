// chat_file.js: `clla chat --resume FILE`: the chat that a command begins with, and where it goes when the command ends.

import { existsSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { CllaError } from '../index.js';
import { samplingOptions } from './arguments.js';

/**
 * @typedef {import('../types.js').Model} Model
 * @typedef {import('../types.js').Chat} Chat
 * @typedef {import('./arguments.js').Given} Given
 */

const DEFAULTS = { temperature: 0.7, topP: 0.9 };

/** @param {string} file @param {unknown} error */
const cannotSave = (file, error) =>
  new CllaError('NOT_READABLE', `the chat cannot be saved to ${file}: ${error instanceof Error ? error.message : error}`, { cause: error });

/**
 * Whole or not at all: into another file, which takes the place of the old one.
 * @param {string} file
 * @param {Blob} blob
 */
async function writeFile(file, blob) {
  const unfinished = `${file}.${process.pid}.tmp`;
  try {
    const handle = await open(unfinished, 'wx');
    try {
      for await (const piece of blob.stream()) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, file);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw cannotSave(file, error);
  }
}

/**
 * @param {Model} model
 * @param {Given} given
 */
export function openChatFile(model, given) {
  const file = given.resume;
  const begin = () => model.chat({ system: given.system, sampling: samplingOptions(given, DEFAULTS) });

  /** @param {Chat} chat What the command line says must be what the file has. */
  function checkSystem(chat) {
    const [first] = chat.messages;
    const saved = first?.role === 'system' ? first.content : undefined;
    if (given.system === undefined || given.system === saved) return chat;
    const told = saved === undefined ? 'without a system message' : `with the system message ${JSON.stringify(saved)}`;
    throw new CllaError('BAD_ARGUMENT', `${file} holds a chat ${told}: --system cannot change it`);
  }

  return {
    begin,

    /** @returns {Promise<Chat>} the saved chat, or a new one where there is no file yet */
    async resume() {
      if (file === undefined || !existsSync(file)) return begin();
      return checkSystem(await model.restore(file, { sampling: samplingOptions(given) }));
    },

    /** @param {Chat} chat */
    async save(chat) {
      if (file !== undefined) await writeFile(file, await chat.save());
    },
  };
}
