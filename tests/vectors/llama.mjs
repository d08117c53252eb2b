// llama.mjs: what the scripts here ask of llama.cpp, through node-llama-cpp.
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

export const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error });
export const source = `node-llama-cpp 3.22.1, ${llama.llamaCppRelease.repo} ${llama.llamaCppRelease.release}, CPU`;

/** Run `use(sequence)` with a fresh context of a model. kv: 'F16' or 'F32'. */
export async function withSequence(model, { context, kv, threads = 2 }, use) {
  const ctx = await model.createContext({
    contextSize: context,
    batchSize: context,
    threads,
    flashAttention: false,
    experimentalKvCacheKeyType: kv,
    experimentalKvCacheValueType: kv,
  });
  try {
    return await use(ctx.getSequence());
  } finally {
    await ctx.dispose();
  }
}

/** `count` greedy ids after `ids`, past any end token. */
export async function greedy(sequence, ids, count) {
  await sequence.clearHistory();
  const out = [];
  for await (const id of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    out.push(id);
    if (out.length === count) break;
  }
  return out;
}

/** For every position its logits as [id, logit][], best first. `logits: true` gives them raw, before any sampling. */
export async function allLogits(sequence, ids, from = 0) {
  await sequence.clearHistory();
  const wanted = { generateNext: { logits: true } };
  const rows = await sequence.controlledEvaluate(ids.map((id, i) => (i < from ? id : [id, wanted])));
  return rows.slice(from).map((row) => [...row.next.logits.entries()].sort((a, b) => b[1] - a[1]));
}

/** Log-probability of one id, and the distance of the best from the second best, of a row of allLogits. */
export function logprobOf(row, id) {
  const total = row.reduce((sum, [, logit]) => sum + Math.exp(logit - row[0][1]), 0);
  return row.find(([i]) => i === id)[1] - row[0][1] - Math.log(total);
}
export const marginOf = (row) => row[0][1] - row[1][1];

export const rounded = (x, digits = 5) => Number(x.toFixed(digits));
