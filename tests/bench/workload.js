// workload.js: what every engine is asked to do.
//
// All engines read the same tokens of the same text (wllama takes text only, so each prompt is text that gives just these
// tokens back), decode greedily past any end token, and are timed alike: a prompt from its beginning to the first token of
// the reply, decoding from the first token to the last.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');

/**
 * prefill: tokens of the prompt whose reading is timed; depth: tokens in the cache when decoding is timed the second time (the
 * first time there are 4: "at 0"); decoded: tokens of a reply, of which the first comes out of the prompt; runs: in one round.
 */
export const FULL = { prefill: 512, depth: 2048, decoded: 33, runs: 2 };
const START = 4;
const PREFILLS = 4; // different prompts of that length, so that none finds its beginning in a cache

export const contextOf = (sizes) => Math.ceil((Math.max(sizes.depth, sizes.prefill) + sizes.decoded) / 256) * 256;

/** A prompt of `count` tokens from number `from` on, or a little later, where the text alone gives the same tokens. */
async function cut(model, ids, from, count) {
  for (let start = from; start + count <= ids.length; start++) {
    const piece = ids.slice(start, start + count);
    const text = await model.detokenize(piece);
    const again = await model.tokenize(text, { bos: false, special: false });
    if (again.length === count && again.every((id, i) => id === piece[i])) return { text, ids: piece };
  }
  throw new Error(`the text has no ${count} tokens that give themselves back`);
}

/** The prompts: prefill, a list; start and depth. */
export async function preparePrompts(modelPath, sizes) {
  const { load } = await import('../../js/index.js');
  const model = await load(modelPath, { vocabularyOnly: true, threads: 1 });
  try {
    const text = readFileSync(path.join(root, 'tests/vectors/wikitext2/head.txt'), 'utf8');
    const ids = [...(await model.tokenize(text, { bos: false, special: false }))];
    const room = Math.floor((ids.length - sizes.prefill - 8) / PREFILLS);
    const prefill = [];
    for (let i = 0; i < PREFILLS; i++) prefill.push(await cut(model, ids, 8 + i * room, sizes.prefill));
    return { ...sizes, context: contextOf(sizes), prefills: prefill, start: await cut(model, ids, 1, START), deep: await cut(model, ids, 3, sizes.depth) };
  } finally {
    await model.close();
  }
}
