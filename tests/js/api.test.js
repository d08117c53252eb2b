// api.test.js: loading, completing, tokenizing, scoring: what the interface promises, with the bundled model.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { golden, tiny, withModel, textOf } from './helpers.js';

const ONCE = golden[1];

test('load tells what the model is and how it runs', () =>
  withModel({ threads: 1, context: 256 }, async ({ info }) => {
    assert.equal(info.name, 'TinyStories 656K');
    assert.equal(info.architecture, 'llama');
    assert.equal(info.parameters, 656_000);
    assert.equal(info.layers, 2);
    assert.equal(info.width, 128);
    assert.equal(info.vocabulary, 2048);
    assert.equal(info.context, 256);
    assert.equal(info.trainedContext, 512);
    assert.equal(info.threads, 1);
    assert.match(info.variant, /^(simd|relaxed)$/);
    assert.ok(Array.isArray(info.reasons));
    assert.equal(typeof info.chatTemplate, 'string');
  }));

test('onProgress counts the bytes of the file up to the last one', async () => {
  /** @type {import('../../js/types.js').LoadProgress[]} */
  const seen = [];
  await withModel({ threads: 1, onProgress: (p) => seen.push(p) }, async ({ info }) => {
    assert.ok(seen.length >= 2);
    assert.ok(seen.every((p, i) => p.phase === 'load' && p.loaded > (seen[i - 1]?.loaded ?? 0)));
    assert.equal(seen.at(-1)?.loaded, info.fileBytes);
    assert.equal(seen.at(-1)?.total, info.fileBytes);
    assert.equal(seen.at(-1)?.secondsLeft, 0);
  });
});

test('complete gives the golden greedy ids and text, with every number of threads', async () => {
  for (const threads of [1, 2, 3])
    await withModel({ threads, kv: 'f32' }, async (model) => {
      for (const { prompt, prompt_ids, output_ids, output } of golden) {
        const reply = model.complete(prompt, { maxTokens: output_ids.length, ignoreEos: true });
        assert.equal(await textOf(reply), output);
        const result = await reply.done;
        assert.deepEqual(result.promptIds, prompt_ids);
        assert.deepEqual(result.ids, output_ids);
        assert.equal(result.text, output);
        assert.equal(result.finishReason, 'length');
      }
    });
});

test('complete ends where the model ends, unless told to go on', () =>
  withModel({ threads: 1 }, async (model) => {
    const ended = await model.complete(ONCE.prompt, { maxTokens: 300 }).done;
    assert.equal(ended.finishReason, 'stop');
    assert.ok(ended.ids.length < 300);
    const more = await model.complete(ONCE.prompt, { maxTokens: 300, ignoreEos: true }).done;
    assert.equal(more.ids.length, 300);
    assert.deepEqual(more.ids.slice(0, ended.ids.length), ended.ids);
  }));

test('a prompt of ids is taken as it is', () =>
  withModel({ threads: 1 }, async (model) => {
    const byText = await model.complete(ONCE.prompt, { maxTokens: 8 }).done;
    const byIds = await model.complete(Int32Array.from(byText.promptIds), { maxTokens: 8 }).done;
    assert.deepEqual(byIds.ids, byText.ids);
    const bare = await model.complete(ONCE.prompt, { maxTokens: 1, bos: false }).done;
    assert.deepEqual(bare.promptIds, byText.promptIds.slice(1));
  }));

test('complete reads control tokens in its prompt only where it may', () =>
  withModel({ threads: 1 }, async (model) => {
    const read = await model.complete('a<|end_story|>', { maxTokens: 1 }).done;
    const plain = await model.complete('a<|end_story|>', { maxTokens: 1, special: false }).done;
    assert.deepEqual(read.promptIds, [1, 85, 2]);
    assert.ok(plain.promptIds.length > 3 && !plain.promptIds.includes(2));
  }));

test('the timings add up', () =>
  withModel({ threads: 1 }, async (model) => {
    const { timings, ids, promptIds } = await model.complete(ONCE.prompt, { maxTokens: 20 }).done;
    assert.equal(timings.promptN, promptIds.length);
    assert.equal(timings.decodeN, ids.length - 1);
    assert.ok(timings.loadMs > 0 && timings.ttftMs > 0 && timings.promptMs <= timings.ttftMs);
    assert.ok(Math.abs(timings.decodePerSecond - (timings.decodeN * 1000) / timings.decodeMs) < 1e-6);
  }));

