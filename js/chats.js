// chats.js: the chats on this device: save them, open them again, list and remove them. Their files are written and read by
// the worker that has the model: here nothing of them is ever held.

import { CllaError, abortError } from './errors.js';
import { RESTORE, SAVE, checkOptions, checkText } from './options.js';
import { keeperOf, openChat } from './chat.js';
import { runtimeOf } from './model.js';
import { storeSession } from './saved.js';
import { newestOfEach, removeChat } from './store/kept.js';

/**
 * @typedef {import('./types.d.ts').Platform} Platform
 * @typedef {import('./types.d.ts').StoredChat} StoredChat
 * @typedef {import('./store/types.d.ts').FileRecord} FileRecord
 * @typedef {import('./store/types.d.ts').Store} Store
 */

/** @param {FileRecord} record @returns {StoredChat} */
function describe({ name, size = 0, chat }) {
  const { model, messages, date } = /** @type {import('./store/types.d.ts').ChatFacts} */ (chat);
  return { name, model, messages, bytes: size, date: new Date(date) };
}

/** @param {string} what @param {unknown} name */
function checkName(what, name) {
  if (checkText(`${what}: name`, name) === '') throw new CllaError('BAD_ARGUMENT', `${what}: name: want one that is not empty`);
  return /** @type {string} */ (name);
}

/** Work that a signal may end. @template T @param {AbortSignal | undefined} signal @param {() => Promise<T>} work */
async function during(signal, work) {
  if (signal?.aborted) throw abortError(signal);
  try {
    return await work();
  } catch (error) {
    throw signal?.aborted ? abortError(signal) : error;
  }
}

/** @param {Platform} platform @returns {typeof import('./types.d.ts').chats} */
export function createChats(platform) {
  /** @template T @param {(store: Store) => Promise<T>} work */
  async function inStore(work) {
    const store = platform.openChats();
    return work(store).finally(() => store.shelf.close());
  }

  return {
    async save(name, chat, options) {
      const { signal } = checkOptions('save', options, SAVE);
      const keep = keeperOf.get(chat);
      if (!keep) throw new CllaError('BAD_ARGUMENT', 'save: chat: want a chat, as model.chat() gives it');
      checkName('save', name);
      platform.askToKeep();
      return describe(await during(signal, () => keep((...what) => storeSession(...what, name, signal))));
    },

    async open(name, model, options) {
      const { signal, ...changes } = checkOptions('open', options, RESTORE);
      const runtime = runtimeOf.get(model);
      if (!runtime) throw new CllaError('BAD_ARGUMENT', 'open: model: want a model, as load() gives it');
      checkName('open', name);
      runtime.checkOpen();
      return during(signal, () => openChat(runtime, name, signal, changes));
    },

    async list() {
      const records = newestOfEach(await inStore(({ shelf }) => shelf.list()));
      return records.map(describe).sort((a, b) => b.date.getTime() - a.date.getTime());
    },

    async remove(name) {
      checkName('remove', name);
      await inStore((store) => removeChat(store, name));
    },
  };
}
