// replies.js: prefill and decoding of a loaded model, timed alike in Node and in a page, and the arithmetic of repeated figures.

/** @param {number[]} list */
export function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Past any end token; so many tokens must come. */
export async function reply(model, prompt, count) {
  const { timings, ids } = await model.complete(prompt, { maxTokens: count, ignoreEos: true }).done;
  if (ids.length !== count) throw new Error(`${ids.length} tokens came, not ${count}`);
  return timings;
}

/** The first run warms up: the engine's code is compiled better as it runs. */
async function measure(runs, once) {
  const speeds = [];
  for (let run = 0; run <= runs; run++) speeds.push(await once(run));
  return median(speeds.slice(1));
}

/** Tokens/s. @param {import('../../js/types.d.ts').Model} model @param {any} prompts of workload.js */
export async function measureReplies(model, { prefills, start, deep, decoded, runs }) {
  const decoding = (ids) => measure(runs, async () => (await reply(model, ids, decoded)).decodePerSecond);
  return {
    prefill: await measure(runs, async (run) => (await reply(model, prefills[run % prefills.length].ids, 1)).promptPerSecond),
    decode: await decoding(start.ids),
    ...(deep && { deep: await decoding(deep.ids) }),
  };
}
