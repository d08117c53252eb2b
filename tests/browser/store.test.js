// store.test.js: models in the IndexedDB of a real browser: what servers, tabs and disks do to them.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { BROWSERS, kind } from './browsers.js';
import { CHUNK, PATIENCE, ROWS, runRow } from './misbehaviour.js';
import { startServer, syntheticFile } from './server.js';

/** @typedef {import('./browsers.js').Tab} Tab */
/** @typedef {import('../../js/store/types.js').StoreRequest} StoreRequest */

const skip = kind.without;
const MODEL = path.join(fileURLToPath(new URL('../..', import.meta.url)), 'models/clla-4m-chat.gguf');
const sha = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex');
const wait = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
/** @type {import('./browsers.js').Browser} */
let browser;
/** One page for all that needs no other. @type {Tab} */
let page;

before(async () => {
  if (skip) return;
  server = await startServer({ lingerMs: kind.batchMs });
  browser = await kind.start();
  page = await openPage();
});
after(async () => {
  if (skip) return;
  await browser.close();
  await server.close();
});

/** A tab with the package and parts of it in its window. @param {{newTab(url: string): Promise<Tab>}} [where] @param {{origin: string}} [from] */
async function openPage(where = browser, { origin } = server) {
  const opened = await where.newTab(`${origin}/`);
  await opened.evaluate(prepare);
  return opened;
}

/** Runs in the page. */
async function prepare() {
  const import_ = (/** @type {string} */ name) => import(name);
  const { openStore } = await import_('/js/store/store_web.js');
  const { obtain } = await import_('/js/store/obtain.js');
  const { readChunks } = await import_('/js/store/reader.js');
  const { digest } = await import_('/js/store/hashing.js');
  const clla = await import_('/js/index_web.js');
  /** What becomes of a promise, as plain data. @param {Promise<any>} promise */
  const outcome = (promise) => promise.then((value) => ({ value }), (error) => ({ code: error.code, message: error.message }));
  /** @type {any} */
  const state = { events: [] };
  const onProgress = (/** @type {any} */ event) => state.events.push(event);
  Object.assign(window, { clla, openStore, obtain, readChunks, digest, outcome, state, onProgress });
}

/** @typedef {any} Inside what prepare() put into the window */

/** One try in the page. @param {Tab} where @param {StoreRequest} request */
const tryIn = (where, request) =>
  where.evaluate(async (wanted) => {
    const { openStore, obtain, state } = /** @type {Inside} */ (window);
    const store = openStore();
    state.pause = new AbortController();
    state.loaded = 0;
    const chunks = async () => (await store.shelf.get(wanted.id))?.chunkHashes.length ?? 0;
    try {
      const record = await obtain(store, wanted, undefined, (/** @type {number} */ loaded) => (state.loaded = loaded), state.pause.signal);
      return { sha256: record.sha256, verified: record.expected !== undefined, chunks: await chunks() };
    } catch (error) {
      const { code, message, stack } = /** @type {any} */ (error);
      return { code, message: message + (code ? '' : stack), chunks: await chunks() };
    } finally {
      store.shelf.close();
    }
  }, /** @type {any} */ (request));

/** All chunks through the reader, hashed. @param {Tab} where @param {string} id @returns {Promise<any>} */
const readBack = (where, id) =>
  where.evaluate(async (wanted) => {
    const { openStore, readChunks, digest, outcome } = /** @type {Inside} */ (window);
    const store = openStore();
    const read = async () => {
      const pieces = [];
      for await (const chunk of readChunks(store, await store.shelf.get(wanted))) pieces.push(chunk);
      return digest(new Uint8Array(await new Blob(pieces).arrayBuffer()));
    };
    return outcome(read().finally(() => store.shelf.close()));
  }, id);

/** Change a stored chunk behind the store's back: flip one bit, or remove it. @param {string} id @param {number} index @param {boolean} remove */
const damage = (id, index, remove) =>
  page.evaluate(
    async (wanted, i, drop) => {
      const { openStore } = /** @type {Inside} */ (window);
      const { writer } = await openStore().shelf.get(wanted);
      const promised = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
      const db = await promised(indexedDB.open('clla'));
      const chunks = db.transaction('chunks', 'readwrite').objectStore('chunks');
      const key = [wanted, writer, i];
      const bytes = await promised(chunks.get(key));
      bytes[1234] ^= 8;
      await promised(drop ? chunks.delete(key) : chunks.put(bytes, key));
      db.close();
    },
    id,
    index,
    remove,
  );

/** @param {string} name @param {Uint8Array} bytes @param {object} [more] @returns {StoreRequest & {url: string}} */
function served(name, bytes, more = {}) {
  const url = server.put(name, { bytes, etag: '"e"', ...more });
  return { id: url, name, url, chunkBytes: CHUNK, patience: PATIENCE };
}

/** Until a condition holds. @param {() => Promise<boolean> | boolean} condition */
async function until(condition) {
  for (const end = Date.now() + 30_000; Date.now() < end; await wait(20)) if (await condition()) return;
  assert.fail('waited for 30 s');
}

/** For tabs that are killed: in 2 of 30 runs on a busy machine Firefox 153 opened no tab and started no worker any more after that.
 * @param {(open: () => Promise<Tab>) => Promise<void>} work */
