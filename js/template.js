// template.js: from messages to a prompt, by the model's own chat template.
//
// What a person wrote must never be read as a control token, so template and contents are kept apart: the template is
// rendered with a unique sentinel in place of each content, and cut at the sentinels. A sentinel stands between two
// spaces that trimming removes, which shows where a template trims. Templates that rewrite a content (cutting out
// thoughts, say) are found by comparing with a rendering of the real contents; what such a template makes of one
// content is found by rendering with that one alone in place.
//
// A template is a program out of a file: it runs in a worker of its own and is ended when it takes too long.

import { CllaError } from './errors.js';
import { TEMPLATE } from './protocol.js';
import { connect } from './rpc.js';

/**
 * @typedef {import('./types.d.ts').ChatEntry} ChatEntry
 * @typedef {import('./types.d.ts').PromptPiece} PromptPiece
 * @typedef {{text: string} | {content: number, trimStart: boolean, trimEnd: boolean}} Segment
 */

const TIME_LIMIT_MS = 3000;
const PAD = '\u2003'; // a space that no template writes by itself
const JOINT = '\ue000'; // of private use: no template writes it

/** For models without a template: they continue text, so messages stand as they are, a line each. */
export const PLAIN_TEMPLATE =
  '{% for message in messages %}{{ message.content }}{% if not loop.last %}{{ "\\n" }}{% endif %}{% endfor %}';

/**
 * A renderer that starts its worker when first needed, and renders one request at a time.
 * @param {() => import('./types.d.ts').Endpoint} startTemplateWorker
 */
