// wllama.js: @wllama/wllama in a cross-origin isolated page of Chromium, from a server on loopback.
//
// wllama reads 2,048 tokens in one to two minutes, so its pages stay open between the rounds, and decoding at depth is measured
// in rounds of its own, behind one reading of the long prompt.
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm', '.gguf': 'application/octet-stream' };
const BROWSERS = [
  '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/usr/bin/google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

export function findChromium() {
  const found = [process.env.CHROMIUM, ...BROWSERS].find((file) => file && existsSync(file));
  if (!found) throw new Error('no Chromium: `apt-get install chromium` (Debian), or set CHROMIUM to the path of one');
  return found;
}

const packageFolder = path.join(here, 'node_modules/@wllama/wllama');
export const wllamaVersion = () => JSON.parse(readFileSync(path.join(packageFolder, 'package.json'), 'utf8')).version;

/** The page, wllama's files and the model. */
function serve(model) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const file =
      pathname === '/' ? path.join(here, 'wllama.html')
      : pathname === '/model.gguf' ? model
      : pathname.startsWith('/wllama/') ? path.join(packageFolder, 'esm', path.normalize(pathname.slice(7)))
      : '';
    if (!file || !existsSync(file) || !statSync(file).isFile()) return void response.writeHead(404).end();
    response.writeHead(200, {
      'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream',
      'Content-Length': statSync(file).size,
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
      'Cross-Origin-Resource-Policy': 'same-origin',
    });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** Start the browser. @returns contender(threads), versions, close() */
export async function openWllama(model, prompts) {
  const { default: puppeteer } = await import('puppeteer-core');
  const server = await serve(model);
  const browser = await puppeteer.launch({
    executablePath: findChromium(),
    headless: true,
    protocolTimeout: 600_000,
    args: [...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), '--disable-dev-shm-usage', '--disable-background-timer-throttling'],
  });
  const close = async () => {
    await browser.close();
    server.close();
  };
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction('window.reply !== undefined');
    if (!(await page.evaluate('window.isolated'))) throw new Error('the page is not cross-origin isolated');
    const versions = { chromium: await browser.version(), wllama: wllamaVersion(), llama: await page.evaluate('window.version') };
    return { versions, close, contender: (threads) => contender(page, threads, prompts) };
  } catch (error) {
    await close();
    throw error;
  }
}

function contender(page, threads, prompts) {
  /** @param {{text: string, ids: number[]}} prompt */
  const reply = async ({ text, ids }, count) => {
    const t = await page.evaluate((...args) => window.reply(...args), threads, text, count);
    if (t.predicted_n !== count || t.cache_n + t.prompt_n !== ids.length)
      throw new Error(`wllama did not do what it was asked: ${JSON.stringify(t)}, asked ${ids.length} and ${count} tokens`);
    return t;
  };
  // predicted_ms begins when the first token is there.
  const decodePerSecond = (t) => ((t.predicted_n - 1) / t.predicted_ms) * 1000;
  let opened;

  /** Load once; the first reply of all gives the time to the first token, others warm the engine's code up. */
  async function open() {
    const { load, threads: got } = await page.evaluate((...args) => window.open(...args), threads, prompts.context);
    if (got !== threads) throw new Error(`wllama runs with ${got} threads, not ${threads}`);
    const { wall_ms: wall } = await reply({ text: 'Hello', ids: [0] }, 1);
    await reply(prompts.start, 16);
    return { load, first: load + wall };
  }

  return {
    name: 'wllama, Chromium',
    threads,
    async measure(round) {
      opened ??= await open();
      const prompt = prompts.prefills[round % prompts.prefills.length];
      const prefill = await reply(prompt, 1);
      if (prefill.prompt_n < prompt.ids.length - 1) throw new Error(`wllama had part of the prompt already: ${JSON.stringify(prefill)}`);
      const decode = await reply(prompts.start, prompts.decoded);
      return { prefill: (prefill.prompt_n / prefill.prompt_ms) * 1000, decode: decodePerSecond(decode), ...opened };
    },
    measureDeep: prompts.deep && (async () => ({ deep: decodePerSecond(await reply(prompts.deep, prompts.decoded)) })),
  };
}