async function inOwnBrowser(work) {
  const own = await kind.start();
  await work(() => openPage(own)).finally(() => own.close());
}

/** A file to be broken off: sent slowly, and no request gets more than `chunks`, however slow the one who breaks it off.
 * @param {string} name @param {Uint8Array} bytes @param {number} chunks */
function unfinished(name, bytes, chunks) {
  const request = served(name, bytes, { bytesPerSecond: 8 * CHUNK, stallAfter: (chunks + 0.5) * CHUNK });
  return { ...request, patience: { ...PATIENCE, silenceMs: 60_000 } };
}

const storedChunks = (/** @type {Tab} */ where, /** @type {string} */ id) =>
  where.evaluate(async (wanted) => (await /** @type {Inside} */ (window).openStore().shelf.get(wanted))?.chunkHashes.length ?? 0, id);

for (const row of ROWS)
  test(row.name, { skip }, async () => {
    const wrong = await runRow(row, server, (request) => /** @type {any} */ (tryIn(page, request)));
    assert.equal(wrong, undefined, wrong);
  });

// ---- cuts and crashes ----------------------------------------------------------------------------------------------

/** @param {string} name */
function sentTwice(name) {
  const seen = server.requests(name).map(({ range, sent }) => ({ from: Number(/\d+/.exec(range ?? '0')?.[0]), sent }));
  return seen.slice(1).map(({ from }, i) => Math.max(0, seen[i].from + seen[i].sent - from));
}

const CUTS = kind.batchMs > 100 ? 30 : 100;

test(`cut at ${CUTS} random bytes: the same file, at most a chunk sent twice for each cut`, { skip }, async () => {
  const bytes = syntheticFile(40 * CHUNK + 99, 5);
  let cuts = 0;
  const request = served('cut.gguf', bytes, { cutAfter: () => (cuts < CUTS ? (cuts++, randomInt(1, CHUNK / 2)) : undefined) });
  request.patience = { ...PATIENCE, attempts: 20 }; // the browser may see a cut before the bytes that were sent
  const { sha256, message } = await tryIn(page, request);
  assert.equal(sha256, sha(bytes), message);
  assert.equal(cuts, CUTS);
  assert.deepEqual(await readBack(page, request.id), { value: sha(bytes) });
  assert.ok(Math.max(...sentTwice('cut.gguf')) <= CHUNK, `${Math.max(...sentTwice('cut.gguf'))} bytes for one cut`);
});

test('a reload goes on behind the last chunk', { skip }, async () => {
  const bytes = syntheticFile(12 * CHUNK, 9);
  const request = unfinished('reload.gguf', bytes, 10);
  const tab = await openPage();
  void tryIn(tab, request).catch(() => {}); // its page goes
  await until(async () => (await storedChunks(page, request.id)) >= 3);
  await tab.reload();
  await tab.evaluate(prepare);
  const stored = await storedChunks(tab, request.id);
  served('reload.gguf', bytes);
  assert.equal((await tryIn(tab, request)).sha256, sha(bytes));
  assert.equal(server.requests('reload.gguf').at(-1)?.range, `bytes=${stored * CHUNK}-`);
  await tab.close();
});

test('a tab that is killed while it writes loses nothing that was reported as stored', { skip, timeout: 120_000 }, async () => {
  const bytes = syntheticFile(20 * CHUNK, 10);
  const request = unfinished('killed.gguf', bytes, 3);
  const reports = [0];
  await inOwnBrowser(async (open) => {
    const watcher = await open();
    for (let kill = 0; kill < 5; kill++) {
      const tab = await open();
      void tryIn(tab, request).catch(() => {});
      const wanted = reports[kill] + 2;
      await until(async () => (await storedChunks(watcher, request.id)) >= wanted);
      await wait(randomInt(0, 60));
      reports.push(await storedChunks(watcher, request.id));
      await tab.kill();
      assert.ok((await storedChunks(watcher, request.id)) >= reports[kill + 1]);
    }
    served('killed.gguf', bytes);
    assert.equal((await tryIn(watcher, request)).sha256, sha(bytes));
    assert.deepEqual(await readBack(watcher, request.id), { value: sha(bytes) });
  });
  const starts = server.requests('killed.gguf').map(({ range }) => Number(/\d+/.exec(range ?? '0')?.[0]) / CHUNK);
  assert.equal(starts.length, reports.length);
  starts.forEach((start, i) => assert.ok(Number.isInteger(start) && start >= reports[i], `${starts} after ${reports}`));
});

const withoutDisk = skip || (kind.disk ? false : `${kind.name} stores in memory while it is driven`);

