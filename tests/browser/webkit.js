// webkit.js: a real WebKitGTK for tests, on a screen of its own that nobody sees. It stands for Safari: the plain SIMD
// build of the engine. It differs in two things. What it stores it keeps in memory, as it does whenever it is driven. And
// it shares no memory between threads, isolated pages or not (WebKit's bug 317847), unless its engine is told to.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Builder } from 'selenium-webdriver';
import { firstOf, onPath } from './places.js';
import { freePort, killed } from './processes.js';
import { tabsOver } from './webdriver.js';

const LIBRARIES = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/libexec'];
const driver = onPath('WebKitWebDriver');
const screen = onPath('Xvfb');
const builds = LIBRARIES.flatMap((folder) => ['4.1', '4.0'].map((version) => `${folder}/webkit2gtk-${version}/MiniBrowser`));
const browser = firstOf([process.env.MINIBROWSER, ...builds]);
const HINT = 'no WebKitGTK to drive: `apt-get install webkit2gtk-driver xvfb` (Debian), or set MINIBROWSER to its path';

export const withoutWebkit = driver && screen && browser ? false : HINT;

const wait = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

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

  /** @type {import('./webdriver.js').Commands} */
  const commands = {
    async create() {
      await session.switchTo().newWindow('window'); // of a tab that is not looked at nothing is drawn
      return session.getWindowHandle();
    },
    switchTo: (handle) => session.switchTo().window(handle),
    get: (url) => session.get(url),
    refresh: () => session.navigate().refresh(),
    run: (fn, args) => session.executeScript(fn, ...args),
    runAsync: (fn, args) => session.executeAsyncScript(fn, ...args),
    screenshot: () => session.takeScreenshot(),
    close: () => session.close(),
  };
  const newTab = tabsOver(commands, await session.getWindowHandle());
  const kill = async () => {
    await killed(child, 'SIGTERM');
    await killed(xvfb, 'SIGTERM');
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  };
  return {
    newTab: (/** @type {string} */ url) => newTab(url), // a tab is never killed: that would end the whole session
    kill,
    close: () => session.quit().catch(() => {}).then(kill),
  };
}
