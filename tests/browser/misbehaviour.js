// misbehaviour.js: what servers and networks do to a download, as a table. The same rows are run on a folder in Node
// (tests/js/store_download.test.js) and on IndexedDB in Chromium (store.test.js).

import { createHash } from 'node:crypto';
import { syntheticFile } from './server.js';

/**
 * @typedef {import('./server.js').Behaviour} Behaviour
 * @typedef {import('./server.js').Seen} Seen
 * @typedef {import('../../js/store/types.js').StoreRequest} StoreRequest
 *
 * @typedef {object} Outcome what came of one try
 * @property {string} [sha256] @property {boolean} [verified]
 * @property {string} [code] @property {string} [message]
 * @property {number} chunks that lie in the store afterwards
 *
 * @typedef {object} Row
 * @property {string} name
 * @property {(file: Behaviour, attempt: number) => void} behave called before each try: change what the file does
 * @property {Partial<StoreRequest>} [request]
 * @property {Expectation[]} tries what each try must come to
 * @property {(requests: Seen[]) => string | undefined} [check] what is wrong with the requests
 *
 * @typedef {{sha256: string, verified?: boolean} | {code: string, message: RegExp, chunks?: number}} Expectation chunks: that are kept
 */

export const CHUNK = 1 << 18;
const SIZE = 6 * CHUNK - 1234;
export const PATIENCE = { attempts: 4, attemptsUnreached: 4, pauseMs: 2, longestPauseMs: 10, silenceMs: 400 };

export const file = syntheticFile(SIZE);
const other = syntheticFile(SIZE, 2);
const shorter = syntheticFile(SIZE - 5, 3);
const hash = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex');
export const sha = hash(file);
const ok = { sha256: sha };
const changed = { sha256: hash(other) };
const CUT = 3 * CHUNK + 1000;

/** Only the first of the requests. @param {Behaviour} first @returns {(from: number) => Behaviour | undefined} */
function once(first) {
  let done = false;
  return () => (done ? undefined : ((done = true), first));
}

/** @param {number} n @param {(requests: Seen[]) => boolean} [more] */
const requests = (n, more = () => true) => (/** @type {Seen[]} */ seen) =>
  seen.length === n && more(seen) ? undefined : `want ${n} requests, saw ${JSON.stringify(seen)}`;

const fromCut = (/** @type {Seen[]} */ seen) => seen[1].range === `bytes=${CUT}-`;

