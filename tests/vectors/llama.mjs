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

/** Of raw logits (a Map): the log-probability of `next`, and how far the best is above the second best. */
function judge(logits, next) {
  let [best, second] = [-Infinity, -Infinity];
  for (const logit of logits.values()) {
    if (logit > best) [best, second] = [logit, best];
    else if (logit > second) second = logit;
  }
  let total = 0;
  for (const logit of logits.values()) total += Math.exp(logit - best);
  return { logprob: logits.get(next) - best - Math.log(total), margin: best - second };
}

/** For each of ids[from + 1], .. given those before it: {logprob, margin}. `logits: true` gives them before any sampling. */
export async function judgements(sequence, ids, from = 0) {
  await sequence.clearHistory();
  const wanted = { generateNext: { logits: true } };
  const rows = await sequence.controlledEvaluate(ids.slice(0, -1).map((id, i) => (i < from ? id : [id, wanted])));
  return rows.slice(from).map((row, i) => judge(row.next.logits, ids[from + i + 1]));
}

export const rounded = (x, digits = 5) => Number(x.toFixed(digits));
