// locate.js: what a source means: a file with a path, a model in the store or to be brought there, or bytes at hand; and
// where the engine's own files are.

import { CllaError } from './errors.js';
import { isUrl } from './kinds.js';
import { partNames } from './source.js';
import { nameFromUrl, recordsOf } from './store/layout.js';
import { sha256In } from './store/hashing.js';

/**
 * @typedef {import('./types.d.ts').Platform} Platform
 * @typedef {import('./types.d.ts').ModelSource} ModelSource
 * @typedef {import('./store/types.d.ts').FileRecord} FileRecord
 * @typedef {import('./store/types.d.ts').StoreRequest} StoreRequest
 * @typedef {{path: string} | {requests: StoreRequest[]} | {bytes: Exclude<ModelSource, string | URL>}} Place
 */

/** Two letters at least: C: is a drive. @param {string} name */
export const looksLikeUrl = (name) => /^[a-z][a-z\d+.-]+:/i.test(name);

/** A name that no other file of the store has. @param {FileRecord[]} records @param {string} id @param {string} name */
function freeName(records, id, name) {
  const taken = (/** @type {string} */ wanted) => records.some((record) => record.name === wanted && record.id !== id);
  if (!taken(name)) return name;
  for (let n = 2; ; n++) if (!taken(`${n}-${name}`)) return `${n}-${name}`;
}

/**
 * What to ask for a URL: one file, or all parts of a split model.
 * @param {FileRecord[]} records @param {string} url
 * @param {{name?: string, sha256?: string | null, bytes?: number | null}} [facts]
 * @returns {StoreRequest[]}
 */
function requestsFor(records, url, { name, sha256, bytes } = {}) {
  const { href, search, hash } = new URL(url);
  const bare = href.slice(0, href.length - search.length - hash.length);
  return partNames(bare).map((part, i) => {
    const id = part + search;
    const known = i === 0 ? { expected: sha256In(sha256), size: bytes ?? undefined } : {};
    return { id, url: id, name: freeName(records, id, (i === 0 && name) || nameFromUrl(part)), ...known };
  });
}

/** @param {FileRecord} record @returns {StoreRequest} */
function requestAgain({ id, name, url, expected, complete }) {
  if (!complete && url === undefined) throw new CllaError('NOT_STORED', `${name}: is stored in part only: add the file again`);
  return { id, name, url, expected };
}

/**
 * @param {Platform} platform @param {FileRecord[]} records @param {string} name
 * @returns {Promise<Place | undefined>}
 */
async function byName({ catalogue }, records, name) {
  const stored = recordsOf(records, name);
  if (stored) return { requests: stored.map(requestAgain) };
  const known = (await catalogue()).find((model) => model.name === name);
  if (known?.path !== undefined) return { path: known.path };
  return known?.url === undefined ? undefined : { requests: requestsFor(records, known.url, known) };
}

/** @param {NonNullable<Platform['files']>} files @param {string} url */
function pathFromUrl(files, url) {
  try {
    return files.fromUrl(url);
  } catch (error) {
    throw new CllaError('BAD_ARGUMENT', `source: ${url}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

/** @param {string} given @param {Platform} platform @returns {Promise<Place>} */
async function byUrl(given, platform) {
  if (!URL.canParse(given, platform.baseUrl)) throw new CllaError('BAD_ARGUMENT', `source: ${given}: is not a valid URL`);
  const { href: url, protocol } = new URL(given, platform.baseUrl);
  if (protocol === 'file:' && platform.files) return { path: pathFromUrl(platform.files, url) };
  if (protocol !== 'http:' && protocol !== 'https:')
    throw new CllaError(
      'BAD_ARGUMENT',
      `source: cannot read ${protocol} URLs, only http:, https:${platform.files ? ' and file:' : ''}`,
    );
  const { shelf } = platform.openStore();
  return { requests: requestsFor(await shelf.list().finally(() => shelf.close()), url) };
}

/** @param {Platform} platform @param {string} name that is nobody's @returns {Promise<CllaError>} */
export async function unknownName({ catalogue, files }, name) {
  const names = (await catalogue()).map((model) => model.name);
  const known = names.length ? `, which has ${names.join(', ')}` : '';
  const noFile = files ? 'is no file, and ' : '';
  return new CllaError('NOT_STORED', `${name}: ${noFile}no model of this name is stored or in the catalogue${known}`);
}

/**
 * @param {Platform} platform
 * @param {ModelSource} source
 * @returns {Promise<Place>}
 */
export async function locate(platform, source) {
  if (isUrl(source)) return byUrl(source.href, platform);
  if (typeof source !== 'string') return { bytes: source };
  if (platform.files?.exists(source)) return { path: source };
  if (looksLikeUrl(source)) return byUrl(source, platform);
  const store = platform.openStore();
  const named = await byName(platform, await store.shelf.list(), source).finally(() => store.shelf.close());
  if (named) return named;
  if (platform.files && /[/\\]/.test(source)) return { path: source }; // whoever reads it says why it cannot
  if (!platform.files && /[/.]/.test(source)) return byUrl(source, platform);
  throw await unknownName(platform, source);
}

const WASM_FILES = ['clla-simd.wasm', 'clla-simd-threads.wasm', 'clla-relaxed.wasm', 'clla-relaxed-threads.wasm'];

/**
 * The URL of each .wasm file, as load() was told.
 * @param {Platform} platform
 * @param {string | URL | ((file: string) => string | URL)} wasmUrl
 * @returns {Record<string, string>}
 */
export function locateWasm({ baseUrl, files }, wasmUrl) {
  const inFolder = (/** @type {string} */ file) => `${String(wasmUrl).replace(/\/?$/, '/')}${file}`;
  const urlOf = typeof wasmUrl === 'function' ? wasmUrl : inFolder;
  return Object.fromEntries(
    WASM_FILES.map((file) => {
      const given = String(urlOf(file));
      const url = URL.canParse(given, baseUrl) ? new URL(given, baseUrl) : undefined;
      if (url && !(files && url.protocol !== 'file:')) return [file, url.href];
      throw new CllaError('BAD_ARGUMENT', `load: wasmUrl: want ${files ? 'a file: URL' : 'a URL'}, got ${JSON.stringify(given)}`);
    }),
  );
}
