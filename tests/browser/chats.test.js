// chats.test.js: chats in a real Chromium: kept in IndexedDB across reloads, tabs and crashes; many on one copy of the
// weights; stopped in every phase; trimmed without growing; and gone when the model is closed.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { smollm, withoutSmollm } from '../js/helpers.js';
import { MEASURE_NOW, startChromium, withoutChromium } from './chromium.js';
import { startServer } from './server.js';

/** @typedef {import('puppeteer-core').Page} Page */
/** @typedef {any} Inside what prepare() put into the window */

const skip = withoutChromium;
const MODEL = path.join(fileURLToPath(new URL('../..', import.meta.url)), 'models/clla-4m-chat.gguf');
const WIDE = '/models/tinystories-656k.gguf'; // a cache that is large for what it takes to fill it: 2 kB a token
const wait = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
/** @type {Awaited<ReturnType<typeof startChromium>>} */
let chromium;

before(async () => {
  if (skip) return;
  server = await startServer({ isolated: true });
  chromium = await startChromium(undefined, { switches: [MEASURE_NOW] });
});
after(async () => {
  if (skip) return;
  await chromium.close();
  await server.close();
});

/** A tab with the package in its window. @param {{newPage(): Promise<Page>}} [context] */
async function openPage(context = chromium.browser) {
  const opened = await context.newPage();
  await opened.goto(`${server.origin}/`);
  await opened.evaluate(prepare);
  return opened;
}

/** Runs in the page. */
async function prepare() {
  const clla = await (async (/** @type {string} */ name) => import(name))('/js/index_web.js');
  /** What becomes of a promise, as plain data. @param {Promise<any>} promise */
  const outcome = (promise) => promise.then((value) => ({ value }), (error) => ({ code: error.code, message: error.message }));
  const SHORT = { maxTokens: 12, ignoreEos: true };
  const HOT = { system: 'You are a friend.', sampling: { temperature: 1, topP: 0.9, seed: 5 } };
  /** @param {any} result */
  const brief = ({ ids, promptIds, usage, timings }) => ({ ids, prompt: promptIds.length, cached: usage.cachedTokens, read: timings.promptN });
  /** @param {any} chat @param {...string} said */
  const say = async (chat, ...said) => {
    let result;
    for (const message of said) result = brief(await chat.send(message, SHORT).done);
    return result;
  };
  Object.assign(window, { clla, chats: clla.chats, outcome, SHORT, HOT, brief, say });
}

/** Load a model in a tab as `model`. @param {Page} tab @param {string} source @param {object} [options] */
const loadIn = (tab, source, options = {}) =>
  tab.evaluate(
    async (from, more) => {
      const inside = /** @type {Inside} */ (window);
      inside.model = await inside.clla.load(from, { threads: 1, context: 512, ...more });
    },
    source,
    options,
  );

/** What a tab takes of JavaScript after its rubbish was collected; workers count. @param {Page} tab @returns {Promise<number>} */
const bytesOf = (tab) => tab.evaluate(async () => (await /** @type {Inside} */ (performance).measureUserAgentSpecificMemory()).bytes);

/** Close what loadIn() loaded, and wait for its workers to end. @param {Page} tab */
async function closeIn(tab) {
  await tab.evaluate(async () => {
    const inside = /** @type {Inside} */ (window);
    await inside.model.close();
    inside.model = undefined;
  });
  for (let i = 0; i < 100 && tab.workers().length > 0; i++) await wait(50);
}

const withoutProc = existsSync('/proc/self/status') ? false : 'no /proc: memory of other processes cannot be told';

/** Memory that renderers have to themselves: Chromium's own measure leaves out a worker's Wasm memory. @returns {Promise<number>} */
async function residentBytes() {
  const session = await chromium.browser.target().createCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  return processInfo
    .filter(({ type }) => type === 'renderer')
    .map(({ id }) => Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1]) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}

// ---- kept ----------------------------------------------------------------------------------------------------------

