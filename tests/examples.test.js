// examples.test.js: every example as it stands, with the package installed from its tarball: pages in Chromium, built by
// Vite and webpack where they are meant to be, and programs on the command line.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, renameSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { load } from '../js/index.js';
import { startChromium, withoutChromium } from './browser/chromium.js';
import { installPackage, root } from './browser/installed.js';
import { startServer } from './browser/server.js';

const skip = withoutChromium;
const HELLO = 'Hello!';
const NAME = 'CLLA 4M chat'; // of the model
const bin = (/** @type {string} */ file) => path.join(root, 'node_modules', file);

/** @type {Awaited<ReturnType<typeof installPackage>>} */
let installed;
/** @type {Awaited<ReturnType<typeof startChromium>>} */
let chromium;
/** What the pages' chat must answer to HELLO, and then to HELLO again. @type {string[]} */
let answers;

before(async () => {
  installed = await installPackage();
  if (skip) return;
  chromium = await startChromium();
  const model = await load(path.join(root, 'models/clla-4m-chat.gguf'), { threads: 1 });
  const chat = model.chat({ sampling: { repetitionPenalty: 1.1 } });
  answers = [(await chat.send(HELLO).done).text, (await chat.send(HELLO).done).text];
  await model.close();
});
after(async () => {
  await chromium?.close();
  installed.remove();
});

/** Run a program to its end. @param {string[]} args @param {string} cwd */
function run(args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error) throw error;
  assert.equal(status, 0, stdout + stderr);
  return stdout + stderr;
}

/** @typedef {import('puppeteer-core').Page} Page */

const TELEPHONE = { width: 390, height: 844 };

/** What of a page lies outside of the window, the talk that was scrolled away apart. */
const outside = () =>
  [...document.querySelectorAll('h1, main, input, button, #state')].filter((element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    return left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
  }).map((element) => element.outerHTML);

/**
 * The page of an example, ready to talk to.
 * @param {string} url @param {(page: Page) => Promise<void>} work
 */
async function withPage(url, work) {
  const context = await chromium.browser.createBrowserContext(); // nothing stored yet
  try {
    const page = await context.newPage();
    await page.setViewport(TELEPHONE);
    /** @type {string[]} */
    const said = [];
    page.on('console', (message) => void (message.type() === 'error' && said.push(message.text())));
    page.on('pageerror', (error) => void said.push(String(error)));
    await page.goto(url);
    await ready(page).catch((error) => Promise.reject(new Error(`${error} ${said}`)));
    await work(page);
    assert.deepEqual(said, []);
    assert.deepEqual(await page.evaluate(outside), []);
  } finally {
    await context.close();
  }
}

const ready = (/** @type {Page} */ page) => page.waitForSelector('button:not([type]):not([disabled])', { timeout: 60_000 });
const textOf = (/** @type {Page} */ page, /** @type {string} */ selector) => page.$eval(selector, (element) => element.textContent ?? '');

/** Type a message as a person does and wait for the whole answer. @param {Page} page @param {string} text */
async function say(page, text) {
  await page.type('input', text);
  await page.keyboard.press('Enter');
  await ready(page);
  return textOf(page, '#talk');
}

/** A folder of static files in Chromium. @param {string} folder @param {(page: Page) => Promise<void>} work @param {boolean} [isolated] */
async function withSite(folder, work, isolated) {
  const server = await startServer({ folder, isolated });
  try {
    await withPage(`${server.origin}/`, work);
  } finally {
    await server.close();
  }
}

/** @param {Page} page */
async function talks(page) {
  assert.equal(await say(page, HELLO), `You${HELLO}${NAME}${answers[0]}`);
  assert.ok((await say(page, HELLO)).endsWith(`${NAME}${answers[1]}`));
}

/** What is too long is refused, and the chat goes on. @param {Page} page */
async function refuses(page) {
  await page.$eval('input', (input, text) => void (input.value = text), 'word'.repeat(2000));
  await say(page, ' ');
  assert.match(await textOf(page, '#state'), /context/);
  const before = await textOf(page, '#talk');
  assert.ok((await say(page, HELLO)).length > `${before}You${HELLO}${NAME}`.length);
  assert.doesNotMatch(await textOf(page, '#state'), /context/);
}

/** A page that cannot load its model says why. @param {string} folder */
async function tellsWhatFailed(folder) {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.gguf'));
  const files = names.map((name) => path.join(folder, name));
  for (const file of files) renameSync(file, `${file}.away`);
  const server = await startServer({ folder });
  const context = await chromium.browser.createBrowserContext();
  try {
    const page = await context.newPage();
    await page.goto(`${server.origin}/`);
    await page.waitForFunction(() => document.querySelector('#state')?.textContent?.includes('404'), { timeout: 20_000 });
  } finally {
    await context.close();
    await server.close();
    for (const file of files) renameSync(`${file}.away`, file);
  }
}

/** The same with threads: what a bundler made of the worker that starts its own kind. @param {Page} page */
async function talksWithThreads(page) {
  assert.equal(await textOf(page, '#state'), `${NAME}, relaxed${availableParallelism() > 1 ? '-threads' : ''}`);
  await talks(page);
}

