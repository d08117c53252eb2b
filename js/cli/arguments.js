// arguments.js: the options that commands share, how their values are read, and what they mean for the API.

import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { InvalidArgumentError, Option } from 'commander';
import { CllaError, models } from '../index.js';

/** @typedef {Record<string, any>} Given options as commander gives them */

/** @param {string} text */
function readNumber(text) {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('want a number.');
  return value;
}

/** @param {number} min */
const whole = (min) => (/** @type {string} */ text) => {
  const value = readNumber(text);
  if (!Number.isSafeInteger(value) || value < min) throw new InvalidArgumentError(`want a whole number from ${min} up.`);
  return value;
};

/** @param {string} text */
function nonEmpty(text) {
  if (text === '') throw new InvalidArgumentError('want a text that is not empty.');
  return text;
}

/** @param {string} text */
function readDepths(text) {
  return text.split(',').map((part) => whole(0)(part));
}

/** @param {string} text @param {[string, number][]} [list] */
function readBias(text, list = []) {
  const [, id, bias] = /^(\d+)[=:](.+)$/.exec(text) ?? [];
  if (id === undefined) throw new InvalidArgumentError('want ID=BIAS, such as 42=-inf.');
  const value = /^-?inf(inity)?$/i.test(bias) ? Number(bias.replace(/inf.*/i, 'Infinity')) : readNumber(bias);
  return [...list, [id, value]];
}

/** @param {string} text @param {string[]} [list] */
const collect = (text, list = []) => [...list, text];

/** @param {string} flags @param {string} description @param {(text: string, previous: any) => any} [parser] */
function option(flags, description, parser) {
  const made = new Option(flags, description);
  return parser ? made.argParser(parser) : made;
}

export const MODEL_OPTIONS = [
  option('--variant <name>', 'build of the engine').choices(['simd', 'relaxed', 'auto']).default('auto'),
  option('--threads <n>', 'threads that compute (default: the cores, at most 8)', whole(1)),
  option('--ctx <n>', "tokens of context (default: the model's own, at most 4096)", whole(1)),
  option(
    '--kv <spec>',
    'how the cache stores a token: f32, f16, q8, q4, clla (latents as the model was trained), or items such as ' +
      "bits=4,min,group=64,sinks=4; `inspect --kv` tells the bytes (default: the model's own)",
    nonEmpty,
  ),
];

export const SAMPLING_OPTIONS = [
  option('--temp <t>', 'temperature; 0 takes the likeliest token (default: 0, in a chat 0.7)', readNumber),
  option('--top-k <n>', 'only the n likeliest tokens', whole(0)),
  option('--top-p <p>', 'only the likeliest that make up p (default: 1, in a chat 0.9)', readNumber),
  option('--min-p <p>', 'only those at least p times as likely as the likeliest', readNumber),
  option('--typical-p <p>', 'only the most typical that make up p', readNumber),
  option('--repeat-penalty <x>', 'divide the logits of recent tokens', readNumber),
  option('--frequency-penalty <x>', 'subtract for each recent use', readNumber),
  option('--presence-penalty <x>', 'subtract for any recent use', readNumber),
  option('--penalty-window <n>', 'tokens that the penalties look back (default: 64)', whole(1)),
  option('--logit-bias <id=bias>', 'add to the logit of a token; may be repeated', readBias),
  option('--seed <n>', 'same seed, same text (default: random)', whole(0)),
];

export const REPLY_OPTIONS = [
  option('--max-tokens <n>', 'end a reply there (default: when the context is full)', whole(0)),
  option('--stop <text>', 'end a reply before this text; may be repeated', collect),
  option('--ignore-eos', 'go on where the model would end'),
  option('--logprobs <n>', 'with --json: log-probabilities of the n likeliest tokens', whole(1)),
];

export const PROMPT_OPTIONS = [
  option('-p, --prompt <text>', 'the prompt'),
  option('--file <path>', 'read the prompt from a file'),
];

