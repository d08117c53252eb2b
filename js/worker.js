// worker.js: the thread that computes. It holds one engine with one model and answers the calls of protocol.js; it also
// fetches, hashes and stores models, so that the caller's thread is never kept busy by that.

import { CllaError, abortError } from './errors.js';
import { COMPUTE, STORE } from './protocol.js';
import { serve } from './rpc.js';
import { bind } from './binding.js';
import { chooseVariant, instantiate } from './wasm.js';
import { generate, score } from './generate.js';
import { embed } from './embed.js';
import { obtain, useLock } from './store/obtain.js';
import { keepChat, readChat } from './store/kept.js';
import { blobOrigin } from './store/local.js';
import { readChunks } from './store/reader.js';

/**
 * @typedef {import('./binding.js').Binding} Binding
 * @typedef {import('./types.d.ts').CallContext} CallContext
 * @typedef {import('./types.d.ts').Endpoint} Endpoint
 * @typedef {import('./store/types.d.ts').Store} Store
 * @typedef {import('./store/types.d.ts').StoreRequest} StoreRequest
 */

const MEMORY_LIMIT = 2 ** 32; // of WebAssembly with 32-bit addresses
const RESTORE_BYTES = 1 << 20; // of a file between two looks at the messages

/** @type {Binding} */
let engine;
let headerOnly = false;

/** @param {number} bytes */
const inMegabytes = (bytes) => `${Math.ceil(bytes / 1e6).toLocaleString('en-US')} MB (${bytes} bytes)`;

/**
 * Refuse what cannot fit before anything is allocated.
 * @param {{context: number, kv: string, logitsMax?: number}} params
 */
function checkSessionFits({ context, kv, logitsMax }) {
  const { cache, scratch } = engine.sessionBytes(context, kv, logitsMax);
  const { usedBytes } = engine.memory();
  if (cache + scratch + usedBytes > MEMORY_LIMIT)
    throw new CllaError(
      'OUT_OF_MEMORY',
      `this context takes ${inMegabytes(cache + scratch)}; WebAssembly has ${inMegabytes(MEMORY_LIMIT - usedBytes)} left`,
    );
}

/** What each session was made with, for its forks. @type {Map<number, {context: number, kv: string}>} */
const sessions = new Map();

/** @param {number} session @param {{context: number, kv: string}} made */
function keepSession(session, made) {
  sessions.set(session, made);
  return { session, context: engine.sessionContext(session) };
}

/**
 * What the platform brings along (workers/).
 * @typedef {{readParts: typeof import('./source_node.js').readParts, openStore: () => Store, openChats: () => Store}} Platform
 */

/** @param {Platform} platform */
const storeHandlers = ({ openStore }) => ({
  /** @param {{requests: StoreRequest[]}} params @param {CallContext} call */
  async [STORE.PULL]({ requests }, { emit, signal }) {
    const store = openStore();
    let before = 0;
    const many = requests.length > 1;
    for (const request of requests) {
      const report = (/** @type {number} */ loaded, /** @type {number | undefined} */ total) =>
        emit({ loaded: before + loaded, total: many ? undefined : total });
      const { size = 0 } = await obtain(store, request, undefined, report, signal);
      before += size;
    }
  },

  /** @param {{blob: Blob, request: StoreRequest}} params @param {CallContext} call */
  async [STORE.ADD]({ blob, request }, { emit, signal }) {
    const report = (/** @type {number} */ loaded, /** @type {number | undefined} */ total) => emit({ loaded, total });
    await obtain(openStore(), request, blobOrigin(blob, request.name), report, signal);
  },

  /** @param {{ids: string[]}} params @param {CallContext} call */
  async [STORE.READ]({ ids }, call) {
    const store = openStore();
    for (const [part, id] of ids.entries()) {
      await store.locks.share(useLock(id)); // until this worker ends
      const record = await store.shelf.get(id);
      if (!record?.complete) throw new CllaError('NOT_STORED', `${record?.name ?? id}: is not stored, or not all of it`);
      if (part > 0) engine.loadNextPart();
      for await (const chunk of readChunks(store, record, call.signal, headerOnly ? 0 : undefined)) {
        const progress = await feedChunk(chunk, call);
        if (headerOnly && progress.headerComplete) return progress;
      }
    }
    return engine.loadProgress();
  },
});

/** @param {Platform} platform */
const chatHandlers = ({ openChats }) => ({
  /**
   * @param {{name: string, session: number, note: Uint8Array, chat: {model: string, messages: number}}} params
   * @param {CallContext} call
   */
  async [STORE.SAVE_CHAT]({ name, session, note, chat }, call) {
    const store = openChats();
    const { saver, size } = engine.saverCreate(session, note);
    try {
      return await keepChat(store, { name, size, chat }, savedPieces(saver, call), call.signal);
    } finally {
      engine.saverFree(saver);
      store.shelf.close();
    }
  },

  /** @param {{name: string, context: number, kv: string}} params @param {CallContext} call */
  async [STORE.OPEN_CHAT]({ name, context, kv }, call) {
    const store = openChats();
    const open = async (/** @type {AsyncIterable<Uint8Array>} */ chunks) => {
      const restorer = engine.restorerCreate(context, kv);
      try {
        await feedRestorer(restorer, chunks, call);
        return finishRestorer(restorer);
      } finally {
        engine.restorerFree(restorer);
      }
    };
    return readChat(store, name, call.signal, open).finally(() => store.shelf.close());
  },
});

/** A session as the engine saves it. @param {number} saver @param {CallContext} call */
async function* savedPieces(saver, call) {
  for (;;) {
    const piece = engine.saverRead(saver);
    if (piece.length === 0) return;
    yield piece;
    await call.pause();
  }
}

