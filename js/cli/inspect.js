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

/** Tokens of the contexts whose bytes are told. */
const LENGTHS = [2048, 8192, 32768, 131072];
const headerOnly = { vocabularyOnly: true, threads: 1 };

/** @param {string} name @param {Given} given @param {Interrupts} interrupts */
export async function tokenizeCommand(name, given, interrupts) {
  const { path } = await findModel(name);
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
  await withModel((await findModel(name)).path, { variant, ...headerOnly }, interrupts, async (model) => {
    const { session, refusal } = await sessionOf(model, { context, kv });
    const lengths = session ? await lengthsOf(model, kv) : [];
    const text = given.json ? JSON.stringify(inspectJson(model.info, session, lengths)) : page(model.info, session, lengths);
    process.stdout.write(`${text}\n`);
    if (refusal && model.info.parameters > 0) throw refusal;
  });
}

/**
 * What a context takes; or why there can be none: the file holds a vocabulary only, or a model that cannot run. The rest of
 * the page is told even so, unless a context was asked for.
 * @param {Model} model
 * @param {{context?: number, kv?: string}} asked
 * @returns {Promise<{session?: Session, refusal?: unknown}>}
 */
async function sessionOf(model, asked) {
  const context = asked.context ?? Math.min(model.info.trainedContext, 4096);
  try {
    const size = await model.sessionBytes({ context: context || undefined, kv: asked.kv });
    return { session: { context, ...size } };
  } catch (refusal) {
    if (asked.context !== undefined || asked.kv !== undefined) throw refusal;
    return { refusal };
  }
}

/** @typedef {import('../types.js').SessionSize & {context: number}} Session */

/**
 * What sessions of several lengths take.
 * @param {Model} model
 * @param {string | undefined} kv
 */
function lengthsOf(model, kv) {
  return Promise.all(LENGTHS.map(async (context) => ({ context, ...(await model.sessionBytes({ context, kv })) })));
}

/** @typedef {Awaited<ReturnType<typeof lengthsOf>>} Lengths */

/**
 * Of multi-head attention of the same width and depth in 16 bits.
 * @param {{plainBytesPerToken: number}} session
 * @param {number} bytesPerToken
 */
const percent = ({ plainBytesPerToken }, bytesPerToken) => (100 * bytesPerToken) / plainBytesPerToken;

/** @param {Session} session @param {Lengths} lengths */
function sizesJson(session, lengths) {
  const { codes, scales, ropeKeys, residual } = session.components;
  return {
    session: {
      context: session.context,
      kv: session.kv,
      threads: headerOnly.threads,
      cache_bytes: session.cacheBytes,
      scratch_bytes: session.scratchBytes,
      bytes_per_token: session.bytesPerToken,
    },
    kv: session.kv,
    bytes_per_token: session.bytesPerToken,
    mha_fp16_bytes_per_token: session.plainBytesPerToken,
    percent: percent(session, session.bytesPerToken),
    components: { codes, scales, rope_keys: ropeKeys, residual },
    storing_layers: session.storingLayers,
    storing_layer: {
      bytes_per_token: session.bytesPerToken / session.storingLayers,
      codes: codes / session.storingLayers,
      scales: scales / session.storingLayers,
      rope_keys: ropeKeys / session.storingLayers,
      residual: residual / session.storingLayers,
    },
    session_bytes: Object.fromEntries(lengths.map((n) => [n.context, n.cacheBytes + n.scratchBytes])),
    cache_bytes: Object.fromEntries(lengths.map(({ context, cacheBytes }) => [context, cacheBytes])),
  };
}

/** @param {ModelInfo} info @param {Session | undefined} session @param {Lengths} lengths */
function inspectJson(info, session, lengths) {
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
      latent: info.latent && { rank: info.latent.rank, rope_dim: info.latent.ropeDim, owner: info.latent.owner },
      window: info.window,
      types: info.types,
      tokenizer: info.tokenizer,
      license: info.license,
      chat_template: info.chatTemplate,
    },
    ...(session ? sizesJson(session, lengths) : {}),
  };
}

