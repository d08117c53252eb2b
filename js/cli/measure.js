// measure.js: `clla perplexity` and `clla bench`.

import { CllaError } from '../index.js';
import { findModel, givenPrompt, loadOptions } from './arguments.js';
import { formatBytes, formatCount, progressBar } from './terminal.js';
import { round, withModel } from './model.js';

/**
 * @typedef {import('../types.js').Model} Model
 * @typedef {import('./arguments.js').Given} Given
 * @typedef {ReturnType<typeof import('./terminal.js').interrupts>} Interrupts
 */

// ---- perplexity ----------------------------------------------------------------------------------------------------

/**
 * The text is cut into chunks of `ctx` tokens, each evaluated from an empty cache; where the model wants a BOS, it takes
 * the place of a chunk's first token; all tokens of the second half of each are scored (llama.cpp's tool leaves out
 * the first of them).
 * @param {string} name @param {Given} given @param {Interrupts} interrupts
 */
export async function perplexityCommand(name, given, interrupts) {
  const text = await givenPrompt(given);
  if (text === undefined) throw new CllaError('BAD_ARGUMENT', 'perplexity needs --file F or a text on stdin');
  const size = given.ctx ?? 512;
  await withModel((await findModel(name)).path, { ...loadOptions(given), context: size }, interrupts, async (model) => {
    const chunks = await cutChunks(model, text, size, given.chunks);
    const bar = progressBar('Scoring', formatCount);
    const logprobs = [];
    try {
      for (const [i, chunk] of chunks.entries()) {
        const onPrefill = (/** @type {{done: number}} */ { done }) => bar.update(i * size + done, chunks.length * size);
        const scored = await interrupts.during((signal) => model.score(chunk, { signal, onPrefill }));
        logprobs.push([...scored].map((x) => Number(x.toFixed(6))));
      }
    } finally {
      bar.clear();
    }
    reportPerplexity(logprobs, Math.floor(size / 2), given);
  });
}

/** @param {Model} model @param {string} text @param {number} size @param {number | undefined} limit */
async function cutChunks(model, text, size, limit) {
  if (size < 4) throw new CllaError('BAD_ARGUMENT', `--ctx: want at least 4 for a perplexity, got ${size}`);
  const bos = model.info.tokenizer.addsBos;
  const ids = await model.tokenize(text, { bos, special: false });
  const count = Math.min(Math.floor(ids.length / size), limit ?? Infinity);
  if (count === 0)
    throw new CllaError('BAD_ARGUMENT', `the text has ${ids.length} tokens: too few for one chunk of ${size}`);
  return Array.from({ length: count }, (_, i) => {
    const chunk = ids.slice(i * size, (i + 1) * size);
    if (bos) chunk[0] = ids[0];
    return chunk;
  });
}

/** @param {number[][]} logprobs @param {number} half @param {Given} given */
function reportPerplexity(logprobs, half, given) {
  const scored = logprobs.flatMap((chunk) => chunk.slice(half - 1)); // entry i is of token i + 1
  const ppl = Math.exp(-scored.reduce((sum, x) => sum + x, 0) / scored.length);
  const report = { ppl, chunks: logprobs.length, tokens: scored.length, ...(given.logprobs && { logprobs }) };
  const line = `perplexity ${ppl.toFixed(4)}, ${formatCount(scored.length)} tokens of ${logprobs.length} chunks scored`;
  process.stdout.write(given.json ? `${JSON.stringify(report)}\n` : `${line}\n`);
}

// ---- bench ---------------------------------------------------------------------------------------------------------

/** @param {number[]} list */
function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Ids that look like text to the engine: anywhere in the vocabulary.
 * @param {Model} model @param {number} count @param {number} salt
 */
const someIds = (model, count, salt) =>
  Array.from({ length: count }, (_, i) => ((i + 1) * 7919 + salt * 104729) % model.info.vocabulary);

/** @param {string} name @param {Given} given @param {Interrupts} interrupts */
export async function benchCommand(name, given, interrupts) {
  /** @type {{prefill: number[], decode: number[], decodeTokens: number, runs: number}} */
  const { prefill, decode, decodeTokens, runs } = /** @type {any} */ (given);
  const context = given.ctx ?? Math.max(...prefill, ...decode.map((depth) => Math.max(depth, 4) + decodeTokens));
  await withModel((await findModel(name)).path, { ...loadOptions(given), context }, interrupts, async (model) => {
    const steps = (prefill.length + decode.length) * (runs + 1);
    const bar = progressBar('Measuring', formatCount);
    let done = 0;
    /** The first run warms up: the engine's code is compiled better as it runs. @param {(run: number) => Promise<number>} once */
    async function measure(once) {
      const results = [];
      for (let run = 0; run <= runs; run++) {
        results.push(await once(run));
        bar.update(++done, steps);
      }
      return round(median(results.slice(1)));
    }
    /** @type {Record<string, number>} */
    const prefills = {};
    /** @type {Record<string, number>} */
    const decodes = {};
    let loadMs = 0;
    await interrupts.during(async (signal) => {
      /** @param {number[]} ids @param {number} maxTokens */
      const time = async (ids, maxTokens) => {
        const result = await model.complete(ids, { maxTokens, ignoreEos: true, signal }).done;
        if (result.finishReason === 'abort') throw new CllaError('ABORTED', 'stopped on request');
        loadMs = result.timings.loadMs;
        return result.timings;
      };
      for (const n of prefill)
        prefills[n] = await measure(async (run) => (await time(someIds(model, n, run + 1), 1)).promptPerSecond);
      for (const depth of decode)
        decodes[depth] = await measure(async () => {
          const timings = await time(someIds(model, Math.max(depth, 4), 0), decodeTokens);
          return timings.decodePerSecond;
        });
    });
    bar.clear();
    const { memoryBytes } = await model.memory();
    reportBench(model, { prefill: prefills, decode: decodes, loadMs, memoryBytes }, given);
  });
}

/**
 * @param {Model} model
 * @param {{prefill: Record<string, number>, decode: Record<string, number>, loadMs: number, memoryBytes: number}} measured
 * @param {Given} given
 */
async function reportBench({ info }, { prefill, decode, loadMs, memoryBytes }, given) {
  const report = {
    variant: info.variant,
    threads: info.threads,
    model_bytes: info.fileBytes,
    prefill,
    decode,
    load_ms: round(loadMs),
    peak_bytes: memoryBytes,
  };
  if (given.json) return void process.stdout.write(`${JSON.stringify(report)}\n`);
  const rate = (/** @type {string} */ what, /** @type {number} */ x) => `${what.padEnd(28)}${formatCount(x)} tokens/s`;
  const lines = [
    `${info.name}, ${formatBytes(info.fileBytes)}, ${info.variant}, ${info.threads} thread${info.threads > 1 ? 's' : ''}`,
    ...Object.entries(prefill).map(([n, x]) => rate(`  prefill of ${formatCount(Number(n))}`, x)),
    ...Object.entries(decode).map(([n, x]) => rate(`  decode after ${formatCount(Number(n))}`, x)),
    '  load'.padEnd(28) + `${round(loadMs)} ms`,
    '  memory'.padEnd(28) + formatBytes(memoryBytes),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
