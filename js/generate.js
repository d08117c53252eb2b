// generate.js: one reply, in the worker: reuse what the session holds, evaluate the rest of the prompt in chunks, then
// one token a step. Between chunks and steps messages are let in, so a reply stops when told and several take turns.

import { CllaError } from './errors.js';
import { stopWatch } from './stops.js';

/**
 * @typedef {import('./binding.js').Binding} Binding
 * @typedef {import('./types.d.ts').CallContext} CallContext
 * @typedef {import('./types.d.ts').GenerateParams} GenerateParams
 * @typedef {import('./types.d.ts').Generated} Generated
 * @typedef {import('./types.d.ts').CheckedSampling} CheckedSampling
 */

const CHUNK = 128; // tokens of prompt between two looks at the messages; src/clla.h's default chunk
const SCORE_CHUNK = 32; // positions whose logits are kept at once, SCORE_MAX of wasm_api.c

/**
 * Cut the session back to the longest common prefix with ids. The last id is always evaluated again: its logits are
 * what the reply starts from.
 * @param {Binding} engine @param {number} session @param {number[]} ids
 * @returns {number} how many tokens were kept
 */
function reusePrefix(engine, session, ids) {
  const kept = Math.min(engine.sessionMatch(session, ids), ids.length - 1);
  engine.sessionTruncate(session, kept);
  return kept;
}

/**
 * @param {Binding} engine @param {number} session @param {number[]} ids
 */
function checkPrompt(engine, session, ids) {
  const context = engine.sessionContext(session);
  if (ids.length === 0) throw new CllaError('BAD_ARGUMENT', 'the prompt has no tokens');
  if (ids.length > context)
    throw new CllaError('CONTEXT_FULL', `the prompt has ${ids.length} tokens, the context holds ${context}`);
}

/**
 * Evaluate ids from position `from` on. Returns false when it was cancelled before the end.
 * @param {Binding} engine @param {number} session @param {number[]} ids @param {number} from
 * @param {CallContext} call
 */
async function prefill(engine, session, ids, from, call) {
  const total = ids.length - from;
  for (let at = from; at < ids.length; at += CHUNK) {
    await call.pause();
    if (call.cancelled()) return false;
    engine.sessionEval(session, ids.slice(at, at + CHUNK));
    call.emit({ prefill: { done: Math.min(at + CHUNK, ids.length) - from, total } });
  }
  return true;
}

/** Of 0 the likeliest token is left, as of any small part; the engine takes 0 for "not given". @param {number | undefined} p */
const part = (p) => (p === undefined ? 0 : Math.max(p, 1e-30));

/**
 * The numbers of clla_sampler_options, in its order.
 * @param {CheckedSampling} sampling
 */
function samplerNumbers(sampling) {
  const seed = sampling.seed ?? 0;
  const numbers = [
    sampling.temperature ?? 0,
    sampling.topK ?? 0,
    part(sampling.topP),
    sampling.minP ?? 0,
    part(sampling.typicalP),
    sampling.repetitionPenalty ?? 0,
    sampling.frequencyPenalty ?? 0,
    sampling.presencePenalty ?? 0,
    sampling.penaltyWindow ?? 0,
    seed % 2 ** 32,
    Math.floor(seed / 2 ** 32),
  ];
  return { numbers, bias: sampling.logitBias ?? [] };
}

/**
 * @param {Binding} engine
 * @param {GenerateParams} params
 * @param {CallContext} call
 * @returns {Promise<Generated>}
 */
export async function generate(engine, params, call) {
  const { session, ids, sampling, maxTokens, stop, logprobs } = params;
  const start = performance.now();
  checkPrompt(engine, session, ids);
  const { reply, topAt } = engine.replyCreate(session, samplerNumbers(sampling), ids, logprobs);
  try {
    const kept = reusePrefix(engine, session, ids);
    const complete = await prefill(engine, session, ids, kept, call);
    const promptMs = performance.now() - start;
    const limit = Math.min(maxTokens, engine.sessionContext(session) - ids.length + 1);
    const decoded = await decode(engine, params, { reply, topAt, limit, stopped: !complete, watch: stopWatch(stop) }, call);
    return {
      ids: decoded.ids,
      text: decoded.text,
      finishReason: decoded.finishReason,
      logprobs: decoded.logprobs,
      whole: decoded.whole,
      evaluated: decoded.evaluated,
      contextUsed: engine.sessionLength(session),
      promptTokens: ids.length,
      cachedTokens: kept,
      promptMs,
      firstMs: decoded.firstAt === 0 ? 0 : decoded.firstAt - start,
      decodeMs: decoded.firstAt === 0 ? 0 : performance.now() - decoded.firstAt,
    };
  } finally {
    engine.replyFree(reply);
  }
}

/**
 * @param {Binding} engine
 * @param {GenerateParams} params
 * @param {{reply: number, topAt: number, limit: number, stopped: boolean, watch: ReturnType<typeof stopWatch>}} state
 * @param {CallContext} call
 */
async function decode(engine, { ignoreEos, logprobs }, { reply, topAt, limit, stopped, watch }, call) {
  /** @type {number[]} */
  const ids = [];
  /** @type {Generated['logprobs']} */
  const scores = [];
  /** @type {Generated['finishReason']} */
  let finishReason = stopped ? 'abort' : 'length';
  let text = '';
  let firstAt = 0;
  let steps = 0; // the first one evaluates nothing: its logits are the prompt's
  let whole = true; // no stop string cut the text

  /** @param {string} piece */
  const show = (piece) => {
    if (piece === '') return;
    text += piece;
    call.emit({ text: piece });
  };

  while (!stopped && ids.length < limit) {
    if (call.cancelled()) {
      finishReason = 'abort';
      break;
    }
    const step = engine.replyStep(reply, ids.at(-1) ?? -1);
    if (steps++ === 0) firstAt = performance.now();
    if (step.ends && !ignoreEos) {
      finishReason = 'stop';
      break;
    }
    ids.push(step.id);
    if (logprobs > 0) {
      const token = { id: step.id, logprob: step.logprob, top: engine.replyTop(topAt, logprobs) };
      scores.push(token);
      call.emit({ token });
    }
    const shown = watch.push(step.text);
    show(shown.text);
    if (shown.stopped) {
      finishReason = 'stop';
      whole = false;
      break;
    }
    await call.pause();
  }
  if (whole) {
    const last = watch.push(engine.replyFinish(reply));
    show(last.text + watch.finish());
  }
  return { ids, text, finishReason, logprobs: scores, whole, evaluated: Math.max(0, steps - 1), firstAt };
}

/**
 * The log-probability of every id but the first, given those before it.
 * @param {Binding} engine
 * @param {{session: number, ids: number[]}} params
 * @param {CallContext} call
 */
export async function score(engine, { session, ids }, call) {
  checkPrompt(engine, session, ids);
  const scores = new Float32Array(ids.length - 1);
  engine.sessionTruncate(session, 0);
  for (let at = 0; at < scores.length; at += SCORE_CHUNK) {
    await call.pause();
    if (call.cancelled()) throw new CllaError('ABORTED', 'stopped on request');
    scores.set(engine.sessionScore(session, ids.slice(at, at + SCORE_CHUNK + 1)), at);
    call.emit({ prefill: { done: Math.min(at + SCORE_CHUNK, scores.length), total: scores.length } });
  }
  return scores;
}