/** Say two things, save, say a third; after a reload open the chat and say the third again. @param {string} source */
async function reopened(source) {
  const tab = await openPage();
  await loadIn(tab, source);
  const before = await tab.evaluate(async () => {
    const { chats, model, say, HOT } = /** @type {Inside} */ (window);
    const chat = model.chat(HOT);
    await say(chat, 'Tell me a story.', 'And then?');
    const saved = await chats.save('kept', chat);
    return { saved: { ...saved, date: saved.date.getTime() }, bytes: (await chat.save()).size, next: await say(chat, 'What is the end?') };
  });
  await tab.reload();
  await tab.evaluate(prepare);
  const listed = await tab.evaluate(async () => (await /** @type {Inside} */ (window).chats.list()).map((/** @type {any} */ chat) => ({ ...chat, date: chat.date.getTime() })));
  assert.deepEqual(listed, [before.saved]);
  assert.equal(before.saved.bytes, before.bytes);
  assert.equal(before.saved.messages, 5);
  await loadIn(tab, source);
  const later = await tab.evaluate(async () => {
    const { chats, model, say } = /** @type {Inside} */ (window);
    const chat = await chats.open('kept', model);
    const next = await say(chat, 'What is the end?');
    await chats.remove('kept');
    return { next, left: (await chats.list()).length };
  });
  assert.deepEqual(later, { next: before.next, left: 0 });
  assert.ok(later.next.cached > 40 && later.next.read < 30, JSON.stringify(later.next));
  await tab.close();
}

test('a chat that is saved and opened after a reload goes on with the same tokens, and nothing is computed again', { skip, timeout: 120_000 }, () =>
  reopened('clla-4m-chat'),
);

test('so does one with SmolLM2', { skip: skip || withoutSmollm, timeout: 300_000 }, () =>
  reopened(server.put('smollm2.gguf', { bytes: readFileSync(String(smollm)), etag: '"s"' })),
);

test('two tabs save under one name: the last one wins whole, and a third one opens either all the while', { skip, timeout: 120_000 }, async () => {
  const tabs = [await openPage(), await openPage(), await openPage()];
  for (const tab of tabs) await loadIn(tab, 'clla-4m-chat');
  const savers = tabs.slice(0, 2).map((tab, i) =>
    tab.evaluate(async (number) => {
      const { chats, model, say } = /** @type {Inside} */ (window);
      const chat = model.chat();
      await say(chat, `${number} `.repeat(1 + 100 * number));
      for (let n = 0; n < 15; n++) await chats.save('both', chat);
      return JSON.stringify(chat.messages);
    }, i),
  );
  let ended = false;
  const both = Promise.all(savers).finally(() => (ended = true));
  const seen = new Set();
  while (!ended) {
    const { value, code } = await tabs[2].evaluate(() => {
      const { chats, model, outcome } = /** @type {Inside} */ (window);
      return outcome(chats.open('both', model).then(async (/** @type {any} */ chat) => (await chat.close(), JSON.stringify(chat.messages))));
    });
    assert.ok(value !== undefined || code === 'NOT_STORED', code);
    if (value) seen.add(value);
    await wait(20);
  }
  const messages = await both;
  for (const text of seen) assert.ok(messages.includes(text));
  assert.equal(await tabs[2].evaluate(async () => {
    const { chats } = /** @type {Inside} */ (window);
    const { length } = await chats.list();
    await chats.remove('both');
    return length;
  }), 1);
  for (const tab of tabs) await tab.close();
});

test('a tab that is killed while it saves leaves the earlier chat whole', { skip, timeout: 120_000 }, async () => {
  const tab = await openPage();
  const source = `${server.origin}${WIDE}`;
  await loadIn(tab, source, { context: 'auto' });
  await tab.evaluate(() => /** @type {Inside} */ (window).chats.save('killed', /** @type {Inside} */ (window).model.chat()));
  for (let kill = 0; kill < 4; kill++) {
    const victim = await openPage();
    await loadIn(victim, source, { context: 4096, kv: 'f32' });
    const session = await victim.createCDPSession();
    await victim.evaluate(async () => {
      const { chats, model, say } = /** @type {Inside} */ (window);
      const chat = model.chat();
      await say(chat, 'the dog ran and '.repeat(700));
      void (async () => {
        for (;;) await chats.save('killed', chat);
      })();
    });
    await wait(15 * kill);
    void session.send('Page.crash').catch(() => {});
    await wait(200);
    void victim.close().catch(() => {});
    const found = await tab.evaluate(async (from) => {
      const { chats, clla } = /** @type {Inside} */ (window);
      const model = await clla.load(from, { threads: 1 });
      const [listed] = await chats.list();
      const { messages } = await chats.open('killed', model);
      await model.close();
      return { listed: listed.messages, messages: messages.length };
    }, source);
    assert.equal(found.messages, found.listed);
    assert.ok([0, 2].includes(found.listed));
  }
  const left = await tab.evaluate(async () => {
    const { chats, model } = /** @type {Inside} */ (window);
    await chats.save('killed', model.chat());
    const promised = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const db = await promised(indexedDB.open('clla chats'));
    const counts = [];
    for (const name of ['files', 'chunks']) counts.push(await promised(db.transaction(name).objectStore(name).count()));
    db.close();
    await chats.remove('killed');
    return counts;
  });
  assert.deepEqual(left, [1, 1], 'files and chunks: nothing is left of the killed ones');
  await tab.close();
});

