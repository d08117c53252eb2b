// sink.js: bytes in, chunks out. Bytes are gathered into a chunk while the one before it is being hashed and the one before
// that is being written: three chunks are in memory, and whoever gives bytes waits while all are full.

import { chunkRange, newRecord } from './layout.js';
import { digest } from './hashing.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').HashedChunk} HashedChunk
 * @typedef {import('./types.d.ts').Hasher} Hasher
 * @typedef {import('./types.d.ts').Shelf} Shelf
 */

/** The bytes before do not belong to this file. */
export class Different extends Error {}

/** Hash what is stored, to go on from there. @param {Shelf} shelf @param {Hasher} hasher @param {FileRecord} record */
async function resumeHash(shelf, hasher, record) {
  try {
    await hasher.begin(record.hashState);
  } catch {
    await hasher.begin(); // the state is another version's
    for (let i = 0; i < record.chunkHashes.length; i++) {
      const bytes = await shelf.read(record, i);
      if (!bytes || (await hasher.add(bytes)).sha256 !== record.chunkHashes[i]) throw new Different('a stored chunk is damaged');
    }
  }
}

/**
 * @param {Shelf} shelf
 * @param {Hasher} hasher
 * @param {FileRecord} first
 * @param {boolean} inShelf whether it lies there; else restart() begins it
 */
export async function createSink(shelf, hasher, first, inShelf) {
  let record = first;
  let begun = inShelf;
  if (inShelf) await resumeHash(shelf, hasher, record);
  let chunk = new Uint8Array(record.chunkBytes);
  let filled = 0;
  let chunks = record.chunkHashes.length; // full ones, those that are not written yet counted
  /** @type {Promise<void>} */
  let writing = Promise.resolve();
  let before = writing; // of the chunk before that one
  /** @type {Uint8Array<ArrayBuffer>[]} memory of chunks that are written */
  const spare = [];

  /** @param {Promise<HashedChunk>} hashing @param {Promise<void>} turn */
  async function store(hashing, turn) {
    const { bytes, state, sha256 } = await hashing;
    await turn;
    const next = { ...record, chunkHashes: [...record.chunkHashes, sha256], hashState: state };
    await shelf.append(next, bytes);
    record = next;
    if (bytes.length === record.chunkBytes) spare.push(bytes);
  }

  async function flush() {
    const bytes = filled === chunk.length ? chunk : chunk.slice(0, filled); // a view would be kept with all its buffer
    await before;
    before = writing;
    writing = store(hasher.add(bytes), before);
    writing.catch(() => {}); // whoever waits for it next hears of it
    chunk = spare.pop() ?? new Uint8Array(record.chunkBytes);
    filled = 0;
    chunks++;
  }

  /** Wait until nothing is being written. */
  const settle = () => Promise.allSettled([before, writing]);

  return {
    settle,

    /** Whether what is written goes behind what is stored; else restart() comes first. */
    get begun() {
      return begun;
    },
    get position() {
      return begun ? chunks * record.chunkBytes + filled : 0;
    },
    get record() {
      return record;
    },
    /** The first bytes of the chunk that is being filled. */
    pending: () => chunk.subarray(0, filled),

    /** Note what is known of the file now. @param {Partial<FileRecord>} facts */
    async note(facts) {
      await writing;
      record = { ...record, ...facts };
    },

    /** @param {Uint8Array} bytes */
    async write(bytes) {
      for (let at = 0; at < bytes.length; ) {
        const piece = bytes.subarray(at, at + chunk.length - filled);
        chunk.set(piece, filled);
        filled += piece.length;
        at += piece.length;
        if (filled === chunk.length) await flush();
      }
    },

    /** All bytes are in: store the rest. @returns {Promise<string>} the SHA-256 of the file */
    async end() {
      if (filled > 0) await flush();
      await writing;
      return hasher.end();
    },

    /** What is stored belongs to another file. It stays until restart(). */
    abandon() {
      begun = false;
    },

    /** Begin the file anew. */
    async restart() {
      await settle();
      const { id, name, url, expected, chunkBytes } = record;
      record = newRecord({ id, name, url, expected, chunkBytes });
      await shelf.begin(record);
      await hasher.begin();
      filled = 0;
      chunks = 0;
      begun = true;
    },
  };
}

/**
 * Let bytes pass that a sink has already, and see that they are the same.
 * @param {Awaited<ReturnType<typeof createSink>>} sink
 */
export function createSkimmer(sink) {
  const { chunkBytes } = sink.record;
  const end = sink.position;
  const last = sink.pending().slice();
  let chunk = new Uint8Array(Math.min(chunkBytes, end));
  let filled = 0;
  let index = 0;

  async function check() {
    const { chunkHashes } = sink.record;
    const bytes = chunk.subarray(0, filled);
    const same = index < chunkHashes.length ? (await digest(bytes)) === chunkHashes[index] : bytes.every((b, i) => b === last[i]);
    if (!same) throw new Different(`bytes from ${chunkRange(sink.record, index).start} on differ`);
    filled = 0;
    index++;
  }

  return {
    /** @param {Uint8Array} bytes @returns {Promise<Uint8Array>} those that are new */
    async pass(bytes) {
      let at = 0;
      while (at < bytes.length && index * chunkBytes + filled < end) {
        const wanted = Math.min(chunkBytes, end - index * chunkBytes);
        const piece = bytes.subarray(at, at + wanted - filled);
        chunk.set(piece, filled);
        filled += piece.length;
        at += piece.length;
        if (filled === wanted) await check();
      }
      return bytes.subarray(at);
    },
  };
}

