// model.js: the object that load() gives.

import { CllaError, abortError } from './errors.js';
import { COMPUTE, TOKENIZE } from './protocol.js';
import { COMPLETE, EMBED, LOAD, SCORE, TEXT, checkIds, checkOptions, checkText } from './options.js';
import { startReply } from './reply.js';
import { createChat, restoreChat } from './chat.js';
import { createOpenai } from './openai.js';

/**
 * @typedef {import('./types.d.ts').Model} Model
 * @typedef {import('./types.d.ts').ModelInfo} ModelInfo
 * @typedef {import('./types.d.ts').CompleteOptions} CompleteOptions
 * @typedef {import('./types.d.ts').EmbedOptions} EmbedOptions
 * @typedef {import('./types.d.ts').Loaded} Loaded
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 */

/** By the number that files have: `pooling_type`. What is not among them goes by its number. */
const POOLING = [undefined, 'mean', 'cls', 'last', 'rank'];

/** @param {number} [type] */
const poolingOf = (type = 0) => (type < POOLING.length ? POOLING[type] : `type ${type}`);

/**
 * @param {Loaded} loaded
 * @returns {ModelInfo}
 */
function describe({ facts, build, session }) {
  const { info } = facts;
  return {
    name: info.name ?? info.architecture,
    architecture: info.architecture,
    parameters: info.parameters,
    bytes: facts.bytes,
    fileBytes: info.file_bytes,
    context: session?.context ?? 0,
    trainedContext: facts.context,
    vocabulary: facts.vocabulary,
    layers: info.layers,
    width: info.width,
    feedForward: info.ff_width,
    heads: info.heads,
    kvHeads: info.kv_heads,
    keyDim: info.key_dim,
    valueDim: info.value_dim,
    latent: info.latent && { rank: info.latent.rank, ropeDim: info.latent.rope_dim, owner: info.latent.owner },
    window: info.window,
    types: info.types,
    tokenizer: { kind: info.tokenizer.kind, pre: info.tokenizer.pre, addsBos: info.tokenizer.wants_bos },
    pooling: poolingOf(info.pooling_type),
    license: info.license,
    chatTemplate: info.chat_template,
    variant: build.variant,
    threads: build.threads,
    reasons: [...build.reasons, ...reasonsOf(info.chat_template, session?.context ?? 0, facts.context)],
  };
}

/** What a caller might not expect. @param {string | null} template @param {number} context @param {number} trained */
const reasonsOf = (template, context, trained) => [
  ...(template ? [] : ['no chat template: text is continued']),
  ...(context > trained && trained > 0 ? [`trained for ${trained} tokens of context: it may lose the thread beyond`] : []),
];

/**
 * @param {Runtime} runtime
 * @param {string | ArrayLike<number>} prompt
 * @param {CompleteOptions | undefined} options
 */
function complete(runtime, prompt, options) {
  const { bos, special = true, ...checked } = checkOptions('complete', options, COMPLETE);
  const ids = typeof prompt === 'string' ? undefined : checkIds('complete: prompt', prompt, 'a text or an array of token ids');
  const front = bos === undefined ? TOKENIZE.BOS_IF_WANTED : bos ? TOKENIZE.BOS : 0;
  const flags = front | (special ? TOKENIZE.SPECIAL : 0);
  const sampling = { seed: runtime.randomSeed(), ...checked.sampling };
  return startReply(async (signal, show) => {
    /** @type {SessionFacts | undefined} */
    let own;
    try {
      return await runtime.generate({
        prompt: async () => ids ?? (await runtime.tokenize([{ text: String(prompt), flags }]))[0],
        session: async () => (own = await runtime.takeSession()),
        options: { ...checked, sampling },
        signal,
        show,
      });
    } finally {
      if (own) await runtime.returnSession(own).catch(() => {});
    }
  }, checked.signal);
}

/**
 * @param {Runtime} runtime
 * @param {ArrayLike<number>} ids
 * @param {Pick<CompleteOptions, 'signal' | 'onPrefill'> | undefined} options
 */
async function score(runtime, ids, options) {
  const list = checkIds('score: ids', ids);
  const { signal, onPrefill } = checkOptions('score', options, SCORE);
  if (list.length < 2) throw new CllaError('BAD_ARGUMENT', 'score: want at least two ids');
  if (signal?.aborted) throw abortError(signal);
  // As long as a chat's: long and short contexts rotate differently in some models (longrope).
  const context = Math.max(list.length, runtime.cacheFacts.contextSize);
  const wide = { context, kv: runtime.wanted.kv, logitsMax: 32 };
  const { session } = await runtime.call(COMPUTE.SESSION_CREATE, wide);
  try {
    const onEvent = (/** @type {any} */ { prefill }) => onPrefill?.(prefill);
    return await runtime.call(COMPUTE.SCORE, { session, ids: list }, { signal, onEvent });
  } finally {
    await runtime.call(COMPUTE.SESSION_FREE, { session }).catch(() => {}); // closed meanwhile: it is gone
  }
}

