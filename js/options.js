// options.js: what a caller may ask for. A wrong name or value is refused by name, before any work.

import { CllaError } from './errors.js';
import { isMap, isSignal, isUrl } from './kinds.js';
import { shown } from './shown.js';

/**
 * @typedef {(value: any, name: string) => any} Rule returns the value to use or throws
 */

/**
 * @param {string} name
 * @param {string} wanted
 * @param {unknown} got
 */
function refuse(name, wanted, got) {
  return new CllaError('BAD_ARGUMENT', `${name}: want ${wanted}, got ${shown(got)}`);
}

/** @param {number} min @param {number} max @returns {Rule} */
const integer = (min, max) => (value, name) => {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw refuse(name, `an integer from ${min} to ${max}`, value);
};

/** @param {number} min @param {number} max @returns {Rule} */
const number = (min, max) => (value, name) => {
  if (typeof value === 'number' && value >= min && value <= max) return value;
  throw refuse(name, `a number from ${min} to ${max}`, value);
};

/** @param {...string} words @returns {Rule} */
const word = (...words) => (value, name) => {
  if (words.includes(value)) return value;
  throw refuse(name, words.map((w) => JSON.stringify(w)).join(' or '), value);
};

/** @param {string} type @returns {Rule} */
const typed = (type) => (value, name) => {
  if (typeof value === type) return value;
  throw refuse(name, `a ${type}`, value);
};

/** @type {Rule} */
function signal(value, name) {
  if (isSignal(value)) return value;
  throw refuse(name, 'an AbortSignal', value);
}

/** @param {Rule} rule @returns {Rule} */
const autoOr = (rule) => (value, name) => (value === 'auto' ? undefined : rule(value, name));

/** @type {Rule} */
function trim(value, name) {
  if (typeof value === 'boolean' || (Number.isInteger(value) && value > 0)) return value;
  throw refuse(name, 'true, false, or the tokens to leave for a reply', value);
}

/** @type {Rule} */
function stopStrings(value, name) {
  const list = typeof value === 'string' ? [value] : value;
  if (Array.isArray(list) && list.every((stop) => typeof stop === 'string' && stop.length > 0)) return list;
  throw refuse(name, 'a string or an array of strings, none of them empty', value);
}

/** @type {Rule} */
function logitBias(value, name) {
  if (typeof value !== 'object' || Array.isArray(value)) throw refuse(name, 'an object or a Map of token ids', value);
  const pairs = isMap(value) ? [...value] : Object.entries(value ?? {});
  return pairs.map(([id, bias]) => {
    if (!/^\d+$/.test(String(id))) throw refuse(`${name}: token`, 'a token id', id);
    if (typeof bias !== 'number' || Number.isNaN(bias)) throw refuse(`${name}[${id}]`, 'a number', bias);
    return [Number(id), bias];
  });
}

const SAMPLING = {
  temperature: number(0, 100),
  topK: integer(0, 2 ** 31 - 1),
  topP: number(0, 1),
  minP: number(0, 1),
  typicalP: number(0, 1),
  repetitionPenalty: number(0, 100),
  frequencyPenalty: number(-100, 100),
  presencePenalty: number(-100, 100),
  penaltyWindow: integer(1, 2 ** 20),
  seed: integer(0, Number.MAX_SAFE_INTEGER),
  logitBias,
};

/** @type {Rule} */
const sampling = (value, name) => checkOptions(name, value, SAMPLING);

/** @type {Rule} */
function wasmUrl(value, name) {
  if ((typeof value === 'string' && value !== '') || typeof value === 'function' || isUrl(value)) return value;
  throw refuse(name, 'a URL or a function that gives one', value);
}

/** The engine reads a specification up to its first NUL, and nothing as the model's own. @type {Rule} */
function cacheSpec(value, name) {
  if (/^[^\0]+$/.test(typed('string')(value, name))) return value;
  throw new CllaError('BAD_KV_SPEC', `${name}: want a cache specification such as "q8", got ${JSON.stringify(value)}`);
}

/** Of load(). */
export const LOAD = {
  onProgress: typed('function'),
  signal,
  context: autoOr(integer(1, 2 ** 24)),
  kv: autoOr(cacheSpec),
  threads: autoOr(integer(1, 64)),
  variant: autoOr(word('simd', 'relaxed')),
  vocabularyOnly: typed('boolean'),
  wasmUrl,
};

