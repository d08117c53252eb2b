// remote.js: a file behind a URL, from any place on.
//
// Every request has a Range, the first one too: the answer tells whether the server knows ranges, and browsers and servers
// then leave the bytes uncompressed. If-Range asks for the whole file if it changed; where that cannot be sent, what the
// answer says of the file is compared with what was noted. A server that ignores ranges gives the whole file; who asked
// skims what it has.

import { CllaError, abortError } from '../errors.js';
import { sha256In } from './hashing.js';
import { Transient } from './patience.js';

/**
 * @typedef {import('./types.d.ts').Origin} Origin
 * @typedef {import('./types.d.ts').Opened} Opened
 * @typedef {import('./types.d.ts').Answer} Answer
 * @typedef {import('./types.d.ts').Fetch} Fetch
 */

const UNANSWERED = 2;
const COUNTED_MS = 100;
const PASSING = [408, 409, 425, 429, 500, 502, 503, 504];
const NEVER = ['bad port']; // what Node's fetch() says of addresses that it does not ask at all

/** @param {Response} response */
function retryAfterMs({ headers }) {
  const value = headers.get('retry-after') ?? '';
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return seconds > 0 ? seconds * 1000 : 0;
}

/** @param {string} url @param {Response} response @returns {never} */
function refuseStatus(url, response) {
  const said = `${url}: the server answers ${response.status} ${response.statusText}`.trim();
  if (PASSING.includes(response.status)) throw new Transient(said, { waitMs: retryAfterMs(response) });
  throw new CllaError('NOT_READABLE', said);
}

/** @param {Response} response @returns {string | undefined} what tells this version of the file from others */
const validatorOf = ({ headers }) => headers.get('etag') ?? headers.get('last-modified') ?? undefined;

/** Decoded bytes are not those that ranges and lengths count. @param {Response} response */
const isEncoded = ({ headers }) => !['', 'identity'].includes(headers.get('content-encoding') ?? '');

/** @param {Response} response @param {number} from */
function rangeOf(response, from) {
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '') ?? [];
  if (start !== undefined) return { start: Number(start), total: total === '*' ? undefined : Number(total) };
  const length = response.headers.get('content-length'); // other sites may hide Content-Range, not this one
  return { start: from, total: length === null ? undefined : from + Number(length) };
}

/** @param {Response} response */
function wholeLength(response) {
  const length = response.headers.get('content-length');
  return length === null || isEncoded(response) ? undefined : Number(length);
}

/** What a 416 says the size is. @param {Response} response */
const sizeIn416 = ({ headers }) => Number(/^bytes \*\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] ?? NaN);

async function* nothing() {}

/**
 * What fetch() refuses each time is told at once; what keeps an answer from coming may pass.
 * @param {string} url @param {Fetch} fetch @param {Record<string, string>} headers
 * @param {AbortSignal} signal @param {AbortSignal} cut either ends it; the first one is the caller's
 */
async function answerOf(url, fetch, headers, signal, cut) {
  checkAddress(url);
  try {
    return await fetch(url, headers, AbortSignal.any([signal, cut]));
  } catch (error) {
    if (signal.aborted) throw abortError(signal);
    if (error instanceof CllaError || error instanceof Transient) throw error;
    const said = `${url}: ${reasonOf(error)}`;
    if (NEVER.includes(reasonOf(error))) throw new CllaError('NOT_READABLE', said, { cause: error });
    throw new Transient(said, { cause: error });
  }
}

/**
 * @param {string} url
 * @param {Fetch} fetch
 * @returns {Origin}
 */
export function remote(url, fetch) {
  /** Requests in a row that got no answer at all. */
  let unanswered = 0;

  /** @param {Record<string, string>} headers @param {AbortSignal} signal */
  async function ask(headers, signal) {
    const cut = new AbortController();
    unanswered++;
    const answer = await answerOf(url, fetch, headers, signal, cut.signal);
    unanswered = 0;
    return { ...answer, close: () => cut.abort() };
  }

  /** @type {Origin['open']} */
  async function open(from, wanted, signal) {
    if (unanswered >= UNANSWERED) {
      const opened = await openEncoded(from, signal);
      if (opened) return opened;
    }
    const conditional = from > 0 && wanted !== undefined && !wanted.startsWith('W/');
    const { response, linked, close } = await ask(
      { Range: `bytes=${from}-`, ...(conditional ? { 'If-Range': wanted } : {}) },
      signal,
    );
    const known = { validator: validatorOf(response), sha256: linked, close, body: bodyOf(url, response, signal) };
    if (response.status === 200) return { ...known, from: 0, total: wholeLength(response) };
    if (response.status === 206 && !(isEncoded(response) && from > 0)) {
      const { start, total } = rangeOf(response, from);
      if (start === from) return { ...known, from, total: isEncoded(response) ? undefined : total };
    }
    close();
    if (response.status === 416 && sizeIn416(response) === from) return { ...known, from, total: from, body: nothing() };
    if (response.status === 206 || response.status === 416) return openWhole(signal);
    return refuseStatus(url, response);
  }

  /**
   * A browser drops answers with ranges of compressed bytes unseen. Where the file is compressed when it is asked for
   * without a range, that is the reason, and it is taken so.
   * @param {number} from @param {AbortSignal} signal
   */
  async function openEncoded(from, signal) {
    const { encoded, ...opened } = await openWhole(signal);
    if (encoded || from === 0) return opened;
    opened.close();
    return undefined;
  }

  /** For servers whose ranges cannot be used. @param {AbortSignal} signal @returns {Promise<Opened & {encoded: boolean}>} */
  async function openWhole(signal) {
    const { response, linked, close } = await ask({}, signal);
    if (response.status !== 200) {
      close();
      refuseStatus(url, response);
    }
    return {
      from: 0,
      total: wholeLength(response),
      validator: validatorOf(response),
      sha256: linked,
      body: bodyOf(url, response, signal),
      close,
      encoded: isEncoded(response),
    };
  }

  return { name: url, retries: true, reopens: true, open };
}

