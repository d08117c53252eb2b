// clla_depth_run.js: one model in one build, a process of its own, for clla_depth.js:
//
//     node clla_depth_run.js MODEL      work as JSON on stdin: {variant, threads, kv, prefills, depths, decoded, runs}
//
// Prints {prefill: {n: tokens/s}, decode: {depth: tokens/s}, cacheBytes, bytesPerToken, memoryBytes, processBytes} as JSON.
import { load } from '../../js/index.js';
import { median } from './workload.js';

let stdin = '';
for await (const piece of process.stdin) stdin += piece;
const { variant, threads, kv, prefills, depths, decoded, runs } = JSON.parse(stdin);
const START = 4; // tokens in the cache "at 0"

const context = Math.max(...prefills, ...depths) + decoded;
const model = await load(process.argv[2], { variant, threads, kv, context });
/** Tokens from all over the vocabulary; each salt its own. */
const someIds = (count, salt) => Array.from({ length: count }, (_, i) => ((i + 1) * 7919 + salt * 104729) % model.info.vocabulary);
const complete = async (ids, maxTokens) => (await model.complete(ids, { maxTokens, ignoreEos: true }).done).timings;

await complete(someIds(128, 1), 16); // the engine's code is compiled better as it runs
/** @type {Record<string, Record<string, number>>} */
const speeds = { prefill: {}, decode: {} };
for (const n of prefills) {
  const results = [];
  for (let run = 0; run < runs; run++) results.push((await complete(someIds(n, 2 + run), 1)).promptPerSecond);
  speeds.prefill[n] = median(results);
}
// From shallow to deep: each prompt is the beginning of the next, which the cache keeps.
for (const depth of [...depths].sort((a, b) => a - b)) {
  const results = [];
  for (let run = 0; run < runs; run++) results.push((await complete(someIds(Math.max(depth, START), 0), decoded)).decodePerSecond);
  speeds.decode[depth] = median(results);
}
const { cacheBytes, bytesPerToken } = await model.sessionBytes({ context, kv });
const { memoryBytes } = await model.memory();
process.stdout.write(JSON.stringify({ ...speeds, context, cacheBytes, bytesPerToken, memoryBytes, processBytes: process.resourceUsage().maxRSS * 1024 }));
await model.close();