/** @param {ModelInfo} info @param {Session | undefined} session @param {Lengths} lengths */
function page(info, session, lengths) {
  const { bold } = colours(process.stdout);
  const tokenizer = [info.tokenizer.kind, info.tokenizer.pre].filter(Boolean);
  const lines = [
    bold(info.name),
    row('architecture', info.architecture),
    row('file', `${formatBytes(info.fileBytes)} (${formatCount(info.fileBytes)} bytes)`),
    ...(info.parameters > 0 ? weightRows(info) : [row('weights', 'none: a vocabulary only')]),
    row('vocabulary', `${formatCount(info.vocabulary)} tokens, ${tokenizer.join(' ')}`),
    row('chat template', info.chatTemplate ? 'yes' : 'no'),
    ...(info.license ? [row('licence', info.license)] : []),
    ...(session ? [...sessionRows(info, session), ...lengthRows(lengths)] : []),
  ];
  return lines.join('\n');
}

/** @param {string} name @param {string} value */
const row = (name, value) => `  ${colours(process.stdout).dim(name.padEnd(16))}${value}`;

/** @param {ModelInfo} info */
function shapeRows(info) {
  const window = info.window > 0 ? `, some layers see ${formatCount(info.window)}` : '';
  return [
    row('layers', `${formatCount(info.layers)}, width ${formatCount(info.width)}, inside ${formatCount(info.feedForward)}`),
    ...attentionRows(info),
    row('context', `${formatCount(info.trainedContext)} tokens${window}`),
  ];
}

/** @param {ModelInfo} info */
function weightRows(info) {
  const types = Object.entries(info.types).map(
    ([type, { tensors, bytes }]) => `${type.padEnd(8)}${formatCount(tensors).padStart(5)} tensors  ${formatBytes(bytes)}`,
  );
  return [
    row('parameters', formatCount(info.parameters)),
    ...types.map((line, i) => row(i === 0 ? 'tensors' : '', line)),
    ...(info.layers > 0 ? shapeRows(info) : []),
  ];
}

/** @param {ModelInfo} info */
function attentionRows({ heads, keyDim, kvHeads, latent }) {
  if (!latent) return [row('heads', `${heads} of ${keyDim}, ${kvHeads} for keys and values`)];
  const owners = new Set(latent.owner).size;
  const rope = latent.ropeDim > 0 ? `, rope key of ${latent.ropeDim}` : ', no rope key';
  return [
    row('heads', `${heads} of ${keyDim}`),
    row('latent', `${formatCount(latent.rank)} channels${rope}; ${owners} of ${latent.owner.length} layers own one`),
  ];
}

/** @param {number} value in percent */
const formatPercent = (value) => `${Number(value.toPrecision(3))} %`;

/**
 * A token's share of each of `layers` layers: "108 bytes: codes 64, scales 12, rope keys 32".
 * @param {Session} session
 * @param {number} layers
 */
function partsText({ bytesPerToken, components: { codes, scales, ropeKeys } }, layers) {
  const parts = Object.entries({ codes, scales, 'rope keys': ropeKeys }).filter(([, bytes]) => bytes > 0);
  const named = parts.map(([name, bytes]) => `${name} ${formatCount(bytes / layers)}`);
  return `${formatCount(bytesPerToken / layers)} bytes: ${named.join(', ')}`;
}

/** @param {ModelInfo} info @param {Session} session */
function sessionRows({ layers }, session) {
  const { bytesPerToken, storingLayers, components: { residual } } = session;
  const share = formatPercent(percent(session, bytesPerToken));
  return [
    colours(process.stdout).bold(`Cache ${session.kv}, ${formatCount(session.context)} tokens`),
    row('a token', partsText(session, 1)),
    row('', `${share} of multi-head attention in 16 bits (${formatCount(session.plainBytesPerToken)} bytes)`),
    row('a layer', `${partsText(session, storingLayers)}; ${storingLayers} of ${layers} store`),
    ...(residual > 0 ? [row('first tokens', `${formatBytes(residual)} more, once, to keep them in 16 bits`)] : []),
    row('in all', `${formatBytes(session.cacheBytes)} (${formatCount(session.cacheBytes)} bytes)`),
    row('working memory', `${formatBytes(session.scratchBytes)} with one thread`),
  ];
}

/** @param {Lengths} lengths */
export function lengthRows(lengths) {
  const widths = [7, 15, 17, 12, 16];
  const cells = (/** @type {string[]} */ ...texts) => `  ${texts.map((text, i) => text.padStart(widths[i])).join('')}`;
  return [
    colours(process.stdout).dim(cells('tokens', 'cache', 'bytes', 'of f16 MHA', 'working memory')),
    ...lengths.map((size) =>
      cells(
        formatCount(size.context),
        formatBytes(size.cacheBytes),
        formatCount(size.cacheBytes),
        formatPercent(percent(size, size.cacheBytes / size.context)),
        formatBytes(size.scratchBytes),
      ),
    ),
  ];
}
