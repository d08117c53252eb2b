// model.js: a model for the length of one command, with a bar while it loads; and one reply, shown or reported.

import { load } from '../index.js';
import { formatBytes, formatCount, formatSeconds, progressBar, colours, wordWriter } from './terminal.js';

/**
 * @typedef {import('../types.js').Model} Model
 * @typedef {import('../types.js').LoadOptions} LoadOptions
 * @typedef {import('../types.js').Reply} Reply
 * @typedef {import('../types.js').ReplyResult} ReplyResult
 */

/**
 * @template T
 * @param {string} path
 * @param {LoadOptions} options
 * @param {ReturnType<typeof import('./terminal.js').interrupts>} interrupts
 * @param {(model: Model) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withModel(path, options, interrupts, work) {
  const bar = progressBar('Loading', formatBytes);
  const onProgress = (/** @type {import('../types.js').LoadProgress} */ p) => bar.update(p.loaded, p.total);
  const model = await interrupts
    .during((signal) => load(path, { ...options, onProgress, signal }))
    .finally(() => bar.clear());
  try {
    return await work(model);
  } finally {
    await model.close();
  }
}

/** A bar over the tokens of a prompt. */
export function prefillBar() {
  const bar = progressBar('Reading', formatCount);
  return {
    /** @param {{done: number, total: number}} progress */
    onPrefill: ({ done, total }) => (done < total ? bar.update(done, total) : bar.clear()),
    clear: bar.clear,
  };
}

/**
 * Print a reply as it comes.
 * @param {Reply} reply
 * @param {ReturnType<typeof prefillBar>} bar
 * @returns {Promise<ReplyResult>}
 */
export async function showReply(reply, bar) {
  const writer = wordWriter(process.stdout);
  try {
    for await (const text of reply) {
      bar.clear();
      writer.write(text);
    }
    return await reply.done;
  } finally {
    bar.clear();
    writer.end();
  }
}

/** @param {ReplyResult} result */
export function replyJson({ ids, text, finishReason, promptIds, logprobs, timings, trimmed }) {
  return {
    ids,
    text,
    finish_reason: finishReason,
    prompt_ids: promptIds,
    ...(logprobs && { logprobs }),
    ...(trimmed && { trimmed }),
    timings: {
      load_ms: round(timings.loadMs),
      prompt_n: timings.promptN,
      prompt_per_second: round(timings.promptPerSecond),
      decode_n: timings.decodeN,
      decode_per_second: round(timings.decodePerSecond),
      ttft_ms: round(timings.ttftMs),
    },
  };
}

/** @param {number} x */
export const round = (x) => Math.round(x * 100) / 100;

/** @param {ReplyResult} result */
export function printTimings({ ids, timings: t }) {
  const { dim } = colours(process.stderr);
  const parts = [
    `prompt ${formatCount(t.promptN)} tokens at ${formatCount(Math.round(t.promptPerSecond))}/s`,
    `reply ${formatCount(ids.length)} at ${t.decodePerSecond.toFixed(1)}/s`,
    `first token ${formatSeconds(t.ttftMs)}`,
    `load ${formatSeconds(t.loadMs)}`,
  ];
  process.stderr.write(`${dim(parts.join(' · '))}\n`);
}
