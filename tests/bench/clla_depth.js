#!/usr/bin/env node
// clla_depth.js: speed and memory of a model with latents in a long conversation, beside one of the same shape without.
//
//     node tests/bench/clla_depth.js [--rounds N] [--threads N] [--depths 0,2048,8192,32768] [--prefills 512,4096] [--runs N]
//                                    [--variants relaxed,simd] [--only clla,smollm2,wllama] [--kv f16,q8] [--model FILE] [--json]
//
// The model with latents has random weights and the shape of SmolLM2-135M (models/convert/random_clla.py, which needs Python with
// numpy and gguf; it is made once); SmolLM2 itself runs with the caches of --kv. wllama reads a long prompt so slowly that it
// is asked for decoding at 0 and 2,048 alone. Contenders take turns, a process each; the table has medians over the rounds.
// The long texts are read once, by the first build that needs them, and kept as saved chats in the cache folder.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { pathOf } from '../../scripts/fetch-models.js';
import { load, machine, programVersion, revision } from './machine.js';
import { cache, findNodes, output } from './ours.js';
import { median } from './replies.js';
import { preparePrompts, root } from './workload.js';

const say = (text) => process.stderr.write(`${text}\n`);
const numbers = (text) => text.split(',').map(Number);

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '1' },
      threads: { type: 'string', default: '2' },
      depths: { type: 'string', default: '0,2048,8192,32768' },
      prefills: { type: 'string', default: '512,4096' },
      runs: { type: 'string', default: '2' },
      variants: { type: 'string', default: 'relaxed,simd' },
      only: { type: 'string', default: 'clla,smollm2,wllama' },
      kv: { type: 'string', default: 'f16,q8' },
      model: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  return {
    rounds: Number(values.rounds),
    threads: Number(values.threads),
    work: { depths: numbers(values.depths), prefills: numbers(values.prefills), runs: Number(values.runs), decoded: 33 },
    variants: values.variants.split(','),
    only: values.only.split(','),
    caches: values.kv.split(','),
    model: values.model && path.resolve(values.model),
    json: values.json,
  };
}