test('logprobs tells each token and the likeliest ones, in order', () =>
  withModel({ threads: 1 }, async (model) => {
    const { ids, logprobs = [] } = await model.complete(ONCE.prompt, { maxTokens: 12, logprobs: 5 }).done;
    assert.equal(logprobs.length, ids.length);
    for (const [i, { id, logprob, top }] of logprobs.entries()) {
      assert.equal(id, ids[i]);
      assert.equal(top.length, 5);
      assert.deepEqual(top[0], { id, logprob }, 'greedy takes the likeliest');
      assert.ok(top.every((t, k) => t.logprob <= (top[k - 1]?.logprob ?? 0)));
    }
    const without = await model.complete(ONCE.prompt, { maxTokens: 1 }).done;
    assert.equal(without.logprobs, undefined);
  }));

test('score agrees with what decoding saw', () =>
  withModel({ threads: 1, kv: 'f32' }, async (model) => {
    const { ids, promptIds, logprobs = [] } = await model.complete(ONCE.prompt, { maxTokens: 40, logprobs: 1 }).done;
    /** @type {number[]} */
    const seen = [];
    const scores = await model.score([...promptIds, ...ids], { onPrefill: ({ done }) => seen.push(done) });
    assert.equal(scores.length, promptIds.length + ids.length - 1);
    assert.equal(seen.at(-1), scores.length);
    for (const [i, { logprob }] of logprobs.entries())
      assert.ok(Math.abs(scores[promptIds.length - 1 + i] - logprob) < 1e-3, `token ${i}`);
  }));

test('a stop string ends the text before it, though it spans tokens', () =>
  withModel({ threads: 1 }, async (model) => {
    const pieces = [];
    for await (const piece of model.complete(ONCE.prompt, { maxTokens: 60 })) pieces.push(piece);
    const stop = pieces[4].slice(-3) + pieces[5] + pieces[6].slice(0, 2); // the end of one, all of one, the start of one
    const before = pieces.slice(0, 4).join('') + pieces[4].slice(0, -3);
    assert.ok(!pieces.some((piece) => piece.includes(stop)), 'no single token holds it');
    const reply = model.complete(ONCE.prompt, { maxTokens: 60, stop: ['never there', stop] });
    assert.equal(await textOf(reply), before);
    const result = await reply.done;
    assert.equal(result.finishReason, 'stop');
    assert.equal(result.text, before);
  }));

test('text held back for a stop string that never comes is shown in the end', () =>
  withModel({ threads: 1 }, async (model) => {
    const whole = await model.complete(ONCE.prompt, { maxTokens: 30 }).done;
    const end = whole.text.slice(-6);
    const reply = model.complete(ONCE.prompt, { maxTokens: 30, stop: `${end} and never this` });
    assert.equal(await textOf(reply), whole.text);
    assert.equal((await reply.done).finishReason, 'length');
  }));

test('logit bias forbids and forces', () =>
  withModel({ threads: 1 }, async (model) => {
    const free = await model.complete(ONCE.prompt, { maxTokens: 10 }).done;
    const logitBias = { [free.ids[0]]: -Infinity };
    const without = await model.complete(ONCE.prompt, { maxTokens: 10, sampling: { logitBias } }).done;
    assert.ok(!without.ids.includes(free.ids[0]));
    const forced = await model.complete(ONCE.prompt, { maxTokens: 3, sampling: { logitBias: new Map([[85, 1000]]) } }).done;
    assert.deepEqual(forced.ids, [85, 85, 85]);
  }));

test('penalties change what is repeated', () =>
  withModel({ threads: 1 }, async (model) => {
    const repeats = (/** @type {number[]} */ ids) => ids.length - new Set(ids).size;
    const plain = await model.complete(ONCE.prompt, { maxTokens: 80, ignoreEos: true }).done;
    const sampling = { repetitionPenalty: 1.5, presencePenalty: 2, frequencyPenalty: 1, penaltyWindow: 256 };
    const fresh = await model.complete(ONCE.prompt, { maxTokens: 80, ignoreEos: true, sampling }).done;
    assert.ok(repeats(fresh.ids) < repeats(plain.ids) / 2, `${repeats(fresh.ids)} against ${repeats(plain.ids)}`);
  }));

