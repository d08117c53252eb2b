// api_abort.test.js: stopping in every phase, a free event loop meanwhile, and nothing left behind.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { load } from '../../js/index.js';
import { LINES, fails, root, textOf, tiny, withModel } from './helpers.js';

const LONG = 'the dog ran and the cat sat '.repeat(700); // thousands of tokens: many chunks

test('an aborted signal stops load before it begins', async () => {
  await assert.rejects(load(tiny, { signal: AbortSignal.abort('no') }), (error) => {
    assert.equal(/** @type {Error} */ (error).cause, 'no');
    return fails('ABORTED', /stopped/)(error);
  });
});

test('load stops while the engine starts and while bytes arrive', async () => {
  const early = new AbortController();
  const starting = load(tiny, { signal: early.signal });
  early.abort();
  await assert.rejects(starting, fails('ABORTED', /stopped/));
  const late = new AbortController();
  const reading = load(tiny, { signal: late.signal, onProgress: () => late.abort() });
  await assert.rejects(reading, fails('ABORTED', /stopped/));
});

test('load stops while a stream gives, and closes it', async () => {
  let closed = false;
  async function* slowly() {
    try {
      for await (const piece of createReadStream(tiny, { highWaterMark: 10_000 })) {
        yield piece;
        await sleep(2);
      }
    } finally {
      closed = true;
    }
  }
  const controller = new AbortController();
  await assert.rejects(load(slowly(), { signal: controller.signal, onProgress: () => controller.abort() }), fails('ABORTED', /stopped/));
  for (let i = 0; i < 100 && !closed; i++) await sleep(10);
  assert.equal(closed, true);
});

test('load stops a stream that gives nothing any more', async () => {
  async function* stalls() {
    yield new Uint8Array([0x47, 0x47, 0x55, 0x46]);
    await new Promise(() => {});
  }
  const controller = new AbortController();
  await assert.rejects(load(stalls(), { signal: controller.signal, onProgress: () => controller.abort() }), fails('ABORTED', /stopped/));
});

test('a prompt stops between its chunks, and what was read is reused', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => {
    const controller = new AbortController();
    /** @type {number[]} */
    const seen = [];
    const onPrefill = (/** @type {{done: number, total: number}} */ { done }) => {
      seen.push(done);
      controller.abort();
    };
    const { finishReason, ids, text, usage, promptIds } = await model.complete(LONG, { signal: controller.signal, onPrefill }).done;
    assert.deepEqual([finishReason, ids, text], ['abort', [], '']);
    assert.ok(usage.contextUsed < promptIds.length, `${usage.contextUsed} of ${promptIds.length} tokens were read`);
    assert.equal(usage.contextUsed, seen.at(-1));
    const again = await model.complete(LONG, { maxTokens: 1 }).done;
    assert.equal(again.usage.cachedTokens, usage.contextUsed);
  }));

test('onPrefill counts the tokens that had to be read, to the last one', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => {
    /** @type {{done: number, total: number}[]} */
    const seen = [];
    const { promptIds } = await model.complete(LONG.slice(0, 4000), { maxTokens: 1, onPrefill: (p) => seen.push(p) }).done;
    assert.ok(seen.length > 2);
    assert.ok(seen.every(({ done, total }, i) => total === promptIds.length && done > (seen[i - 1]?.done ?? 0)));
    assert.equal(seen.at(-1)?.done, promptIds.length);
  }));

test('a reply stops at its signal, and gives what it had', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => {
    const controller = new AbortController();
    const reply = model.complete('Once upon a time', { signal: controller.signal, ignoreEos: true });
    let text = '';
    for await (const piece of reply) {
      text += piece;
      if (text.length > 40) controller.abort();
    }
    const result = await reply.done;
    assert.equal(result.finishReason, 'abort');
    assert.equal(result.text, text);
    assert.ok(result.ids.length > 0 && result.ids.length < 4000);
  }));

