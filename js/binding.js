// binding.js: the exports of src/wasm_api.c as functions on JavaScript values. All calls are synchronous; a failure
// throws a CllaError with the engine's own sentence.

import { CllaError } from './errors.js';

/**
 * @typedef {import('./types.d.ts').WasmModule} WasmModule
 * @typedef {import('./types.d.ts').SamplerNumbers} SamplerNumbers
 * @typedef {ReturnType<typeof bind>} Binding
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true }); // a U+FEFF is text, too
const PIECE_BYTES = 1 << 18; // the first size of the byte buffer: pieces of a file

/**
 * The engine in an instance of the module, and the ways in and out of its memory.
 * @param {WasmModule} module
 */
function openEngine(module) {
  const { wasmMemory: memory } = module;
  const engine = module._wasm_engine_create() >>> 0;
  if (engine === 0) throw new CllaError('OUT_OF_MEMORY', 'no memory for the engine');
  const numbersAt = module._wasm_numbers(engine) >>> 0;

  /** @param {number} i */
  const number = (i) => new Float64Array(memory.buffer, numbersAt, 16)[i];

  /** @param {number} count of the first numbers */
  const numbers = (count) => Array.from(new Float64Array(memory.buffer, numbersAt, count));

  /** @param {number} address of a zero-terminated text */
  function textAt(address) {
    const heap = new Uint8Array(memory.buffer, address >>> 0);
    return decoder.decode(heap.slice(0, heap.indexOf(0)));
  }

  /** @param {number} status */
  function check(status) {
    if (status === 0) return;
    const code = /** @type {import('./types.d.ts').CllaErrorCode} */ (textAt(module._wasm_status_name(status)));
    throw new CllaError(code, textAt(module._wasm_error(engine)) || textAt(module._wasm_status_sentence(status)));
  }

  /** @param {number} address @param {string} what */
  function checkRoom(address, what) {
    if (address === 0) throw new CllaError('OUT_OF_MEMORY', `no memory for ${what}`);
    return address >>> 0;
  }

  /** @param {number} size of the byte buffer, at least */
  function bytes(size) {
    const address = checkRoom(module._wasm_bytes(engine, size || 1), `${size} bytes of text or file`);
    return new Uint8Array(memory.buffer, address, size);
  }

  /** @param {number} count */
  function ids(count) {
    const address = checkRoom(module._wasm_ids(engine, count || 1), `${count} tokens`);
    return new Int32Array(memory.buffer, address, count);
  }

  /** @param {number} size */
  const readText = (size) => (size === 0 ? '' : decoder.decode(bytes(size).slice()));

  /** @param {string} text zero-terminated in the byte buffer */
  function writeName(text) {
    const encoded = encoder.encode(`${text}\0`);
    bytes(encoded.length).set(encoded);
  }

  /** @param {ArrayLike<number>} list */
  const writeIds = (list) => ids(list.length).set(list);

  /** @param {ArrayLike<number>} values of the block of numbers */
  const writeNumbers = (values) => new Float64Array(memory.buffer, numbersAt, 16).set(values);

  return { module, memory, engine, check, number, numbers, bytes, ids, readText, writeName, writeIds, writeNumbers };
}

/** @typedef {ReturnType<typeof openEngine>} Engine */

/** From the bytes of a file to a model. @param {Engine} engine */
function loading({ module, engine, check, number, bytes, readText }) {
  return {
    /** @param {number} threads @param {boolean} vocabularyOnly */
    loadBegin(threads, vocabularyOnly) {
      check(module._wasm_load_begin(engine, threads, vocabularyOnly ? 1 : 0));
    },

    /** Where the next piece of the file goes: fill it, then say how much by loadFeed(). */
    loadBuffer: () => bytes(PIECE_BYTES),
    /** @param {number} size */
    loadFeed: (size) => check(module._wasm_load_feed(engine, size)),
    loadNextPart: () => check(module._wasm_load_next_part(engine)),

    loadProgress() {
      module._wasm_load_progress(engine);
      return { fed: number(0), needed: number(1), headerComplete: number(2) !== 0, parts: number(3) };
    },

    loadFinish: () => check(module._wasm_load_finish(engine)),

    modelInfo() {
      check(module._wasm_model_info(engine));
      const [size, vocabulary, context, weights] = [number(0), number(1), number(2), number(3)];
      return { info: JSON.parse(readText(size)), vocabulary, context, bytes: weights };
    },
  };
}

