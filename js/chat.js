// chat.js: a conversation. Its messages are the truth; the session only remembers what was computed, and what still
// fits is used again, whether a chat continues, is edited, retried or forked.

import { CllaError } from './errors.js';
import { CHAT, SEND, checkOptions, checkText } from './options.js';
import { startReply } from './reply.js';
import { chatPrompt } from './template.js';
import { promptIds } from './prompt.js';

/**
 * @typedef {import('./types.d.ts').ChatEntry} ChatEntry
 * @typedef {import('./types.d.ts').ChatOptions} ChatOptions
 * @typedef {import('./types.d.ts').SendOptions} SendOptions
 * @typedef {import('./types.d.ts').Chat} Chat
 * @typedef {import('./types.d.ts').Reply} Reply
 * @typedef {import('./types.d.ts').Generated} Generated
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 * @typedef {import('./types.d.ts').Runtime} Runtime
 */

/**
 * @param {Runtime} runtime
 * @param {ChatOptions} [options]
 * @returns {Chat}
 */
export function createChat(runtime, options) {
  const { system, sampling, template } = checkOptions('chat', options, CHAT);
  runtime.renderer.prepare();
  /** @type {ChatEntry[]} */
  const entries = system === undefined ? [] : [{ role: 'system', content: system }];
  return chatOver(runtime, { sampling: sampling ?? {}, template }, entries, undefined);
}

/**
 * @param {Runtime} runtime
 * @param {{sampling: import('./types.d.ts').CheckedSampling, template?: string}} settings
 * @param {ChatEntry[]} entries owned by the chat
 * @param {Promise<SessionFacts> | undefined} session undefined: taken when first needed
 * @returns {Chat}
 */
function chatOver(runtime, settings, entries, session) {
  const baseSeed = settings.sampling.seed ?? runtime.randomSeed();
  let attempt = 0; // a retry draws anew
  let closed = false;
  /** @type {{reply: Reply, live: boolean} | undefined} */
  let running;
  /** @type {Pick<Generated, 'contextUsed' | 'cachedTokens'>} */
  let last = { contextUsed: 0, cachedTokens: 0 };

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
   * Answer the messages as they are. A failure puts them back as they were: `before`.
   * @param {any} checked of SEND
   * @param {ChatEntry[]} before
   * @param {Promise<void>} previous
   */
  function answer(checked, before, previous) {
    const own = { reply: /** @type {any} */ (undefined), live: true };
    const merged = { ...settings.sampling, ...checked.sampling };
    const seed = checked.sampling?.seed ?? baseSeed + attempt;
    const asked = entries.map((entry) => ({ ...entry }));
    own.reply = startReply(async (signal, show) => {
      try {
        await previous;
        const result = await runtime.generate({
          prompt: () => prompt(asked),
          session: ownSession,
          options: { ...checked, sampling: { ...merged, seed } },
          signal,
          show,
        });
        if (!own.live) return result;
        last = { contextUsed: result.usage.contextUsed, cachedTokens: result.usage.cachedTokens };
        entries.push({ role: 'assistant', content: result.text, ids: result.usage.reusable ? result.ids : undefined });
        return result;
      } catch (error) {
        if (own.live) entries.splice(0, entries.length, ...before);
        throw error;
      } finally {
        if (running === own) running = undefined;
      }
    }, checked.signal);
    running = own;
    return own.reply;
  }

  /** A session that could not be had may be had later. */
  async function ownSession() {
    session ??= runtime.takeSession();
    try {
      return await session;
    } catch (error) {
      session = undefined;
      throw error;
    }
  }

  /** @param {ChatEntry[]} asked */
  async function prompt(asked) {
    const pieces = await chatPrompt(runtime.renderer, runtime.template(settings.template), asked);
    return promptIds(pieces, runtime.tokenize, runtime.bos);
  }

  return {
    get messages() {
      return entries.map(({ role, content }) => ({ role, content }));
    },

    get usage() {
      return { ...runtime.cacheFacts, ...last };
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
      return role === 'user' ? answer(checked, before, previous) : undefined;
    },

    fork() {
      checkOpen();
      const forked = session?.then((own) => runtime.forkSession(own));
      forked?.catch(() => {});
      return chatOver(runtime, { ...settings, sampling: { ...settings.sampling, seed: baseSeed } }, [...entries], forked);
    },

    async close() {
      if (closed) return;
      closed = true;
      await dropRunning();
      if (session) await session.then(runtime.returnSession, () => {});
    },
  };
}
