// firefox.js: a real Firefox for tests, with a profile that lives as long as the test file.
//
// It is driven by WebDriver's older protocol, not by BiDi (which is all that puppeteer-core has for it): while a BiDi session
// is open in Firefox 153, a worker that starts a worker stops there for ever in one of some 50 cases; without, in none of
// 3,300. The engine's threads are such workers.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openMarionette } from './marionette.js';
import { firstOf } from './places.js';
import { freePort, killed, processesBelow } from './processes.js';
import { tabsOver } from './webdriver.js';

export const firefox = firstOf([
  process.env.FIREFOX,
  '/usr/bin/firefox-esr',
  '/usr/bin/firefox',
  '/Applications/Firefox.app/Contents/MacOS/firefox',
]);
const HINT = 'no Firefox: `apt-get install firefox-esr` (Debian), or set FIREFOX to the path of one';
export const withoutFirefox = firefox ? false : HINT;

/** Besides those that Firefox itself takes while it is driven: nothing is fetched, nothing reported. */
const PREFERENCES = {
  'app.update.enabled': false,
  'browser.startup.homepage': 'about:blank',
  'browser.tabs.crashReporting.sendReport': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,nothing',
  'toolkit.telemetry.enabled': false,
  // A process for each tab, also of one site, and none in advance: one of them may be ended.
  'dom.ipc.processCount.webIsolated': 32,
  'dom.ipc.processPrelaunch.enabled': false,
  'dom.min_background_timeout_value': 4, // tabs that are not looked at run as well
};

/**
 * Start it.
 * @param {string} [profile] default: an empty one
 * @param {{quotaBytes?: number}} [options] that a site may store
 */
export async function startFirefox(profile = mkdtempSync(path.join(tmpdir(), 'clla-firefox-')), { quotaBytes } = {}) {
  const port = await freePort();
  const limit = { 'dom.quotaManager.temporaryStorage.fixedLimit': quotaBytes ? quotaBytes >> 10 : -1, 'marionette.port': port };
  const all = Object.entries({ ...PREFERENCES, ...limit });
  const lines = all.map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
  writeFileSync(path.join(profile, 'user.js'), lines.join(''));
  const child = spawn(firefox ?? '', ['--headless', '--no-remote', '--marionette', '--profile', profile, 'about:blank'], {
    env: { ...process.env, MOZ_CRASHREPORTER_DISABLE: '1' },
    stdio: 'ignore',
  });
  const { commands, first, quit } = await openMarionette(port);
  const open = tabsOver(commands, first);
  const pages = () => processesBelow(child.pid, / tab$/);
  const still = (/** @type {number[]} */ pids) => pages().filter((pid) => pids.includes(pid)); // one for about:blank may have ended by itself
  return {
    profile,

    /** @param {string} url */
    async newTab(url) {
      const before = pages();
      /** @type {number[]} */
      let own = [];
      const tab = await open(url, async () => still(own).forEach((pid) => process.kill(pid, 'SIGKILL')));
      own = pages().filter((pid) => !before.includes(pid));
      return tab;
    },

    kill: () => killed(child),

    async close() {
      await Promise.race([quit().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 10_000).unref())]); // it may be gone before it answers
      await killed(child, 'SIGTERM');
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
