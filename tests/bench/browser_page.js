// browser_page.js: what browser.js asks of a page. Each engine's modules are imported before its clock runs.
import { measureReplies, reply } from './replies.js';

const WLLAMA = '/tests/bench/node_modules/@wllama/wllama/esm';

/** How an engine stores a file, opens it and answers. */
const engines = {
  async clla() {
    const { load, models } = await import('/js/index_web.js');
    return {
      store: (url) => models.pull(url),
      drop: (url) => models.remove(url),
      async open(url, options) {
        const { threads } = options;
        const model = await load(url, options);
        if (model.info.threads !== threads) throw new Error(`it runs with ${model.info.threads} threads: ${model.info.reasons}`);
        const answer = (text, count) => reply(model, text, count);
        return { model, answer, wasmBytes: async () => (await model.memory()).memoryBytes };
      },
    };
  },
  async wllama() {
    const { Wllama, LoggerWithoutDebug } = await import(`${WLLAMA}/index.js`);
    const quiet = { suppressNativeLog: true, logger: LoggerWithoutDebug };
    const make = () => new Wllama({ default: `${WLLAMA}/wasm/wllama.wasm` }, quiet);
    return {
      store: (url) => make().modelManager.downloadModel(url),
      drop: async (url) => (await make().modelManager.getModels()).find((model) => model.url === url).remove(),
      async open(url, { context, threads }) {
        const instance = make();
        await instance.loadModelFromUrl(url, { n_ctx: context, n_threads: threads, n_gpu_layers: 0, n_parallel: 1 });
        if (instance.getNumThreads() !== threads) throw new Error(`it runs with ${instance.getNumThreads()} threads`);
        const answer = async (prompt, count) => {
          const greedy = { temperature: 0, top_k: 1, ignore_eos: true };
          const { timings } = await instance.createCompletion({ prompt, max_tokens: count, ...greedy });
          if (timings.predicted_n !== count) throw new Error(`${timings.predicted_n} tokens came, not ${count}`);
        };
        return { answer };
      },
    };
  },
};

async function timed(work) {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Milliseconds of a plain download into memory. */
export const fetchPlainly = (url) => timed(async () => (await fetch(url, { cache: 'no-store' })).arrayBuffer());

/** Milliseconds until a file is stored that was not. */
export async function store(name, url) {
  const engine = await engines[name]();
  return timed(() => engine.store(url));
}

export const drop = async (name, url) => (await engines[name]()).drop(url);

/** Milliseconds from the call that loads a stored file to the first token. */
export async function first(name, url, options) {
  const engine = await engines[name]();
  return timed(async () => (await engine.open(url, options)).answer('Hello', 1));
}

/** Bytes that the browser counts for the tab, by kind, with a model in it that has read and written some tokens. */
export async function memory(name, url, options, text) {
  const { answer, wasmBytes } = name === 'nothing' ? {} : await (await engines[name]()).open(url, options);
  await answer?.(text, 32);
  const { bytes, breakdown } = await performance.measureUserAgentSpecificMemory();
  const kinds = {};
  for (const { bytes: size, types } of breakdown) {
    const kind = types.join(' ') || 'other';
    kinds[kind] = (kinds[kind] ?? 0) + size;
  }
  return { bytes, kinds, wasm: await wasmBytes?.() };
}

/** Tokens/s. */
export async function speeds(url, options, prompts) {
  const { model } = await (await engines.clla()).open(url, options);
  try {
    return await measureReplies(model, prompts);
  } finally {
    await model.close();
  }
}

// ---- how long the page is not let in ---------------------------------------------------------------------------------

const BEAT_MS = 5;

/** Watches the main thread: the tasks that the browser calls long (50 ms and more), and how late a timer is. */
function watch() {
  const tasks = [];
  const late = [];
  const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
  observer.observe({ type: 'longtask' });
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(now - last - BEAT_MS);
    last = now;
  }, BEAT_MS);
  return async () => {
    clearInterval(timer);
    await new Promise((resolve) => setTimeout(resolve, 100)); // entries come late
    observer.disconnect();
    return { longTasks: tasks, late: Math.max(0, ...late) };
  };
}

/** Everything a chat goes through, phase by phase. The file must not be stored. */
export async function blocks(url, options, prompt, count) {
  const { models, load } = await import('/js/index_web.js');
  const found = {};
  const phase = async (name, work) => {
    const stop = watch();
    const result = await work();
    found[name] = await stop();
    return result;
  };
  await phase('nothing, 2 s', () => new Promise((resolve) => setTimeout(resolve, 2000)));
  await phase('download and store', () => models.pull(url, { onProgress() {} }));
  const model = await phase('load', () => load(url, { ...options, onProgress() {} }));
  const chat = model.chat({ sampling: { temperature: 0 } });
  await phase('prefill', () => chat.send(prompt, { maxTokens: 1, ignoreEos: true, onPrefill() {} }).done);
  await phase('decode', async () => {
    for await (const text of chat.send('Go on.', { maxTokens: count, ignoreEos: true })) document.body.textContent += text;
  });
  await phase('save and restore', async () => (await model.restore(await chat.save())).close());
  await phase('close', () => model.close());
  return found;
}