test('a browser that is killed while it writes goes on behind the last chunk', { skip: withoutDisk, timeout: 120_000 }, async () => {
  const bytes = syntheticFile(20 * CHUNK, 17);
  const request = unfinished('power.gguf', bytes, 15);
  const first = await kind.start();
  const [tab, watcher] = [await openPage(first), await openPage(first)];
  void tryIn(tab, request).catch(() => {});
  await until(async () => (await storedChunks(watcher, request.id)) >= 5);
  const reported = await storedChunks(watcher, request.id);
  await first.kill();
  const second = await kind.start(first.profile);
  try {
    const again = await openPage(second);
    const stored = await storedChunks(again, request.id);
    assert.ok(stored >= reported, `${stored} of ${reported} chunks`);
    served('power.gguf', bytes);
    assert.equal((await tryIn(again, request)).sha256, sha(bytes));
    assert.equal(server.requests('power.gguf').at(-1)?.range, `bytes=${stored * CHUNK}-`);
    assert.deepEqual(await readBack(again, request.id), { value: sha(bytes) });
  } finally {
    await second.close();
  }
});

test('a signal pauses it', { skip }, async () => {
  const bytes = syntheticFile(8 * CHUNK, 11);
  const request = unfinished('pause.gguf', bytes, 6);
  const paused = tryIn(page, request);
  await until(async () => (await storedChunks(page, request.id)) >= 2);
  await page.evaluate(() => /** @type {Inside} */ (window).state.pause.abort());
  const { code, chunks } = await paused;
  assert.equal(code, 'ABORTED');
  served('pause.gguf', bytes);
  assert.equal((await tryIn(page, request)).sha256, sha(bytes));
  assert.equal(server.requests('pause.gguf').at(-1)?.range, `bytes=${chunks * CHUNK}-`);
});

test('another site is asked without a preflight', { skip }, async () => {
  const bytes = syntheticFile(6 * CHUNK, 12);
  const headers = { 'Access-Control-Expose-Headers': 'ETag, Content-Range' };
  let cuts = 2;
  const request = served('cross.gguf', bytes, { headers, cutAfter: () => (cuts-- > 0 ? 2 * CHUNK : undefined) });
  request.url = request.url.replace(server.origin, server.otherOrigin);
  assert.equal((await tryIn(page, request)).sha256, sha(bytes));
  const seen = server.requests('cross.gguf');
  assert.deepEqual(seen.map(({ method }) => method), ['GET', 'GET', 'GET']);
  assert.ok(seen.every(({ ifRange }) => ifRange === undefined));
});

test('another site that shows no header but Content-Length', { skip }, async () => {
  const bytes = syntheticFile(6 * CHUNK, 13);
  let cuts = 2;
  const request = served('hidden.gguf', bytes, { cutAfter: () => (cuts-- > 0 ? 2 * CHUNK : undefined) });
  request.url = request.url.replace(server.origin, server.otherOrigin);
  assert.equal((await tryIn(page, request)).sha256, sha(bytes));
});

// ---- damage --------------------------------------------------------------------------------------------------------

for (const [what, remove] of /** @type {[string, boolean][]} */ ([['one flipped bit in', false], ['the loss of', true]]))
  test(`${what} a stored chunk leads to that chunk being fetched again`, { skip }, async () => {
    const name = `damaged-${remove}.gguf`;
    const bytes = syntheticFile(5 * CHUNK + 77, 14);
    const request = served(name, bytes);
    await tryIn(page, request);
    await damage(request.id, 2, remove);
    assert.deepEqual(await readBack(page, request.id), { value: sha(bytes) });
    assert.deepEqual(server.requests(name).map(({ range }) => range), ['bytes=0-', `bytes=${2 * CHUNK}-${3 * CHUNK - 1}`]);
    assert.deepEqual(await readBack(page, request.id), { value: sha(bytes) });
    assert.equal(server.requests(name).length, 2, 'it was mended');
  });

test('a chunk that cannot be mended says what and where', { skip }, async () => {
  const bytes = syntheticFile(5 * CHUNK, 15);
  const request = served('broken.gguf', bytes);
  await tryIn(page, request);
  await damage(request.id, 1, false);
  served('broken.gguf', syntheticFile(5 * CHUNK, 16));
  const { code, message } = await readBack(page, request.id);
  assert.equal(code, 'DAMAGED');
  assert.match(message, /broken\.gguf: bytes 262144 to 524287 \(chunk 2 of 5\) are damaged.*has another file now/);
  served('broken.gguf', bytes, { status: 404 });
  assert.match((await readBack(page, request.id)).message, /cannot be fetched again: .*404/);
});

// ---- the package: models and load ----------------------------------------------------------------------------------

/** @param {Tab} where @param {string} source @param {object} [options] @returns {Promise<any>} */
const pullIn = (where, source, options = {}) =>
  where.evaluate(
    (from, more) => {
      const { clla, outcome, state, onProgress } = /** @type {Inside} */ (window);
      state.events = [];
      return outcome(clla.models.pull(from, { onProgress, ...more }));
    },
    source,
    options,
  );

/** Load, write a few tokens, close. @param {Tab} where @param {string} source @returns {Promise<any>} */
const replyIn = (where, source) =>
  where.evaluate((from) => {
    const { clla, outcome, state, onProgress } = /** @type {Inside} */ (window);
    state.events = [];
    const work = async () => {
      const model = await clla.load(from, { context: 256, threads: 1, onProgress });
      const { text } = await model.chat().send('Hello', { maxTokens: 12, sampling: { temperature: 0 } }).done;
      await model.close();
      return { text, phases: [...new Set(state.events.map((/** @type {any} */ event) => event.phase))] };
    };
    return outcome(work());
  }, source);

