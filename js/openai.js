// openai.js: chat.completions.create() of OpenAI's library, on the model that is loaded: the same parameters, objects and
// chunks. What this engine cannot do is refused by name.

import { createConversations } from './conversations.js';
import { CllaError, abortError } from './errors.js';
import { OPENAI, OPENAI_REQUEST, checkOptions } from './options.js';
import { COMPUTE } from './protocol.js';
import { startReply } from './reply.js';

/**
 * @typedef {import('./types.d.ts').ChatCompletionUsage} Usage
 * @typedef {import('./types.d.ts').ChatCompletionLogprob} Logprob
 * @typedef {import('./types.d.ts').ChatEntry} ChatEntry
 * @typedef {import('./types.d.ts').ReplyResult} ReplyResult
 * @typedef {import('./types.d.ts').Runtime} Runtime
 * @typedef {NonNullable<ReplyResult['logprobs']>} Logprobs
 */

/** @type {Record<string, ChatEntry['role']>} */
const ROLES = { system: 'system', developer: 'system', user: 'user', assistant: 'assistant' };

// ---- what is asked -------------------------------------------------------------------------------------------------

/** @param {unknown} content @param {string} name @returns {string} */
function textOf(content, name) {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) throw new CllaError('BAD_ARGUMENT', `${name}: want a string or an array of text parts`);
  return content.map((part, i) => {
    if (part?.type === 'text' && typeof part.text === 'string') return part.text;
    const got = JSON.stringify(part?.type);
    throw new CllaError('BAD_ARGUMENT', `${name}[${i}]: want {type: "text", text}, got type ${got}: this reads text only`);
  }).join('');
}

/** @param {any} message @param {number} i @returns {ChatEntry} */
function entryOf(message, i) {
  const name = `messages[${i}]`;
  const { role, content, ...more } = message ?? {};
  if (!Object.hasOwn(ROLES, role))
    throw new CllaError('BAD_ARGUMENT', `${name}: role: want ${Object.keys(ROLES).join(', ')}, got ${JSON.stringify(role)}`);
  const [other] = Object.keys(more).filter((key) => more[key] !== null && more[key] !== undefined);
  if (other !== undefined) throw new CllaError('BAD_ARGUMENT', `${name}: "${other}" is not supported, only role and content`);
  return { role: ROLES[role], content: textOf(content, `${name}: content`) };
}

/** @param {unknown} messages @returns {ChatEntry[]} */
function entriesOf(messages) {
  if (Array.isArray(messages) && messages.length > 0) return messages.map(entryOf);
  throw new CllaError('BAD_ARGUMENT', 'create: messages: want an array with at least one message');
}

/** The parameters that are given, checked; null stands for what is not. @param {any} params @param {string} name of the model */
function checkParams(params, name) {
  const given = Object.fromEntries(Object.entries(params ?? {}).filter(([, value]) => value !== null));
  const checked = checkOptions('create', given, OPENAI);
  if (checked.model !== undefined && checked.model !== name)
    throw new CllaError('BAD_ARGUMENT', `create: model: ${JSON.stringify(name)} is loaded, not ${JSON.stringify(checked.model)}`);
  if (checked.top_logprobs !== undefined && !checked.logprobs)
    throw new CllaError('BAD_ARGUMENT', 'create: top_logprobs: needs logprobs: true');
  if (checked.stream_options !== undefined && !checked.stream)
    throw new CllaError('BAD_ARGUMENT', 'create: stream_options: needs stream: true');
  return checked;
}

/** As send() takes them. @param {any} checked @param {number} randomSeed */
function optionsOf(checked, randomSeed) {
  return {
    sampling: {
      temperature: checked.temperature ?? 1,
      topP: checked.top_p,
      seed: checked.seed ?? randomSeed,
      frequencyPenalty: checked.frequency_penalty,
      presencePenalty: checked.presence_penalty,
      logitBias: checked.logit_bias,
    },
    maxTokens: checked.max_completion_tokens ?? checked.max_tokens,
    stop: checked.stop,
    logprobs: checked.logprobs ? Math.max(1, checked.top_logprobs ?? 0) : 0,
  };
}

// ---- what is answered ----------------------------------------------------------------------------------------------

