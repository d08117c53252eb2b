// e2e.test.js: a visitor's way through a page, in a real browser: come, come back, be offline, lose the connection, change
// one's mind, leave in the middle of a chat. In plain pages and in isolated ones, with the bundled model and with one of
// 98 MB; what both models go the same way (two tabs, aborts, cuts) is tried with the small one. What servers, full disks
// and crashes do to what is stored is in store.test.js.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pathOf } from '../../scripts/fetch-models.js';
import { BROWSERS, kind } from './browsers.js';
import { startServer } from './server.js';

/** @typedef {import('./browsers.js').Tab} Tab */
/** @typedef {any} Inside what prepare() put into the window */

const skip = kind.without;
const root = fileURLToPath(new URL('../..', import.meta.url));
const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');
const node24 = process.env.CLLA_NODE24 ?? path.join(cache, 'node24/node_modules/.bin/node');
const CHUNK = 1 << 22; // of the store
const LIMIT = 240_000;

const bundled = path.join(root, 'models/clla-4m-chat.gguf');
/** @typedef {{name: string, file: string, prompt: string, tokens: number, without: string | false}} Model */
/** @type {Model} */
const BUNDLED = { name: 'the bundled model', file: bundled, prompt: 'Once upon a time', tokens: 24, without: skip };
const smollm2 = pathOf('smollm2');
const noSmollm2 = existsSync(smollm2) ? false : `${smollm2} is not there: node scripts/fetch-models.js smollm2`;
/** @type {Model} */
const SMOLLM2 = { name: 'SmolLM2', file: smollm2, prompt: 'The capital of France is', tokens: 8, without: skip || noSmollm2 };

/** @typedef {{name: string, isolated: boolean, server: Awaited<ReturnType<typeof startServer>>}} Site */
/** @type {Site[]} */
const SITES = [
  { name: 'a plain page', isolated: false, server: /** @type {any} */ (undefined) },
  { name: 'an isolated page', isolated: true, server: /** @type {any} */ (undefined) },
];

/** @type {import('./browsers.js').Browser} */
let browser;

before(async () => {
  if (skip) return;
  for (const site of SITES) site.server = await startServer({ isolated: site.isolated, lingerMs: kind.batchMs });
  browser = await kind.start();
});
after(async () => {
  if (skip) return;
  await browser.close();
  for (const { server } of SITES) await server.close();
});

/** @param {Site} site @param {import('./browsers.js').Browser} [where] */
async function openPage({ server }, where = browser) {
  const tab = await where.newTab(`${server.origin}/`);
  await tab.evaluate(prepare);
  return tab;
}

/** @param {Tab} tab */
async function reload(tab) {
  await tab.reload();
  await tab.evaluate(prepare);
}

/** Runs in the page. */
async function prepare() {
  const import_ = (/** @type {string} */ name) => import(name);
  const clla = await import_('/js/index_web.js');
  /** What becomes of a promise, as plain data. @param {Promise<any>} promise */
  const outcome = (promise) => promise.then((value) => ({ value }), (error) => ({ code: error.code, message: error.message }));
  /** @type {any} */
  const state = { events: [] };
  const onProgress = (/** @type {any} */ event) => state.events.push(event);
  const load = (/** @type {any} */ source, /** @type {object} */ options) =>
    clla.load(source, { context: 256, threads: 2, onProgress, ...options });
  /** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
  const answer = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  /** The page's own store. @param {IDBTransactionMode} mode */
  const files = async (mode) => {
    const opening = indexedDB.open('of the page');
    opening.onupgradeneeded = () => opening.result.createObjectStore('files');
    return (await answer(opening)).transaction('files', mode).objectStore('files');
  };
  const keep = async (/** @type {Uint8Array} */ bytes) => {
    const store = await files('readwrite');
    store.put(bytes, 'chat');
    await new Promise((resolve) => (store.transaction.oncomplete = resolve)); // else a reload may come first
  };
  const kept = async () => answer((await files('readonly')).get('chat'));
  Object.assign(window, { clla, outcome, state, load, keep, kept });
}

