#!/usr/bin/env node
// browser.js: the package in a cross-origin isolated page of Chromium, beside wllama, a plain download and Node. README.md tells
// the setup.
//
//     node tests/bench/browser.js [--rounds N] [--threads N] [--only first,store,memory,speed,blocks] [--json] [--model FILE]
//
// Contenders take turns in each round, each in a page of its own; the table has medians, the least and the greatest.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { startChromium } from '../browser/chromium.js';
import { startServer } from '../browser/server.js';
import { pathOf } from '../../scripts/fetch-models.js';
import { load, machine, packageVersion, programVersion, revision } from './machine.js';
import { findNodes, output } from './ours.js';
import { median } from './replies.js';
import { FULL, preparePrompts, root } from './workload.js';

const CONTEXT = 4096;
const NETWORK = 1e8; // bytes/s of a fast connection: 800 Mbit/s, a little less in fact

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string', default: 'first,store,memory,speed,blocks' },
    json: { type: 'boolean', default: false },
    model: { type: 'string', default: pathOf('smollm2') },
  },
});
const rounds = Number(values.rounds);
const options = { context: CONTEXT, threads: Number(values.threads) };
const parts = values.only.split(',');
const say = (text) => process.stderr.write(`${text}\n`);

const bytes = readFileSync(values.model);
const server = await startServer({ isolated: true });
const file = { bytes, etag: '"1"' };
const url = server.put('model.gguf', file);
const slowUrl = server.put('slow.gguf', { ...file, bytesPerSecond: NETWORK });
const chromium = await startChromium();
const engines = existsSync(path.join(root, 'tests/bench/node_modules/@wllama/wllama')) ? ['clla', 'wllama'] : ['clla'];

/** One call of browser_page.js in a page that is made for it. */
async function inPage(method, ...args) {
  const page = await chromium.browser.newPage();
  try {
    await page.goto(`${server.origin}/`);
    await page.evaluate('import("/tests/bench/browser_page.js").then((found) => { window.bench = found; })');
    return await page.evaluate((name, ...given) => window.bench[name](...given), method, ...args);
  } finally {
    await page.close();
  }
}

/** All contenders in turn, in each round. @returns {Promise<Record<string, any[]>>} */
async function inTurns(contenders, count = rounds) {
  const results = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round < count; round++)
    for (const [name, measure] of Object.entries(contenders)) {
      const result = await measure();
      results[name].push(result);
      say(`${name}: ${JSON.stringify(result)}`);
    }
  return results;
}

async function stored(name, from = url) {
  const ms = await inPage('store', name, from);
  await inPage('drop', name, from);
  return ms;
}

/** With the file stored by each of these engines. */
async function withStored(names, measure) {
  for (const name of names) await inPage('store', name, url);
  try {
    return await measure();
  } finally {
    for (const name of names) await inPage('drop', name, url);
  }
}

const each = (prefix, measure) => Object.fromEntries(engines.map((name) => [prefix + name, () => measure(name)]));

const measurements = {
  store: () =>
    inTurns({
      fetch: () => inPage('fetchPlainly', url),
      ...each('store, ', (name) => stored(name)),
      'fetch, 800 Mbit/s': () => inPage('fetchPlainly', slowUrl),
      'store, 800 Mbit/s, clla': () => stored('clla', slowUrl),
    }),

  first: () => withStored(engines, () => inTurns(each('', (name) => inPage('first', name, url, options)))),

  async memory() {
    const { prefills: [{ text }] } = await prompts();
    const empty = () => inPage('memory', 'nothing');
    return withStored(engines, () => inTurns({ empty, ...each('', (name) => inPage('memory', name, url, options, text)) }, 1));
  },

  async speed() {
    const { deep: _, ...work } = await prompts();
    const { modern } = findNodes();
    const node = async () => {
      const task = JSON.stringify({ threads: options.threads, prompts: work });
      const { prefill, decode } = JSON.parse(await output(modern, ['tests/bench/ours_run.js', values.model], task));
      return { prefill, decode };
    };
    const page = () => inPage('speeds', url, { ...options, context: work.context }, work);
    return withStored(['clla'], () => inTurns({ Chromium: page, Node: node }));
  },

  async blocks() {
    const { prefills: [{ text }] } = await prompts();
    return inPage('blocks', url, options, text, 48);
  },
};

