// server.js: a server on loopback for the tests of downloads. It gives the package to pages, and files that misbehave on
// command: what a file does is an object that the test may change between two requests.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('../..', import.meta.url));
const TYPES = /** @type {Record<string, string>} */ ({
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
});

/**
 * A file that is served, and how.
 * @typedef {object} Behaviour
 * @property {Uint8Array} bytes
 * @property {string} [etag]
 * @property {string} [lastModified]
 * @property {boolean} [noRange] ranges are ignored
 * @property {boolean} [noIfRange] If-Range is ignored
 * @property {boolean} [gzip] the answer is compressed, whatever was asked for
 * @property {boolean} [noLength] chunked transfer, no Content-Length
 * @property {number} [announce] the size that is told, whatever is sent
 * @property {number | ((from: number, request: number) => number | undefined)} [cutAfter] bytes of a body before the connection is cut
 * @property {number} [endAfter] bytes of a body that then ends cleanly
 * @property {number} [stallAfter] bytes of a body before it falls silent
 * @property {number} [status] answered in place of the file
 * @property {Record<string, string>} [headers]
 * @property {string} [redirect] empty: to itself
 * @property {string} [page] sent with 200 in place of the file
 * @property {number} [bytesPerSecond]
 * @property {(from: number) => Behaviour | undefined} [instead] for one request
 */

/** @typedef {{path: string, range: string | undefined, ifRange: string | undefined, sent: number, method: string}} Seen */

/** @param {import('node:http').IncomingMessage} request @param {number} size */
function rangeOf({ headers: { range } }, size) {
  const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  if (start === undefined) return undefined;
  return { start: Number(start), end: end ? Math.min(Number(end) + 1, size) : size };
}

const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/**
 * @param {object} [options]
 * @param {boolean} [options.isolated] pages may share memory between threads
 * @param {string} [options.folder] what is served; default: the repository
 * @param {Record<string, string>} [options.headers] of every answer from there
 * @param {number} [options.lingerMs] from the last byte to the cut of a connection, so that what was sent gets out first
 */
export async function startServer({ isolated = false, folder = root, headers = {}, lingerMs = 30 } = {}) {
  const always = { ...(isolated ? ISOLATION : {}), ...headers };
  /** @type {Map<string, Behaviour>} */
  const files = new Map();
  /** @type {Seen[]} */
  const seen = [];

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response @param {Behaviour} given */
  function serveFile(request, response, given) {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const { headers } = request;
    /** @type {Seen} */
    const note = { path: pathname, range: headers.range, ifRange: /** @type {string | undefined} */ (headers['if-range']), sent: 0, method: request.method ?? '' };
    seen.push(note);
    const asked = rangeOf(request, given.bytes.length);
    const behaviour = given.instead?.(asked?.start ?? 0) ?? given;
    const { bytes, etag, lastModified, status, redirect, page } = behaviour;
    const common = {
      'Access-Control-Allow-Origin': '*',
      ...(etag === undefined ? {} : { ETag: etag }),
      ...(lastModified === undefined ? {} : { 'Last-Modified': lastModified }),
      ...behaviour.headers,
    };
    if (redirect !== undefined) return void response.writeHead(302, { ...common, Location: redirect || pathname }).end();
    if (page !== undefined) return void response.writeHead(200, { ...common, 'Content-Type': 'text/html' }).end(page);
    if (status !== undefined) return void response.writeHead(status, common).end('no');
    const changed = note.ifRange !== undefined && !behaviour.noIfRange && ![etag, lastModified].includes(note.ifRange);
    const range = behaviour.noRange || changed ? undefined : asked;
    if (range && range.start >= bytes.length)
      return void response.writeHead(416, { ...common, 'Content-Range': `bytes */${bytes.length}` }).end();
    const { start, end } = range ?? { start: 0, end: bytes.length };
    const total = behaviour.announce ?? bytes.length;
    const plain = bytes.subarray(start, end);
    const body = behaviour.gzip ? gzipSync(plain) : plain;
    const length = behaviour.gzip ? body.length : body.length + total - bytes.length;
    response.writeHead(range ? 206 : 200, {
      ...common,
      ...(behaviour.noRange ? {} : { 'Accept-Ranges': 'bytes' }),
      ...(behaviour.gzip ? { 'Content-Encoding': 'gzip' } : {}),
      ...(behaviour.noLength ? {} : { 'Content-Length': length }),
      ...(range ? { 'Content-Range': `bytes ${start}-${end - 1}/${total}` } : {}),
    });
    void send(response, body, behaviour, start, note);
  }

  /** @param {import('node:http').ServerResponse} response @param {Uint8Array} body @param {Behaviour} behaviour @param {number} from @param {Seen} note */
  async function send(response, body, { cutAfter, endAfter, stallAfter, bytesPerSecond }, from, note) {
    const cut = typeof cutAfter === 'function' ? cutAfter(from, seen.length) : cutAfter;
    const stop = Math.min(body.length, cut ?? Infinity, endAfter ?? Infinity, stallAfter ?? Infinity);
    const piece = bytesPerSecond ? Math.max(1, Math.round(bytesPerSecond / 50)) : 1 << 16;
    for (let at = 0; at < stop && !response.destroyed; at += piece) {
      const bytes = body.subarray(at, Math.min(at + piece, stop));
      await new Promise((resolve) => response.write(bytes, resolve));
      note.sent += bytes.length;
      if (bytesPerSecond) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (stop === stallAfter && stop < body.length) return;
    if (stop === cut && stop < body.length) {
      await new Promise((resolve) => setTimeout(resolve, lingerMs));
      response.destroy();
    } else response.end();
  }

  /** @param {import('node:http').ServerResponse} response @param {string} pathname */
  function servePackage(response, pathname) {
    const file = path.join(folder, path.normalize(decodeURIComponent(pathname)), pathname.endsWith('/') ? 'index.html' : '');
    if (pathname === '/' && !existsSync(file)) return void response.writeHead(200, { ...always, 'Content-Type': 'text/html' }).end('<!doctype html><title>clla</title>');
    if (!file.startsWith(folder) || !existsSync(file) || !statSync(file).isFile()) return void response.writeHead(404).end('not here');
    const type = TYPES[path.extname(file)] ?? 'application/octet-stream';
    response.writeHead(200, { ...always, 'Content-Type': type }).end(readFileSync(file));
  }

  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const behaviour = files.get(pathname);
    if (request.method === 'OPTIONS') {
      seen.push({ path: pathname, range: undefined, ifRange: undefined, sent: 0, method: 'OPTIONS' });
      return void response.writeHead(405).end();
    }
    if (behaviour) serveFile(request, response, behaviour);
    else servePackage(response, pathname);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    origin: `http://127.0.0.1:${port}`,
    /** The same server by another name: another site for a page. */
    otherOrigin: `http://localhost:${port}`,
    seen,
    /** @param {string} name @param {Behaviour} behaviour @returns {string} its URL */
    put(name, behaviour) {
      files.set(`/files/${name}`, behaviour);
      return `http://127.0.0.1:${port}/files/${name}`;
    },
    /** @param {string} name @returns {Seen[]} requests for a file so far */
    requests: (name) => seen.filter((request) => request.path === `/files/${name}`),
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Bytes that look like a GGUF file and differ everywhere. @param {number} size @param {number} [seed] */
export function syntheticFile(size, seed = 1) {
  const bytes = new Uint8Array(size);
  let state = seed;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  bytes.set([0x47, 0x47, 0x55, 0x46]);
  return bytes;
}