/** Until a condition holds. @param {() => Promise<boolean> | boolean} condition */
async function until(condition) {
  for (let i = 0; i < 300; i++, await new Promise((resolve) => setTimeout(resolve, 50))) if (await condition()) return;
  assert.fail('waited for 15 s');
}

/** @param {Site} site @param {{file: string}} model @param {object} [more] */
const serve = ({ server }, { file }, more = {}) =>
  server.put(path.basename(file), { bytes: readFileSync(file), etag: '"e"', ...more });

/** @param {Site} site @param {{file: string}} model */
const requests = ({ server }, { file }) => server.requests(path.basename(file));

/** What load() must say of itself. @param {Site} site @param {boolean} [threads] */
function wantedBuild({ isolated }, threads = kind.threads && isolated) {
  const base = kind.relaxed ? 'relaxed' : 'simd';
  const missing = isolated ? 'no shared memory here' : 'the page is not cross-origin isolated';
  return {
    variant: threads ? `${base}-threads` : base,
    threads: threads ? 2 : 1,
    reasons: [...(kind.relaxed ? [] : ['no relaxed SIMD here: plain SIMD']), ...(threads ? [] : [`${missing}: one thread`])],
  };
}

/** @type {Map<string, number[]>} */
const golden = new Map();

/**
 * The greedy ids of the same build of the engine in Node.
 * @param {Model} model @param {{variant: string, threads: number}} build
 */
function idsInNode({ file, prompt, tokens }, { variant, threads }) {
  const key = `${file} ${variant}`;
  if (!golden.has(key)) {
    const what = ['complete', file, '-p', prompt, '--max-tokens', String(tokens), '--ignore-eos', '--ctx', '256', '--json'];
    const how = ['--variant', variant.replace('-threads', ''), '--threads', String(threads)];
    const program = variant.startsWith('relaxed') ? node24 : process.execPath; // Node 20 has no relaxed SIMD
    const all = [path.join(root, 'js/cli.js'), ...what, ...how];
    const { status, stdout, stderr, error } = spawnSync(program, all, { encoding: 'utf8' });
    assert.equal(status, 0, stderr || String(error));
    golden.set(key, JSON.parse(stdout).ids);
  }
  return golden.get(key);
}

/** Load, write, close. @param {Tab} tab @param {string} source @param {Model} model @returns {Promise<any>} */
const write = (tab, source, { prompt, tokens }) =>
  tab.evaluate(
    async (from, text, maxTokens) => {
      const { load, state, outcome } = /** @type {Inside} */ (window);
      state.events = [];
      const work = async () => {
        const model = await load(from);
        const { ids } = await model.complete(text, { maxTokens, ignoreEos: true }).done;
        await model.close();
        const { variant, threads, reasons } = model.info;
        const phases = [...new Set(state.events.map((/** @type {any} */ event) => event.phase))];
        return { ids, build: { variant, threads, reasons }, phases };
      };
      return outcome(work());
    },
    source,
    prompt,
    tokens,
  );

for (const site of SITES)
  for (const model of [BUNDLED, SMOLLM2])
    test(`${model.name} in ${site.name}: first visit, reload, server gone`, { skip: model.without, timeout: LIMIT }, async () => {
      const build = wantedBuild(site);
      const ids = idsInNode(model, build);
      const url = serve(site, model);
      const tab = await openPage(site);
      assert.deepEqual(await write(tab, url, model), { value: { ids, build, phases: ['download', 'load'] } });
      await reload(tab);
      assert.deepEqual(await write(tab, url, model), { value: { ids, build, phases: ['load'] } });
      assert.equal(requests(site, model).length, 1);
      serve(site, model, { bytes: new Uint8Array(), status: 500 });
      assert.deepEqual(await write(tab, url, model), { value: { ids, build, phases: ['load'] } });
      assert.deepEqual(await write(tab, path.basename(model.file), model), { value: { ids, build, phases: ['load'] } });
      assert.equal(requests(site, model).length, 1);
      await tab.close();
    });

