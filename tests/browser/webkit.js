// webkit.js: a real WebKitGTK for tests, on a screen of its own that nobody sees. It stands for Safari: the plain SIMD
// build of the engine. It differs in two things. What it stores it keeps in memory, as it does whenever it is driven. And
// it shares no memory between threads, isolated pages or not (WebKit's bug 317847), unless its engine is told to.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Builder } from 'selenium-webdriver';
import { firstOf, onPath } from './places.js';

/** @typedef {import('./browsers.js').Tab} Tab */

const LIBRARIES = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/libexec'];
const driver = onPath('WebKitWebDriver');
const screen = onPath('Xvfb');
const builds = LIBRARIES.flatMap((folder) => ['4.1', '4.0'].map((version) => `${folder}/webkit2gtk-${version}/MiniBrowser`));
const browser = firstOf([process.env.MINIBROWSER, ...builds]);
const HINT = 'no WebKitGTK to drive: `apt-get install webkit2gtk-driver xvfb` (Debian), or set MINIBROWSER to its path';

export const withoutWebkit = driver && screen && browser ? false : HINT;

const wait = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ended = (/** @type {import('node:child_process').ChildProcess} */ child) => new Promise((resolve) => child.once('exit', resolve));

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A screen in memory; it tells its number when it is ready. */
async function startScreen() {
  const args = ['-displayfd', '3', '-screen', '0', '1280x900x24', '-nolisten', 'tcp'];
  const child = spawn(screen ?? '', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
  const told = /** @type {import('node:stream').Readable} */ (child.stdio[3]);
  const number = await new Promise((resolve, reject) => {
    told.once('data', (data) => resolve(String(data).trim()));
    child.once('exit', () => reject(new Error('Xvfb does not start')));
  });
  return { child, display: `:${number}` };
}

/** @param {string} origin */
async function untilItAnswers(origin) {
  for (let i = 0; i < 100; i++, await wait(100)) if (await fetch(`${origin}/status`).then((r) => r.ok, () => false)) return;
  throw new Error('WebKitWebDriver does not answer');
}

/**
 * Runs in the page: begin some work whose end can be asked for.
 * @param {string} code @param {any[]} args @param {string} key
 */
function begin(code, args, key) {
  const works = (/** @type {any} */ (window).works ??= {});
  const fail = (/** @type {any} */ error) => ({ error: `${error?.name}: ${error?.message}\n${error?.stack}` });
  const pack = (/** @type {any} */ value) => ({ json: JSON.stringify({ value }) }); // left as it is undefined becomes null
  works[key] = Promise.resolve().then(() => (0, eval)(`(${code})`)(...args)).then(pack, fail);
}

/**
 * Runs in the page: the end of that work, or nothing when it takes longer.
 * @param {string} key @param {number} ms @param {(outcome: any) => void} done
 */
function finish(key, ms, done) {
  const work = /** @type {any} */ (window).works?.[key];
  if (!work) return done({ error: 'the page is another one now' });
  void Promise.race([work, new Promise((resolve) => setTimeout(resolve, ms))]).then(done);
}

/** Start it. @param {string} [_profile] it has none @param {{sharedMemory?: boolean}} [options] as in Safari's isolated pages */
export async function startWebkit(_profile, { sharedMemory = false } = {}) {
  const home = mkdtempSync(path.join(tmpdir(), 'clla-webkit-'));
  const { child: xvfb, display } = await startScreen();
  const port = await freePort();
  const folders = { HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, XDG_CACHE_HOME: home };
  const shared = sharedMemory ? { JSC_useSharedArrayBuffer: '1' } : {};
  const env = { ...process.env, ...folders, ...shared, DISPLAY: display, GDK_BACKEND: 'x11', NO_AT_BRIDGE: '1' };
  const child = spawn(driver ?? '', [`--port=${port}`, '--host=127.0.0.1'], { env, stdio: 'ignore' });
  const origin = `http://127.0.0.1:${port}`;
  await untilItAnswers(origin);
  const session = await new Builder()
    .usingServer(origin)
    .withCapabilities({ browserName: 'MiniBrowser', 'webkitgtk:browserOptions': { binary: browser, args: ['--automation'] } })
    .build();
  await session.manage().setTimeouts({ script: 60_000, pageLoad: 60_000 });

  /** One command at a time, whatever the tabs do. @type {Promise<unknown>} */
  let last = Promise.resolve();
  /** @template T @param {string} handle @param {() => Promise<T>} work @returns {Promise<T>} */
  const inTab = (handle, work) => {
    const next = last.then(() => session.switchTo().window(handle)).then(work);
    last = next.catch(() => {});
    return next;
  };
  const first = await session.getWindowHandle();
  let works = 0;

  /** @param {string} url @returns {Promise<Tab>} */
  async function newTab(url) {
    const handle = await inTab(first, async () => {
      await session.switchTo().newWindow('window');
      await session.get(url);
      return session.getWindowHandle();
    });
    const close = () => inTab(handle, () => session.close());
    return {
      async evaluate(fn, ...args) {
        const key = String(works++);
        await inTab(handle, () => session.executeScript(begin, String(fn), args, key));
        for (;;) {
          const outcome = /** @type {any} */ (await inTab(handle, () => session.executeAsyncScript(finish, key, 100)));
          if (outcome?.error) throw new Error(outcome.error);
          if (outcome) return JSON.parse(outcome.json).value;
          await wait(50);
        }
      },
      goto: (address) => inTab(handle, () => session.get(address)),
      reload: () => inTab(handle, () => session.navigate().refresh()),
      screenshot: async (file) => writeFileSync(file, await inTab(handle, () => session.takeScreenshot()), 'base64'),
      close,
      kill: close, // a process that ends would end the whole session
    };
  }

  const kill = async () => {
    child.kill();
    await ended(child);
    xvfb.kill();
    await ended(xvfb);
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  };
  return { newTab, kill, close: () => session.quit().catch(() => {}).then(kill) };
}
