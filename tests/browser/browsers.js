// browsers.js: the real browsers that tests run in, with one face. Which one it is for a test file the environment says:
// CLLA_BROWSER=firefox node --test tests/browser/e2e.test.js (tests/run.js runs the files in each of them).

import * as chromium from './chromium.js';
import * as firefox from './firefox.js';
import * as webkit from './webkit.js';

/**
 * @typedef {object} Tab
 * @property {<A extends any[], R>(fn: (...args: A) => R, ...args: A) => Promise<Awaited<R>>} evaluate run a function there,
 *   which sees nothing but its arguments and the page; arguments and result are plain data
 * @property {(url: string) => Promise<void>} goto
 * @property {() => Promise<void>} reload
 * @property {(file: string) => Promise<void>} screenshot
 * @property {() => Promise<void>} close
 * @property {() => Promise<void>} kill end its process, as a crash does; where that would end all tabs, close it
 *
 * @typedef {object} Browser
 * @property {(url: string) => Promise<Tab>} newTab
 * @property {string} [profile] where it stores; absent: in memory
 * @property {() => Promise<void>} kill as when the power goes: nothing is told to anyone
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Kind
 * @property {string} name
 * @property {false | string} without why it cannot be started
 * @property {(profile?: string, options?: {quotaBytes?: number, sharedMemory?: boolean}) => Promise<Browser>} start
 * @property {boolean} relaxed whether it has relaxed SIMD
 * @property {boolean} threads whether isolated pages share memory between threads
 * @property {number} batchMs what came so shortly before a connection broke it never shows
 * @property {boolean} disk whether what it stores outlives it, so that it may be killed
 * @property {boolean} quota whether it can be told how much a site may store
 */

const CAN = { relaxed: true, threads: true, batchMs: 30, disk: true, quota: true };
const WEBKIT_CAN = { relaxed: false, threads: false, batchMs: 200, disk: false, quota: false };

/** @type {Record<string, Kind>} */
export const BROWSERS = {
  chromium: { name: 'Chromium', without: chromium.withoutChromium, start: chromium.startChromium, ...CAN },
  firefox: { name: 'Firefox', without: firefox.withoutFirefox, start: firefox.startFirefox, ...CAN },
  webkit: { name: 'WebKitGTK', without: webkit.withoutWebkit, start: webkit.startWebkit, ...WEBKIT_CAN },
};

const wanted = process.env.CLLA_BROWSER ?? 'chromium';
if (!(wanted in BROWSERS)) throw new Error(`CLLA_BROWSER: want ${Object.keys(BROWSERS).join(', ')}, got ${wanted}`);

/** The one that this run is about. */
export const kind = BROWSERS[wanted];
