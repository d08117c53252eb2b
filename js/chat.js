// chat.js: a conversation. Its messages are the truth; the session only remembers what was computed, and what still
// fits is used again, whether a chat continues, is edited, retried or forked.

import { CllaError } from './errors.js';
import { CHAT, RESTORE, SAVE, SEND, checkOptions, checkText } from './options.js';
import { COMPUTE } from './protocol.js';
import { startReply } from './reply.js';
import { chatPrompt } from './template.js';
import { promptIds } from './prompt.js';
import { openSession, restoreSession, saveSession } from './saved.js';
import { trimTurns } from './trim.js';

/**
 * @typedef {import('./types.d.ts').ChatEntry} ChatEntry
 * @typedef {import('./types.d.ts').ChatOptions} ChatOptions
 * @typedef {import('./types.d.ts').SendOptions} SendOptions
 * @typedef {import('./types.d.ts').Chat} Chat
 * @typedef {import('./types.d.ts').Reply} Reply
 * @typedef {import('./types.d.ts').Generated} Generated
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {import('./types.d.ts').CacheFacts} CacheFacts
 */

/**
 * @param {Runtime} runtime
 * @param {ChatOptions} [options]
 * @returns {Chat}
 */
export function createChat(runtime, options) {
  const { system, sampling, template, trim } = checkOptions('chat', options, CHAT);
  runtime.renderer.prepare();
  /** @type {ChatEntry[]} */
  const entries = system === undefined ? [] : [{ role: 'system', content: system }];
  return chatOver(runtime, { sampling: sampling ?? {}, template, trim }, entries);
}

/**
 * A chat from a file, with the session that was saved.
 * @param {Runtime} runtime
 * @param {import('./types.d.ts').ModelSource} file
 * @param {{signal?: AbortSignal, sampling?: import('./types.d.ts').Sampling}} [options]
 * @returns {Promise<Chat>}
 */
export async function restoreChat(runtime, file, options) {
  const { signal, ...changes } = checkOptions('restore', options, RESTORE);
  return chatFrom(runtime, await restoreSession(runtime, file, signal), changes);
}

/**
 * A chat from the store.
 * @param {Runtime} runtime @param {string} name @param {AbortSignal | undefined} signal
 * @param {{sampling?: import('./types.d.ts').CheckedSampling, trim?: boolean | number}} changes
 * @returns {Promise<Chat>}
 */
export const openChat = async (runtime, name, signal, changes) =>
  chatFrom(runtime, await openSession(runtime, name, signal), changes);

/**
 * @param {Runtime} runtime
 * @param {import('./types.d.ts').RestoredSession} restored
 * @param {{sampling?: import('./types.d.ts').CheckedSampling, trim?: boolean | number}} changes
 * @returns {Chat}
 */
function chatFrom(runtime, { session, length, cache, note }, { sampling, trim = note.trim }) {
  const { messages, template, seed, attempt } = note;
  runtime.renderer.prepare();
  const settings = { sampling: { ...note.sampling, seed, ...sampling }, template, trim };
  const held = { entries: [...messages], tokens: length };
  const from = { session: Promise.resolve(session), held, attempt, cache, length };
  return chatOver(runtime, settings, messages, from);
}

/**
 * @typedef {import('./types.d.ts').ChatNote} ChatNote
 * @typedef {<T>(write: (runtime: Runtime, own: SessionFacts, note: ChatNote) => Promise<T>) => Promise<T>} Keeper
 */

/** What writes a chat somewhere. @type {WeakMap<Chat, Keeper>} */
export const keeperOf = new WeakMap();

/** @param {ChatEntry} entry @returns {import('./types.d.ts').Message} */
const messageOf = ({ role, content }) => ({ role, content });

/**
 * @typedef {object} Held what is known of the tokens in a session: the first so many are of these messages and of no others
 * @property {ChatEntry[]} entries
 * @property {number} tokens
 *
 * @typedef {object} From what there is of a chat already
 * @property {Promise<SessionFacts>} [session] else one is taken when first needed
 * @property {Held} [held] by the session
 * @property {number} [attempt]
 * @property {CacheFacts} [cache]
 * @property {number} [length] tokens in the session
 */