let prepared;
const prompts = () => (prepared ??= preparePrompts(values.model, FULL));

// ---- the table -----------------------------------------------------------------------------------------------------

const digits = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const span = (list) => `${digits(median(list))} (${digits(Math.min(...list))} .. ${digits(Math.max(...list))})`;
const pick = (list, key) => list?.map((result) => result[key]);
const seconds = (list) => list?.map((ms) => ms / 1000);

/** A row of the table: a, b and the ratio of their medians. */
function row(name, a, b, aim) {
  if (!a || !b) return `| ${name} | ${a ? span(a) : ''} | ${b ? span(b) : ''} | | ${aim} |`;
  return `| ${name} | ${span(a)} | ${span(b)} | ${digits(median(a) / median(b))} | ${aim} |`;
}

function blockRow([phase, { longTasks, late }]) {
  const longest = longTasks.length ? digits(Math.max(...longTasks)) : 'under 50';
  return `| main thread, ${phase}: longest task, ms; most that a timer was late | ${longest} | ${digits(late)} | | <= 50 |`;
}

function table({ store = {}, first = {}, memory = {}, speed = {}, blocks = {} }) {
  const megabytes = (list) => list?.map(({ bytes: n }) => n / 1e6);
  return [
    '| figure | clla | beside it | ratio | aim |',
    '|---|---|---|---|---|',
    row('IndexedDB to first token, s; wllama from OPFS', seconds(first.clla), seconds(first.wllama), '<= 0.5'),
    row('download and store, s; plain fetch', seconds(store['store, clla']), seconds(store.fetch), '<= 1.5'),
    row('the same at 800 Mbit/s', seconds(store['store, 800 Mbit/s, clla']), seconds(store['fetch, 800 Mbit/s']), '<= 1.5'),
    row('download and store, s; wllama to OPFS', seconds(store['store, clla']), seconds(store['store, wllama']), ''),
    row(`tab memory at context ${CONTEXT}, MB; wllama`, megabytes(memory.clla), megabytes(memory.wllama), '<= 0.5'),
    row('prefill, tokens/s; Node', pick(speed.Chromium, 'prefill'), pick(speed.Node, 'prefill'), '>= 0.9'),
    row('decode, tokens/s; Node', pick(speed.Chromium, 'decode'), pick(speed.Node, 'decode'), '>= 0.9'),
    ...Object.entries(blocks).map(blockRow),
  ].join('\n');
}

// ---- all of it -----------------------------------------------------------------------------------------------------

const report = { date: new Date().toISOString(), machine: machine(), load: [load()], threads: options.threads, rounds };
try {
  report.versions = {
    clla: revision(),
    chromium: await chromium.browser.version(),
    node: programVersion(findNodes().modern),
    wllama: engines.includes('wllama') ? packageVersion('@wllama/wllama') : 'not installed',
  };
  for (const part of parts) report[part] = await measurements[part]();
  report.load.push(load());
  const { machine: m, versions: v } = report;
  const loads = report.load.map((averages) => averages.join(' ')).join(' at the beginning, ');
  const date = report.date.slice(0, 16).replace('T', ' ');
  const head = [
    `${path.basename(values.model)}; ${date} UTC, ${options.threads} threads, ${rounds} rounds, load average ${loads} at the end`,
    `${m.cpu}, ${m.cores} cores, ${m.system}; clla ${v.clla}, ${v.chromium}, Node ${v.node}, wllama ${v.wllama}`,
  ];
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 1)}\n` : `${[...head, '', table(report)].join('\n')}\n`);
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  await chromium.close();
  await server.close();
}