const CHATS = /** @type {[Site, Model][]} */ ([[SITES[0], BUNDLED], [SITES[1], BUNDLED], [SITES[1], SMOLLM2]]);
for (const [site, model] of CHATS)
  test(`${model.name} in ${site.name}: a saved chat goes on afterwards`, { skip: model.without, timeout: LIMIT }, async () => {
    const url = serve(site, model);
    const tab = await openPage(site);
    const stayed = await tab.evaluate(async (from) => {
      const { load, keep } = /** @type {Inside} */ (window);
      const loaded = await load(from);
      const say = { maxTokens: 8, ignoreEos: true };
      const open = async () => {
        const chat = loaded.chat({ system: 'Be brief.', sampling: { temperature: 1, seed: 3 } });
        await chat.send('Hello', say).done;
        return chat;
      };
      const file = await (await open()).save();
      const { ids, timings } = await (await open()).send('And then?', say).done;
      await loaded.close();
      await keep(new Uint8Array(await file.arrayBuffer())); // private windows of WebKit keep no Blobs
      return { ids, promptN: timings.promptN };
    }, url);
    await reload(tab);
    const reopened = await tab.evaluate(async (from) => {
      const { load, kept } = /** @type {Inside} */ (window);
      const loaded = await load(from);
      const chat = await loaded.restore(new Blob([await kept()]));
      const { ids, timings } = await chat.send('And then?', { maxTokens: 8, ignoreEos: true }).done;
      await loaded.close();
      return { ids, promptN: timings.promptN };
    }, url);
    assert.equal(stayed.ids.length, 8);
    assert.deepEqual(reopened, stayed);
    await tab.close();
  });

for (const site of SITES) {
  test(`${site.name}: a download that a reload ends goes on behind its last chunk`, { skip, timeout: LIMIT }, async () => {
    const url = `${serve(site, BUNDLED, { stallAfter: CHUNK + 1000 })}?reload`;
    const tab = await openPage(site);
    const earlier = requests(site, BUNDLED).length;
    void write(tab, url, BUNDLED).catch(() => {}); // its page goes
    const stored = () => tab.evaluate(async (from) => {
      const list = await /** @type {Inside} */ (window).clla.models.list();
      return list.find((/** @type {any} */ model) => model.url === from)?.stored ?? 0;
    }, url);
    await until(async () => (await stored()) === CHUNK);
    await reload(tab);
    serve(site, BUNDLED);
    const { ids } = (await write(tab, url, BUNDLED)).value;
    assert.deepEqual(ids, idsInNode(BUNDLED, wantedBuild(site)));
    assert.deepEqual(requests(site, BUNDLED).slice(earlier).map(({ range }) => range), ['bytes=0-', `bytes=${CHUNK}-`]);
    await tab.close();
  });

  test(`${site.name}: two tabs load one model, one of them downloads it`, { skip, timeout: LIMIT }, async () => {
    const url = `${serve(site, BUNDLED, { bytesPerSecond: 3 << 20 })}?tabs`;
    const earlier = requests(site, BUNDLED).length;
    const [a, b] = [await openPage(site), await openPage(site)];
    const first = write(a, url, BUNDLED);
    await until(() => requests(site, BUNDLED).length > earlier);
    const second = write(b, url, BUNDLED);
    const ids = idsInNode(BUNDLED, wantedBuild(site));
    for (const reply of [first, second]) assert.deepEqual((await reply).value?.ids, ids, JSON.stringify(await reply));
    assert.equal(requests(site, BUNDLED).length, earlier + 1);
    const seen = await b.evaluate(() => /** @type {Inside} */ (window).state.events);
    const size = readFileSync(BUNDLED.file).length;
    const between = seen.filter((/** @type {any} */ { phase, loaded }) => phase === 'download' && loaded > 0 && loaded < size);
    assert.ok(between.length > 0, JSON.stringify(seen));
    await Promise.all([a.close(), b.close()]);
  });

  test(`${site.name}: a signal ends every phase, and the model can be loaded again`, { skip, timeout: LIMIT }, async () => {
    const url = `${serve(site, BUNDLED, { bytesPerSecond: 12 << 20 })}?abort`;
    const tab = await openPage(site);
    const found = await tab.evaluate(async (from, fileUrl) => {
      const { clla, load, outcome } = /** @type {Inside} */ (window);
      const abortIn = (/** @type {string} */ phase, /** @type {(options: any) => Promise<any>} */ work) => {
        const stop = new AbortController();
        const onProgress = (/** @type {any} */ event) => event.phase === phase && event.loaded > 0 && stop.abort();
        return outcome(work({ onProgress, signal: stop.signal }));
      };
      const download = await abortIn('download', (options) => load(from, options));
      const large = new File(['GGUF', new Uint8Array(48 << 20)], 'large.gguf');
      const store = await abortIn('store', (options) => clla.models.add(large, options));
      await clla.models.add(new File([await (await fetch(fileUrl)).arrayBuffer()], 'own.gguf'));
      const loading = await abortIn('load', (options) => load('own.gguf', options));

      const model = await load('own.gguf', { context: 512 });
      const reply = async (/** @type {'prefill' | 'decode'} */ phase) => {
        const stop = new AbortController();
        const onPrefill = () => phase === 'prefill' && stop.abort();
        const options = { maxTokens: 60, ignoreEos: true, signal: stop.signal, onPrefill };
        const running = model.complete('Once upon a time '.repeat(100), options);
        for await (const text of running) if (phase === 'decode' && text) stop.abort();
        const { finishReason, ids } = await running.done;
        return { finishReason, ids: ids.length };
      };
      const prefill = await reply('prefill');
      const decode = await reply('decode');
      await model.close();
      return { codes: [download.code, store.code, loading.code], prefill, decode };
    }, url, `${site.server.origin}/models/clla-4m-chat.gguf`);
    assert.deepEqual(found.codes, ['ABORTED', 'ABORTED', 'ABORTED']);
    assert.deepEqual(found.prefill, { finishReason: 'abort', ids: 0 });
    assert.equal(found.decode.finishReason, 'abort');
    assert.ok(found.decode.ids > 0 && found.decode.ids < 60, `${found.decode.ids} tokens`);
    serve(site, BUNDLED);
    const ids = idsInNode(BUNDLED, wantedBuild(site));
    assert.deepEqual((await write(tab, url, BUNDLED)).value?.ids, ids);
    assert.deepEqual((await write(tab, 'own.gguf', BUNDLED)).value?.ids, ids);
    await tab.close();
  });
}

