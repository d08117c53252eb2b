// api_variants.test.js: the builds of the engine draw the same text from the same seed, with any number of threads.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { chooseVariant } from '../../js/wasm.js';
import { golden, nodeMajor, withModel } from './helpers.js';

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
