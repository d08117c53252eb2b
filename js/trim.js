// trim.js: what of a conversation goes when it no longer fits: the oldest turns, whole (a message of the user with what was
// answered), never the system message nor the newest message.
//
// What follows a turn that goes stands at other places then, so the cache keeps the system message only and the rest is
// computed anew. That this does not happen at every turn, half of the room that turns can have is made free at once: each
// token said costs about one that is computed a second time.

/** @typedef {import('./types.d.ts').ChatEntry} ChatEntry */

const SHARE = 4; // of the context is for a reply, where nothing else was said: a quarter

/**
 * Tokens to leave for a reply: never more than half of the context.
 * @param {true | number} trim @param {number | undefined} maxTokens of this reply @param {number} context
 */
function roomFor(trim, maxTokens = Infinity, context) {
  const room = trim !== true ? trim : maxTokens < Infinity ? maxTokens : context / SHARE;
  return Math.min(room, maxTokens, Math.floor(context / 2));
}

/**
 * The first number from `low` on that fits; `high` does.
 * @param {number} low @param {number} high @param {(n: number) => Promise<boolean>} fits all from the first one on
 */
async function firstThatFits(low, high, fits) {
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (await fits(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * @param {ChatEntry[]} entries the last one waits for an answer
 * @param {{trim: true | number, maxTokens?: number, context: number}} limits
 * @param {(entries: ChatEntry[]) => Promise<number[]>} promptOf
 * @returns {Promise<{ids: number[], kept: ChatEntry[], dropped: ChatEntry[]}>} nothing is dropped where even the last one
 *   alone is too long: the ids are then those that do not fit
 */
export async function trimTurns(entries, { trim, maxTokens, context }, promptOf) {
  const most = context - roomFor(trim, maxTokens, context); // tokens of a prompt
  const whole = { ids: await promptOf(entries), kept: entries, dropped: /** @type {ChatEntry[]} */ ([]) };
  const first = entries[0].role === 'system' ? 1 : 0;
  const starts = entries.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
  const all = starts.length - 1; // turns that may go
  if (whole.ids.length <= most || all === 0) return whole;

  const without = (/** @type {number} */ turns) => [...entries.slice(0, first), ...entries.slice(starts[turns])];
  const sizeOf = async (/** @type {number} */ turns) => (await promptOf(without(turns))).length;
  const least = await sizeOf(all);
  const half = least + Math.max(0, most - least) / 2;
  let turns = await firstThatFits(1, all, async (n) => (await sizeOf(n)) <= half);
  if (turns === all) turns = await firstThatFits(1, all, async (n) => (await sizeOf(n)) <= most);
  const kept = without(turns);
  const ids = await promptOf(kept);
  if (ids.length > context) return { ids, kept: entries, dropped: [] };
  return { ids, kept, dropped: entries.slice(first, starts[turns]) };
}