const namesIn = (/** @type {Tab} */ where) =>
  where.evaluate(async () => (await /** @type {Inside} */ (window).clla.models.list()).map((/** @type {any} */ model) => model.name));

test('a model is stored on the first visit, loaded from there, and answers as in Node', { skip, timeout: 120_000 }, async () => {
  const { load } = await import('../../js/index.js');
  const model = await load(MODEL, { context: 256, threads: 1 });
  const { text } = await model.chat().send('Hello', { maxTokens: 12, sampling: { temperature: 0 } }).done;
  await model.close();
  const { url } = served('clla-4m-chat.gguf', readFileSync(MODEL));
  assert.deepEqual(await replyIn(page, url), { value: { text, phases: ['download', 'load'] } });
  served('clla-4m-chat.gguf', new Uint8Array(), { status: 500 });
  const tab = await openPage();
  assert.deepEqual(await replyIn(tab, url), { value: { text, phases: ['load'] } });
  assert.deepEqual(await replyIn(tab, 'clla-4m-chat.gguf'), { value: { text, phases: ['load'] } });
  assert.equal(server.requests('clla-4m-chat.gguf').length, 1);
  await tab.close();
});

test('a bundled model is known by its name, and its hash with it', { skip }, async () => {
  const { value, message } = await pullIn(page, 'clla-4m-chat');
  assert.equal(value?.sha256, sha(readFileSync(MODEL)), message);
  assert.equal(value.verified, true);
  assert.match((await replyIn(page, 'clla-4m-chat')).value.text, /./);
});

test('in an isolated page the same model runs with threads, where there are any', { skip, timeout: 120_000 }, async () => {
  const isolated = await startServer({ isolated: true });
  try {
    const tab = await openPage(browser, isolated);
    const { variant, threads, text } = await tab.evaluate(async () => {
      const { clla } = /** @type {Inside} */ (window);
      const model = await clla.load('clla-4m-chat', { context: 256, threads: 2 });
      const reply = await model.chat().send('Hello', { maxTokens: 12, sampling: { temperature: 0 } }).done;
      await model.close();
      return { ...model.info, text: reply.text };
    });
    assert.equal(/-threads$/.test(variant), kind.threads);
    assert.equal(threads, kind.threads ? 2 : 1);
    assert.equal(text, (await replyIn(page, 'clla-4m-chat')).value.text);
    await tab.close();
  } finally {
    await isolated.close();
  }
});

test('the browser is asked once to keep the store, when something is stored', { skip }, async (t) => {
  const own = await startServer({ lingerMs: kind.batchMs }); // an origin that asked for nothing yet
  const tab = await openPage(browser, own);
  const visit = async (/** @type {string} */ name) => {
    await tab.reload();
    await tab.evaluate(prepare);
    await tab.evaluate(() => {
      const { persist } = StorageManager.prototype;
      StorageManager.prototype.persist = function () {
        sessionStorage.asked = Number(sessionStorage.asked ?? 0) + 1;
        return persist.call(this);
      };
    });
    const url = own.put(name, { bytes: readFileSync(MODEL), etag: '"e"' });
    assert.match((await replyIn(tab, url)).value.text, /./);
    return tab.evaluate(() => Number(sessionStorage.asked));
  };
  try {
    if (!(await tab.evaluate(() => 'storage' in navigator))) return t.skip(`${kind.name} cannot be asked`);
    assert.deepEqual([await visit('asked.gguf'), await visit('asked.gguf'), await visit('later.gguf')], [1, 1, 1]);
  } finally {
    await tab.close();
    await own.close();
  }
});

test('a name that nobody knows', { skip }, async () => {
  const { code, message } = await pullIn(page, 'gpt-9');
  assert.equal(code, 'NOT_STORED');
  assert.match(message, /gpt-9: no model of this name/);
});

test('a damaged record counts as not there: the others are, and its file is stored again', { skip }, async () => {
  const bytes = syntheticFile(3 * CHUNK, 18);
  const request = served('record.gguf', bytes);
  await tryIn(page, request);
  const damages = [{ chunkHashes: 3 }, { chunkBytes: 0 }, { name: 5 }, { complete: 'yes' }, { hashState: 'x' }];
  for (const damaged of damages) {
    await page.evaluate(
      async (id, change) => {
        const promised = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
        const db = await promised(indexedDB.open('clla'));
        const files = db.transaction('files', 'readwrite').objectStore('files');
        await promised(files.put({ ...(await promised(files.get(id))), ...change }));
        db.close();
      },
      request.id,
      damaged,
    );
    const names = await namesIn(page);
    assert.ok(names.length > 0 && !names.includes('record.gguf'), `${names}`);
    assert.equal((await tryIn(page, request)).sha256, sha(bytes));
    assert.deepEqual(await readBack(page, request.id), { value: sha(bytes) });
  }
  assert.equal(server.requests('record.gguf').length, 1 + damages.length);
});

