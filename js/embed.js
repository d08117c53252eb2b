// embed.js: texts as vectors, in the worker: final hidden states of a text's tokens, pooled. Texts are evaluated one after the
// other, each from an empty cache and in chunks; between chunks messages are let in.

import { CllaError } from './errors.js';

/**
 * @typedef {import('./binding.js').Binding} Binding
 * @typedef {import('./types.d.ts').CallContext} CallContext
 * @typedef {import('./types.d.ts').EmbedParams} EmbedParams
 */

const CHUNK = 128; // tokens between two looks at the messages; src/clla.h's default chunk

/** Nothing is begun that cannot be ended. @param {number[][]} texts @param {number} context */
function checkTexts(texts, context) {
  for (const [i, ids] of texts.entries()) {
    if (ids.length === 0) throw new CllaError('BAD_ARGUMENT', `embed: texts[${i}] has no tokens`);
    if (ids.length > context)
      throw new CllaError('CONTEXT_FULL', `embed: texts[${i}] has ${ids.length} tokens, the context holds ${context}`);
  }
}

/** Made as long as 1. @param {Float64Array} vector */
function normalise(vector) {
  const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
  return length > 0 ? vector.map((x) => x / length) : vector;
}

/**
 * The mean of the hidden states of a text, or the last of them. A mean is summed up chunk by chunk, in double precision.
 * @param {EmbedParams['pooling']} pooling
 */
function pool(pooling) {
  let sum = new Float64Array();
  let count = 0;
  return {
    /** @param {Float32Array} states [tokens, width] @param {number} width */
    add(states, width) {
      if (sum.length === 0) sum = new Float64Array(width);
      if (pooling === 'last') sum.set(states.subarray(states.length - width));
      else for (let i = 0; i < states.length; i++) sum[i % width] += states[i];
      count = pooling === 'last' ? 1 : count + states.length / width;
    },
    result: () => sum.map((x) => x / count),
  };
}

/**
 * @param {Binding} engine
 * @param {EmbedParams} params
 * @param {CallContext} call
 * @returns {Promise<Float32Array[]>}
 */
export async function embed(engine, { session, texts, pooling, normalize }, call) {
  checkTexts(texts, engine.sessionContext(session));
  const total = texts.reduce((sum, ids) => sum + ids.length, 0);
  const vectors = [];
  let done = 0;
  for (const ids of texts) {
    const pooled = pool(pooling);
    engine.sessionTruncate(session, 0);
    for (let at = 0; at < ids.length; at += CHUNK) {
      await call.pause();
      if (call.cancelled()) throw new CllaError('ABORTED', 'stopped on request');
      const piece = ids.slice(at, at + CHUNK);
      const { states, width } = engine.sessionStates(session, piece);
      pooled.add(states, width);
      done += piece.length;
      call.emit({ prefill: { done, total } });
    }
    const vector = pooled.result();
    vectors.push(Float32Array.from(normalize ? normalise(vector) : vector));
  }
  return vectors;
}
