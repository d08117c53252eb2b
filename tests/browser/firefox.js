// firefox.js: a real Firefox for tests, driven by WebDriver BiDi, with a profile that lives as long as the test file.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';
import { firstOf } from './places.js';
import { processesBelow } from './processes.js';
import { killed, tabOver } from './puppeteer.js';

/** @typedef {import('./browsers.js').Tab} Tab */

export const firefox = firstOf([
  process.env.FIREFOX,
  '/usr/bin/firefox-esr',
  '/usr/bin/firefox',
  '/Applications/Firefox.app/Contents/MacOS/firefox',
]);
const HINT = 'no Firefox: `apt-get install firefox-esr` (Debian), or set FIREFOX to the path of one';
export const withoutFirefox = firefox ? false : HINT;

const PREFERENCES = {
  // A process for each tab, also of one site, and none in advance: one of them may be ended.
  'dom.ipc.processCount.webIsolated': 32,
  'dom.ipc.processPrelaunch.enabled': false,
  'dom.min_background_timeout_value': 4, // tabs that are not looked at run as well
  'browser.tabs.crashReporting.sendReport': false,
};

/**
 * Start it.
 * @param {string} [profile] default: an empty one
 * @param {{quotaBytes?: number}} [options] that a site may store
 */
export async function startFirefox(profile = mkdtempSync(path.join(tmpdir(), 'clla-firefox-')), { quotaBytes } = {}) {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: firefox,
    userDataDir: profile,
    protocolTimeout: 300_000,
    extraPrefsFirefox: { ...PREFERENCES, 'dom.quotaManager.temporaryStorage.fixedLimit': quotaBytes ? quotaBytes >> 10 : -1 },
    env: { ...process.env, MOZ_CRASHREPORTER_DISABLE: '1' },
  });
  const pages = () => processesBelow(browser.process()?.pid, / tab$/);
  return {
    browser,
    profile,

    /** @param {string} url @returns {Promise<Tab>} */
    async newTab(url) {
      const before = pages();
      const page = await browser.newPage();
      await page.goto(url);
      const own = pages().filter((pid) => !before.includes(pid));
      return tabOver(page, async () => own.forEach((pid) => process.kill(pid, 'SIGKILL')));
    },

    kill: () => killed(browser.process()),

    async close() {
      await browser.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
