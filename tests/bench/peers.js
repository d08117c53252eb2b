#!/usr/bin/env node
// peers.js: how fast this engine is beside wllama in Chromium and llama.cpp, in one run on one machine. README.md tells the setup.
//
//     node tests/bench/peers.js [--quick] [--rounds N] [--threads 1,2] [--only ours,native,wllama] [--json] [--model FILE]
//                               [--no-build] [--sizes PREFILL,DEPTH,TOKENS]
//
// All contenders are measured once in each round, one after the other, so that a slow spell of the machine meets all of them;
// the table has medians over the rounds, and ratios of those. --quick: one round, two threads, no decoding at depth.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { downloadSize, findNodes, ours } from './ours.js';
import { native } from './native.js';
import { openWllama } from './wllama.js';
import { load, machine, packageVersion, programVersion, revision } from './machine.js';
import { figures, print, speeds } from './table.js';
import { FULL, preparePrompts, root } from './workload.js';
import { pathOf } from '../../scripts/fetch-models.js';

const say = (text) => process.stderr.write(`${text}\n`);

function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      threads: { type: 'string' },
      only: { type: 'string', default: 'ours,native,wllama' },
      model: { type: 'string' },
      'no-build': { type: 'boolean', default: false }, // measure the Wasm that is there
      sizes: { type: 'string', default: '' }, // to try the program itself
    },
  });
  const [prefill = FULL.prefill, depth = FULL.depth, decoded = FULL.decoded] = values.sizes.split(',').filter(Boolean).map(Number);
  return {
    quick: values.quick,
    json: values.json,
    build: !values['no-build'],
    rounds: Number(values.rounds ?? (values.quick ? 1 : 3)),
    threads: (values.threads ?? (values.quick ? '2' : '1,2')).split(',').map(Number),
    only: values.only.split(','),
    model: values.model ? path.resolve(values.model) : undefined,
    sizes: { ...FULL, prefill, depth, decoded, ...(values.quick && { runs: 1 }) },
  };
}

/** SmolLM2 in the cache folder, fetched when it is not there. */
function findModel() {
  const file = pathOf('smollm2');
  if (!existsSync(file)) {
    const { status } = spawnSync(process.execPath, [path.join(root, 'scripts/fetch-models.js'), 'smollm2'], { stdio: ['ignore', 2, 2] });
    if (status !== 0) throw new Error('the model cannot be fetched');
  }
  return file;
}

/** Our engine: both builds in the modern Node with all numbers of threads; once in the old Node; once with each other cache. */
function ourContenders({ threads, quick }, given) {
  const { modern, old } = findNodes();
  const most = Math.max(...threads);
  const one = (node, variant, count, kv) => {
    const engine = programVersion(node).replace(/^v(\d+).*/, 'Node $1');
    return ours({ name: `clla, ${variant}${kv ? `, KV ${kv}` : ''}, ${engine}`, node, variant, threads: count, kv, ...given });
  };
  return [
    ...threads.flatMap((count) => [one(modern, 'relaxed', count), one(modern, 'simd', count)]),
    ...(old ? [one(old, 'simd', most)] : []),
    ...(quick ? [] : [one(modern, 'relaxed', most, 'q8'), one(modern, 'relaxed', most, 'f32')]),
  ];
}

/** Run one measurement of a contender and keep its figures. */
async function add(contender, results, what, round) {
  const key = `${contender.name}, ${contender.threads} threads`;
  const started = performance.now();
  const result = await contender[what](round);
  const entry = (results[key] ??= { name: contender.name, threads: contender.threads, rounds: {} });
  for (const [figure, value] of Object.entries(result)) {
    if (typeof value !== 'number') entry[figure] = value;
    else (entry.rounds[figure] ??= []).push(value);
  }
  const shown = Object.entries(result).filter(([, value]) => typeof value === 'number').map(([name, value]) => `${name} ${value.toFixed(1)}`);
  say(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${key}: ${shown.join(', ')}`);
}

/** Wasm that is older than its sources would be measured under the wrong name. */
function buildStale() {
  const { status } = spawnSync(path.join(root, 'scripts/build.sh'), ['--stale'], { stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error('the engine cannot be built: see README.md (npm start, or scripts/setup.sh), or give --no-build');
}

async function run(options) {
  if (options.build) buildStale();
  const started = performance.now();
  const model = options.model ?? findModel();
  const prompts = await preparePrompts(model, options.sizes);
  if (options.quick) delete prompts.deep;
  const given = { model, prompts };
  const wants = (name) => options.only.includes(name);
  const loads = [load()];
  const wllama = wants('wllama') ? await openWllama(model, prompts) : undefined;
  try {
    const mine = ourContenders(options, given);
    const contenders = [
      ...(wants('ours') ? mine : []),
      ...options.threads.flatMap((threads) => [
        ...(wants('native') ? [native({ threads, ...given })] : []),
        ...(wllama ? [wllama.contender(threads)] : []),
      ]),
    ];
    const results = {};
    for (let round = 0; round < options.rounds; round++)
      for (const contender of contenders) await add(contender, results, 'measure', round);
    for (let round = 0; round < options.rounds; round++)
      for (const contender of contenders) if (contender.measureDeep) await add(contender, results, 'measureDeep', round);
    const relaxed = mine.find((contender) => contender.name.includes('relaxed') && contender.threads === Math.max(...options.threads));
    const memory = wants('ours') ? await relaxed.memory() : undefined;
    loads.push(load());
    const { modern, old } = findNodes();
    return {
      date: new Date().toISOString(),
      minutes: (performance.now() - started) / 60_000,
      machine: machine(),
      load: loads,
      versions: {
        clla: revision(),
        node: [modern, old].filter(Boolean).map(programVersion),
        'node-llama-cpp': `${packageVersion('node-llama-cpp')} (${Object.values(results).find((r) => r.version)?.version ?? 'not run'})`,
        wllama: wllama ? `${wllama.versions.wllama} (llama.cpp ${wllama.versions.llama})` : 'not run',
        chromium: wllama?.versions.chromium ?? 'not run',
      },
      model: path.basename(model),
      sizes: options.sizes,
      threads: Math.max(...options.threads),
      speeds: speeds(results),
      memory,
      download: [`relaxed${relaxed.threads > 1 ? '-threads' : ''}`, 'simd'].map(downloadSize),
    };
  } finally {
    await wllama?.close();
  }
}

try {
  const options = readOptions();
  const report = await run(options);
  report.figures = figures(report);
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 1)}\n` : print(report));
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
