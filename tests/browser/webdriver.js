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
 * Runs beside the page: begin some work in it whose end can be asked for. Firefox shows the page's window behind another one.
 * @param {string} code @param {string} args @param {string} key
 */
function begin(code, args, key) {
  const page = /** @type {any} */ (window).wrappedJSObject ?? window;
  page.eval(`{
    const fail = (error) => JSON.stringify({ error: error?.name + ': ' + error?.message + '\\n' + error?.stack });
    const work = Promise.resolve().then(() => (${code})(...${args})).then((value) => JSON.stringify({ value }), fail);
    (window.works ??= {})[${key}] = work;
  }`);
}

/**
 * Runs beside the page: the end of that work, or nothing when it takes longer.
 * @param {string} key @param {number} ms @param {(outcome: string | undefined) => void} done
 */
function finish(key, ms, done) {
  const page = /** @type {any} */ (window).wrappedJSObject ?? window;
  const work = page.works?.[key];
  if (!work) return done('{"error":"the page is another one now"}');
  const late = setTimeout(done, ms);
  work.then((/** @type {string} */ outcome) => (clearTimeout(late), done(outcome)));
}

/**
 * @param {Commands} commands
 * @param {string} first a tab that stays: with its last one a browser ends
 * @returns {(url: string, crash?: () => Promise<void>) => Promise<Tab>}
 */
export function tabsOver(commands, first) {
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
      await commands.switchTo(first);
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
        await here(() => commands.run(begin, [String(fn), JSON.stringify(args), key]));
        for (;; await wait(REST_MS)) {
          const outcome = await here(() => commands.runAsync(finish, [key, ASK_MS]));
          if (!outcome) continue;
          const { value, error } = JSON.parse(outcome);
          if (error) throw new Error(error);
          return value;
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
