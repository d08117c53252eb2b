// engine.js: load a model into a worker, and the model as an object. Everything heavy happens over there.

import { CllaError, abortError } from './errors.js';
import { COMPUTE, TOKENIZE } from './protocol.js';
import { COMPLETE, LOAD, SCORE, TEXT, checkIds, checkOptions, checkText } from './options.js';
import { connect } from './rpc.js';
import { hardwareThreads, startWorker } from './endpoint_node.js';
import { fileBytes, filePath, piecesOf } from './source.js';
import { createRenderer, PLAIN_TEMPLATE } from './template.js';
import { startReply } from './reply.js';
import { createChat } from './chat.js';

/**
 * @typedef {import('./types.d.ts').Model} Model
 * @typedef {import('./types.d.ts').ModelSource} ModelSource
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./types.d.ts').LoadProgress} LoadProgress
 * @typedef {import('./types.d.ts').Generated} Generated
 * @typedef {import('./types.d.ts').GenerateRequest} GenerateRequest
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 * @typedef {ReturnType<typeof connect>} Worker
 */

const closedError = () => new CllaError('CLOSED', 'the model was closed');
const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];
/** @param {number} count @param {number} ms */
const perSecond = (count, ms) => (count > 0 && ms > 0 ? (count * 1000) / ms : 0);

/**
 * Load a model. Rejects with a CllaError; nothing is left behind then.
 * @param {ModelSource} source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(source, options) {
  const checked = checkOptions('load', options, LOAD);
  const { signal } = checked;
  if (signal?.aborted) throw abortError(signal);
  const path = filePath(source);
  const stream = path === undefined ? piecesOf(source) : undefined;
  const started = performance.now();
  const worker = connect(startWorker());
  const aborted = new AbortController(); // of our own, so that nothing stays attached to the caller's
  const stop = () => {
    aborted.abort();
    void worker.close(abortError(signal));
  };
  signal?.addEventListener('abort', stop);
  try {
    const threads = checked.threads ?? hardwareThreads();
    const vocabularyOnly = checked.vocabularyOnly ?? false;
    const build = await worker.call(COMPUTE.OPEN, { variant: checked.variant, threads, vocabularyOnly });
    const report = progressReporter(checked.onProgress);
    const size = path !== undefined ? await feedFile(worker, path, report) : stream?.total;
    if (stream) await feedPieces(worker, stream, report, vocabularyOnly, aborted.signal);
    const facts = await worker.call(COMPUTE.FINISH);
    facts.info.file_bytes = size ?? facts.info.file_bytes; // header and all
    const wanted = { context: checked.context ?? 0, kv: checked.kv ?? '' };
    const session = vocabularyOnly ? undefined : await worker.call(COMPUTE.SESSION_CREATE, wanted);
    return await createModel(worker, { build, facts, wanted, session, loadMs: performance.now() - started });
  } catch (error) {
    await worker.close(closedError());
    throw signal?.aborted ? abortError(signal) : error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * @param {((progress: LoadProgress) => void) | undefined} onProgress
 * @returns {(loaded: number, total: number | undefined) => void}
 */
function progressReporter(onProgress) {
  const start = performance.now();
  return (loaded, total) => {
    const bytesPerSecond = perSecond(loaded, performance.now() - start);
    const secondsLeft = total !== undefined && bytesPerSecond > 0 ? (total - loaded) / bytesPerSecond : undefined;
    onProgress?.({ phase: 'load', loaded, total, bytesPerSecond, secondsLeft });
  };
}

/** @param {Worker} worker @param {string} path @param {ReturnType<typeof progressReporter>} report */
async function feedFile(worker, path, report) {
  const total = await fileBytes(path);
  await worker.call(COMPUTE.READ_FILE, { path }, { onEvent: ({ fed }) => report(fed, total) });
  return total;
}

/**
 * @param {Worker} worker
 * @param {ReturnType<typeof piecesOf>} stream
 * @param {ReturnType<typeof progressReporter>} report
 * @param {boolean} headerOnly
 * @param {AbortSignal} signal a stream may keep us waiting for ever
 */