/** @param {ReplyResult} result @returns {Usage} */
function usageOf({ promptIds, ids, usage }) {
  return {
    prompt_tokens: promptIds.length,
    completion_tokens: ids.length,
    total_tokens: promptIds.length + ids.length,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

/** @param {Runtime} runtime */
function createTokenTexts(runtime) {
  /** @type {Map<number, Promise<string>>} */
  const texts = new Map();
  /** @type {Promise<{ids: number[], length: number}> | undefined} */
  let front;
  const detokenize = (/** @type {number[]} */ ids) => runtime.call(COMPUTE.DETOKENIZE, { ids, special: true });

  /** What a token stands behind: some tokenizers drop the space of the first. */
  async function makeFront() {
    const [ids] = await runtime.tokenize([{ text: 'a', flags: 0 }]);
    return { ids, length: (await detokenize(ids)).length };
  }

  /** @param {number} id */
  async function read(id) {
    const { ids, length } = await (front ??= makeFront());
    return (await detokenize([...ids, id])).slice(length);
  }

  return (/** @type {number} */ id) => {
    const text = texts.get(id) ?? read(id);
    texts.set(id, text);
    return text;
  };
}

/**
 * @param {(id: number) => Promise<string>} textOfToken
 * @param {{id: number, logprob: number}} token
 */
async function describeToken(textOfToken, { id, logprob }) {
  const token = await textOfToken(id);
  const whole = !token.includes('\ufffd'); // else it is a part of a character, whose bytes are not told
  return { token, logprob, bytes: whole ? [...new TextEncoder().encode(token)] : null };
}

/**
 * @param {(id: number) => Promise<string>} textOfToken @param {Logprobs} scores @param {number} top
 * @returns {Promise<Logprob[]>}
 */
const describeLogprobs = (textOfToken, scores, top) =>
  Promise.all(
    scores.map(async (score) => ({
      ...(await describeToken(textOfToken, score)),
      top_logprobs: await Promise.all(score.top.slice(0, top).map((other) => describeToken(textOfToken, other))),
    })),
  );

/**
 * @typedef {object} Answer what is known of a reply beforehand, and how its parts are told
 * @property {{id: string, created: number, model: string}} head
 * @property {import('./types.d.ts').ReplyOf<{content: string, scores: Logprobs}>} reply
 * @property {() => Logprobs} rest scores of tokens that no text was shown for
 * @property {(scores: Logprobs | undefined) => Promise<{content: Logprob[], refusal: null} | null>} logprobsOf
 */

/** @param {Answer} answer @param {AbortSignal | undefined} signal @returns {Promise<import('./types.d.ts').ChatCompletion>} */
async function completionOf({ head, reply, logprobsOf }, signal) {
  const result = await reply.done;
  if (result.finishReason === 'abort') throw abortError(signal);
  const message = { role: /** @type {const} */ ('assistant'), content: result.text, refusal: null };
  const logprobs = await logprobsOf(result.logprobs);
  const choice = { index: /** @type {const} */ (0), message, logprobs, finish_reason: result.finishReason };
  return { ...head, object: 'chat.completion', choices: [choice], usage: usageOf(result) };
}

/** @param {Answer} answer @param {boolean} counted @returns {AsyncGenerator<any, void>} */
async function* chunksOf({ head, reply, rest, logprobsOf }, counted) {
  /** @param {object[]} choices @param {Usage | null} [usage] */
  const chunk = (choices, usage = null) => ({ ...head, object: 'chat.completion.chunk', choices, ...(counted ? { usage } : {}) });
  /** @param {object} delta @param {object | null} logprobs @param {string | null} [finish_reason] */
  const choice = (delta, logprobs, finish_reason = null) => [{ index: 0, delta, logprobs, finish_reason }];
  try {
    yield chunk(choice({ role: 'assistant', content: '', refusal: null }, null));
    for await (const { content, scores } of reply) yield chunk(choice({ content }, await logprobsOf(scores)));
    const result = await reply.done;
    if (result.finishReason === 'abort') return;
    yield chunk(choice({}, rest().length > 0 ? await logprobsOf(rest()) : null, result.finishReason));
    if (counted) yield chunk([], usageOf(result));
  } finally {
    reply.stop();
  }
}

/**
 * @param {Runtime} runtime
 * @param {string} name of the model
 * @returns {import('./types.d.ts').Model['openai']}
 */
export function createOpenai(runtime, name) {
  const conversations = createConversations(runtime);
  const textOfToken = createTokenTexts(runtime);

  /** @param {ChatEntry[]} messages @param {any} checked @param {AbortSignal | undefined} signal */
  function start(messages, checked, signal) {
    const options = optionsOf(checked, runtime.randomSeed());
    /** @type {Logprobs} */
    let scores = [];
    let begin = () => {};
    const begun = new Promise((resolve) => (begin = () => resolve(undefined)));
    /** @type {Answer['reply']} */
    const reply = startReply((stop, show) => {
      const shown = (/** @type {string} */ content) => {
        show({ content, scores });
        scores = [];
      };
      const onToken = (/** @type {Logprobs[0]} */ token) => void scores.push(token);
      return conversations.reply(messages, { options: { ...options, onPrefill: begin, onToken }, signal: stop, show: shown });
    }, signal);
    /** @type {Answer} */
    const answer = {
      head: { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model: name },
      reply,
      rest: () => scores,
      async logprobsOf(found = []) {
        if (!checked.logprobs) return null;
        return { content: await describeLogprobs(textOfToken, found, checked.top_logprobs ?? 0), refusal: null };
      },
    };
    return { answer, begun };
  }

  /** @param {any} params @param {any} [request] @returns {Promise<any>} */
  async function create(params, request) {
    runtime.checkOpen();
    const checked = checkParams(params, name);
    const messages = entriesOf(checked.messages);
    const { signal } = checkOptions('create: options', request, OPENAI_REQUEST);
    if (signal?.aborted) throw abortError(signal);
    const { answer, begun } = start(messages, checked, signal);
    if (!checked.stream) return completionOf(answer, signal);
    await Promise.race([begun, answer.reply.done]); // what fails before it begins fails here
    const controller = new AbortController();
    controller.signal.addEventListener('abort', answer.reply.stop);
    const chunks = chunksOf(answer, checked.stream_options?.include_usage ?? false);
    let begunOnce = false;
    const read = () => {
      if (begunOnce) throw new CllaError('BAD_ARGUMENT', 'create: this stream was read already: its chunks come once');
      begunOnce = true;
      return chunks;
    };
    return { controller, [Symbol.asyncIterator]: read };
  }

  return { chat: { completions: { create } } };
}