/** @type {Row[]} */
export const ROWS = [
  { name: 'a well-behaved server is asked once', behave: () => {}, tries: [ok], check: requests(1) },
  {
    name: 'what is complete is not fetched again',
    behave: (f, attempt) => attempt > 0 && (f.status = 500),
    tries: [ok, ok],
    check: requests(1),
  },
  {
    name: 'a broken connection goes on behind its last byte, with If-Range',
    behave: (f) => (f.instead = once({ ...f, cutAfter: CUT })),
    tries: [ok],
    check: requests(2, (seen) => Number(/\d+/.exec(seen[1].range ?? '')?.[0]) > 0 && seen[1].ifRange === '"v1"'),
  },
  {
    name: 'so does a body that ends early but cleanly',
    behave: (f) => (f.instead = once({ ...f, noLength: true, endAfter: CUT })),
    tries: [ok],
    check: requests(2, fromCut),
  },
  {
    name: 'so does a server that falls silent',
    behave: (f) => (f.instead = once({ ...f, stallAfter: CUT })),
    tries: [ok],
    check: requests(2, fromCut),
  },
  { name: 'a server without ranges', behave: (f) => (f.noRange = true), tries: [ok], check: requests(1) },
  {
    name: 'a server without ranges that breaks off is skimmed',
    behave: (f) => ((f.noRange = true), (f.instead = once({ ...f, cutAfter: CUT }))),
    tries: [ok],
    check: requests(2),
  },
  {
    name: 'a server without ranges whose file changed is begun anew',
    behave: (f) => ((f.noRange = true), (f.etag = undefined), (f.instead = once({ ...f, cutAfter: CUT })), (f.bytes = other)),
    tries: [changed],
    check: requests(3),
  },
  { name: 'a redirect', behave: (f) => (f.instead = once({ ...f, redirect: '' })), tries: [ok], check: requests(2) },
  { name: 'redirects in circles', behave: (f) => (f.redirect = ''), tries: [{ code: 'NOT_READABLE|NETWORK', message: /./, chunks: 0 }] },
  { name: 'a compressed answer', behave: (f) => (f.gzip = true), tries: [ok] },
  {
    name: 'a compressed answer that breaks off',
    behave: (f) => ((f.gzip = true), (f.instead = once({ ...f, cutAfter: CUT }))),
    tries: [ok],
    check: (seen) => (seen.at(-1)?.range === undefined ? undefined : `the last request has a range: ${JSON.stringify(seen)}`),
  },
  { name: 'no Content-Length', behave: (f) => ((f.noRange = true), (f.noLength = true)), tries: [ok], check: requests(1) },
  {
    name: 'a page that says 404 with status 200',
    behave: (f) => (f.page = '<!DOCTYPE html><h1>404 not found</h1>'),
    tries: [{ code: 'BAD_FILE', message: /is not a GGUF file: it is a web page/, chunks: 0 }],
  },
  {
    name: 'such a page while going on costs nothing that is stored',
    behave(f, attempt) {
      f.instead = attempt === 0 ? once({ ...f, cutAfter: CUT }) : undefined;
      f.page = attempt === 0 ? '<html>Please sign in</html>' : undefined;
    },
    tries: [{ code: 'BAD_FILE', message: /web page/, chunks: 3 }, ok],
    check: (seen) => (seen.at(-1)?.range === `bytes=${3 * CHUNK}-` ? undefined : JSON.stringify(seen)),
  },
  { name: 'a file that is not there', behave: (f) => (f.status = 404), tries: [{ code: 'NOT_READABLE', message: /answers 404/, chunks: 0 }], check: requests(1) },
  {
    name: 'a server that is busy for a while',
    behave(f) {
      let busy = 2;
      f.instead = () => (busy-- > 0 ? { ...f, status: 503, headers: { 'Retry-After': '0' } } : undefined);
    },
    tries: [ok],
    check: requests(3),
  },
  {
    name: 'a server that stays broken keeps what has come',
    behave: (f, attempt) => ((f.status = attempt === 0 ? 503 : undefined), (f.instead = attempt === 0 ? once({ ...f, status: undefined, cutAfter: CUT }) : undefined)),
    tries: [{ code: 'NETWORK', message: /answers 503.*; what has come is kept/, chunks: 3 }, ok],
    check: requests(5, (seen) => seen[4].range === `bytes=${3 * CHUNK}-`),
  },
  {
    name: 'a file that changed meanwhile is begun anew',
    behave: (f) => ((f.instead = once({ ...f, cutAfter: CUT })), (f.bytes = other), (f.etag = '"v2"')),
    tries: [changed],
  },
  {
    name: 'also when the server ignores If-Range',
    behave: (f) => ((f.instead = once({ ...f, cutAfter: CUT })), (f.bytes = other), (f.etag = '"v2"'), (f.noIfRange = true)),
    tries: [changed],
  },
  {
    name: 'also when its size changed and nothing else tells',
    behave: (f) => ((f.instead = once({ ...f, etag: undefined, cutAfter: CUT })), (f.bytes = shorter), (f.etag = undefined)),
    tries: [{ sha256: hash(shorter) }],
  },
  {
    name: 'a mixture of two files has the wrong hash',
    behave: (f, attempt) => ((f.etag = undefined), (f.instead = attempt === 0 ? once({ ...f, cutAfter: CUT }) : undefined), (f.bytes = attempt === 0 ? other : file)),
    request: { expected: sha },
    tries: [{ code: 'WRONG_FILE', message: /has SHA-256 [0-9a-f]{64}, want/, chunks: 0 }, ok],
  },
  {
    name: 'a file that changes all the time',
    behave(f) {
      let n = 0;
      f.instead = () => ({ ...f, etag: `"${n++}"`, cutAfter: CUT });
    },
    tries: [{ code: 'FILE_CHANGED', message: /is not the file that was begun/ }],
  },
  {
    name: 'a file with another size than expected',
    behave: () => {},
    request: { size: SIZE + 1 },
    tries: [{ code: 'WRONG_FILE', message: /holds \d+ bytes, the file has \d+/, chunks: 0 }],
  },
  {
    name: 'a server that sends more than it announced',
    behave: (f) => ((f.noLength = true), (f.announce = SIZE - 100)),
    tries: [{ code: 'WRONG_FILE', message: /more than the \d+ bytes/ }],
  },
  {
    name: 'a server that announces more than it has',
    behave: (f) => ((f.noLength = true), (f.announce = SIZE + 100)),
    tries: [{ code: 'NETWORK|WRONG_FILE|FILE_CHANGED', message: /./, chunks: 5 }],
  },
  {
    name: 'a file with another hash than expected is not kept',
    behave: () => {},
    request: { expected: hash(other) },
    tries: [{ code: 'WRONG_FILE', message: /want [0-9a-f]{64}: nothing of it is kept/, chunks: 0 }],
  },
  {
    name: 'X-Linked-ETag is the expected hash',
    behave: (f) => (f.headers = { 'X-Linked-ETag': `"${sha}"` }),
    tries: [{ ...ok, verified: true }],
  },
  {
    name: 'an X-Linked-ETag that is not that of the file',
    behave: (f) => (f.headers = { 'X-Linked-ETag': `"${hash(other)}"` }),
    tries: [{ code: 'WRONG_FILE', message: /nothing of it is kept/, chunks: 0 }],
  },
  {
    name: 'an X-Linked-ETag that is not what the caller expects ends it at once',
    behave: (f) => (f.headers = { 'X-Linked-ETag': `"${hash(other)}"` }),
    request: { expected: sha },
    tries: [{ code: 'WRONG_FILE', message: /has SHA-256/, chunks: 0 }],
  },
];

