// wasm.js: which build of the engine fits this machine, and an instance of it.
//
// There is no cpuid in WebAssembly: a tiny module that uses a feature either validates or does not.

import { CllaError } from './errors.js';
import createSingle from './wasm/clla-simd.js';
import createThreaded from './wasm/clla-simd-threads.js';

/**
 * @typedef {import('./types.d.ts').WasmModule} WasmModule
 * @typedef {'simd' | 'simd-threads' | 'relaxed' | 'relaxed-threads'} Variant
 */

const HEAD = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const FUNCTION_TO_V128 = [0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00];
const SPLAT_ZERO = [0x41, 0x00, 0xfd, 0x0f]; // i32.const 0, i8x16.splat

/** @param {number[]} instructions a function body that leaves one v128 */
const moduleWith = (instructions) => {
  const body = [0x00, ...instructions, 0x0b];
  return new Uint8Array([...HEAD, ...FUNCTION_TO_V128, 0x0a, body.length + 2, 0x01, body.length, ...body]);
};

const SIMD = moduleWith(SPLAT_ZERO);
/** i32x4.relaxed_dot_i8x16_i7x16_add_s */
const RELAXED = moduleWith([...SPLAT_ZERO, ...SPLAT_ZERO, ...SPLAT_ZERO, 0xfd, 0x93, 0x02]);
/** One shared memory of a page. */
const THREADS = new Uint8Array([...HEAD, 0x05, 0x04, 0x01, 0x03, 0x01, 0x01]);

/** Where each build lies. Bundlers look for these very expressions. @type {Record<Variant, () => URL>} */
const FILES = {
  simd: () => new URL('./wasm/clla-simd.wasm', import.meta.url),
  'simd-threads': () => new URL('./wasm/clla-simd-threads.wasm', import.meta.url),
  relaxed: () => new URL('./wasm/clla-relaxed.wasm', import.meta.url),
  'relaxed-threads': () => new URL('./wasm/clla-relaxed-threads.wasm', import.meta.url),
};

/** Node before 22 has relaxed SIMD only behind a flag, and what it computes there is wrong. */
function nodeIsTooOld() {
  const version = globalThis.process?.versions?.node;
  return version !== undefined && Number.parseInt(version, 10) < 22;
}

function relaxedMissing() {
  if (nodeIsTooOld()) return 'Node before 22 has no sound relaxed SIMD';
  if (!WebAssembly.validate(RELAXED)) return 'no relaxed SIMD here';
  return '';
}

function threadsMissing() {
  const shared = typeof SharedArrayBuffer !== 'undefined';
  if (!shared && globalThis.crossOriginIsolated === false) return 'the page is not cross-origin isolated';
  if (!shared || !WebAssembly.validate(THREADS)) return 'no shared memory here';
  return '';
}

/**
 * @param {{variant?: 'simd' | 'relaxed', threads: number}} wanted
 * @returns {{variant: Variant, threads: number, reasons: string[]}} reasons: what was not possible
 */
export function chooseVariant({ variant, threads }) {
  const reasons = [];
  if (!WebAssembly.validate(SIMD)) throw new CllaError('INTERNAL', 'this JavaScript engine has no WebAssembly SIMD');
  const noRelaxed = relaxedMissing();
  if (variant === 'relaxed' && noRelaxed) throw new CllaError('BAD_ARGUMENT', `variant relaxed: ${noRelaxed}`);
  if (variant === undefined && noRelaxed) reasons.push(`${noRelaxed}: plain SIMD`);
  const noThreads = threads > 1 ? threadsMissing() : '';
  if (noThreads) reasons.push(`${noThreads}: one thread`);
  const base = variant ?? (noRelaxed ? 'simd' : 'relaxed');
  if (threads === 1 || noThreads) return { variant: base, threads: 1, reasons };
  return { variant: `${base}-threads`, threads, reasons };
}

/** @param {string} url @param {unknown} error @returns {Promise<string>} why there is no engine behind it */
async function whyNot(url, error) {
  if (!/^https?:/.test(url)) return String(error);
  const response = await fetch(url).catch(() => undefined);
  if (!response) return 'it cannot be fetched';
  if (!response.ok) return `the server answers ${response.status} ${response.statusText}`.trim();
  const start = new Uint8Array(await response.arrayBuffer().catch(() => new ArrayBuffer(0))).subarray(0, HEAD.length);
  return HEAD.every((byte, i) => start[i] === byte) ? String(error) : 'what is there is no Wasm file';
}

/** How the browsers say it. */
const POLICY = /unsafe-eval|blocked by CSP|Content Security Policy/i;

/**
 * @param {Variant} variant
 * @param {number} threads the pool is made in advance: one thread fewer, the caller being one
 * @param {Record<string, string>} [wasmUrls] where the files are, if not here
 * @returns {Promise<WasmModule>}
 */
export async function instantiate(variant, threads, wasmUrls) {
  const url = wasmUrls?.[`clla-${variant}.wasm`] ?? FILES[variant]().href;
  const create = variant.endsWith('-threads') ? createThreaded : createSingle; // plain and relaxed SIMD differ in the file only
  try {
    return await create({ poolSize: threads - 1, locateFile: () => url });
  } catch (error) {
    if (POLICY.test(String(error)))
      throw new CllaError('INTERNAL', "the policy of this site forbids WebAssembly: its script-src needs 'wasm-unsafe-eval'", {
        cause: error,
      });
    const why = await whyNot(url, error);
    if (wasmUrls) throw new CllaError('NOT_READABLE', `wasmUrl: no engine at ${url}: ${why}`, { cause: error });
    throw new CllaError('INTERNAL', `the ${variant} build of the engine does not start: ${url}: ${why}`, { cause: error });
  }
}
