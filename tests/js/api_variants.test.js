// api_variants.test.js: the builds of the engine draw the same text from the same seed, with any number of threads.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { load } from '../../js/index.js';
import { chooseVariant } from '../../js/wasm.js';
import { fails, golden, inFolder, nodeMajor, root, tiny, withModel } from './helpers.js';

const hasRelaxed = nodeMajor >= 22;
const SAMPLING = { temperature: 0.9, topK: 50, topP: 0.95, minP: 0.02, repetitionPenalty: 1.1, seed: 1234 };

/** @param {import('../../js/types.js').LoadOptions} options @param {import('../../js/types.js').Sampling} sampling */
const draw = (options, sampling) =>
  withModel({ kv: 'f32', ...options }, async (model) => {
    const { ids } = await model.complete(golden[1].prompt, { maxTokens: 60, ignoreEos: true, sampling }).done;
    return { ids: ids.join(), variant: model.info.variant };
  });

test('the variant is the best that is sound here, and says what is missing', () => {
  const one = chooseVariant({ threads: 1 });
  const two = chooseVariant({ threads: 2 });
  assert.equal(one.variant, hasRelaxed ? 'relaxed' : 'simd');
  assert.equal(two.variant, `${one.variant}-threads`);
  assert.equal(two.threads, 2);
  assert.deepEqual(one.reasons, hasRelaxed ? [] : ['Node before 22 has no sound relaxed SIMD: plain SIMD']);
  assert.equal(chooseVariant({ variant: 'simd', threads: 1 }).variant, 'simd');
  assert.deepEqual(chooseVariant({ variant: 'simd', threads: 1 }).reasons, []);
});

test('a seed gives the same text on every build and with any number of threads', async () => {
  const plain = await draw({ variant: 'simd', threads: 1 }, SAMPLING);
  assert.equal(plain.variant, 'simd');
  assert.equal((await draw({ variant: 'simd', threads: 1 }, SAMPLING)).ids, plain.ids);
  const pooled = await draw({ variant: 'simd', threads: 3 }, SAMPLING);
  assert.deepEqual(pooled, { ids: plain.ids, variant: 'simd-threads' });
  for (const threads of hasRelaxed ? [1, 2] : []) assert.equal((await draw({ variant: 'relaxed', threads }, SAMPLING)).ids, plain.ids);
});

test('another seed gives another text, and so does none', async () => {
  const { seed, ...unseeded } = SAMPLING;
  const texts = [
    await draw({ threads: 1 }, SAMPLING),
    await draw({ threads: 1 }, { ...SAMPLING, seed: seed + 1 }),
    await draw({ threads: 1 }, { ...SAMPLING, seed: seed + 2 ** 40 }),
    await draw({ threads: 1 }, unseeded),
    await draw({ threads: 1 }, unseeded),
  ];
  assert.equal(new Set(texts.map(({ ids }) => ids)).size, 5);
});

test('the .wasm files are read from where load() is told', () =>
  inFolder(async (folder) => {
    const names = ['clla-simd.wasm', 'clla-simd-threads.wasm'];
    const wasmUrl = (/** @type {string} */ file) => pathToFileURL(path.join(folder, `moved-${file}`));
    const write = (/** @type {import('../../js/types.js').LoadOptions} */ options) =>
      withModel({ variant: 'simd', kv: 'f32', ...options }, async (model) => (await model.complete(golden[1].prompt, { maxTokens: 8 }).done).ids);
    for (const threads of [1, 2]) await assert.rejects(write({ wasmUrl, threads }), fails('NOT_READABLE', /wasmUrl: no engine at file:.*moved-clla-simd/));
    for (const name of names) copyFileSync(path.join(root, 'js/wasm', name), path.join(folder, `moved-${name}`));
    for (const threads of [1, 2]) assert.deepEqual(await write({ wasmUrl, threads }), golden[1].output_ids.slice(0, 8));

    copyFileSync(path.join(root, 'js/wasm', names[0]), path.join(folder, names[0]));
    for (const url of [pathToFileURL(folder), `${pathToFileURL(folder)}/`])
      assert.deepEqual(await write({ wasmUrl: url, threads: 1 }), golden[1].output_ids.slice(0, 8));
    for (const wrong of ['https://host.example/', 'wasm/', () => 'nowhere'])
      await assert.rejects(load(tiny, { wasmUrl: wrong }), fails('BAD_ARGUMENT', /load: wasmUrl: want a file: URL, got "/));
  }));
