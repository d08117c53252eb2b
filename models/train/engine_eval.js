// engine_eval.js: the twins' evaluation by the engine, for engine_eval.py.
//
//     node models/train/engine_eval.js MODEL.gguf ROWS.json [VARIANT]
//
// ROWS: {name: [[tokens, asked], ...]}, asked[i] telling whether token i counts. Prints {name: {loss, accuracy}}: the mean of
// -log p over the asked tokens, and, where not everything is asked, how many of them the likeliest token gets right when
// the row up to there is in the cache.

import { readFileSync } from 'node:fs';
import { load } from '../../js/index.js';

const [source, rowsPath, variant = 'auto'] = process.argv.slice(2);
const sets = JSON.parse(readFileSync(rowsPath, 'utf8'));
const longest = Math.max(...Object.values(sets).flatMap((rows) => rows.map(([tokens]) => tokens.length)));
const model = await load(source, { variant: /** @type {any} */ (variant), threads: 1, context: longest });

/** @param {number[]} tokens @param {boolean[]} asked */
async function lossOf(tokens, asked) {
  const logprobs = await model.score(tokens);
  return [...logprobs].reduce((sum, x, i) => sum - (asked[i + 1] ? x : 0), 0);
}

/** @param {number[]} tokens @param {boolean[]} asked */
async function hitsOf(tokens, asked) {
  let hits = 0;
  for (let i = 1; i < tokens.length; i++) {
    if (!asked[i]) continue;
    const options = { maxTokens: 1, ignoreEos: true, bos: false, sampling: { temperature: 0 } };
    const { ids } = await model.complete(tokens.slice(0, i), options).done;
    hits += Number(ids[0] === tokens[i]);
  }
  return hits;
}

/** @type {Record<string, {loss: number, accuracy?: number}>} */
const results = {};
for (const [name, rows] of Object.entries(sets)) {
  let [loss, hits, count] = [0, 0, 0];
  const recall = !rows[0][1].slice(1).every(Boolean);
  for (const [tokens, asked] of rows) {
    loss += await lossOf(tokens, asked);
    if (recall) hits += await hitsOf(tokens, asked);
    count += asked.slice(1).filter(Boolean).length;
  }
  results[name] = { loss: loss / count, ...(recall && { accuracy: hits / count }) };
}
console.log(JSON.stringify(results));
await model.close();