export function createRenderer(startTemplateWorker) {
  /** @type {ReturnType<typeof connect> | undefined} */
  let worker;
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  /** @type {CllaError | undefined} */
  let closed;

  /** @param {CllaError} error */
  async function end(error) {
    const ended = worker;
    worker = undefined;
    await ended?.close(error);
  }

  async function start() {
    if (closed) throw closed;
    worker = connect(startTemplateWorker());
    await worker.call(TEMPLATE.RENDER, { source: '', inputs: [] }); // the time it takes to start is not the template's
    return worker;
  }

  /** @param {string} source @param {Record<string, unknown>[]} inputs */
  async function renderNow(source, inputs) {
    const running = worker ?? (await start());
    const tooLong = new CllaError('BAD_TEMPLATE', `the chat template takes more than ${TIME_LIMIT_MS} ms`);
    const timer = setTimeout(end, TIME_LIMIT_MS, tooLong);
    try {
      return await running.call(TEMPLATE.RENDER, { source, inputs });
    } catch (error) {
      if (!(error instanceof CllaError) || error.code !== 'INTERNAL') throw error;
      const tooLarge = new CllaError('BAD_TEMPLATE', 'the chat template takes more memory than it may have'); // it died
      await end(tooLarge);
      throw tooLarge;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    /** Start the worker while nobody waits for it. */
    prepare() {
      last = last.then(() => worker ?? start()).catch(() => {});
    },
    /**
     * @param {string} source
     * @param {Record<string, unknown>[]} inputs
     * @returns {Promise<string[]>}
     */
    render(source, inputs) {
      const rendered = last.then(() => renderNow(source, inputs));
      last = rendered.catch(() => {});
      return rendered;
    },

    /**
     * What waits and what comes later fails with `error`.
     * @param {CllaError} error
     */
    close(error) {
      closed = error;
      return end(error);
    },
  };
}

/** @param {string} text @param {string} mark @returns {Segment[]} */
function cutAtSentinels(text, mark) {
  const sentinel = new RegExp(`(${PAD}?)${mark}:(\\d+);(${PAD}?)`, 'g');
  /** @type {Segment[]} */
  const segments = [];
  let end = 0;
  for (const found of text.matchAll(sentinel)) {
    segments.push({ text: text.slice(end, found.index) });
    segments.push({ content: Number(found[2]), trimStart: found[1] === '', trimEnd: found[3] === '' });
    end = found.index + found[0].length;
  }
  return [...segments, { text: text.slice(end) }];
}

/** @param {string} text @param {{trimStart: boolean, trimEnd: boolean}} how */
function trimmed(text, { trimStart, trimEnd }) {
  const front = trimStart ? text.trimStart() : text;
  return trimEnd ? front.trimEnd() : front;
}

/**
 * What stands at the place of one sentinel when a content is in its place.
 * @param {string} withSentinel @param {string} withContent @param {string} sentinel without its spaces
 * @returns {string | undefined} undefined: more than that changed
 */
function standsFor(withSentinel, withContent, sentinel) {
  const [front, back, more] = withSentinel.split(new RegExp(`${PAD}?${sentinel}${PAD}?`));
  if (back === undefined || more !== undefined) return undefined;
  const fits = withContent.length >= front.length + back.length;
  if (!fits || !withContent.startsWith(front) || !withContent.endsWith(back)) return undefined;
  return withContent.slice(front.length, withContent.length - back.length);
}

/**
 * The prompt for these messages, in pieces.
 * @param {ReturnType<typeof createRenderer>} renderer
 * @param {{source: string, bos: string, eos: string}} template
 * @param {ChatEntry[]} entries
 * @returns {Promise<PromptPiece[]>}
 */
export async function promptPieces(renderer, template, entries) {
  const digits = crypto.getRandomValues(new Uint32Array(4)).join('');
  const mark = [...digits].join(JOINT); // nothing that a change of case changes, and any part of it is known again
  /** @param {(entry: ChatEntry, i: number) => string} contentOf */
  const input = (contentOf) => ({
    messages: entries.map((entry, i) => ({ role: entry.role, content: contentOf(entry, i) })),
    add_generation_prompt: true,
    bos_token: template.bos,
    eos_token: template.eos,
  });
  /** @param {ChatEntry} _ @param {number} i */
  const sentinel = (_, i) => `${PAD}${mark}:${i};${PAD}`;

  const [real, marked] = await renderer.render(template.source, [input((entry) => entry.content), input(sentinel)]);
  const segments = cutAtSentinels(marked, mark);
  if (segments.some((s) => 'text' in s && s.text.includes(JOINT)))
    throw new CllaError('BAD_TEMPLATE', 'the chat template takes a message apart: it cannot be told what is whose');
  const contents = segments.map((s) => ('content' in s ? trimmed(entries[s.content].content, s) : s.text));
  if (contents.join('') !== real) {
    const each = await renderer.render(
      template.source,
      entries.map((_, k) => input((entry, i) => (i === k ? entry.content : sentinel(entry, i)))),
    );
    segments.forEach((s, at) => {
      if ('content' in s) contents[at] = standsFor(marked, each[s.content], `${mark}:${s.content};`) ?? contents[at];
    });
  }
  return segments.map((s, at) => {
    if (!('content' in s)) return { text: contents[at], special: true };
    const { content, ids } = entries[s.content];
    return ids !== undefined && contents[at] === content ? { ids } : { text: contents[at], special: false };
  });
}

/**
 * The same for a template that refuses system messages: their text goes in front of the first message instead.
 * @param {ReturnType<typeof createRenderer>} renderer
 * @param {{source: string, bos: string, eos: string}} template
 * @param {ChatEntry[]} entries
 */
export async function chatPrompt(renderer, template, entries) {
  try {
    return await promptPieces(renderer, template, entries);
  } catch (error) {
    const [system, first, ...rest] = entries;
    const refused = error instanceof CllaError && error.code === 'BAD_TEMPLATE' && system?.role === 'system' && first;
    if (!refused) throw error;
    const merged = { role: first.role, content: `${system.content}\n\n${first.content}` };
    return promptPieces(renderer, template, [merged, ...rest]).catch(() => Promise.reject(error));
  }
}