test('storage that is full: the earlier chat stays, and what is missing is told', { skip, timeout: 120_000 }, async () => {
  const context = await chromium.browser.createBrowserContext();
  const tab = await openPage(context);
  const session = await tab.createCDPSession();
  await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: 3e6 }); // from the first write on
  await loadIn(tab, `${server.origin}${WIDE}`, { context: 1 << 14, kv: 'f32' });
  const small = await tab.evaluate(async () => {
    const { chats, model, say } = /** @type {Inside} */ (window);
    const inside = /** @type {Inside} */ (window);
    inside.chat = model.chat();
    await say(inside.chat, 'Hello');
    return (await chats.save('full', inside.chat)).messages;
  });
  assert.equal(small, 2);
  await tab.evaluate(() => {
    const { chat, say } = /** @type {Inside} */ (window);
    return say(chat, 'the dog ran and '.repeat(1500));
  });
  const save = () => tab.evaluate(() => {
    const { chats, chat, outcome } = /** @type {Inside} */ (window);
    return outcome(chats.save('full', chat).then((/** @type {any} */ stored) => stored.messages));
  });
  const { code, message } = await save();
  assert.equal(code, 'NO_SPACE', message);
  assert.match(message, /^full: (storage is full: \d+\.\d MB are missing; what was saved before is kept|\d+\.\d MB are to be stored, \d+\.\d MB more)/);
  const kept = await tab.evaluate(async () => {
    const { chats, model } = /** @type {Inside} */ (window);
    return (await chats.open('full', model)).messages.length;
  });
  assert.equal(kept, 2);
  await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin });
  assert.deepEqual(await save(), { value: 4 }, 'where there is room again it is saved');
  await context.close();
});

test('a flipped bit in a stored chat is found, and said', { skip, timeout: 60_000 }, async () => {
  const tab = await openPage();
  await loadIn(tab, 'clla-4m-chat');
  const { code, message } = await tab.evaluate(async () => {
    const { chats, model, say, outcome } = /** @type {Inside} */ (window);
    const chat = model.chat();
    await say(chat, 'Hello');
    await chats.save('bit', chat);
    const promised = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const db = await promised(indexedDB.open('clla chats'));
    const chunks = db.transaction('chunks', 'readwrite').objectStore('chunks');
    const [key] = await promised(chunks.getAllKeys());
    const bytes = await promised(chunks.get(key));
    bytes[500] ^= 16;
    await promised(chunks.put(bytes, key));
    db.close();
    const found = await outcome(chats.open('bit', model));
    await chats.remove('bit');
    return found;
  });
  assert.equal(code, 'DAMAGED');
  assert.match(message, /^bit: bytes 0 to \d+ \(chunk 1 of 1\) are damaged in the store$/);
  await tab.close();
});

test('a damaged record counts as not there: it is not listed, not opened, and keeps no other from being so', { skip, timeout: 60_000 }, async () => {
  const tab = await openPage();
  await loadIn(tab, 'clla-4m-chat');
  const found = await tab.evaluate(async () => {
    const { chats, model, say, outcome } = /** @type {Inside} */ (window);
    const chat = model.chat();
    await say(chat, 'Hello');
    await chats.save('sound', chat);
    const promised = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const all = [];
    for (const damage of [{ chunkHashes: undefined }, { chat: { date: 'x' } }, { chat: 5 }, { chat: undefined }]) {
      await chats.save('damaged', chat);
      const db = await promised(indexedDB.open('clla chats'));
      const files = db.transaction('files', 'readwrite').objectStore('files');
      const record = (await promised(files.getAll())).find((/** @type {any} */ { name }) => name === 'damaged');
      await promised(files.put({ ...record, ...damage }));
      const names = (await chats.list()).map((/** @type {any} */ { name }) => name);
      const opened = [await outcome(chats.open('damaged', model)), await outcome(chats.remove('damaged'))];
      const sound = await chats.open('sound', model);
      all.push({ names, codes: opened.map(({ code }) => code), messages: sound.messages.length });
      await sound.close();
      await promised(db.transaction('files', 'readwrite').objectStore('files').delete(record.id));
      db.close();
    }
    await chats.remove('sound');
    return all;
  });
  for (const { names, codes, messages } of found) {
    assert.deepEqual({ names, codes }, { names: ['sound'], codes: ['NOT_STORED', 'NOT_STORED'] });
    assert.ok(messages > 1);
  }
  await tab.close();
});

// ---- one engine ----------------------------------------------------------------------------------------------------