/** @type {Rule} */
function sha256(value, name) {
  if (typeof value === 'string' && /^[0-9a-f]{64}$/i.test(value)) return value.toLowerCase();
  throw refuse(name, 'a SHA-256 of 64 hexadecimal digits', value);
}

/** Of models.pull() and models.add(). */
export const PULL = { onProgress: typed('function'), signal, sha256 };
export const ADD = { ...PULL, name: typed('string') };

/** Of chat.send() and its kin. */
export const SEND = {
  signal,
  onPrefill: typed('function'),
  onTrim: typed('function'),
  maxTokens: integer(0, 2 ** 31 - 1),
  stop: stopStrings,
  ignoreEos: typed('boolean'),
  logprobs: integer(0, 100),
  sampling,
};

/** Of model.complete(). */
const { onTrim: _, ...GENERATE } = SEND;
export const COMPLETE = { ...GENERATE, special: typed('boolean'), bos: typed('boolean') };

/** Of model.chat(). */
export const CHAT = { system: typed('string'), sampling, template: typed('string'), trim };

/** Of chat.save() and model.restore(). */
export const SAVE = { signal };
export const RESTORE = { signal, sampling, trim };

/** Of model.tokenize() and model.detokenize(). */
export const TEXT = { bos: typed('boolean'), special: typed('boolean') };

/** Of model.score(). */
export const SCORE = { signal, onPrefill: typed('function') };

/** Of model.embed(). */
export const EMBED = { ...SCORE, pooling: word('mean', 'last'), normalize: typed('boolean') };

/** @type {Rule} */
const anything = (value) => value; // checked where it is read

/** @type {Rule} */
function one(value, name) {
  if (value === 1) return value;
  throw refuse(name, '1', value);
}

/** @type {Rule} */
function off(value, name) {
  if (value === false) return value;
  throw refuse(name, 'false', value);
}

/** Of openai.chat.completions.create(), and what stands beside them. */
export const OPENAI = {
  messages: anything,
  model: typed('string'),
  stream: typed('boolean'),
  stream_options: (/** @type {any} */ value, /** @type {string} */ name) =>
    checkOptions(name, value, { include_usage: typed('boolean') }),
  max_tokens: integer(0, 2 ** 31 - 1),
  max_completion_tokens: integer(0, 2 ** 31 - 1),
  temperature: number(0, 2),
  top_p: number(0, 1),
  seed: integer(0, Number.MAX_SAFE_INTEGER),
  stop: stopStrings,
  logprobs: typed('boolean'),
  top_logprobs: integer(0, 20),
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  logit_bias: logitBias,
  n: one,
  response_format: (/** @type {any} */ value, /** @type {string} */ name) => checkOptions(name, value, { type: word('text') }),
  user: typed('string'), // this and what follows changes nothing here, and clients send it
  metadata: typed('object'),
  store: off,
};
export const OPENAI_REQUEST = { signal };

/**
 * Check an options object; what is undefined stays away.
 * @param {string} what the call, for messages
 * @param {unknown} options
 * @param {Record<string, Rule>} rules
 * @returns {any}
 */
export function checkOptions(what, options, rules) {
  if (options === undefined) return {};
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  if (!isObject) throw refuse(what, 'an object with options', options);
  /** @type {Record<string, any>} */
  const checked = {};
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(rules, name))
      throw new CllaError('BAD_ARGUMENT', `${what} has no option "${name}"; it has ${Object.keys(rules).join(', ')}`);
    if (value !== undefined) checked[name] = rules[name](value, `${what}: ${name}`);
  }
  return checked;
}

/**
 * @param {string} what
 * @param {unknown} value
 * @returns {string}
 */
export function checkText(what, value) {
  if (typeof value === 'string') return value;
  throw refuse(what, 'a string', value);
}

/**
 * @param {string} what
 * @param {unknown} value
 * @param {string} [wanted]
 * @returns {number[]}
 */
export function checkIds(what, value, wanted = 'an array of token ids') {
  const ids = Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(/** @type {any} */ (value)) : undefined;
  if (ids?.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31)) return ids;
  throw refuse(what, wanted, value);
}
