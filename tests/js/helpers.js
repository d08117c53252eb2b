// helpers.js: what the tests of the JavaScript interface share: the bundled model, its golden continuations, scratch
// folders, and ways to look at a failure.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CllaError, load } from '../../js/index.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const tiny = path.join(root, 'models/tinystories-656k.gguf');
/** @type {{prompt: string, prompt_ids: number[], output_ids: number[], output: string}[]} */
export const golden = JSON.parse(readFileSync(path.join(root, 'tests/vectors/tinystories-656k.json'), 'utf8')).prompts;
export const nodeMajor = Number.parseInt(process.versions.node, 10);

const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');
const assistant = path.join(cache, 'models/SmolLM2-135M-Instruct.Q4_1.gguf');
/** A real assistant, where it was fetched; else the reason why a test is skipped. */
export const smollm = existsSync(assistant) ? assistant : undefined;
export const withoutSmollm = smollm ? false : 'SmolLM2 is not here: node scripts/fetch-models.js gets it';

/** A template whose turns are lines, so that what a test says stays in the prompt. */
export const LINES = '{{ bos_token }}{% for message in messages %}{{ message.content }}\n{% endfor %}';

/**
 * A model for the length of a test.
 * @template T
 * @param {import('../../js/types.js').LoadOptions} options
 * @param {(model: import('../../js/types.js').Model) => Promise<T>} work
 * @param {import('../../js/types.js').ModelSource} [source]
 */
export async function withModel(options, work, source = tiny) {
  const model = await load(source, options);
  try {
    return await work(model);
  } finally {
    await model.close();
  }
}

/** Records that no store can have written, in the words of their files. @type {string[]} */
export const DAMAGED_RECORDS = [
  '',
  'null',
  '{}',
  '[]',
  '{"id": "d", "name": "d',
  '{"name": "d", "complete": true}',
  '{"id": "d", "name": "d", "writer": "w", "chunkBytes": 1, "chunkHashes": [], "complete": true, "hashState": 5}',
  '{"id": "d", "name": "d", "writer": "w", "chunkBytes": 1, "chunkHashes": 3, "complete": true}',
  '{"id": "d", "name": "d", "writer": "w", "chunkBytes": 1, "chunkHashes": [], "complete": true, "chat": {"date": "x"}}',
];

/**
 * A CllaError with this code whose sentence matches.
 * @param {import('../../js/types.js').CllaErrorCode} code
 * @param {RegExp} sentence
 */
export const fails = (code, sentence) => (/** @type {unknown} */ error) => {
  assert.ok(error instanceof CllaError, `want a CllaError, got ${error}`);
  assert.equal(error.code, code, error.message);
  assert.match(error.message, sentence);
  return true;
};

/**
 * @template T
 * @param {(folder: string) => Promise<T>} work
 */
export async function inFolder(work) {
  const folder = mkdtempSync(path.join(tmpdir(), 'clla-js-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * The command line, run to its end.
 * @param {string[]} args
 * @param {{input?: string, env?: Record<string, string>}} [options]
 */
export function clla(args, { input = '', env } = {}) {
  const cli = path.join(root, 'js/cli.js');
  const made = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', input, maxBuffer: 1 << 26, env: { ...process.env, ...env } });
  if (made.error) throw made.error;
  return { status: made.status, stdout: made.stdout, stderr: made.stderr };
}

/** The same with --json. @param {string[]} args @param {{input?: string}} [options] */
export function cllaJson(args, options) {
  const { status, stdout, stderr } = clla([...args, '--json'], options);
  assert.equal(status, 0, stderr);
  assert.equal(stdout.trimEnd().split('\n').length, 1, 'one line');
  return JSON.parse(stdout);
}

/** @param {AsyncIterable<string>} reply */
export async function textOf(reply) {
  let text = '';
  for await (const piece of reply) text += piece;
  return text;
}