test('leaving the loop stops the reply; stop() does, too', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => {
    const reply = model.complete('Once upon a time', { ignoreEos: true });
    for await (const piece of reply) if (piece) break;
    assert.equal((await reply.done).finishReason, 'abort');
    const other = model.complete('Once upon a time', { ignoreEos: true });
    other.stop();
    assert.equal((await other.done).finishReason, 'abort');
    assert.equal((await model.complete('Once', { maxTokens: 4 }).done).ids.length, 4);
  }));

test('an error thrown in the loop stops the reply and reaches the caller', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => {
    const reply = model.complete('Once upon a time', { ignoreEos: true });
    const loop = async () => {
      for await (const piece of reply) if (piece) throw new Error('enough');
    };
    await assert.rejects(loop(), /enough/);
    assert.equal((await reply.done).finishReason, 'abort');
  }));

test('score stops at its signal', () =>
  withModel({ threads: 1, context: 16 }, async (model) => {
    const controller = new AbortController();
    const ids = await model.tokenize(LONG);
    const scoring = model.score(ids, { signal: controller.signal, onPrefill: () => controller.abort() });
    await assert.rejects(scoring, fails('ABORTED', /stopped/));
  }));

test('the event loop is free while the model computes', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const before = performance.eventLoopUtilization();
    await model.complete(LONG, { maxTokens: 20 }).done;
    const { utilization } = performance.eventLoopUtilization(before);
    clearInterval(timer);
    assert.ok(utilization < 0.5, `the loop was busy ${Math.round(100 * utilization)} % of the time`);
    assert.ok(ticks > 20, `${ticks} ticks`);
  }));

test('close ends replies under way, refuses what comes later, and may be called again', async () => {
  const model = await load(tiny, { threads: 1, context: 8192 });
  const chat = model.chat({ template: LINES });
  const reply = chat.send('Once upon a time', { ignoreEos: true });
  await new Promise((resolve) => void textOf({ [Symbol.asyncIterator]: () => firstOf(reply, resolve) }));
  await model.close();
  await assert.rejects(reply.done, fails('CLOSED', /model was closed/));
  assert.throws(() => chat.send('x'), fails('CLOSED', /closed/));
  assert.throws(() => model.chat(), fails('CLOSED', /closed/));
  assert.throws(() => model.complete('x'), fails('CLOSED', /closed/));
  await assert.rejects(model.tokenize('x'), fails('CLOSED', /closed/));
  await assert.rejects(model.score([1, 2]), fails('CLOSED', /closed/));
  await model.close();
  await chat.close();
});

/** Tell of the first piece, then be done. @param {AsyncIterable<string>} reply @param {(x?: any) => void} seen */
async function* firstOf(reply, seen) {
  yield '';
  const iterator = reply[Symbol.asyncIterator]();
  await iterator.next();
  seen();
}

test('close frees the memory of the model', async () => {
  const cycle = () => withModel({ threads: 1, context: 2 ** 17 }, async (model) => void (await model.complete('Once', { maxTokens: 2 }).done));
  await cycle();
  const before = process.memoryUsage().rss;
  const { memoryBytes } = await withModel({ threads: 1, context: 2 ** 17 }, (model) => model.memory());
  for (let i = 0; i < 8; i++) await cycle();
  const grown = process.memoryUsage().rss - before;
  assert.ok(memoryBytes > 60e6);
  assert.ok(grown < 3 * memoryBytes, `${Math.round(grown / 1e6)} MB after 9 models of ${Math.round(memoryBytes / 1e6)} MB`);
});

test('a program ends by itself, whether it closes its model or not', () => {
  const program = (/** @type {string} */ end) => `
    import { load } from './js/index.js';
    const model = await load(${JSON.stringify(tiny)}, { threads: 2 });
    const chat = model.chat();
    await chat.send('Once', { maxTokens: 4 }).done;
    ${end}
    console.log('done');`;
  for (const end of ['await model.close();', '']) {
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', program(end)], { cwd: root, encoding: 'utf8', timeout: 60_000 });
    assert.equal(child.stderr, '');
    assert.equal(child.stdout, 'done\n');
    assert.equal(child.status, 0);
  }
});
