// sink.js: bytes in, chunks out. Bytes are gathered into a chunk while the chunk before is being written: two chunks are in
// memory, and whoever gives bytes waits while both are full.

import { chunkRange, newRecord } from './layout.js';
import { createRunning, digest } from './hashing.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Shelf} Shelf
 */

/** The bytes before do not belong to this file. */
export class Different extends Error {}

/** The hash over what is stored, to go on with. @param {Shelf} shelf @param {FileRecord} record */
async function resumeHash(shelf, record) {
  const running = await createRunning();
  if (!record.hashState) return running;
  try {
    return running.load(record.hashState);
  } catch {
    running.init(); // the state is another version's
    for (let i = 0; i < record.chunkHashes.length; i++) {
      const bytes = await shelf.read(record, i);
      if (!bytes || (await digest(bytes)) !== record.chunkHashes[i]) throw new Different('a stored chunk is damaged');
      running.update(bytes);
    }
    return running;
  }
}

/**
 * @param {Shelf} shelf
 * @param {FileRecord} first
 * @param {boolean} inShelf whether it lies there; else restart() begins it
 */
export async function createSink(shelf, first, inShelf) {
  let record = first;
  let begun = inShelf;
  const running = await resumeHash(shelf, record);
  let chunk = new Uint8Array(record.chunkBytes);
  let filled = 0;
  let chunks = record.chunkHashes.length; // full ones, the one that is being written counted
  /** @type {Promise<void>} */
  let writing = Promise.resolve();

  /** @param {Uint8Array<ArrayBuffer>} bytes @param {Uint8Array} hashState */
  async function store(bytes, hashState) {
    const chunkHashes = [...record.chunkHashes, await digest(bytes)];
    const next = { ...record, chunkHashes, hashState };
    await shelf.append(next, bytes);
    record = next;
  }

  async function flush() {
    const bytes = filled === chunk.length ? chunk : chunk.slice(0, filled); // a view would be kept with all its buffer
    const state = running.save();
    await writing;
    writing = store(bytes, state);
    writing.catch(() => {}); // whoever waits for it next hears of it
    chunk = new Uint8Array(record.chunkBytes);
    filled = 0;
    chunks++;
  }

  return {
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
        running.update(piece);
        filled += piece.length;
        at += piece.length;
        if (filled === chunk.length) await flush();
      }
    },

    /** All bytes are in: store the rest. @returns {Promise<string>} the SHA-256 of the file */
    async end() {
      if (filled > 0) await flush();
      await writing;
      return running.digest();
    },

    /** Wait until nothing is being written. */
    settle: () => writing.catch(() => {}),

    /** What is stored belongs to another file. It stays until restart(). */
    abandon() {
      begun = false;
    },

    /** Begin the file anew. */
    async restart() {
      await writing.catch(() => {});
      const { id, name, url, expected, chunkBytes } = record;
      record = newRecord({ id, name, url, expected, chunkBytes });
      await shelf.begin(record);
      running.init();
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