test('send, retry, edit and fork compute only what changed', { skip, timeout: 60_000 }, async () => {
  const tab = await openPage();
  await loadIn(tab, 'clla-4m-chat');
  const found = await tab.evaluate(async () => {
    const { model, say, brief, HOT, SHORT } = /** @type {Inside} */ (window);
    const chat = model.chat(HOT);
    const first = await say(chat, 'Hello');
    const second = await say(chat, 'How are you?');
    const retried = brief(await chat.retry(SHORT).done);
    const fork = chat.fork();
    const [ours, theirs] = await Promise.all([say(chat, 'And now?'), say(fork, 'Why?')]);
    const edited = brief(await chat.edit(3, 'What is your name?', SHORT).done);
    return { first, second, retried, ours, theirs, edited };
  });
  for (const reply of Object.values(found)) assert.equal(reply.read, reply.prompt - reply.cached);
  const { first, second, retried, ours, theirs, edited } = found;
  assert.equal(first.cached, 0);
  assert.ok(second.cached >= first.prompt + 11 && second.read < 20, JSON.stringify(second));
  assert.equal(retried.read, 1);
  for (const reply of [ours, theirs]) assert.ok(reply.cached >= retried.prompt + 11 && reply.read < 20, JSON.stringify(reply));
  assert.ok(edited.cached >= first.prompt + 11 && edited.read < 20, JSON.stringify(edited));
  await tab.close();
});

test('eight chats of one model share its weights: each takes its cache and no more', { skip, timeout: 60_000 }, async () => {
  const tab = await openPage();
  await loadIn(tab, 'clla-4m-chat');
  const { before, after: later, size, weights } = await tab.evaluate(async () => {
    const { model, say } = /** @type {Inside} */ (window);
    const chats = Array.from({ length: 8 }, () => model.chat());
    await say(chats[0], 'Hello');
    const before = await model.memory();
    await Promise.all(chats.slice(1).map((chat, i) => say(chat, `Hello ${i}`)));
    const { cacheBytes, scratchBytes } = await model.sessionBytes();
    return { before, after: await model.memory(), size: cacheBytes + scratchBytes, weights: model.info.bytes };
  });
  const each = (later.usedBytes - before.usedBytes) / 7;
  assert.ok(Math.abs(each - size) < 1024, `${each} bytes for each of 7 more chats, a session takes ${size}`);
  assert.ok(weights > 1e6, `${weights}`);
  await tab.close();
});

test('one signal stops every phase: download, store, load, prefill, decode, save, open', { skip, timeout: 120_000 }, async () => {
  const url = server.put('phases.gguf', { bytes: readFileSync(MODEL), etag: '"p"', bytesPerSecond: 8 << 20 });
  const tab = await openPage();
  const codes = await tab.evaluate(async (from) => {
    const { clla, chats, outcome } = /** @type {Inside} */ (window);
    const controllers = () => {
      const stop = new AbortController();
      const at = (/** @type {string} */ wanted) => (/** @type {any} */ { phase, loaded }) => phase === wanted && loaded > 0 && stop.abort();
      return { stop, at, signal: stop.signal };
    };
    /** @type {Record<string, any>} */
    const ended = {};
    const options = { threads: 1, context: 1 << 14, kv: 'f32' };
    for (const phase of ['download', 'load']) {
      if (phase === 'load') await clla.models.pull(from);
      const { signal, at } = controllers();
      ended[phase] = (await outcome(clla.load(from, { ...options, signal, onProgress: at(phase) }))).code;
    }
    const own = await (await fetch(from)).blob();
    const storing = controllers();
    const slowly = async function* () {
      for (let at = 0; at < own.size; at += 1 << 18, await new Promise((resolve) => setTimeout(resolve, 20)))
        yield new Uint8Array(await own.slice(at, at + (1 << 18)).arrayBuffer());
    };
    const adding = { name: 'mine.gguf', signal: storing.signal, onProgress: storing.at('store') };
    ended.store = (await outcome(clla.models.add(slowly(), adding))).code;
    const model = await clla.load(from, options);
    const chat = model.chat();
    const long = 'the dog ran and the cat sat '.repeat(300);
    const prefill = controllers();
    const cut = await chat.send(long, { signal: prefill.signal, onPrefill: () => prefill.stop.abort() }).done;
    ended.prefill = cut.finishReason;
    ended.readAll = cut.usage.contextUsed >= cut.promptIds.length;
    const decode = controllers();
    let text = '';
    const reply = chat.send(long, { signal: decode.signal, ignoreEos: true }); // what was cut was taken back
    for await (const piece of reply) if ((text += piece).length > 20) decode.stop.abort();
    ended.decode = (await reply.done).finishReason;
    const saving = controllers();
    const saved = outcome(chats.save('phases', chat, { signal: saving.signal }));
    setTimeout(() => saving.stop.abort(), 0);
    ended.save = (await saved).code;
    ended.left = (await chats.list()).length;
    await chats.save('phases', chat);
    const opening = controllers();
    const opened = outcome(chats.open('phases', model, { signal: opening.signal }));
    setTimeout(() => opening.stop.abort(), 0);
    ended.open = (await opened).code;
    ended.goesOn = (await chat.send('Hello', { maxTokens: 2, ignoreEos: true }).done).ids.length;
    await chats.remove('phases');
    await model.close();
    return ended;
  }, url);
  const stopped = 'ABORTED';
  assert.deepEqual(codes, {
    download: stopped, load: stopped, store: stopped, prefill: 'abort', readAll: false, decode: 'abort', save: stopped, left: 0, open: stopped, goesOn: 2,
  });
  await tab.close();
});

