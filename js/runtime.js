// runtime.js: a loaded model as chats and completions see it: sessions to borrow, tokens, and one reply at a time from
// the worker.

import { CllaError } from './errors.js';
import { COMPUTE } from './protocol.js';
import { piecesOf } from './source.js';
import { createRenderer, PLAIN_TEMPLATE } from './template.js';

/**
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {import('./types.d.ts').Generated} Generated
 * @typedef {import('./types.d.ts').GenerateRequest} GenerateRequest
 * @typedef {import('./types.d.ts').SessionFacts} SessionFacts
 * @typedef {import('./types.d.ts').Loaded} Loaded
 * @typedef {ReturnType<typeof import('./rpc.js').connect>} Worker
 */

const TOKENS_MAX = 2 ** 31 - 1;

/** @param {number} count @param {number} ms */
export const perSecond = (count, ms) => (count > 0 && ms > 0 ? (count * 1000) / ms : 0);

export const closedError = () => new CllaError('CLOSED', 'the model was closed');

/**
 * @param {import('./types.d.ts').Platform} platform
 * @param {Worker} worker
 * @param {Loaded} loaded
 * @returns {Promise<Runtime>}
 */
export async function createRuntime(platform, worker, { facts: { info }, wanted, session, loadMs }) {
  const renderer = createRenderer(platform.startTemplateWorker);
  let closed = false;
  /** A session that nobody uses; the first one is made while loading. */
  let spare = session;

  return {
    call: worker.call,
    renderer,
    wanted,
    modelName: info.name ?? info.architecture,
    bos: info.tokenizer.bos,
    randomSeed: () => crypto.getRandomValues(new Uint32Array(1))[0],
    cacheFacts: await cacheFacts(worker, wanted, session),
    tokenize: (texts) => worker.call(COMPUTE.TOKENIZE, { texts }),
    cacheFactsOf: (kv, own) => cacheFacts(worker, { kv }, own),
    forkSession: async ({ session: from, restored }) => {
      const fork = await worker.call(COMPUTE.SESSION_FORK, { session: from });
      return { ...fork, restored };
    },
    piecesOfFile: (file) => piecesOf(typeof file === 'string' || file instanceof URL ? readFile(platform, file) : file).pieces,
    generate: (request) => generate(worker, request, loadMs),

    template: (source) => ({
      source: source ?? info.chat_template ?? PLAIN_TEMPLATE,
      bos: info.tokenizer.bos_text ?? '',
      eos: info.tokenizer.eos_text ?? '',
    }),

    checkOpen() {
      if (closed) throw closedError();
    },

    async takeSession() {
      const own = spare;
      spare = undefined;
      return own ?? worker.call(COMPUTE.SESSION_CREATE, wanted);
    },

    async returnSession(own) {
      if (closed) return;
      if (spare || own.restored) await worker.call(COMPUTE.SESSION_FREE, { session: own.session });
      else spare = own;
    },

    async dropSpare() {
      const own = spare;
      spare = undefined;
      if (own) await worker.call(COMPUTE.SESSION_FREE, { session: own.session });
    },

    async close() {
      if (closed) return;
      closed = true;
      const error = closedError();
      await Promise.all([renderer.close(error), worker.close(error)]);
    },
  };
}

/** @param {import('./types.d.ts').Platform} platform @param {string | URL} file */
function readFile({ files }, file) {
  if (!files) throw new CllaError('BAD_ARGUMENT', 'restore: a page has no files with paths: want a Blob, bytes or a stream');
  return files.stream(String(file).startsWith('file:') ? files.fromUrl(String(file)) : String(file));
}

/**
 * @param {Worker} worker
 * @param {GenerateRequest} request
 * @param {number} loadMs
 * @returns {Promise<import('./types.d.ts').ReplyResult>}
 */
async function generate(worker, { prompt, session, options, signal, show }, loadMs) {
  const started = performance.now();
  const ids = await prompt();
  const own = await session();
  const before = performance.now() - started;
  const params = {
    session: own.session,
    ids,
    sampling: options.sampling,
    maxTokens: options.maxTokens ?? TOKENS_MAX,
    stop: options.stop ?? [],
    ignoreEos: options.ignoreEos ?? false,
    logprobs: options.logprobs ?? 0,
  };
  /** @param {{text?: string, token?: any, prefill?: {done: number, total: number}}} event */
  const onEvent = ({ text, token, prefill }) => {
    if (token) options.onToken?.(token);
    if (text !== undefined) show(text);
    if (prefill) options.onPrefill?.(prefill);
  };
  /** @type {Generated} */
  const made = await worker.call(COMPUTE.GENERATE, params, { signal, onEvent });
  return {
    ids: made.ids,
    text: made.text,
    finishReason: made.finishReason,
    promptIds: ids,
    ...(params.logprobs > 0 ? { logprobs: made.logprobs } : {}),
    usage: { contextUsed: made.contextUsed, cachedTokens: made.cachedTokens, reusable: made.whole },
    timings: timings(made, before, loadMs),
  };
}

/** @param {Generated} made @param {number} before milliseconds until the worker began @param {number} loadMs */
function timings({ promptTokens, cachedTokens, promptMs, evaluated, decodeMs, firstMs }, before, loadMs) {
  const promptN = promptTokens - cachedTokens;
  return {
    loadMs,
    promptN,
    promptMs,
    promptPerSecond: perSecond(promptN, promptMs),
    decodeN: evaluated,
    decodeMs,
    decodePerSecond: perSecond(evaluated, decodeMs),
    ttftMs: before + firstMs,
  };
}

/**
 * What a session's cache takes, and what a plain one would.
 * @param {Worker} worker
 * @param {{kv: string}} wanted
 * @param {SessionFacts | undefined} session
 */
async function cacheFacts(worker, { kv }, session) {
  if (!session) return { contextSize: 0, kvBytes: 0, kvBytesPerToken: 0, plainKvBytesPerToken: 0 };
  const { context } = session;
  const own = await worker.call(COMPUTE.SESSION_BYTES, { context, kv });
  return { contextSize: context, kvBytes: own.cache, kvBytesPerToken: own.perToken, plainKvBytesPerToken: own.plainPerToken };
}
