// puppeteer.js: what Chromium and Firefox have in common when they are driven.

/**
 * @param {import('puppeteer-core').Page} page
 * @param {() => Promise<void>} crash end its process
 * @returns {import('./browsers.js').Tab}
 */
export const tabOver = (page, crash) => ({
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

/** @param {import('node:child_process').ChildProcess | null} child */
export async function killed(child) {
  const gone = new Promise((resolve) => child?.once('exit', resolve));
  child?.kill('SIGKILL');
  await gone;
}
