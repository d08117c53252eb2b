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

const NAME_MAX = 32; // columns; longer ones push what follows to the right
const SIZE = 8;

/** Words in lines of at most `width` columns. @param {string} text @param {number} width @returns {string[]} */
function wrapped(text, width) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

/** @param {StoredModel} model @param {number} width of names */
function line({ name, stored, bytes, complete }, width) {
  const size = bytes === undefined ? '' : formatBytes(bytes);
  return `  ${name.padEnd(width)} ${complete ? size : `${formatBytes(stored)}${size && ` of ${size}`} (\`clla pull\` goes on)`}`;
}

/** @param {undefined} _ @param {Given} given */
export async function listCommand(_, { json }) {
  const here = await models.list();
  const others = catalogue().filter(({ name }) => !here.some((model) => model.name === name));
  if (json) return void process.stdout.write(`${JSON.stringify({ stored: here, catalogue: others })}\n`);
  const { dim } = colours(process.stdout);
  const width = Math.min(NAME_MAX, Math.max(0, ...[...here, ...others].map(({ name }) => name.length)));
  const indent = `  ${' '.repeat(width)} ${' '.repeat(SIZE)} `;
  const left = Math.max(20, (process.stdout.columns || 80) - indent.length);
  const known = others.map(({ name, path, bytes, description }) => {
    const size = path ? 'bundled' : bytes ? formatBytes(bytes) : '';
    const lines = wrapped(description, left).map((words) => dim(words));
    return `  ${name.padEnd(width)} ${size.padEnd(SIZE)} ${lines.join(`\n${indent}`)}`;
  });
  const stored = here.map((model) => line(model, width));
  const text = [...(here.length ? ['Here:', ...stored, ''] : []), 'In the catalogue:', ...known];
  process.stdout.write(`${text.join('\n')}\n`);
}

/** @param {string} name */
export async function removeCommand(name) {
  await models.remove(name);
  process.stdout.write(`${name}: removed\n`);
}