/**
 * Run a row: what is wrong with it, or nothing.
 * @param {Row} row
 * @param {Awaited<ReturnType<typeof import('./server.js').startServer>>} server
 * @param {(request: StoreRequest) => Promise<Outcome>} attempt
 */
export async function runRow(row, server, attempt) {
  const name = `${ROWS.indexOf(row)}.gguf`;
  /** @type {Behaviour} */
  const behaviour = { bytes: file, etag: '"v1"' };
  const url = server.put(name, behaviour);
  const before = server.requests(name).length;
  for (const [i, expectation] of row.tries.entries()) {
    row.behave(behaviour, i);
    const outcome = await attempt({ id: url, name, url, chunkBytes: CHUNK, patience: PATIENCE, ...row.request });
    const wrong = mismatch(expectation, outcome);
    if (wrong) return `try ${i + 1}: ${wrong}`;
  }
  return row.check?.(server.requests(name).slice(before));
}

/** @param {Expectation} want @param {Outcome} got */
function mismatch(want, got) {
  const shown = JSON.stringify(got);
  if ('sha256' in want) return got.sha256 === want.sha256 && !(want.verified && !got.verified) ? undefined : `want ${JSON.stringify(want)}, got ${shown}`;
  const fits = want.code.split('|').includes(got.code ?? '') && want.message.test(got.message ?? '') && (want.chunks ?? got.chunks) === got.chunks;
  return fits ? undefined : `want ${want.code} ${want.message} and ${want.chunks ?? 'any'} chunks, got ${shown}`;
}