test('a damaged model is mended while it is loaded', { skip }, async () => {
  const bytes = readFileSync(MODEL);
  const { id, url } = served('mended.gguf', bytes);
  await pullIn(page, url);
  await damage(id, 1, false);
  assert.match((await replyIn(page, url)).value.text, /./);
  assert.deepEqual(server.requests('mended.gguf').map(({ range }) => range), ['bytes=0-', `bytes=${1 << 22}-${bytes.length - 1}`]);
});

test('a tab that is killed while it loads or writes holds nothing back', { skip, timeout: 120_000 }, async () => {
  const { url } = served('crash.gguf', readFileSync(MODEL));
  await inOwnBrowser(async (open) => {
    const other = await open();
    await pullIn(other, url);
    for (const when of ['load', 'reply']) {
      const tab = await open();
      await tab.evaluate(
        async (from, phase) => {
          const { clla, state } = /** @type {Inside} */ (window);
          const loading = clla.load(from, { context: 512, threads: 1, onProgress: () => (state.at = 'load') });
          if (phase === 'load') return void loading;
          state.reply = (await loading).complete('Once', { ignoreEos: true });
        },
        url,
        when,
      );
      if (when === 'load') await until(() => tab.evaluate(() => /** @type {Inside} */ (window).state.at === 'load'));
      await tab.kill();
      assert.match((await replyIn(other, url)).value.text, /./);
    }
    assert.equal(server.requests('crash.gguf').length, 1);
    await until(() => other.evaluate(() => /** @type {Inside} */ (window).outcome(/** @type {Inside} */ (window).clla.models.remove('crash.gguf')).then((/** @type {any} */ o) => o.code === undefined)));
  });
});

test('two tabs: one downloads, the other shows the same progress', { skip }, async () => {
  const bytes = syntheticFile(10 << 20, 20);
  const { url } = served('tabs.gguf', bytes, { bytesPerSecond: 5 << 20 });
  const [a, b] = [await openPage(), await openPage()];
  const first = pullIn(a, url);
  await until(() => server.requests('tabs.gguf').length === 1);
  const second = pullIn(b, url);
  assert.equal((await first).value.sha256, sha(bytes));
  assert.equal((await second).value.sha256, sha(bytes));
  assert.equal(server.requests('tabs.gguf').length, 1);
  const seen = await b.evaluate(() => /** @type {Inside} */ (window).state.events.map((/** @type {any} */ event) => event.loaded));
  assert.ok(seen.length > 5 && seen.some((/** @type {number} */ loaded) => loaded > 0 && loaded < bytes.length), `${seen}`);
  await Promise.all([a.close(), b.close()]);
});

test('two tabs: when the one that downloads is closed, the other takes over', { skip }, async () => {
  const bytes = syntheticFile(20 << 20, 21);
  const slowly = { bytes, etag: '"e"', bytesPerSecond: 8 << 20 };
  const { id, url } = served('over.gguf', bytes, { ...slowly, instead: (/** @type {number} */ from) => (from ? undefined : { ...slowly, stallAfter: 18 << 20 }) });
  const [a, b] = [await openPage(), await openPage()];
  void pullIn(a, url).catch(() => {});
  await until(() => server.requests('over.gguf').length === 1);
  const second = pullIn(b, url);
  await until(async () => (await storedChunks(page, id)) >= 1);
  await a.close();
  assert.equal((await second).value.sha256, sha(bytes));
  const ranges = server.requests('over.gguf').map(({ range }) => range);
  assert.equal(ranges.length, 2);
  assert.match(ranges[1] ?? '', /^bytes=(4194304|8388608|12582912|16777216)-$/);
  await b.close();
});

test('a model that is loaded or being downloaded is not removed', { skip }, async () => {
  const tab = await openPage();
  const remove = (/** @type {string} */ name) => page.evaluate((wanted) => /** @type {Inside} */ (window).outcome(/** @type {Inside} */ (window).clla.models.remove(wanted)), name);
  await tab.evaluate(async () => {
    const { clla, state } = /** @type {Inside} */ (window);
    state.model = await clla.load('clla-4m-chat', { context: 64, threads: 1 });
  });
  assert.equal((await remove('clla-4m-chat')).code, 'IN_USE');
  await tab.evaluate(() => /** @type {Inside} */ (window).state.model.close());
  await until(async () => (await remove('clla-4m-chat')).code === undefined);
  assert.ok(!(await namesIn(page)).includes('clla-4m-chat'));

  const { url } = served('removing.gguf', syntheticFile(8 << 20, 22), { bytesPerSecond: 2 << 20 });
  const pulling = pullIn(tab, url);
  await until(async () => (await namesIn(page)).includes('removing.gguf'));
  const { code, message } = await remove('removing.gguf');
  assert.equal(code, 'IN_USE');
  assert.match(message, /removing\.gguf: is loaded or being downloaded/);
  await pulling;
  assert.equal((await remove('removing.gguf')).code, undefined);
  assert.match((await remove('removing.gguf')).message, /removing\.gguf: is not stored here; (there|nothing) is/);
  await tab.close();
});