test('the context ends a reply with "length", to the last token', () =>
  withModel({ threads: 1, context: 32 }, async (model) => {
    const { ids, promptIds, finishReason, usage } = await model.complete(ONCE.prompt, { ignoreEos: true }).done;
    assert.equal(finishReason, 'length');
    assert.equal(promptIds.length + ids.length, 33); // the last token needs no room
    assert.equal(usage.contextUsed, 32);
  }));

test('maxTokens 0 reads the prompt and writes nothing', () =>
  withModel({ threads: 1 }, async (model) => {
    const { ids, text, finishReason, usage } = await model.complete(ONCE.prompt, { maxTokens: 0 }).done;
    assert.deepEqual([ids, text, finishReason], [[], '', 'length']);
    assert.equal(usage.contextUsed, ONCE.prompt_ids.length);
  }));

test('tokenize adds no BOS and reads no control tokens unless asked, and goes back', () =>
  withModel({ threads: 1 }, async (model) => {
    assert.deepEqual(await model.tokenize(ONCE.prompt), ONCE.prompt_ids.slice(1));
    assert.deepEqual(await model.tokenize(ONCE.prompt, { bos: true }), ONCE.prompt_ids);
    assert.deepEqual(await model.tokenize(''), []);
    assert.equal(await model.detokenize(await model.tokenize('The dog ran.')), 'The dog ran.');
    assert.equal(await model.detokenize(new Uint32Array([1, ...(await model.tokenize('a dog'))])), 'a dog');
    assert.deepEqual(await model.tokenize('<|end_story|>', { special: true }), [2]);
    assert.ok(!(await model.tokenize('<|end_story|>')).includes(2));
  }));

test('a header is enough to tokenize and to inspect', () =>
  withModel({ vocabularyOnly: true }, async (model) => {
    assert.deepEqual(await model.tokenize(ONCE.prompt), ONCE.prompt_ids.slice(1));
    assert.equal(model.info.layers, 2);
    const { memoryBytes } = await model.memory();
    await withModel({ threads: 1 }, async (whole) => assert.ok(memoryBytes < (await whole.memory()).memoryBytes));
  }));

test('sessionBytes is exact: memory grows by that and no more', () =>
  withModel({ threads: 1, context: 16 }, async (model) => {
    const small = await model.sessionBytes({ context: 1000, kv: 'q8' });
    const large = await model.sessionBytes({ context: 1000, kv: 'f32' });
    assert.ok(small.bytesPerToken < large.bytesPerToken / 3);
    assert.equal(large.bytesPerToken, 2 * 2 * 4 * 16 * 4); // keys and values, layers, heads, width, bytes
    const own = await model.sessionBytes({ context: 16 });
    const before = await model.memory();
    const chat = model.chat(); // takes the session made while loading
    await chat.send('Once', { maxTokens: 1 }).done;
    const second = model.chat();
    await second.send('Once', { maxTokens: 1 }).done;
    const grown = (await model.memory()).usedBytes - before.usedBytes;
    const exact = own.cacheBytes + own.scratchBytes;
    assert.ok(Math.abs(grown - exact) < 8192, `${grown} against ${exact}`);
  }));

test('decoding does not grow the memory', () =>
  withModel({ threads: 1 }, async (model) => {
    await model.complete(ONCE.prompt, { maxTokens: 2 }).done;
    const before = await model.memory();
    await model.complete(ONCE.prompt, { maxTokens: 400, ignoreEos: true, logprobs: 3 }).done;
    assert.equal((await model.memory()).memoryBytes, before.memoryBytes);
  }));

test('replies of one model may run side by side', () =>
  withModel({ threads: 1 }, async (model) => {
    const alone = [];
    for (const { prompt } of golden.slice(0, 3)) alone.push((await model.complete(prompt, { maxTokens: 40 }).done).text);
    const together = await Promise.all(golden.slice(0, 3).map(({ prompt }) => model.complete(prompt, { maxTokens: 40 }).done));
    assert.deepEqual(together.map(({ text }) => text), alone);
  }));

test('each loop over a reply sees all of its text', () =>
  withModel({ threads: 1 }, async (model) => {
    const reply = model.complete(ONCE.prompt, { maxTokens: 30 });
    const [a, b] = await Promise.all([textOf(reply), textOf(reply)]);
    const { text } = await reply.done;
    assert.equal(a, text);
    assert.equal(b, text);
    assert.equal(await textOf(reply), text);
  }));

test('the source is read as a file: URL, too', () =>
  withModel({ threads: 1 }, async (model) => assert.equal(model.info.layers, 2), new URL(`file://${tiny}`)));