/** Text to ids and back. @param {Engine} engine */
function texts({ module, engine, check, number, bytes, ids, readText, writeIds }) {
  return {
    /** @param {string} text @param {number} flags @returns {number[]} */
    tokenize(text, flags) {
      const encoded = encoder.encode(text);
      bytes(encoded.length).set(encoded);
      check(module._wasm_tokenize(engine, encoded.length, flags));
      const count = number(0);
      return Array.from(ids(count));
    },

    /** @param {ArrayLike<number>} list @param {boolean} special */
    detokenize(list, special) {
      writeIds(list);
      check(module._wasm_detokenize(engine, list.length, special ? 1 : 0));
      return readText(number(0));
    },
  };
}

/** Timelines of tokens. @param {Engine} engine */
function sessions({ module, memory, engine, check, number, numbers, bytes, readText, writeName, writeIds }) {
  return {
    /** @param {number} context @param {string} kv @param {number} [logitsMax] */
    sessionBytes(context, kv, logitsMax = 1) {
      writeName(kv);
      check(module._wasm_session_bytes(engine, context, logitsMax));
      const [cache, scratch, perToken, codes, scales, ropeKeys, sinks, plainPerToken, rows, size] = numbers(10);
      return { cache, scratch, perToken, codes, scales, ropeKeys, sinks, plainPerToken, rows, kv: readText(size) };
    },

    /** @param {number} context @param {string} kv @param {number} [logitsMax] */
    sessionCreate(context, kv, logitsMax = 1) {
      writeName(kv);
      check(module._wasm_session_create(engine, context, logitsMax));
      return number(0);
    },

    /** @param {number} session */
    sessionFork(session) {
      check(module._wasm_session_fork(engine, session));
      return number(0);
    },

    /** @param {number} session */
    sessionFree: (session) => module._wasm_session_free(session),
    /** @param {number} session */
    sessionContext: (session) => module._wasm_session_context(session) >>> 0,
    /** @param {number} session */
    sessionLength: (session) => module._wasm_session_length(session) >>> 0,

    /** @param {number} session @param {ArrayLike<number>} list @returns how many of them the session begins with */
    sessionMatch(session, list) {
      writeIds(list);
      return module._wasm_session_match(engine, session, list.length) >>> 0;
    },

    /** @param {number} session @param {number} length */
    sessionTruncate: (session, length) => check(module._wasm_session_truncate(engine, session, length)),

    /** @param {number} session @param {ArrayLike<number>} list */
    sessionEval(session, list) {
      writeIds(list);
      check(module._wasm_session_eval(engine, session, 0, list.length));
    },

    /**
     * @param {number} session
     * @param {ArrayLike<number>} list at most 128
     * @returns their final hidden states, [list.length, width], valid until the next call
     */
    sessionStates(session, list) {
      writeIds(list);
      check(module._wasm_session_states(engine, session, 0, list.length));
      const [at, width] = numbers(2);
      return { states: new Float32Array(memory.buffer, at, list.length * width), width };
    },

    /**
     * @param {number} session
     * @param {ArrayLike<number>} list all but the last are evaluated, at most 32
     * @returns {Float32Array} log-probability of each id but the first
     */
    sessionScore(session, list) {
      writeIds(list);
      const count = list.length - 1;
      check(module._wasm_session_score(engine, session, 0, count));
      const copy = bytes(count * 4).slice();
      return new Float32Array(copy.buffer, copy.byteOffset, count);
    },
  };
}