/**
 * @param {Runtime} runtime
 * @param {ModelInfo} info
 * @param {readonly string[]} texts
 * @param {EmbedOptions | undefined} options
 * @returns {Promise<Float32Array[]>}
 */
async function embed(runtime, info, texts, options) {
  const { signal, onPrefill, pooling = info.pooling ?? 'mean', normalize = true } = checkOptions('embed', options, EMBED);
  if (pooling !== 'mean' && pooling !== 'last')
    throw new CllaError(
      'UNSUPPORTED_ARCHITECTURE',
      `embed: ${info.name} was trained for "${pooling}" pooling, which is not supported; pooling: "mean" and "last" are`,
    );
  const empty = texts.findIndex((text, i) => checkText(`embed: texts[${i}]`, text) === '');
  if (empty >= 0) throw new CllaError('BAD_ARGUMENT', `embed: texts[${empty}] is empty`);
  if (signal?.aborted) throw abortError(signal);
  if (texts.length === 0) return [];
  const flags = TOKENIZE.BOS_IF_WANTED | TOKENIZE.EOS_IF_WANTED;
  const ids = await runtime.tokenize(texts.map((text) => ({ text, flags })));
  const own = await runtime.takeSession();
  try {
    const onEvent = (/** @type {any} */ { prefill }) => onPrefill?.(prefill);
    const params = { session: own.session, texts: ids, pooling, normalize };
    return await runtime.call(COMPUTE.EMBED, params, { signal, onEvent });
  } finally {
    await runtime.returnSession(own).catch(() => {}); // closed meanwhile: it is gone
  }
}

/**
 * @param {import('./types.d.ts').SessionNumbers} n
 * @returns {import('./types.d.ts').SessionSize}
 */
const sessionSize = (n) => ({
  kv: n.kv,
  cacheBytes: n.cache,
  scratchBytes: n.scratch,
  bytesPerToken: n.perToken,
  components: { codes: n.codes, scales: n.scales, ropeKeys: n.ropeKeys, residual: n.sinks },
  plainBytesPerToken: n.plainPerToken,
  storingLayers: n.rows,
});

/** What stands behind a model. @type {WeakMap<Model, Runtime>} */
export const runtimeOf = new WeakMap();

/**
 * @param {Runtime} runtime
 * @param {Loaded} loaded
 * @returns {Model}
 */
export function createModel(runtime, loaded) {
  const info = describe(loaded);
  /** @type {Model} */
  const model = {
    info,
    openai: createOpenai(runtime, info.name),

    chat(options) {
      runtime.checkOpen();
      return createChat(runtime, options);
    },

    async restore(file, options) {
      runtime.checkOpen();
      return restoreChat(runtime, file, options);
    },

    complete(prompt, options) {
      runtime.checkOpen();
      return complete(runtime, prompt, options);
    },

    async score(ids, options) {
      runtime.checkOpen();
      return score(runtime, ids, options);
    },

    embed: /** @type {Model['embed']} */ (
      async (/** @type {string | string[]} */ texts, /** @type {EmbedOptions | undefined} */ options) => {
        runtime.checkOpen();
        if (Array.isArray(texts)) return embed(runtime, info, texts, options);
        return (await embed(runtime, info, [checkText('embed: text', texts)], options))[0];
      }
    ),

    async tokenize(text, options) {
      runtime.checkOpen();
      const { bos, special } = checkOptions('tokenize', options, TEXT);
      const flags = (bos ? TOKENIZE.BOS : 0) | (special ? TOKENIZE.SPECIAL : 0);
      return (await runtime.tokenize([{ text: checkText('tokenize: text', text), flags }]))[0];
    },

    async detokenize(ids, options) {
      runtime.checkOpen();
      const { special = false } = checkOptions('detokenize', options, { special: TEXT.special });
      return runtime.call(COMPUTE.DETOKENIZE, { ids: checkIds('detokenize: ids', ids), special });
    },

    async sessionBytes(options) {
      runtime.checkOpen();
      const { context = 0, kv = '' } = checkOptions('sessionBytes', options, { context: LOAD.context, kv: LOAD.kv });
      return sessionSize(await runtime.call(COMPUTE.SESSION_BYTES, { context, kv }));
    },

    async memory() {
      runtime.checkOpen();
      return runtime.call(COMPUTE.MEMORY);
    },

    close: runtime.close,
  };
  runtimeOf.set(model, runtime);
  return model;
}
