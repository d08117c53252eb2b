// store.js: `clla pull`, `clla list` and `clla rm`: the models on this machine.

import { models } from '../index.js';
import { catalogue } from './arguments.js';
import { colours, formatBytes, formatSeconds, progressBar } from './terminal.js';

/**
 * @typedef {import('../types.js').LoadProgress} LoadProgress
 * @typedef {import('../types.js').StoredModel} StoredModel
 * @typedef {import('./arguments.js').Given} Given
 * @typedef {ReturnType<typeof import('./terminal.js').interrupts>} Interrupts
 */

/** @param {LoadProgress} progress */
function speed({ bytesPerSecond, secondsLeft }) {
  if (bytesPerSecond === 0) return '';
  return `, ${formatBytes(bytesPerSecond)}/s${secondsLeft === undefined ? '' : `, ${formatSeconds(secondsLeft * 1000)} left`}`;
}

/** @param {string} source @param {Given} given @param {Interrupts} interrupts */
export async function pullCommand(source, { sha256, json }, interrupts) {
  const bar = progressBar('Pulling', formatBytes);
  const onProgress = (/** @type {LoadProgress} */ p) => bar.update(p.loaded, p.total, speed(p));
  const model = await interrupts
    .during((signal) => models.pull(source, { sha256, onProgress, signal }))
    .finally(() => bar.clear());
  if (json) return void process.stdout.write(`${JSON.stringify(model)}\n`);
  const how = model.verified ? 'SHA-256 as it should be' : `SHA-256 ${model.sha256}, which nothing vouches for`;
  process.stdout.write(`${model.name}: ${formatBytes(model.bytes ?? 0)}, ${how}\n`);
}

/** @param {StoredModel} model */
function line({ name, stored, bytes, complete }) {
  const size = bytes === undefined ? '' : formatBytes(bytes);
  return `  ${name.padEnd(32)} ${complete ? size : `${formatBytes(stored)}${size && ` of ${size}`} (\`clla pull\` goes on)`}`;
}

/** @param {undefined} _ @param {Given} given */
export async function listCommand(_, { json }) {
  const here = await models.list();
  const others = catalogue().filter(({ name }) => !here.some((model) => model.name === name));
  if (json) return void process.stdout.write(`${JSON.stringify({ stored: here, catalogue: others })}\n`);
  const { dim } = colours(process.stdout);
  const known = others.map(({ name, path, bytes, description }) => {
    const size = path ? 'bundled' : bytes ? formatBytes(bytes) : '';
    return `  ${name.padEnd(32)} ${size.padEnd(8)} ${dim(description)}`;
  });
  const text = [...(here.length ? ['Here:', ...here.map(line), ''] : []), 'In the catalogue:', ...known];
  process.stdout.write(`${text.join('\n')}\n`);
}

/** @param {string} name */
export async function removeCommand(name) {
  await models.remove(name);
  process.stdout.write(`${name}: removed\n`);
}