export const JSON_OPTION = option('--json', 'print one JSON object');
export const TIMINGS_OPTION = option('--timings', 'tell on stderr how fast it went');
export const SYSTEM_OPTION = option('--system <text>', 'what the model is told before the conversation');
export const RESUME_OPTION = option(
  '--resume <file>',
  'go on with the chat that the file holds, if it exists; save it there on leaving',
);
export const TRIM_OPTION = option(
  '--no-trim',
  'when the context is full, refuse what is said instead of dropping the oldest messages',
);
export const DEPTHS = { whole, readDepths };

/** @param {Given} given */
export const loadOptions = ({ variant, threads, ctx, kv }) => ({ variant, threads, context: ctx, kv });

/** @param {Given} given @param {import('../types.js').Sampling} [defaults] @returns {import('../types.js').Sampling} */
export function samplingOptions(given, defaults = {}) {
  return {
    temperature: given.temp ?? defaults.temperature,
    topK: given.topK,
    topP: given.topP ?? defaults.topP,
    minP: given.minP,
    typicalP: given.typicalP,
    repetitionPenalty: given.repeatPenalty,
    frequencyPenalty: given.frequencyPenalty,
    presencePenalty: given.presencePenalty,
    penaltyWindow: given.penaltyWindow,
    logitBias: given.logitBias && Object.fromEntries(given.logitBias),
    seed: given.seed,
  };
}

/** @param {Given} given */
export const replyOptions = ({ maxTokens, stop, ignoreEos, logprobs }) => ({ maxTokens, stop, ignoreEos, logprobs });

/** @param {string} path */
async function readTextFile(path) {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new CllaError('NOT_READABLE', `${path}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

async function readStdin() {
  process.stdin.setEncoding('utf8');
  let text = '';
  for await (const piece of process.stdin) text += piece;
  return text;
}

/**
 * The prompt: -p, else --file ("-" is stdin), else stdin where it is no terminal.
 * @param {Given} given
 * @returns {Promise<string | undefined>}
 */
export async function givenPrompt({ prompt, file }) {
  if (prompt !== undefined && file !== undefined)
    throw new CllaError('BAD_ARGUMENT', 'give either -p TEXT or --file F, not both');
  if (prompt !== undefined) return prompt;
  if (file !== undefined && file !== '-') return readTextFile(file);
  return process.stdin.isTTY ? undefined : readStdin();
}

const MODELS = new URL('../../models/', import.meta.url);

/** @typedef {{name: string, description: string, path?: string, url?: string, bytes?: number | null}} Known */

/** @returns {Known[]} the models known by name */
export function catalogue() {
  const file = new URL('catalogue.json', MODELS);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).models : [];
}

/**
 * What load() takes for what a person names: a path or URL as it is, the name of a stored or bundled model; nothing is
 * the model that comes with the package. What would have to be downloaded is refused: `clla pull` does that.
 * @param {string | undefined} model
 * @returns {Promise<{path: string, description?: string}>}
 */
export async function findModel(model) {
  if (model !== undefined && existsSync(model)) return { path: model };
  const known = catalogue().find(({ name, path }) => (model === undefined ? path !== undefined : name === model));
  if (known?.path !== undefined)
    return { path: fileURLToPath(new URL(known.path, MODELS)), description: known.description };
  if (model === undefined) throw new CllaError('NOT_READABLE', 'this copy carries no model: name one');
  const stored = (await models.list()).find(({ name, url }) => model === name || model === url);
  if (stored?.complete) return { path: model, description: known?.description };
  if (stored) throw new CllaError('NOT_STORED', `${model} is here in part only: \`clla pull ${model}\` goes on`);
  if (known) throw new CllaError('NOT_STORED', `${model} is not here: \`clla pull ${model}\` downloads it from ${known.url}`);
  return { path: model };
}

/** @returns {string} */
export const packageVersion = () =>
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