/** Sessions to files and back. @param {Engine} engine */
function files({ module, engine, check, number, bytes, writeName }) {
  return {
    /** @param {number} session @param {Uint8Array} note travels along */
    saverCreate(session, note) {
      bytes(note.length).set(note);
      check(module._wasm_saver_create(engine, session, note.length));
      return { saver: number(0), size: number(1) };
    },

    /** @param {number} saver @returns {Uint8Array} the next bytes of the file, a copy; none at its end */
    saverRead(saver) {
      check(module._wasm_saver_read(engine, saver, PIECE_BYTES));
      return bytes(number(0)).slice();
    },

    /** @param {number} saver */
    saverFree: (saver) => module._wasm_saver_free(saver),

    /** @param {number} context @param {string} kv 0 and '': what the file has */
    restorerCreate(context, kv) {
      writeName(kv);
      check(module._wasm_restorer_create(engine, context));
      return number(0);
    },

    /** @param {number} restorer @param {Uint8Array} piece the next bytes of the file */
    restorerFeed(restorer, piece) {
      bytes(piece.length).set(piece);
      check(module._wasm_restorer_feed(engine, restorer, piece.length));
    },

    /** All bytes are fed. @param {number} restorer */
    restorerFinish(restorer) {
      check(module._wasm_restorer_finish(engine, restorer));
      const [session, kvSize, noteSize] = [number(0), number(1), number(2)];
      const both = bytes(kvSize + noteSize).slice();
      return { session, kv: decoder.decode(both.subarray(0, kvSize)), note: both.slice(kvSize) };
    },

    /** @param {number} restorer */
    restorerFree: (restorer) => module._wasm_restorer_free(restorer),
  };
}

/** Tokens one by one. @param {Engine} engine */
function replies({ module, memory, engine, check, number, bytes, readText, writeIds, writeNumbers }) {
  return {
    /**
     * @param {number} session
     * @param {SamplerNumbers} sampler
     * @param {ArrayLike<number>} prompt the penalties see it
     * @param {number} topCount
     */
    replyCreate(session, { numbers, bias }, prompt, topCount) {
      writeIds(bias.map(([id]) => id));
      const biases = new Float32Array(bias.map(([, value]) => value));
      bytes(biases.byteLength).set(new Uint8Array(biases.buffer));
      writeNumbers(numbers);
      check(module._wasm_reply_create(engine, session, bias.length, topCount));
      const [reply, topAt] = [number(0), number(1)];
      writeIds(prompt);
      module._wasm_reply_accept(engine, reply, prompt.length);
      return { reply, topAt };
    },

    /** @param {number} reply */
    replyFree: (reply) => module._wasm_reply_free(reply),

    /** @param {number} reply @param {number} previous the token of the step before, or -1 */
    replyStep(reply, previous) {
      check(module._wasm_reply_step(engine, reply, previous));
      const [id, ends, size, logprob] = [number(0), number(1), number(2), number(3)];
      return { id, ends: ends !== 0, text: readText(size), logprob };
    },

    /** @param {number} topAt @param {number} count of the last step: most likely tokens first */
    replyTop(topAt, count) {
      const view = new DataView(memory.buffer, topAt, count * 8);
      return Array.from({ length: count }, (_, i) => ({
        id: view.getInt32(i * 8, true),
        logprob: view.getFloat32(i * 8 + 4, true),
      }));
    },

    /** @param {number} reply */
    replyFinish(reply) {
      module._wasm_reply_finish(engine, reply);
      return readText(number(0));
    },
  };
}

/** @param {WasmModule} module */
export function bind(module) {
  const opened = openEngine(module);
  const { memory, engine, number } = opened;
  return {
    ...loading(opened),
    ...texts(opened),
    ...sessions(opened),
    ...files(opened),
    ...replies(opened),

    memory() {
      module._wasm_memory(engine);
      return { memoryBytes: memory.buffer.byteLength, usedBytes: number(0), peakBytes: number(1) };
    },
  };
}