test('a model that was just closed can be removed; of two removals at once one finds it', { skip, timeout: 120_000 }, async () => {
  const outcomes = await page.evaluate(async (url) => {
    const { clla, outcome } = /** @type {Inside} */ (window);
    const bytes = await (await fetch(url)).arrayBuffer();
    const all = [];
    for (let i = 0; i < 6; i++) {
      await clla.models.add(new File([bytes], 'closed.gguf', { lastModified: i }));
      await (await clla.load('closed.gguf', { context: 64, threads: 1 })).close();
      const removals = [1, i % 2].filter(Boolean).map(() => outcome(clla.models.remove('closed.gguf')));
      all.push((await Promise.all(removals)).map(({ code }) => code ?? 'removed').sort());
    }
    return all;
  }, `${server.origin}/models/clla-4m-chat.gguf`);
  for (const [i, codes] of outcomes.entries()) assert.deepEqual(codes, i % 2 ? ['NOT_STORED', 'removed'] : ['removed']);
});

test('a server that never answered is given up soon, and the likely reasons are told', { skip, timeout: 60_000 }, async () => {
  const closed = await startServer();
  await closed.close();
  const headers = { 'Access-Control-Allow-Origin': 'http://nowhere.example' };
  const forbidden = served('forbidden.gguf', syntheticFile(1000), { headers }).url.replace(server.origin, server.otherOrigin);
  for (const url of [`${closed.origin}/none.gguf`, forbidden]) {
    const began = performance.now();
    const { code, message } = await pullIn(page, url);
    assert.equal(code, 'NETWORK');
    assert.match(message, /\.gguf: .*: the server cannot be reached, or .*\(CORS\), or .*\(connect-src\)$/);
    assert.ok(performance.now() - began < 15_000, `${performance.now() - began} ms`);
  }
});

test('one that answered before is not, and neither is any while the browser is offline', { skip, timeout: 60_000 }, async () => {
  const bytes = syntheticFile(6 * CHUNK, 24);
  const opened = { bytes, etag: '"e"', headers: { 'Access-Control-Expose-Headers': 'ETag, Content-Range' } };
  const shut = { ...opened, headers: { 'Access-Control-Allow-Origin': 'http://nowhere.example' } };
  let asked = 0;
  const instead = () => [{ ...opened, cutAfter: 2 * CHUNK }, shut, shut, shut, shut][asked++];
  const request = served('later.gguf', bytes, { ...opened, instead });
  request.url = request.url.replace(server.origin, server.otherOrigin);
  request.patience = { ...PATIENCE, attempts: 8, attemptsUnreached: 1 };
  const { sha256, message } = await tryIn(page, request);
  assert.equal(sha256, sha(bytes), message);

  const tab = await openPage();
  await tab.evaluate(() => void Object.defineProperty(navigator, 'onLine', { value: false }));
  const away = served('offline.gguf', bytes, shut);
  away.url = away.url.replace(server.origin, server.otherOrigin);
  away.patience = { ...PATIENCE, attempts: 5, attemptsUnreached: 1 };
  const before = server.requests('offline.gguf').length;
  const offline = await tryIn(tab, away);
  assert.equal(offline.code, 'NETWORK');
  assert.match(offline.message ?? '', /offline\.gguf: the browser is offline$/);
  assert.ok(server.requests('offline.gguf').length >= before + 5);
  await tab.close();
});

test('relative URLs are relative to the page as it is now, and to the site in a worker of a Blob', { skip }, async () => {
  const bytes = readFileSync(MODEL);
  for (const name of ['pushed', 'based', 'worker']) served(`${name}.gguf`, bytes);
  const tab = await openPage();
  await tab.evaluate(() => history.pushState({}, '', '/files/some/'));
  assert.equal((await pullIn(tab, '../pushed.gguf')).value?.url, `${server.origin}/files/pushed.gguf`);
  await tab.evaluate(() => {
    const base = document.createElement('base');
    base.href = '/files/';
    document.head.append(base);
  });
  assert.equal((await pullIn(tab, './based.gguf')).value?.url, `${server.origin}/files/based.gguf`);
  const url = await tab.evaluate((origin) => {
    const code = `const { models } = await import('${origin}/js/index_web.js');
      models.pull('files/worker.gguf').then(({ url }) => postMessage(url), (error) => postMessage(error.message));`;
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })), { type: 'module' });
    return new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
  }, server.origin);
  assert.equal(url, `${server.origin}/files/worker.gguf`);
  await tab.close();
});

test('objects of another frame are as good as the page’s own', { skip, timeout: 60_000 }, async () => {
  const { url } = served('framed.gguf', readFileSync(MODEL));
  const outcomes = await page.evaluate(async (from) => {
    const { clla, outcome } = /** @type {Inside} */ (window);
    const frame = document.body.appendChild(document.createElement('iframe'));
    const other = /** @type {any} */ (frame.contentWindow);
    const buffer = await (await other.fetch(from)).arrayBuffer();
    const { signal } = new other.AbortController();
    const logitBias = new other.Map([[5, 1]]);
    const work = async (/** @type {any} */ source) => {
      const model = await clla.load(source, { context: 64, threads: 1, signal });
      const { ids } = await model.complete('Once', { maxTokens: 2, signal, sampling: { logitBias } }).done;
      await model.close();
      return ids.length;
    };
    const stream = new other.Blob([buffer]).stream();
    const all = [];
    for (const source of [new other.URL(from), new other.Blob([buffer]), buffer, stream]) all.push(await outcome(work(source)));
    all.push(await outcome(clla.models.add(new other.File([buffer], 'of-frame.gguf'), { signal }).then(() => 2)));
    frame.remove();
    return all;
  }, url);
  assert.deepEqual(outcomes, Array.from({ length: 5 }, () => ({ value: 2 })));
});