function findSmollm() {
  const file = pathOf('smollm2');
  if (existsSync(file)) return file;
  const { status } = spawnSync(process.execPath, [path.join(root, 'scripts/fetch-models.js'), 'smollm2'], { stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error('SmolLM2 cannot be fetched');
  return file;
}

/** The random model, made where it is not there. */
function findRandom(smollm) {
  const file = path.join(cache, 'models/random-clla-s2.gguf');
  if (existsSync(file)) return file;
  const candidates = [path.join(cache, 'venv/bin/python'), 'python3'].filter((name) => !name.includes('/') || existsSync(name));
  const python = candidates.find((name) => spawnSync(name, ['-c', 'import numpy, gguf']).status === 0);
  if (!python) throw new Error('no Python with numpy and gguf to make the random model with: pip install gguf==0.19.0 numpy');
  mkdirSync(path.dirname(file), { recursive: true });
  say('making the random model');
  const script = path.join(root, 'models/convert/random_clla.py');
  const { status } = spawnSync(python, [script, smollm, `${file}.part`], { stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error('the random model cannot be made');
  renameSync(`${file}.part`, file);
  return file;
}

/** One build of the engine with one model and cache. */
function contender(name, model, variant, kv, { threads, work }) {
  const { modern } = findNodes();
  const deepest = Math.max(...work.depths, ...work.prefills);
  const states = path.join(cache, 'bench-states', `${path.basename(model, '.gguf')}-${kv ?? 'own'}-${deepest}-${work.depths.join('-')}`);
  const run = (more) => output(modern, ['tests/bench/clla_depth_run.js', model], JSON.stringify({ ...work, variant, threads, kv, states, ...more }));
  return {
    name: `${name}, ${variant}`,
    async measure() {
      if (!existsSync(path.join(states, `${Math.max(...work.depths)}.state`))) {
        mkdirSync(states, { recursive: true });
        await run({ prepare: true });
      }
      return JSON.parse(await run({}));
    },
  };
}

/** wllama in the same words: prefill of 512 tokens, decoding at 0 and at 2,048. */
async function wllama(model, { threads, work }) {
  const { openWllama } = await import('./wllama.js');
  const sizes = { prefill: 512, depth: 2048, decoded: work.decoded, runs: 1 };
  const browser = await openWllama(model, await preparePrompts(model, sizes));
  const one = browser.contender(threads);
  return {
    name: 'wllama, SmolLM2, f16, Chromium',
    close: browser.close,
    async measure(round) {
      const { prefill, decode } = await one.measure(round);
      const { deep } = await one.measureDeep();
      return { prefill: { 512: prefill }, decode: { 0: decode, 2048: deep }, share: { 2048: deep / decode } };
    },
  };
}

async function contenders(options) {
  const wants = (name) => options.only.includes(name);
  const smollm = findSmollm();
  const list = [];
  for (const variant of options.variants) {
    if (wants('clla')) list.push(contender('random clla', options.model ?? findRandom(smollm), variant, undefined, options));
    if (wants('smollm2')) for (const kv of options.caches) list.push(contender(`SmolLM2, ${kv}`, smollm, variant, kv, options));
  }
  if (wants('wllama')) list.push(await wllama(smollm, options));
  return list;
}

// ---- the report ----------------------------------------------------------------------------------------------------

/** Rounds of nested numbers become one of medians. */
function medians(rounds) {
  const first = rounds[0];
  if (typeof first === 'number') return median(rounds);
  return Object.fromEntries(Object.keys(first).map((key) => [key, medians(rounds.map((round) => round[key]))]));
}

const digits = (x) => (x === undefined ? '' : x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const megabytes = (bytes) => (bytes === undefined ? '' : (bytes / 1e6).toFixed(1));

function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(rows[0]), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.slice(1).map(line)].join('\n');
}

function print({ date, machine: m, load: loads, versions, work, threads, rounds, results }) {
  const { prefills, depths } = work;
  const speedRows = results.map(({ name, prefill, decode, share }) => [
    name,
    ...prefills.map((n) => digits(prefill[n])),
    ...depths.map((n) => digits(decode[n]) + (n && share?.[n] ? ` (${digits(share[n])})` : '')),
  ]);
  const memoryRows = results
    .filter((r) => r.cacheBytes)
    .map((r) => [r.name, String(r.context), digits(r.bytesPerToken), megabytes(r.cacheBytes), megabytes(r.memoryBytes), megabytes(r.processBytes)]);
  return `${[
    `${date.slice(0, 16).replace('T', ' ')} UTC, load average ${loads.map((l) => l.join(' ')).join(' at the beginning, ')} at the end`,
    `machine: ${m.cpu} (${m.ids}), ${m.cores} cores, ${m.flags.join(' ')}, ${m.system}; clla ${versions.clla}, Node ${versions.node}`,
    `tokens/s, ${threads} threads, medians of ${rounds} rounds; decoding at depth: 32 steps (in brackets: of decoding at 0 in the same turn)`,
    '',
    table([['', ...prefills.map((n) => `prefill ${n}`), ...depths.map((n) => `decode at ${n}`)], ...speedRows]),
    '',
    table([['MB', 'context', 'bytes a token', 'cache', 'Wasm memory', 'process, most'], ...memoryRows]),
  ].join('\n')}\n`;
}

async function run(options) {
  const list = await contenders(options);
  const measured = new Map(list.map(({ name }) => [name, []]));
  const loads = [load()];
  try {
    for (let round = 0; round < options.rounds; round++)
      for (const one of list) {
        const started = performance.now();
        const result = await one.measure(round);
        measured.get(one.name).push(result);
        say(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${one.name}: ${JSON.stringify(result)}`);
      }
  } finally {
    for (const one of list) await one.close?.();
  }
  loads.push(load());
  const versions = { clla: revision(), node: programVersion(findNodes().modern) };
  const results = [...measured].map(([name, rounds]) => ({ name, ...medians(rounds) }));
  return { date: new Date().toISOString(), machine: machine(), load: loads, versions, work: options.work, threads: options.threads, rounds: options.rounds, results };
}

try {
  const options = readOptions();
  const report = await run(options);
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 1)}\n` : print(report));
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