/**
 * @param {Runtime} runtime
 * @param {{sampling: import('./types.d.ts').CheckedSampling, template?: string, trim?: boolean | number}} settings
 * @param {ChatEntry[]} entries owned by the chat
 * @param {From} [from]
 * @returns {Chat}
 */
function chatOver(runtime, settings, entries, from = {}) {
  let { session, held, attempt = 0 } = from;
  const { cache = runtime.cacheFacts, length = 0 } = from;
  const baseSeed = settings.sampling.seed ?? runtime.randomSeed(); // a retry is another attempt, which draws anew
  let closed = false;
  /** Until the session may change again. @type {Promise<unknown>} */
  let saving = Promise.resolve();
  /** @type {{reply: Reply, live: boolean} | undefined} */
  let running;
  /** @type {Pick<Generated, 'contextUsed' | 'cachedTokens'>} */
  let last = { contextUsed: length, cachedTokens: 0 };

  function checkOpen() {
    if (closed) throw new CllaError('CLOSED', 'this chat was closed');
    runtime.checkOpen();
  }

  /** @param {number} i */
  function checkIndex(i) {
    if (Number.isInteger(i) && i >= 0 && i < entries.length) return;
    throw new CllaError('BAD_ARGUMENT', `edit: want a message from 0 to ${entries.length - 1}, got ${i}`);
  }

  /** A reply that still runs is stopped and forgotten. */
  function dropRunning() {
    if (!running) return Promise.resolve();
    const { reply } = running;
    running.live = false;
    running = undefined;
    reply.stop();
    return reply.done.then(() => {}, () => {});
  }

  /**
   * Answer the messages as they are. A failure puts them back as they were, `before`, and so does a reply that is stopped
   * before it has a word.
   * @param {any} checked of SEND
   * @param {ChatEntry[]} before
   * @param {Promise<void>} previous
   */
  function answer(checked, before, previous) {
    const own = { reply: /** @type {any} */ (undefined), live: true };
    const merged = { ...settings.sampling, ...checked.sampling };
    const seed = checked.sampling?.seed ?? baseSeed + attempt;
    let asked = [...entries];
    /** @type {import('./types.d.ts').Message[]} */
    let trimmed = [];
    /** @type {Held | undefined} */
    let heldBefore;

    async function prompt() {
      const { trim } = settings;
      if (!trim) return promptOf(asked);
      const limits = { trim, maxTokens: checked.maxTokens, context: cache.contextSize };
      const { ids, kept, dropped } = await trimTurns(asked, limits, promptOf);
      if (dropped.length === 0) return ids;
      asked = kept;
      trimmed = dropped.map(messageOf);
      if (!own.live) return ids;
      entries.splice(0, entries.length, ...kept);
      checked.onTrim?.(trimmed.map(messageOf));
      return ids;
    }

    own.reply = startReply(async (signal, show) => {
      try {
        await Promise.all([previous, saving]);
        heldBefore = held;
        const made = await runtime.generate({
          prompt,
          session: () => ((held = undefined), ownSession()),
          options: { ...checked, sampling: { ...merged, seed } },
          signal,
          show,
        });
        const result = trimmed.length > 0 ? { ...made, trimmed } : made;
        if (!own.live) return result; // what a reply that is forgotten has said is nobody's
        const { contextUsed, cachedTokens } = result.usage;
        last = { contextUsed, cachedTokens };
        if (result.finishReason === 'abort' && result.ids.length === 0) {
          held = heldBefore && { ...heldBefore, tokens: Math.min(heldBefore.tokens, cachedTokens) };
          entries.splice(0, entries.length, ...before);
          return made;
        }
        entries.push({ role: 'assistant', content: result.text, ids: result.usage.reusable ? result.ids : undefined });
        held = { entries: [...entries], tokens: contextUsed };
        return result;
      } catch (error) {
        if (error instanceof CllaError && error.code === 'CONTEXT_FULL') held = heldBefore; // the session was not touched
        if (own.live) entries.splice(0, entries.length, ...before);
        throw error;
      } finally {
        if (running === own) running = undefined;
      }
    }, checked.signal);
    running = own;
    return own.reply;
  }

  /** A session that could not be had may be had later, with other tokens. */
  async function ownSession() {
    session ??= runtime.takeSession();
    try {
      return await session;
    } catch (error) {
      session = held = undefined;
      throw error;
    }
  }

  /**
   * A session to save holds the tokens of messages that are there, and no others: not of the chat that had it before
   * (prefilling would cut them off), nor of messages that were taken back.
   * @param {ChatEntry[]} kept
   */
  async function ownTokens(kept) {
    const own = await ownSession();
    if (!held?.entries.every((entry, i) => entry === kept[i])) held = { entries: [], tokens: 0 };
    const { tokens } = held;
    await runtime.call(COMPUTE.SESSION_TRUNCATE, { session: own.session, length: tokens });
    if (tokens < last.contextUsed) last = { contextUsed: tokens, cachedTokens: 0 };
    return own;
  }

  /** @param {ChatEntry[]} asked */
  async function promptOf(asked) {
    const pieces = await chatPrompt(runtime.renderer, runtime.template(settings.template), asked);
    return promptIds(pieces, runtime.tokenize, runtime.bos);
  }

  /**
   * Write it somewhere, while nothing changes.
   * @type {Keeper}
   */
  async function keep(write) {
    checkOpen();
    if (running) throw new CllaError('BUSY', 'this chat is still writing its last reply');
    const messages = [...entries];
    const note = { messages, ...settings, seed: baseSeed, attempt };
    const written = saving.then(async () => write(runtime, await ownTokens(messages), note));
    saving = written.catch(() => {});
    return written;
  }

  /** @type {Chat} */
  const chat = {
    get messages() {
      return entries.map(messageOf);
    },

    get usage() {
      return { ...cache, ...last };
    },

    send(text, options) {
      checkOpen();
      checkText('send: text', text);
      const checked = checkOptions('send', options, SEND);
      if (running) throw new CllaError('BUSY', 'this chat is still writing its last reply');
      const before = [...entries];
      entries.push({ role: 'user', content: text });
      return answer(checked, before, Promise.resolve());
    },

    retry(options) {
      checkOpen();
      const checked = checkOptions('retry', options, SEND);
      const before = [...entries];
      const lastUser = entries.findLastIndex((entry) => entry.role === 'user');
      if (lastUser < 0) throw new CllaError('BAD_ARGUMENT', 'retry: no message was sent yet');
      const previous = dropRunning();
      entries.length = lastUser + 1;
      attempt++;
      return answer(checked, before, previous);
    },

    edit(i, text, options) {
      checkOpen();
      checkIndex(i);
      checkText('edit: text', text);
      const checked = checkOptions('edit', options, SEND);
      const previous = dropRunning();
      const before = [...entries];
      const { role } = entries[i];
      entries[i] = { role, content: text };
      if (role !== 'system') entries.length = i + 1;
      if (role === 'user') return answer(checked, before, previous);
      saving = Promise.all([saving, previous]);
      return undefined;
    },

    fork() {
      checkOpen();
      const forked = session?.then((own) => runtime.forkSession(own));
      forked?.catch(() => {});
      const own = { ...settings, sampling: { ...settings.sampling, seed: baseSeed } };
      const same = running ? undefined : held; // a reply under way is not the fork's
      return chatOver(runtime, own, [...entries], { session: forked, held: same, cache, length: last.contextUsed });
    },

    async save(options) {
      const { signal } = checkOptions('save', options, SAVE);
      return keep((...what) => saveSession(...what, signal));
    },

    async close() {
      if (closed) return;
      closed = true;
      await Promise.all([dropRunning(), saving]);
      if (session) await session.then(runtime.returnSession, () => {});
    },
  };
  keeperOf.set(chat, keep);
  return chat;
}