/**
 * @param {string} url @param {Response} response @param {AbortSignal} signal
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* bodyOf(url, response, signal) {
  if (!response.body) return;
  const began = performance.now();
  const reader = response.body.getReader(); // not every browser iterates streams
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    if (isEncoded(response) && (await endsEarly(response, began))) throw new Error('it ended early');
  } catch (error) {
    if (signal.aborted) throw abortError(signal);
    throw new Transient(`${url}: the connection broke: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Firefox ends a compressed body that was cut off as if it were whole. What it counted on the wire tells, a little later.
 * @param {Response} response @param {number} began
 */
async function endsEarly({ url, headers }, began) {
  await new Promise((resolve) => setTimeout(resolve, COUNTED_MS));
  const found = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByName(url, 'resource')).at(-1);
  const counted = found && found.responseEnd > began ? found.encodedBodySize : 0; // 0: it is another site's secret
  return counted > 0 && counted < Number(headers.get('content-length'));
}

/** @param {any} error */
const reasonOf = (error) => error?.cause?.message || error?.message || String(error);

/**
 * One piece of a file.
 * @param {string} url @param {Fetch} fetch
 * @param {{start: number, end: number}} range
 * @param {AbortSignal} signal
 * @returns {Promise<Uint8Array<ArrayBuffer>>} fewer bytes: the file is shorter
 */
export async function fetchPiece(url, fetch, { start, end }, signal) {
  const cut = new AbortController();
  const range = { Range: `bytes=${start}-${end - 1}` };
  const { response } = await answerOf(url, fetch, range, signal, cut.signal);
  try {
    if (response.status !== 206 && response.status !== 200) refuseStatus(url, response);
    let at = response.status === 206 ? rangeOf(response, start).start : 0;
    const piece = new Uint8Array(end - start);
    let filled = 0;
    for await (const bytes of bodyOf(url, response, signal)) {
      const wanted = bytes.subarray(Math.max(0, start - at), Math.max(0, end - at));
      piece.set(wanted, filled);
      filled += wanted.length;
      at += bytes.length;
      if (at >= end) break;
    }
    return piece.subarray(0, filled);
  } finally {
    cut.abort();
  }
}

/**
 * Addresses that are never asked: those that fetch() does not take.
 * @param {string} url @param {string} [from] what leads there
 */
function checkAddress(url, from) {
  const led = from === undefined ? '' : `${from}: redirected to `;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !['http:', 'https:'].includes(parsed.protocol))
    throw new CllaError('NOT_READABLE', `${led}${url}: is no http: or https: URL`);
  if (parsed.username === '' && parsed.password === '') return;
  const bare = `${parsed.origin}${parsed.pathname}`; // a password is for nobody's eyes
  throw new CllaError('NOT_READABLE', `${led}${bare}: its URL has a user name or a password, which is never sent: leave it out`);
}

/** Follow redirects by hand, where they can be seen: a hub tells a file's SHA-256 on the way, not at the end.
 * @param {(url: string) => Promise<Response>} step @param {string} url @returns {Promise<Answer>} */
export async function followRedirects(step, url) {
  /** @type {string | undefined} */
  let linked;
  for (let hops = 0; hops < 10; hops++) {
    const response = await step(url);
    linked ??= sha256In(response.headers.get('x-linked-etag'));
    const location = response.headers.get('location');
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return { response, linked };
    await response.body?.cancel();
    const next = URL.canParse(location, url) ? new URL(location, url).href : location;
    checkAddress(next, url);
    url = next;
  }
  throw new CllaError('NOT_READABLE', `${url}: redirected in circles`);
}
