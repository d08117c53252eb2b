// intake.js: take a file in, from its source to a store, whatever happens on the way.
//
// A connection that breaks is opened again behind the last byte; after a crash the file goes on behind the last chunk. A
// source that can only begin at its beginning is skimmed: bytes that are here already are compared, not written. Where
// they differ, the file has changed and is begun anew. In the end its size and its SHA-256 must be those expected.

import { CllaError, abortError } from '../errors.js';
import { newRecord, storedBytes } from './layout.js';
import { PATIENCE, Transient, pauseBefore, sleep } from './patience.js';
import { Different, createSink, createSkimmer } from './sink.js';

/**
 * @typedef {import('./types.d.ts').FileRecord} FileRecord
 * @typedef {import('./types.d.ts').Hasher} Hasher
 * @typedef {import('./types.d.ts').Opened} Opened
 * @typedef {import('./types.d.ts').Origin} Origin
 * @typedef {import('./types.d.ts').Shelf} Shelf
 * @typedef {import('./types.d.ts').StoreRequest} StoreRequest
 * @typedef {Awaited<ReturnType<typeof createSink>>} Sink
 * @typedef {object} Job
 * @property {Shelf} shelf
 * @property {() => Hasher} openHasher
 * @property {Origin} origin
 * @property {StoreRequest} request
 * @property {(loaded: number, total?: number) => void} report
 * @property {AbortSignal} signal
 */

const MAGIC = [0x47, 0x47, 0x55, 0x46]; // "GGUF"
const CHANGES_MAX = 2; // of a file while it is fetched

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** @param {FileRecord | undefined} record @param {StoreRequest} request */
function goesOn(record, { expected }) {
  if (!record || record.complete) return false;
  return record.expected === undefined || expected === undefined || record.expected === expected;
}

/** Go on with what is stored, or begin. @param {Job} job @param {Hasher} hasher @returns {Promise<Sink>} */
async function openSink({ shelf, request }, hasher) {
  const found = await shelf.get(request.id);
  const { expected } = request;
  if (found && goesOn(found, request)) {
    try {
      return await createSink(shelf, hasher, { ...found, expected: found.expected ?? expected }, true);
    } catch (error) {
      if (!(error instanceof Different)) throw error;
    }
  }
  return createSink(shelf, hasher, newRecord(request), false);
}

/**
 * What the source says of the whole file: refuse what cannot be, note what is new.
 * @param {Job} job @param {Sink} sink @param {Opened} opened
 */
async function admit({ shelf, origin, request }, sink, { total, validator, sha256 }) {
  const { record } = sink;
  const size = record.size ?? request.size;
  if (total !== undefined && size !== undefined && total !== size) {
    if (request.size === undefined) throw new Different(`the size was ${size} and is ${total}`);
    throw new CllaError('WRONG_FILE', `${origin.name}: holds ${total} bytes, the file has ${size}`);
  }
  if (sha256 !== undefined && record.expected !== undefined && sha256 !== record.expected) {
    if (request.expected === undefined) throw new Different(`its SHA-256 was ${record.expected} and is ${sha256}`);
    throw new CllaError('WRONG_FILE', `${origin.name}: has SHA-256 ${sha256}, want ${record.expected}`);
  }
  const known = total ?? size;
  if (record.size === undefined && known !== undefined) await checkSpace(shelf, request.name, known - storedBytes(record));
  const expected = record.expected ?? sha256;
  await sink.note({ size: known, validator: validator ?? record.validator, expected });
}

/** @param {Shelf} shelf @param {string} name @param {number} needed bytes */
export async function checkSpace(shelf, name, needed) {
  const { usage, quota } = await shelf.space();
  if (usage === undefined || quota === undefined || quota - usage >= needed) return;
  const missing = needed - Math.max(0, quota - usage);
  throw new CllaError(
    'NO_SPACE',
    `${name}: ${megabytes(needed)} are to be stored, ${megabytes(missing)} more than there is room for`,
  );
}

/** @param {Origin} origin @param {Uint8Array} bytes the first ones */
function checkMagic({ name }, bytes) {
  if (bytes.length > 0 && bytes.subarray(0, 4).every((byte, i) => MAGIC[i] === byte)) return;
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart();
  const what = /^<(!doctype|html|\?xml)/i.test(start) ? 'is a web page' : 'does not begin as one';
  throw new CllaError('BAD_FILE', `${name}: is not a GGUF file: it ${what}`);
}

/**
 * The next piece, or an error when none comes for long.
 * @param {AsyncIterator<Uint8Array>} pieces @param {Origin} origin @param {number} silenceMs @param {AbortSignal} signal
 */