/** @param {number} restorer @param {AsyncIterable<Uint8Array>} chunks @param {CallContext} call */
async function feedRestorer(restorer, chunks, call) {
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += RESTORE_BYTES) {
      engine.restorerFeed(restorer, chunk.subarray(at, at + RESTORE_BYTES));
      await call.pause();
      if (call.cancelled()) throw abortError(undefined);
    }
}

/** @param {number} restorer all bytes are fed */
function finishRestorer(restorer) {
  const { session, kv, note } = engine.restorerFinish(restorer);
  const made = { context: engine.sessionContext(session), kv };
  return { ...keepSession(session, made), length: engine.sessionLength(session), kv, note };
}

/** @param {Uint8Array} bytes */
function feed(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const room = engine.loadBuffer();
    const piece = bytes.subarray(at, at + room.length);
    room.set(piece);
    engine.loadFeed(piece.length);
    at += piece.length;
  }
}

/** @param {Uint8Array} chunk @param {CallContext} call */
async function feedChunk(chunk, call) {
  feed(chunk);
  const progress = engine.loadProgress();
  call.emit(progress);
  await call.pause();
  if (call.cancelled()) throw abortError(undefined);
  return progress;
}

/** @param {Platform} platform @returns {Record<string, (params: any, call: CallContext) => any>} */
const computeHandlers = ({ readParts }) => ({
  /**
   * @param {{variant?: 'simd' | 'relaxed', threads: number, vocabularyOnly: boolean,
   *   wasmUrls?: Record<string, string>}} params
   */
  async [COMPUTE.OPEN]({ variant, threads, vocabularyOnly, wasmUrls }) {
    const choice = chooseVariant({ variant, threads });
    engine = bind(await instantiate(choice.variant, choice.threads, wasmUrls));
    engine.loadBegin(choice.threads, vocabularyOnly);
    headerOnly = vocabularyOnly;
    return choice;
  },

  /** @param {{path: string}} params @param {CallContext} call */
  async [COMPUTE.READ_FILE]({ path }, call) {
    let current = 0;
    await readParts(path, engine.loadBuffer, async (size, part) => {
      if (part !== current) engine.loadNextPart();
      current = part;
      engine.loadFeed(size);
      const progress = engine.loadProgress();
      call.emit(progress);
      await call.pause();
      if (call.cancelled()) throw abortError(undefined);
      return !(headerOnly && progress.headerComplete);
    });
    return engine.loadProgress();
  },

  /** @param {{bytes: Uint8Array}} params */
  [COMPUTE.FEED]({ bytes }) {
    feed(bytes);
    return engine.loadProgress();
  },

  [COMPUTE.FINISH]() {
    engine.loadFinish();
    return engine.modelInfo();
  },

  /** @param {{texts: {text: string, flags: number}[]}} params */
  [COMPUTE.TOKENIZE]: ({ texts }) => texts.map(({ text, flags }) => engine.tokenize(text, flags)),

  /** @param {{ids: number[], special: boolean}} params */
  [COMPUTE.DETOKENIZE]: ({ ids, special }) => engine.detokenize(ids, special),

  /** @param {{context: number, kv: string}} params */
  [COMPUTE.SESSION_BYTES]: ({ context, kv }) => engine.sessionBytes(context, kv),

  /** @param {{context: number, kv: string, logitsMax?: number}} params */
  [COMPUTE.SESSION_CREATE](params) {
    checkSessionFits(params);
    return keepSession(engine.sessionCreate(params.context, params.kv, params.logitsMax), params);
  },

  /** @param {{session: number}} params */
  [COMPUTE.SESSION_FORK]({ session }) {
    const made = /** @type {{context: number, kv: string}} */ (sessions.get(session));
    checkSessionFits(made);
    return keepSession(engine.sessionFork(session), made);
  },

  /** @param {{session: number, length: number}} params */
  [COMPUTE.SESSION_TRUNCATE]: ({ session, length }) => engine.sessionTruncate(session, length),

  /** @param {{session: number}} params */
  [COMPUTE.SESSION_FREE]({ session }) {
    sessions.delete(session);
    engine.sessionFree(session);
  },

  /** @param {{session: number, note: Uint8Array}} params */
  [COMPUTE.SAVE_BEGIN]: ({ session, note }) => engine.saverCreate(session, note),
  /** @param {{saver: number}} params */
  [COMPUTE.SAVE_READ]: ({ saver }) => engine.saverRead(saver),
  /** @param {{saver: number}} params */
  [COMPUTE.SAVE_END]: ({ saver }) => engine.saverFree(saver),

  /** @param {{context: number, kv: string}} params */
  [COMPUTE.RESTORE_BEGIN]: ({ context, kv }) => ({ restorer: engine.restorerCreate(context, kv) }),
  /** @param {{restorer: number, bytes: Uint8Array}} params */
  [COMPUTE.RESTORE_FEED]: ({ restorer, bytes }) => engine.restorerFeed(restorer, bytes),

  /** @param {{restorer: number}} params */
  [COMPUTE.RESTORE_FINISH]: ({ restorer }) => finishRestorer(restorer),
  /** @param {{restorer: number}} params */
  [COMPUTE.RESTORE_END]: ({ restorer }) => engine.restorerFree(restorer),

  [COMPUTE.GENERATE]: (params, call) => generate(engine, params, call),
  [COMPUTE.SCORE]: (params, call) => score(engine, params, call),
  [COMPUTE.EMBED]: (params, call) => embed(engine, params, call),
  [COMPUTE.MEMORY]: () => engine.memory(),
});

/**
 * @param {Endpoint} endpoint
 * @param {Platform} platform
 */
export const serveCompute = (endpoint, platform) =>
  serve(endpoint, { ...storeHandlers(platform), ...chatHandlers(platform), ...computeHandlers(platform) });