test('a browser without IndexedDB or that refuses locks, and a site with a page for every path', { skip }, async () => {
  const tab = await openPage();
  const found = await tab.evaluate(async () => {
    const { clla, outcome } = /** @type {Inside} */ (window);
    const fetched = window.fetch;
    window.fetch = async (url) => (String(url).includes('catalogue') ? new Response('<!doctype html>') : fetched(url));
    const catalogue = await outcome(clla.load('gpt-9'));
    window.fetch = fetched;
    await clla.models.add(new File(['GGUF', new Uint8Array(99)], 'locked.gguf'));
    const refused = async () => Promise.reject(new DOMException('not here', 'SecurityError'));
    Object.defineProperty(navigator, 'locks', { value: { request: refused } });
    const locks = await outcome(clla.models.remove('locked.gguf'));
    Object.defineProperty(window, 'indexedDB', { value: undefined });
    return [catalogue, locks, await outcome(clla.models.list())];
  });
  assert.deepEqual(found.map(({ code }) => code), ['NOT_STORED', 'NOT_READABLE', 'NOT_READABLE']);
  assert.match(found[0].message, /^gpt-9: no model of this name is stored or in the catalogue$/);
  assert.match(found[1].message, /the browser refuses locks.*not here/);
  assert.match(found[2].message, /this page has no IndexedDB.*: a Blob or a stream can still be loaded/);
  await tab.close();
});

// ---- places where no engine can start ------------------------------------------------------------------------------

/** Load nothing much there. @param {Tab} where @param {object} [options] @returns {Promise<any>} */
const loadIn = (where, options = {}) =>
  where.evaluate((more) => {
    const { clla, outcome } = /** @type {Inside} */ (window);
    return outcome(clla.load(new Blob(['GGUF']), { threads: 1, ...more }));
  }, options);

test('wasmUrl: what is wrong with what is there', { skip }, async () => {
  const missing = await loadIn(page, { wasmUrl: 'nowhere/' });
  assert.equal(missing.code, 'NOT_READABLE');
  assert.match(missing.message, /^wasmUrl: no engine at http.*\/nowhere\/clla-\w+\.wasm: the server answers 404 Not Found$/);
  const other = await page.evaluate(() => {
    const { clla, outcome } = /** @type {Inside} */ (window);
    return outcome(clla.load(new Blob(['GGUF']), { threads: 1, wasmUrl: () => '/js/index.js' }));
  });
  assert.match(other.message, /^wasmUrl: no engine at .*\/js\/index\.js: what is there is no Wasm file$/);
});

test('where no worker can be started it is said what is needed', { skip }, async () => {
  const shared = await openPage();
  await shared.evaluate(() => void Object.assign(window, { Worker: undefined }));
  const without = await loadIn(shared);
  assert.equal(without.code, 'INTERNAL');
  assert.match(without.message, /^no worker can be started: there are none here: import clla in a page/);
  await shared.close();

  const open = await startServer({ headers: { 'Access-Control-Allow-Origin': '*' } });
  const tab = await openPage();
  const [elsewhere, sandboxed] = await tab.evaluate(async (origin) => {
    const { outcome } = /** @type {Inside} */ (window);
    const { load } = await (async (/** @type {string} */ name) => import(name))(`${origin}/js/index_web.js`);
    const frame = document.createElement('iframe');
    frame.setAttribute('sandbox', 'allow-scripts');
    frame.srcdoc = `<script type="module">
      import { load } from '${origin}/js/index_web.js';
      load(new Blob(['GGUF']), { threads: 1 }).catch(({ code, message }) => parent.postMessage({ code, message }, '*'));
    </script>`;
    const told = new Promise((resolve) => (window.onmessage = ({ data }) => resolve(data)));
    document.body.append(frame);
    return [await outcome(load(new Blob(['GGUF']), { threads: 1 })), await told];
  }, open.origin);
  for (const { code } of [elsewhere, sandboxed]) assert.equal(code, 'INTERNAL');
  assert.match(elsewhere.message, /serve the files of clla from http:\/\/127|its script cannot be loaded/);
  assert.match(sandboxed.message, /its sandbox needs "allow-same-origin"/);
  await tab.close();
  await open.close();
});

const policies = skip || (kind === BROWSERS.chromium ? false : `${kind.name} is driven by scripts that these policies forbid`);

test('policies that forbid workers or WebAssembly are named', { skip: policies }, async () => {
  const wrong = /** @type {[string, RegExp][]} */ ([
    ["require-trusted-types-for 'script'", /requires trusted types: its policy named "default" must let createScriptURL pass/],
    ["script-src 'self'", /forbids WebAssembly: its script-src needs 'wasm-unsafe-eval'/],
  ]);
  for (const [policy, sentence] of wrong) {
    const strict = await startServer({ headers: { 'Content-Security-Policy': policy } });
    const tab = await openPage(browser, strict);
    const { code, message } = await loadIn(tab);
    assert.equal(code, 'INTERNAL');
    assert.match(message, sentence);
    await tab.close();
    await strict.close();
  }
});