async function feedPieces(worker, { total, pieces }, report, headerOnly, signal) {
  const iterator = pieces[Symbol.asyncIterator]();
  /** @type {Promise<never>} */
  const aborted = new Promise((_, reject) => signal.addEventListener('abort', () => reject(abortError(signal))));
  aborted.catch(() => {});
  try {
    for (;;) {
      const { done, value: bytes } = await Promise.race([iterator.next(), aborted]);
      if (done) return;
      const transfer = [/** @type {ArrayBuffer} */ (bytes.buffer)];
      const progress = await worker.call(COMPUTE.FEED, { bytes }, { transfer });
      report(progress.fed, total ?? (progress.needed || undefined));
      if (headerOnly && progress.headerComplete) return;
    }
  } finally {
    void iterator.return?.(undefined); // not awaited: it may never answer
  }
}

/**
 * @param {Worker} worker
 * @param {{build: any, facts: any, wanted: {context: number, kv: string}, session?: SessionFacts, loadMs: number}} made
 * @returns {Promise<Model>}
 */
async function createModel(worker, { build, facts, wanted, session, loadMs }) {
  const renderer = createRenderer();
  const { info } = facts;
  let closed = false;
  /** A session that nobody uses; the first one is made while loading. */
  let spare = session;

  function checkOpen() {
    if (closed) throw closedError();
  }

  /** @type {Runtime['tokenize']} */
  const tokenize = (texts) => worker.call(COMPUTE.TOKENIZE, { texts });

  async function takeSession() {
    const own = spare ?? (await worker.call(COMPUTE.SESSION_CREATE, wanted));
    spare = undefined;
    return own;
  }

  /** @param {SessionFacts} own */
  async function returnSession(own) {
    if (closed) return;
    if (spare) await worker.call(COMPUTE.SESSION_FREE, { session: own.session });
    else spare = own;
  }

  /** @param {GenerateRequest} request */
  async function generate({ prompt, session: take, options, signal, show }) {
    const started = performance.now();
    const ids = await prompt();
    const { session: own } = await take();
    const before = performance.now() - started;
    const params = {
      session: own,
      ids,
      sampling: options.sampling,
      maxTokens: options.maxTokens ?? 2 ** 31 - 1,
      stop: options.stop ?? [],
      ignoreEos: options.ignoreEos ?? false,
      logprobs: options.logprobs ?? 0,
    };
    /** @param {{text?: string, prefill?: {done: number, total: number}}} event */
    const onEvent = ({ text, prefill }) => {
      if (text !== undefined) show(text);
      if (prefill) options.onPrefill?.(prefill);
    };
    /** @type {Generated} */
    const made = await worker.call(COMPUTE.GENERATE, params, { signal, onEvent });
    const { text, finishReason, contextUsed, cachedTokens, promptTokens, promptMs, decodeMs } = made;
    const promptN = promptTokens - cachedTokens;
    return {
      ids: made.ids,
      text,
      finishReason,
      promptIds: ids,
      ...(params.logprobs > 0 ? { logprobs: made.logprobs } : {}),
      usage: { contextUsed, cachedTokens, reusable: made.whole },
      timings: {
        loadMs,
        promptN,
        promptMs,
        promptPerSecond: perSecond(promptN, promptMs),
        decodeN: made.evaluated,
        decodeMs,
        decodePerSecond: perSecond(made.evaluated, decodeMs),
        ttftMs: before + made.firstMs,
      },
    };
  }

  const sizes = session && (await cacheFacts(worker, wanted, session));
  /** @type {Runtime} */
  const runtime = {
    renderer,
    tokenize,
    bos: info.tokenizer.bos,
    randomSeed,
    checkOpen,
    takeSession,
    returnSession,
    forkSession: (own) => worker.call(COMPUTE.SESSION_FORK, { session: own.session }),
    generate,
    cacheFacts: sizes ?? { contextSize: 0, kvBytes: 0, kvBytesPerToken: 0, plainKvBytesPerToken: 0 },
    template: (source) => ({
      source: source ?? info.chat_template ?? PLAIN_TEMPLATE,
      bos: info.tokenizer.bos_text ?? '',
      eos: info.tokenizer.eos_text ?? '',
    }),
  };
  const reasons = info.chat_template ? build.reasons : [...build.reasons, 'no chat template: text is continued'];

  return {
    info: {
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
      window: info.window,
      types: info.types,
      tokenizer: { kind: info.tokenizer.kind, pre: info.tokenizer.pre, addsBos: info.tokenizer.wants_bos },
      license: info.license,
      chatTemplate: info.chat_template,
      variant: build.variant,
      threads: build.threads,
      reasons,
    },

    chat(options) {
      checkOpen();
      return createChat(runtime, options);
    },

    complete(prompt, options) {
      checkOpen();
      const { bos, special = true, ...checked } = checkOptions('complete', options, COMPLETE);
      const ids = typeof prompt === 'string' ? undefined : checkIds('complete: prompt', prompt);
      const front = bos === undefined ? TOKENIZE.BOS_IF_WANTED : bos ? TOKENIZE.BOS : 0;
      const flags = front | (special ? TOKENIZE.SPECIAL : 0);
      const sampling = { seed: randomSeed(), ...checked.sampling };
      return startReply(async (signal, show) => {
        /** @type {SessionFacts | undefined} */
        let own;
        try {
          return await generate({
            prompt: async () => ids ?? (await tokenize([{ text: String(prompt), flags }]))[0],
            session: async () => (own = await takeSession()),
            options: { ...checked, sampling },
            signal,
            show,
          });
        } finally {
          if (own) await returnSession(own).catch(() => {});
        }
      }, checked.signal);
    },

    async score(ids, options) {
      checkOpen();
      const list = checkIds('score: ids', ids);
      const { signal, onPrefill } = checkOptions('score', options, SCORE);
      if (list.length < 2) throw new CllaError('BAD_ARGUMENT', 'score: want at least two ids');
      // As long as a chat's: long and short contexts rotate differently in some models (longrope).
      const context = Math.max(list.length, session?.context ?? 0);
      const wide = { context, kv: wanted.kv, logitsMax: 32 };
      const { session: own } = await worker.call(COMPUTE.SESSION_CREATE, wide);
      try {
        const onEvent = (/** @type {any} */ { prefill }) => onPrefill?.(prefill);
        return await worker.call(COMPUTE.SCORE, { session: own, ids: list }, { signal, onEvent });
      } finally {
        if (!closed) await worker.call(COMPUTE.SESSION_FREE, { session: own });
      }
    },

    async tokenize(text, options) {
      checkOpen();
      const { bos, special } = checkOptions('tokenize', options, TEXT);
      const flags = (bos ? TOKENIZE.BOS : 0) | (special ? TOKENIZE.SPECIAL : 0);
      return (await tokenize([{ text: checkText('tokenize: text', text), flags }]))[0];
    },

    async detokenize(ids, options) {
      checkOpen();
      const { special = false } = checkOptions('detokenize', options, { special: TEXT.special });
      return worker.call(COMPUTE.DETOKENIZE, { ids: checkIds('detokenize: ids', ids), special });
    },

    async sessionBytes(options) {
      checkOpen();
      const { context = 0, kv = '' } = checkOptions('sessionBytes', options, { context: LOAD.context, kv: LOAD.kv });
      const { cache, scratch, perToken } = await worker.call(COMPUTE.SESSION_BYTES, { context, kv });
      return { cacheBytes: cache, scratchBytes: scratch, bytesPerToken: perToken };
    },

    async memory() {
      checkOpen();
      return worker.call(COMPUTE.MEMORY);
    },

    async close() {
      if (closed) return;
      closed = true;
      await Promise.all([renderer.close(), worker.close(closedError())]);
    },
  };
}

/**
 * What a session's cache takes, and what a plain one would.
 * @param {Worker} worker
 * @param {{kv: string}} wanted
 * @param {SessionFacts} session
 */
async function cacheFacts(worker, { kv }, { context }) {
  const own = await worker.call(COMPUTE.SESSION_BYTES, { context, kv });
  const plain = await worker.call(COMPUTE.SESSION_BYTES, { context, kv: 'f16' });
  return {
    contextSize: context,
    kvBytes: own.cache,
    kvBytesPerToken: own.perToken,
    plainKvBytesPerToken: plain.perToken,
  };
}