test('every example is tested here, or where its language is', () => {
  const tested = ['c', 'isolation', 'node', 'node-cli', 'reopen', 'script-tag', 'vite', 'webpack'];
  assert.deepEqual(readdirSync(path.join(root, 'examples')).filter((name) => !name.startsWith('.')).sort(), tested);
});

test('examples/script-tag', { skip }, async () => {
  const folder = installed.example('script-tag');
  await withSite(folder, async (page) => {
    await talks(page);
    await refuses(page);
  });
  await tellsWhatFailed(folder);
});

test('examples/vite, built', { skip }, async () => {
  const folder = installed.example('vite');
  run([bin('vite/bin/vite.js'), 'build'], folder);
  await withSite(path.join(folder, 'dist'), talks);
  await withSite(path.join(folder, 'dist'), talksWithThreads, true);
  await tellsWhatFailed(path.join(folder, 'dist'));
});

test('examples/vite, served while it is written', { skip }, async () => {
  const server = spawn(process.execPath, [bin('vite/bin/vite.js'), '--host', '127.0.0.1', '--port', '0'], { cwd: installed.example('vite') });
  try {
    const url = await new Promise((resolve, reject) => {
      let output = '';
      const read = (/** @type {Buffer} */ data) => {
        output += data.toString().replace(/\x1b\[\d*m/g, '');
        const found = output.match(/http:\/\/127\.0\.0\.1:\d+\//);
        if (found) resolve(found[0]);
      };
      server.stdout.on('data', read);
      server.stderr.on('data', read);
      server.on('exit', () => reject(new Error(output)));
    });
    await withPage(url, talks);
  } finally {
    server.kill();
  }
});

test('examples/webpack', { skip }, async () => {
  const folder = installed.example('webpack');
  const output = run([bin('webpack/bin/webpack.js'), '--mode', 'production'], folder);
  assert.doesNotMatch(output, /ERROR/);
  await withSite(folder, talks);
  await withSite(folder, talksWithThreads, true);
  await tellsWhatFailed(folder);
});

test('examples/isolation: threads by a service worker', { skip }, async () => {
  const folder = installed.example('isolation');
  await withSite(folder, async (page) => {
    assert.equal(await page.evaluate('crossOriginIsolated'), true);
    const READY = 'isolated: true; relaxed-threads, 2 threads';
    assert.equal(await textOf(page, '#state'), READY);
    await talks(page);
    await refuses(page);
    for (let i = 0; i < 2; i++) {
      await page.reload(); // the browser may bring back the page that was there before the service worker
      await page.waitForFunction((text) => document.querySelector('#state')?.textContent === text, { timeout: 20_000 }, READY);
    }
  });
  await tellsWhatFailed(folder);
});

test('examples/reopen: a chat goes on after the page was closed', { skip }, async () => {
  const folder = installed.example('reopen');
  await withSite(folder, async (page) => {
    assert.equal(await textOf(page, '#state'), 'a new chat');
    const first = await say(page, HELLO);
    assert.equal(first, `You${HELLO}${NAME}${answers[0]}`);
    await page.reload();
    await ready(page);
    assert.match(await textOf(page, '#state'), /^reopened: \d+ tokens, none of them read again$/);
    assert.equal(await textOf(page, '#talk'), first);
    assert.equal(await say(page, HELLO), `${first}You${HELLO}${NAME}${answers[1]}`);
    assert.match(await textOf(page, '#state'), /^saved; [1-9]\d* tokens were there already, \d{1,2} were read$/);
    await refuses(page);
    await forgets(page);
  });
  await tellsWhatFailed(folder);
});

/** @param {Page} page of examples/reopen */
async function forgets(page) {
  await Promise.all([page.waitForNavigation(), page.click('#forget')]);
  await ready(page);
  assert.equal(await textOf(page, '#state'), 'a new chat');
}

test('examples/reopen: in place of a damaged chat there is a new one', { skip }, () =>
  withSite(installed.example('reopen'), async (page) => {
    await say(page, HELLO);
    await damageChat(page);
    await page.reload();
    await ready(page);
    assert.match(await textOf(page, '#state'), /^a new chat: last: .* damaged in the store$/);
    assert.equal(await textOf(page, '#talk'), '');
    await talks(page);
    assert.match(await textOf(page, '#state'), /^saved;/);
    await page.reload();
    await ready(page);
    assert.match(await textOf(page, '#state'), /^reopened:/);
    await damageChat(page);
    await page.reload();
    await ready(page);
    await forgets(page);
  }));

/** One bit of what is stored is another. @param {Page} page */
const damageChat = (page) =>
  page.evaluate(async () => {
    const result = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const db = await result(indexedDB.open('clla chats'));
    const chunks = db.transaction('chunks', 'readwrite').objectStore('chunks');
    const [key] = await result(chunks.getAllKeys());
    const bytes = await result(chunks.get(key));
    bytes[500] ^= 16;
    await result(chunks.put(bytes, key));
    db.close();
  });

test('examples/node-cli: a pipe', () => {
  const folder = installed.example('node-cli');
  const { status, stdout, stderr } = spawnSync('sh', ['-c', './stories.sh < beginnings.txt'], { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\S.*[^]*\n {2}\(\d+ characters, (stop|length)\)\n\S.*[^]*\n {2}\(\d+ characters, (stop|length)\)\n$/);
});