// ---- space, files of one's own, signals ----------------------------------------------------------------------------

const withoutQuota = skip || (kind.quota ? false : `${kind.name} cannot be told a small quota`);

test('space: checked before, and what is stored is kept when it runs out', { skip: withoutQuota, timeout: 120_000 }, async () => {
  const small = await kind.start(undefined, { quotaBytes: 10 * CHUNK });
  const tab = await openPage(small);
  const bytes = syntheticFile(40 * CHUNK, 23);
  const request = served('full.gguf', bytes);
  await tab.evaluate((quota) => void (navigator.storage.estimate = async () => ({ usage: 0, quota })), 10 * CHUNK); // Chromium tells 10 GB here
  const before = await tryIn(tab, request);
  assert.equal(before.code, 'NO_SPACE');
  assert.match(before.message ?? '', /full\.gguf: 10\.5 MB are to be stored, \d\.\d MB more than there is room for/);
  assert.equal(before.chunks, 0);

  await tab.reload();
  await tab.evaluate(prepare);
  await tab.evaluate(() => void (navigator.storage.estimate = async () => ({ usage: 0, quota: 1e10 }))); // Firefox tells the truth
  const during = await tryIn(tab, request);
  assert.equal(during.code, 'NO_SPACE', during.message);
  assert.match(during.message ?? '', /full\.gguf: storage is full: \d\.\d MB are missing; what has come is kept/);
  assert.ok(during.chunks > 0 && during.chunks < 40, `${during.chunks}`);

  await small.kill();
  const large = await kind.start(small.profile);
  try {
    const again = await openPage(large);
    served('full.gguf', bytes);
    const { sha256, message } = await tryIn(again, request);
    assert.equal(sha256, sha(bytes), message);
    assert.equal(server.requests('full.gguf').at(-1)?.range, `bytes=${during.chunks * CHUNK}-`);
  } finally {
    await large.close();
  }
});

test('files of one’s own: a File, a Blob, a stream; list, export, remove', { skip }, async () => {
  const found = await page.evaluate(async (url) => {
    const { clla, digest, outcome } = /** @type {Inside} */ (window);
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    const { models } = clla;
    const file = await models.add(new File([bytes], 'mine.gguf'));
    const blob = await models.add(new Blob([bytes]), { name: 'blob.gguf' });
    const stream = await models.add(new Blob([bytes]).stream(), { name: 'stream.gguf' });
    const again = await models.add(new Blob([bytes]).stream(), { name: 'stream.gguf', sha256: stream.sha256 });
    const wrong = await outcome(models.add(new Blob(['not a model']), { name: 'wrong.gguf' }));
    const nameless = await outcome(models.add(new Blob([bytes])));
    const exported = await digest(new Uint8Array(await new Response(await models.export('stream.gguf')).arrayBuffer()));
    const { bytes: before } = await models.usage();
    await models.remove('blob.gguf');
    const { bytes: after, quota } = await models.usage();
    return { file, blob, stream, again, wrong, nameless, exported, freed: before - after, quota, tells: 'storage' in navigator };
  }, `${server.origin}/models/clla-4m-chat.gguf`);
  for (const model of [found.file, found.blob, found.stream, found.again]) {
    assert.equal(model.sha256, sha(readFileSync(MODEL)));
    assert.ok(model.complete && model.url === undefined);
  }
  assert.deepEqual([found.stream.verified, found.again.verified], [false, true]);
  assert.equal(found.exported, sha(readFileSync(MODEL)));
  assert.equal(found.wrong.code, 'BAD_FILE');
  assert.equal(found.nameless.code, 'BAD_ARGUMENT');
  assert.equal(found.freed, 4_713_440);
  assert.ok(found.quota > 0 || !found.tells);
  assert.match((await replyIn(page, 'mine.gguf')).value.text, /./);
  await damage('own:mine.gguf', 0, false);
  const { code, message } = await replyIn(page, 'mine.gguf');
  assert.equal(code, 'DAMAGED');
  assert.match(message, /mine\.gguf: bytes 0 to 4194303 \(chunk 1 of 2\) are damaged in the store: add the file again/);
});

test('an aborted load stops in the download and in the loading; the store stays whole', { skip }, async () => {
  const { url } = served('abort.gguf', readFileSync(MODEL), { bytesPerSecond: 6 << 20 });
  const abortAt = (/** @type {string} */ phase) =>
    page.evaluate(
      (from, when) => {
        const { clla, outcome } = /** @type {Inside} */ (window);
        const stop = new AbortController();
        const onProgress = (/** @type {any} */ event) => event.phase === when && event.loaded > 0 && stop.abort();
        return outcome(clla.load(from, { context: 64, threads: 1, onProgress, signal: stop.signal }));
      },
      url,
      phase,
    );
  assert.equal((await abortAt('download')).code, 'ABORTED');
  served('abort.gguf', readFileSync(MODEL));
  assert.equal((await abortAt('load')).code, 'ABORTED');
  assert.match((await replyIn(page, url)).value.text, /./);
});
