// chromium.js: a real Chromium for tests, with a profile that lives as long as the test file.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';
import { firstOf } from './places.js';
import { killed } from './processes.js';

/** @typedef {import('./browsers.js').Tab} Tab */

export const chromium = firstOf([
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
]);
const HINT = 'no Chromium: `apt-get install chromium` (Debian), or set CHROMIUM to the path of one';
export const withoutChromium = chromium ? false : HINT;

/** Measure memory when asked, not within the next half minute. */
export const MEASURE_NOW = '--enable-blink-features=ForceEagerMeasureMemory';

const SWITCHES = [
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  '--disable-dev-shm-usage',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
];

/**
 * @param {import('puppeteer-core').Page} page
 * @param {() => Promise<void>} crash end its process
 * @returns {Tab}
 */
const tabOver = (page, crash) => ({
  evaluate: (fn, ...args) => /** @type {any} */ (page).evaluate(fn, ...args),
  goto: async (url) => void (await page.goto(url)),
  reload: async () => void (await page.reload()),
  screenshot: async (file) => void (await page.screenshot({ path: /** @type {`${string}.png`} */ (file) })),
  close: () => page.close(),
  async kill() {
    await crash();
    await new Promise((resolve) => setTimeout(resolve, 200));
    void page.close().catch(() => {});
  },
});

const emptyProfile = () => mkdtempSync(path.join(tmpdir(), 'clla-chromium-'));

/**
 * Start it.
 * @param {string} [profile] default: an empty one
 * @param {{quotaBytes?: number, switches?: string[]}} [options] quotaBytes: that a site may store
 */
export async function startChromium(profile = emptyProfile(), { quotaBytes, switches = [] } = {}) {
  const browser = await puppeteer.launch({
    executablePath: chromium,
    userDataDir: profile,
    protocolTimeout: 300_000,
    args: [...SWITCHES, ...switches],
  });
  return {
    browser,
    profile,

    /** @param {string} url @returns {Promise<Tab>} */
    async newTab(url) {
      const page = await browser.newPage();
      await page.goto(url);
      const session = await page.createCDPSession();
      const { origin } = new URL(url);
      if (quotaBytes) await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: quotaBytes });
      return tabOver(page, async () => void session.send('Page.crash').catch(() => {})); // nobody is left to answer
    },

    /** As when the power goes: nothing is told to anyone. */
    kill: () => killed(browser.process()),

    async close() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