test('close ends the workers and gives back what they took of JavaScript', { skip, timeout: 180_000 }, async () => {
  const tab = await openPage();
  await loadIn(tab, 'clla-4m-chat'); // code is loaded and compiled once
  await closeIn(tab);
  const before = await bytesOf(tab);
  await loadIn(tab, 'clla-4m-chat');
  await tab.evaluate(async () => {
    const { model, say } = /** @type {Inside} */ (window);
    const chat = model.chat();
    await say(chat, 'Hello');
    await say(chat.fork(), 'Hello');
  });
  assert.equal(tab.workers().length, 2, 'one computes, one renders templates');
  const open = await bytesOf(tab);
  assert.ok(open - before > 1e6, `${open - before} bytes`);
  await closeIn(tab);
  assert.equal(tab.workers().length, 0);
  const left = (await bytesOf(tab)) - before;
  assert.ok(left < 300_000, `${left} of ${open - before} bytes are left`);
  await tab.close();
});

test('close gives the memory of a real model back to the system', { skip: skip || withoutSmollm || withoutProc, timeout: 300_000 }, async () => {
  const url = server.put('bytes.gguf', { bytes: readFileSync(String(smollm)), etag: '"b"' });
  const tab = await openPage();
  const cycle = async () => {
    await loadIn(tab, url, { context: 1024 });
    const { weights, inUse } = await tab.evaluate(async () => {
      const { model, say } = /** @type {Inside} */ (window);
      await say(model.chat(), 'Hello');
      const { usedBytes } = await model.memory();
      return { weights: model.info.bytes, inUse: usedBytes };
    });
    const open = await residentBytes();
    await closeIn(tab);
    await bytesOf(tab); // collects rubbish
    return { weights, inUse, open, closed: await residentBytes() };
  };
  const { closed: before } = await cycle();
  const { weights, open, closed } = await cycle();
  assert.ok(open - before > weights, `${open - before} bytes for ${weights} of weights: they are seen`);
  assert.ok(closed - before < 8e6, `${closed - before} bytes are left of ${open - before}`);
  await tab.close();
});

test('sixty turns with trimming: memory stays as it is', { skip, timeout: 180_000 }, async () => {
  const tab = await openPage();
  await loadIn(tab, 'clla-4m-chat');
  const turns = (/** @type {number} */ from, /** @type {number} */ count) =>
    tab.evaluate(
      async (first, many) => {
        const inside = /** @type {Inside} */ (window);
        inside.chat ??= inside.model.chat({ system: 'You are a friend.', trim: true });
        let trims = 0;
        for (let i = first; i < first + many; i++) {
          const { trimmed } = await inside.chat.send(`Tell me of the number ${i}.`, { maxTokens: 16 }).done;
          if (trimmed) trims++;
        }
        const { memoryBytes, usedBytes } = await inside.model.memory();
        return { trims, memoryBytes, usedBytes, messages: inside.chat.messages.length };
      },
      from,
      count,
    );
  const early = await turns(0, 20);
  const before = await bytesOf(tab);
  const late = await turns(20, 40);
  const grown = (await bytesOf(tab)) - before;
  assert.ok(early.trims + late.trims > 3, `${early.trims} and ${late.trims}`);
  assert.equal(late.memoryBytes, early.memoryBytes);
  assert.ok(Math.abs(late.usedBytes - early.usedBytes) < 1024, `${late.usedBytes - early.usedBytes} bytes`);
  assert.ok(late.messages < 40, `${late.messages} messages`);
  assert.ok(grown < 1e6, `${grown} bytes more`);
  await tab.close();
});
