// inspect.js: `clla inspect` and `clla tokenize`: what needs a file's header only.

import { CllaError } from '../index.js';
import { findModel, givenPrompt, loadOptions } from './arguments.js';
import { colours, formatBytes, formatCount } from './terminal.js';
import { withModel } from './model.js';

/**
 * @typedef {import('../types.js').Model} Model
 * @typedef {import('../types.js').ModelInfo} ModelInfo
 * @typedef {import('./arguments.js').Given} Given
 * @typedef {ReturnType<typeof import('./terminal.js').interrupts>} Interrupts
 */

const headerOnly = { vocabularyOnly: true, threads: 1 };

/** @param {string} name @param {Given} given @param {Interrupts} interrupts */
export async function tokenizeCommand(name, given, interrupts) {
  const { path } = findModel(name);
  const text = await givenPrompt(given);
  if (text === undefined) throw new CllaError('BAD_ARGUMENT', 'tokenize needs -p TEXT, --file F or a text on stdin');
  await withModel(path, { variant: given.variant, ...headerOnly }, interrupts, async (model) => {
    const ids = await model.tokenize(text, { bos: given.bos, special: given.special });
    const lines = ids.map((id) => `${id}\n`).join('');
    process.stdout.write(given.json ? `${JSON.stringify({ ids })}\n` : lines);
  });
}

/** @param {string} name @param {Given} given @param {Interrupts} interrupts */
export async function inspectCommand(name, given, interrupts) {
  const { variant, context, kv } = loadOptions(given);
  await withModel(findModel(name).path, { variant, ...headerOnly }, interrupts, async (model) => {
    const session = await sessionOf(model, { context, kv });
    process.stdout.write(given.json ? `${JSON.stringify(inspectJson(model.info, session))}\n` : page(model.info, session));
  });
}

/**
 * What a context takes. A file that holds a vocabulary only has none, which matters only where one was asked for.
 * @param {Model} model
 * @param {{context?: number, kv?: string}} asked
 */
async function sessionOf(model, asked) {
  const context = asked.context ?? Math.min(model.info.trainedContext, 4096);
  try {
    const size = await model.sessionBytes({ context: context || undefined, kv: asked.kv });
    return { context, kv: asked.kv ?? 'f16', ...size };
  } catch (error) {
    if (asked.context !== undefined || asked.kv !== undefined) throw error;
    return undefined;
  }
}

/** @typedef {Awaited<ReturnType<typeof sessionOf>>} Session */

/** @param {ModelInfo} info @param {Session} session */
function inspectJson(info, session) {
  return {
    model: {
      name: info.name,
      architecture: info.architecture,
      parameters: info.parameters,
      file_bytes: info.fileBytes,
      context: info.trainedContext,
      vocabulary: info.vocabulary,
      layers: info.layers,
      width: info.width,
      ff_width: info.feedForward,
      heads: info.heads,
      kv_heads: info.kvHeads,
      key_dim: info.keyDim,
      value_dim: info.valueDim,
      window: info.window,
      types: info.types,
      tokenizer: info.tokenizer,
      license: info.license,
      chat_template: info.chatTemplate,
    },
    session: session && {
      context: session.context,
      kv: session.kv,
      cache_bytes: session.cacheBytes,
      scratch_bytes: session.scratchBytes,
      bytes_per_token: session.bytesPerToken,
    },
  };
}

/** @param {ModelInfo} info @param {Session} session */
function page(info, session) {
  const { bold } = colours(process.stdout);
  const lines = [
    bold(info.name),
    row('architecture', info.architecture),
    row('file', `${formatBytes(info.fileBytes)} (${formatCount(info.fileBytes)} bytes)`),
    ...(info.parameters > 0 ? weightRows(info) : [row('weights', 'none: a vocabulary only')]),
    row('vocabulary', `${formatCount(info.vocabulary)} tokens, ${[info.tokenizer.kind, info.tokenizer.pre].filter(Boolean).join(' ')}`),
    row('chat template', info.chatTemplate ? 'yes' : 'no'),
    ...(info.license ? [row('licence', info.license)] : []),
    ...(session ? sessionRows(session) : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** @param {string} name @param {string} value */
const row = (name, value) => `  ${colours(process.stdout).dim(name.padEnd(16))}${value}`;

/** @param {ModelInfo} info */
function weightRows(info) {
  const window = info.window > 0 ? `, some layers see ${formatCount(info.window)}` : '';
  const types = Object.entries(info.types).map(
    ([type, { tensors, bytes }]) => `${type.padEnd(8)}${formatCount(tensors).padStart(5)} tensors  ${formatBytes(bytes)}`,
  );
  return [
    row('parameters', formatCount(info.parameters)),
    ...types.map((line, i) => row(i === 0 ? 'tensors' : '', line)),
    row('layers', `${formatCount(info.layers)}, width ${formatCount(info.width)}, inside ${formatCount(info.feedForward)}`),
    row('heads', `${info.heads} of ${info.keyDim}, ${info.kvHeads} for keys and values`),
    row('context', `${formatCount(info.trainedContext)} tokens${window}`),
  ];
}

/** @param {NonNullable<Session>} session */
function sessionRows(session) {
  return [
    colours(process.stdout).bold(`Cache ${session.kv}, ${formatCount(session.context)} tokens`),
    row('a token', `${formatCount(session.bytesPerToken)} bytes`),
    row('in all', `${formatBytes(session.cacheBytes)} (${formatCount(session.cacheBytes)} bytes)`),
    row('working memory', formatBytes(session.scratchBytes)),
  ];
}