test('a file and a stream are loaded as they come, in small pieces', { skip, timeout: LIMIT }, async () => {
  const tab = await openPage(SITES[0]);
  const url = `${SITES[0].server.origin}/models/clla-4m-chat.gguf`;
  const found = await tab.evaluate(async (from, prompt, maxTokens) => {
    const { load } = /** @type {Inside} */ (window);
    const bytes = await (await fetch(from)).arrayBuffer();
    const all = [];
    for (const source of [new File([bytes], 'mine.gguf'), (await fetch(from)).body]) {
      let pieces = 0;
      const model = await load(source, { threads: 1, onProgress: () => pieces++ });
      const { ids } = await model.complete(prompt, { maxTokens, ignoreEos: true }).done;
      await model.close();
      all.push({ ids, pieces });
    }
    return all;
  }, url, BUNDLED.prompt, BUNDLED.tokens);
  for (const { ids, pieces } of found) {
    assert.deepEqual(ids, idsInNode(BUNDLED, wantedBuild(SITES[0])));
    assert.ok(pieces > 3, `${pieces} pieces`);
  }
  await tab.close();
});

const usual = kind === BROWSERS.webkit ? skip : `isolated pages of ${kind.name} share memory anyway: see above`;

test('an isolated page whose engine shares memory, as Safari’s, has threads', { skip: usual, timeout: LIMIT }, async () => {
  const safari = await kind.start(undefined, { sharedMemory: true });
  try {
    const build = wantedBuild(SITES[1], true);
    const { value, message } = await write(await openPage(SITES[1], safari), serve(SITES[1], BUNDLED), BUNDLED);
    assert.deepEqual(value?.build, build, message);
    assert.deepEqual(value.ids, idsInNode(BUNDLED, build));
  } finally {
    await safari.close();
  }
});
