// conversations.js: replies to conversations that come whole, message by message, each time. The one that is gone on with
// is known again by its messages, and answered in the session that has them in its cache.

import { CllaError } from './errors.js';
import { promptIds } from './prompt.js';
import { chatPrompt } from './template.js';

/**
 * @typedef {import('./types.d.ts').ChatEntry} ChatEntry
 * @typedef {import('./types.d.ts').GenerateRequest} GenerateRequest
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 *
 * @typedef {object} Line
 * @property {Promise<SessionFacts>} session
 * @property {ChatEntry[]} entries the messages that it has
 * @property {boolean} busy
 * @property {number} used when it last was
 */

/** That are kept between replies: each has a cache of its own. */
const LINES_MAX = 2;

/** How many messages both begin with. @param {ChatEntry[]} a @param {ChatEntry[]} b */
function shared(a, b) {
  const differs = b.findIndex(({ role, content }, i) => a[i]?.role !== role || a[i].content !== content);
  return differs < 0 ? b.length : differs;
}

/** @param {Runtime} runtime */
export function createConversations(runtime) {
  /** @type {Line[]} */
  const lines = [];
  let clock = 0;

  /** @param {Line} line */
  function remove(line) {
    lines.splice(lines.indexOf(line), 1);
    return line.session.then(runtime.returnSession, () => {});
  }

  /**
   * A line for oneself: the one that has these messages, else a new one, else the one that waited longest.
   * @param {ChatEntry[]} messages
   */
  async function take(messages) {
    const idle = lines.filter((line) => !line.busy);
    idle.sort((a, b) => shared(b.entries, messages) - shared(a.entries, messages) || a.used - b.used);
    const best = /** @type {Line | undefined} */ (idle[0]);
    const goesOn = best && shared(best.entries, messages) > messages.findIndex(({ role }) => role === 'user');
    if (best) best.busy = true;
    if (best && (goesOn || lines.length >= LINES_MAX)) return best;
    const made = { session: runtime.takeSession(), entries: [], busy: true, used: 0 };
    lines.push(made);
    try {
      await made.session;
      if (best) best.busy = false;
      return made;
    } catch (error) {
      await remove(made);
      if (best && error instanceof CllaError && error.code === 'OUT_OF_MEMORY') return best;
      if (best) best.busy = false;
      throw error;
    }
  }

  /** @param {Line} line */
  async function release(line) {
    line.busy = false;
    line.used = ++clock;
    if (lines.length > LINES_MAX) await remove(line);
  }

  return {
    /**
     * @param {ChatEntry[]} messages
     * @param {Omit<GenerateRequest, 'prompt' | 'session'>} request
     */
    async reply(messages, request) {
      const line = await take(messages);
      const known = shared(line.entries, messages);
      const asked = [...line.entries.slice(0, known), ...messages.slice(known)]; // with the ids of what the model wrote
      const pieces = () => chatPrompt(runtime.renderer, runtime.template(), asked);
      try {
        const result = await runtime.generate({
          prompt: async () => promptIds(await pieces(), runtime.tokenize, runtime.bos),
          session: () => line.session,
          ...request,
        });
        const { text, ids, usage } = result;
        line.entries = [...asked, { role: 'assistant', content: text, ids: usage.reusable ? ids : undefined }];
        return result;
      } finally {
        await release(line).catch(() => {}); // closed meanwhile: it is gone
      }
    },
  };
}