async function nextPiece(pieces, { name, retries }, silenceMs, signal) {
  /** @type {(error: Error) => void} */
  let fail = () => {};
  /** @type {Promise<never>} */
  const failed = new Promise((_, reject) => (fail = reject));
  const stop = () => fail(abortError(signal));
  const silent = new Transient(`${name}: the server is silent for ${silenceMs / 1000} s`);
  const timer = retries ? setTimeout(() => fail(silent), silenceMs) : undefined;
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    return await Promise.race([pieces.next(), failed]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

/** @param {Sink} sink @param {Opened} opened */
function checkValidator({ record: { validator } }, opened) {
  if (validator === undefined || opened.validator === undefined || opened.validator === validator) return;
  throw new Different(`its tag was ${validator} and is ${opened.validator}`);
}

/** @param {Job} job @param {Sink} sink @param {Uint8Array} bytes */
async function take({ origin, report }, sink, bytes) {
  const { size } = sink.record;
  if (size !== undefined && sink.position + bytes.length > size)
    throw new CllaError('WRONG_FILE', `${origin.name}: sends more than the ${size} bytes that the file has`);
  await sink.write(bytes);
  report(sink.position, size);
}

/**
 * One connection, as far as it carries. What is stored of another file is dropped once this one has begun well.
 * @param {Job} job @param {Sink} sink @param {number} silenceMs
 */
async function runOnce(job, sink, silenceMs) {
  const { origin, signal } = job;
  const opened = await origin.open(sink.position, sink.begun ? sink.record.validator : undefined, signal);
  const pieces = opened.body[Symbol.asyncIterator]();
  const next = () => nextPiece(pieces, origin, silenceMs, signal);
  try {
    const first = await next();
    if (opened.from === 0) checkMagic(origin, first.done ? new Uint8Array() : first.value); // error pages end here
    if (!sink.begun) await sink.restart();
    checkValidator(sink, opened);
    await admit(job, sink, opened);
    const skimmer = opened.from < sink.position ? createSkimmer(sink) : undefined;
    for (let piece = first; !piece.done; piece = await next())
      await take(job, sink, skimmer ? await skimmer.pass(piece.value) : piece.value);
    await endOfBody(origin, sink);
  } finally {
    opened.close();
    void pieces.return?.(undefined)?.catch(() => {}); // not awaited: it may never answer
  }
}

/** A body that ends too soon is a broken connection; where no size was told, its end is the file's.
 * @param {Origin} origin @param {Sink} sink */
async function endOfBody({ name, retries }, sink) {
  const { size } = sink.record;
  if (size === undefined) return sink.note({ size: sink.position });
  if (sink.position >= size) return;
  const said = `${name}: ended after ${sink.position} of ${size} bytes`;
  throw retries ? new Transient(said) : new CllaError('TRUNCATED_FILE', said);
}

/** @param {Job} job @param {Sink} sink */
async function finish({ shelf, origin }, sink) {
  const sha256 = await sink.end();
  const { record } = sink;
  if (record.expected !== undefined && record.expected !== sha256) {
    await shelf.remove(record.id);
    throw new CllaError('WRONG_FILE', `${origin.name}: has SHA-256 ${sha256}, want ${record.expected}: nothing of it is kept`);
  }
  const done = { ...record, hashState: undefined, sha256, complete: true };
  await shelf.finish(done);
  return done;
}

/**
 * How to go on after a failure, or the failure itself.
 * @param {unknown} error @param {{failures: number, changes: number, reached: boolean}} counts
 * @param {Origin} origin @param {import('./types.d.ts').Patience} patience
 * @returns {'anew' | 'again'}
 */
function afterFailure(error, counts, origin, patience) {
  if (error instanceof Different) {
    if (++counts.changes <= CHANGES_MAX && origin.reopens) return 'anew';
    throw new CllaError('FILE_CHANGED', `${origin.name}: is not the file that was begun (${error.message})`);
  }
  if (!(error instanceof Transient)) throw error;
  counts.reached ||= error.unreached === undefined;
  if (++counts.failures < (counts.reached ? patience.attempts : patience.attemptsUnreached)) return 'again';
  const reasons = counts.reached ? '' : `: ${error.unreached}`;
  throw new CllaError('NETWORK', `${error.message}${reasons}`, { cause: error.cause });
}

/** @param {unknown} error */
const waitOf = (error) => (error instanceof Transient ? error.waitMs : undefined);

/**
 * A connection that stays broken: say what is kept, if anything is. A write that found no room: say how much is missing.
 * @param {Job} job @param {Sink} sink @param {unknown} error
 */
function withKept({ request }, sink, error) {
  if (!(error instanceof CllaError)) return error;
  const { size, chunkHashes } = sink.record;
  if (error.code === 'NETWORK' && chunkHashes.length > 0)
    return new CllaError('NETWORK', `${error.message}; what has come is kept`, { cause: error.cause });
  if (error.code !== 'NO_SPACE' || error.cause === undefined) return error;
  const missing = size === undefined ? 'more' : megabytes(size - storedBytes(sink.record));
  const sentence = `${request.name}: storage is full: ${missing} are missing; what has come is kept`;
  return new CllaError('NO_SPACE', sentence, { cause: error });
}

/**
 * Store a file. Its record is returned when it is complete and right.
 * @param {Job} job
 * @returns {Promise<FileRecord>}
 */
export async function takeIn(job) {
  const hasher = job.openHasher();
  try {
    return await takeInto(job, await openSink(job, hasher));
  } finally {
    hasher.close();
  }
}

/** @param {Job} job @param {Sink} sink @returns {Promise<FileRecord>} */
async function takeInto(job, sink) {
  const patience = { ...PATIENCE, ...job.request.patience };
  const counts = { failures: 0, changes: 0, reached: sink.position > 0 };
  try {
    job.report(sink.position, sink.record.size ?? job.request.size);
    while (sink.record.size === undefined || sink.position < sink.record.size) {
      const before = sink.position;
      try {
        await runOnce(job, sink, patience.silenceMs);
      } catch (error) {
        if (job.signal.aborted) throw abortError(job.signal);
        if (sink.position > before) Object.assign(counts, { failures: 0, reached: true });
        if (afterFailure(error, counts, job.origin, patience) === 'anew') sink.abandon();
        else await sleep(pauseBefore(counts.failures, patience, waitOf(error)), job.signal);
      }
    }
    return await finish(job, sink);
  } catch (error) {
    await sink.settle();
    throw withKept(job, sink, error);
  }
}
