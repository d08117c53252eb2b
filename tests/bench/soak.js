// soak.js: one chat of many turns in one tab, trimmed whenever it is full: memory must stay as it is.
//
//   node tests/bench/soak.js [MODEL] [--turns 1000] [--reply 12] [--context 512]
//
// In an isolated page of Chromium; MODEL is a file, or the bundled model. Wasm: the engine's memory, and what is allocated in
// it. JavaScript: measureUserAgentSpecificMemory, which leaves rubbish and a worker's Wasm memory out. Process: memory that the
// renderers have to themselves, rubbish that was not collected yet included (Linux). "computed/new": the tokens of prompts that
// were evaluated, for each one that was new (said, or of the template around it): a trim computes again what stays.

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { MEASURE_NOW, startChromium } from '../browser/chromium.js';
import { startServer } from '../browser/server.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    turns: { type: 'string', default: '1000' },
    reply: { type: 'string', default: '12' },
    context: { type: 'string', default: '512' },
  },
});
const turns = Number(values.turns);
const MARKS = [1, 10, 100, 250, 500, 750, 1000].filter((mark) => mark < turns).concat(turns);

const server = await startServer({ isolated: true });
const chromium = await startChromium(undefined, [MEASURE_NOW]);

async function processBytes() {
  if (!existsSync('/proc/self/status')) return NaN;
  const session = await chromium.browser.target().createCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const own = (id) => Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1]) * 1024;
  return processInfo.filter(({ type }) => type === 'renderer').reduce((sum, { id }) => sum + own(id), 0);
}

/** Runs in the page. */
async function begin(source, context) {
  const { load } = await import('/js/index_web.js');
  window.model = await load(source, { threads: 1, context });
  window.chat = window.model.chat({ system: 'You are a friend.', sampling: { temperature: 0.8, seed: 1 }, trim: true });
  window.count = { trims: 0, dropped: 0, computed: 0, added: 0 };
}

/** Runs in the page. */
async function talk(from, to, maxTokens) {
  const { chat, model, count } = window;
  for (let i = from; i < to; i++) {
    const { trimmed, timings } = await chat.send(`Tell me of the number ${i}.`, { maxTokens }).done;
    count.computed += timings.promptN;
    if (!trimmed) count.added += timings.promptN;
    else (count.trims++, (count.dropped += trimmed.length));
  }
  const { memoryBytes, usedBytes } = await model.memory();
  const { bytes } = await performance.measureUserAgentSpecificMemory();
  return { memoryBytes, usedBytes, bytes, ...count, messages: chat.messages.length };
}

try {
  const tab = await chromium.browser.newPage();
  tab.setDefaultTimeout(0);
  await tab.goto(`${server.origin}/`);
  const [file] = positionals;
  const source = file ? server.put(path.basename(file), { bytes: readFileSync(file), etag: '"soak"' }) : 'clla-4m-chat';
  await tab.evaluate(begin, source, Number(values.context));
  const megabytes = (bytes) => (bytes / 1e6).toFixed(3).padStart(9);
  console.log('MB:  turn     Wasm     in use   JavaScript  process | trims  dropped  kept messages  computed/new  seconds');
  const started = performance.now();
  for (let done = 0, i = 0; i < MARKS.length; done = MARKS[i++]) {
    const at = await tab.evaluate(talk, done, MARKS[i], Number(values.reply));
    const untrimmed = at.added / (MARKS[i] - at.trims);
    const memory = [at.memoryBytes, at.usedBytes, at.bytes, await processBytes()].map(megabytes).join(' ');
    const counts = [at.trims, at.dropped, at.messages].map((n) => String(n).padStart(7)).join(' ');
    const ratio = (at.computed / (untrimmed * MARKS[i])).toFixed(2);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`${String(MARKS[i]).padStart(9)} ${memory} | ${counts} ${ratio.padStart(13)} ${seconds.padStart(12)}`);
  }
} finally {
  await chromium.close();
  await server.close();
}
