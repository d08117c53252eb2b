// webdriver.js: tabs over WebDriver, whoever carries its commands. They go one at a time, whatever the tabs do; work in a
// page is begun with one and asked for with others.

/**
 * @typedef {import('./browsers.js').Tab} Tab
 *
 * @typedef {object} Commands those that act on a tab act on the one that was switched to
 * @property {() => Promise<string>} create a tab; its handle
 * @property {(handle: string) => Promise<unknown>} switchTo
 * @property {(url: string) => Promise<unknown>} get
 * @property {() => Promise<unknown>} refresh
 * @property {(fn: (...args: any[]) => void, args: any[]) => Promise<any>} run
 * @property {(fn: (...args: any[]) => void, args: any[]) => Promise<any>} runAsync its last argument is what to call at the end
 * @property {() => Promise<string>} screenshot in base 64
 * @property {() => Promise<unknown>} close
 */

import { writeFileSync } from 'node:fs';

const ASK_MS = 100;
const REST_MS = 50;
const wait = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

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

/** @param {Commands} commands @returns {(url: string, crash?: () => Promise<void>) => Promise<Tab>} */
export function tabsOver(commands) {
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  let works = 0;

  /** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  function inTurn(work) {
    const next = last.then(work);
    last = next.catch(() => {});
    return next;
  }

  return async (url, crash) => {
    const handle = await inTurn(async () => {
      const made = await commands.create();
      await commands.switchTo(made);
      await commands.get(url);
      return made;
    });
    /** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
    const here = (work) => inTurn(async () => (await commands.switchTo(handle), work()));
    const close = async () => void (await here(commands.close));
    return {
      async evaluate(fn, ...args) {
        const key = String(works++);
        await here(() => commands.run(begin, [String(fn), args, key]));
        for (;; await wait(REST_MS)) {
          const outcome = await here(() => commands.runAsync(finish, [key, ASK_MS]));
          if (outcome?.error) throw new Error(outcome.error);
          if (outcome) return JSON.parse(outcome.json).value;
        }
      },
      goto: async (address) => void (await here(() => commands.get(address))),
      reload: async () => void (await here(commands.refresh)),
      screenshot: async (file) => writeFileSync(file, await here(commands.screenshot), 'base64'),
      close,
      async kill() {
        await crash?.();
        await close().catch((error) => {
          if (!crash) throw error; // what crashed may be closed already
        });
      },
    };
  };
}
