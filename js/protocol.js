// protocol.js: every message between the caller's thread and the workers, once. rpc.js says how they travel.

/**
 * Methods of the thread that computes (worker.js). "Cancellable" ones stop between two pieces of work.
 */
export const COMPUTE = /** @type {const} */ ({
  /** { variant, threads, vocabularyOnly, wasmUrls } -> { variant, threads, reasons }: make an engine that waits for bytes. */
  OPEN: 'open',
  /** { path } -> LoadProgress; cancellable; events LoadProgress: read a file, all parts of it, and feed it. */
  READ_FILE: 'readFile',
  /** { bytes } -> LoadProgress: feed a piece. */
  FEED: 'feed',
  /** {} -> { info, vocabulary, context, bytes }: all bytes are fed; what the model is. */
  FINISH: 'finish',
  /** { texts: [{ text, flags }] } -> number[][]: flags as TOKENIZE below. */
  TOKENIZE: 'tokenize',
  /** { ids, special } -> string */
  DETOKENIZE: 'detokenize',
  /** { context, kv } -> SessionSize: what a session would take. */
  SESSION_BYTES: 'sessionBytes',
  /** { context, kv, logitsMax } -> { session, context }: refused before allocating when it cannot fit. */
  SESSION_CREATE: 'sessionCreate',
  /** { session } -> { session, context }: another one with the same tokens. */
  SESSION_FORK: 'sessionFork',
  /** { session, length }: forget the tokens from there on. */
  SESSION_TRUNCATE: 'sessionTruncate',
  /** { session } */
  SESSION_FREE: 'sessionFree',
  /** { session, note } -> { saver, size }: begin to save it; it must not change meanwhile. note: bytes that go along. */
  SAVE_BEGIN: 'saveBegin',
  /** { saver } -> Uint8Array: the next bytes of the file; none at its end. */
  SAVE_READ: 'saveRead',
  /** { saver }: done, or given up. */
  SAVE_END: 'saveEnd',
  /** { context, kv } -> { restorer }: a session from a file; 0 and '' mean what the file has. */
  RESTORE_BEGIN: 'restoreBegin',
  /** { restorer, bytes }: the next bytes of the file. */
  RESTORE_FEED: 'restoreFeed',
  /** { restorer } -> { session, context, length, kv, note }: all bytes were fed. */
  RESTORE_FINISH: 'restoreFinish',
  /** { restorer }: done, or given up. */
  RESTORE_END: 'restoreEnd',
  /** { session, ids, sampling, maxTokens, stop, ignoreEos, logprobs } -> Generated; cancellable;
   *  events { prefill: { done, total } }, { token } where logprobs are asked for, and { text }. */
  GENERATE: 'generate',
  /** { session, ids } -> Float32Array[ids.length - 1], log-probability of each id after the ones before it;
   *  cancellable; events { prefill }. */
  SCORE: 'score',
  /** { session, texts: number[][], pooling, normalize } -> Float32Array[]: a vector for the ids of each text; cancellable;
   *  events { prefill }, over all texts. */
  EMBED: 'embed',
  /** {} -> { memoryBytes, usedBytes, peakBytes }: Wasm memory, allocated in it, the most that ever was. */
  MEMORY: 'memory',
});

/** Methods of the same thread that concern stored models and chats. */
export const STORE = /** @type {const} */ ({
  /** { requests: StoreRequest[] }; cancellable; events { loaded, total }: bring files into the store that are not there. */
  PULL: 'pull',
  /** { blob, request }; cancellable; events { loaded, total }: a file of one's own. */
  ADD: 'add',
  /** { ids } -> LoadProgress; cancellable; events LoadProgress: read stored files in order and feed them. */
  READ: 'readStored',
  /** { name, session, note, chat } -> FileRecord; cancellable: write a session into the store of chats; it must not change
   *  meanwhile. chat: what the store tells of it. */
  SAVE_CHAT: 'saveChat',
  /** { name, context, kv } -> as RESTORE_FINISH; cancellable: a session from there. */
  OPEN_CHAT: 'openChat',
});

/** Methods of the thread that hashes (hash_worker.js), in a page. */
export const HASH = /** @type {const} */ ({
  /** { state }: go on behind this state; without one, begin anew. */
  BEGIN: 'begin',
  /** { bytes } -> { bytes, state, sha256 }: the bytes travel there and back; the state behind them; the SHA-256 of them alone. */
  ADD: 'add',
  /** {} -> string: the SHA-256 of all. */
  END: 'end',
});

/** Methods of the thread that renders chat templates (template_worker.js). */
export const TEMPLATE = /** @type {const} */ ({
  /** { source, inputs: object[] } -> string[]: one rendering for each input. */
  RENDER: 'render',
});

/** Flags of TOKENIZE, as in src/clla.h. */
export const TOKENIZE = /** @type {const} */ ({ BOS: 1, SPECIAL: 2, BOS_IF_WANTED: 8, EOS_IF_WANTED: 16 });
