// clla_needle.test.js: a sentence put into a text and repeated at its end: a model with latents answers alike with its own
// cache and with one of expanded keys and values. tests/bench/clla_needle.c does the same with a book.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { root, withModel } from './helpers.js';

const NEEDLE = ' The secret word of the old keeper is marmalade.';
const TOKENS = 480;
const folder = path.join(root, 'models');

/** The bundled models of architecture clla. */
const models = readdirSync(folder)
  .filter((name) => name.endsWith('.gguf') && readFileSync(path.join(folder, name)).subarray(0, 400).includes('\x04\0\0\0\0\0\0\0clla'))
  .map((name) => path.join(folder, name));
const random = ['pairs', 'group-64', 'sinks'].map((name) => path.join(root, `tests/vectors/clla/models/${name}.gguf`));

/** A text with the needle at three depths, or none. @param {import('../../js/types.js').Model} model */
async function prompts(model) {
  const text = readFileSync(path.join(root, 'tests/vectors/wikitext2/head.txt'), 'utf8');
  const [book, needle] = await Promise.all([model.tokenize(text), model.tokenize(NEEDLE)]);
  const plain = TOKENS - 2 * needle.length;
  const at = (/** @type {number} */ depth) => [...book.slice(0, depth), ...needle, ...book.slice(depth, plain), ...needle];
  return { needle, texts: [0.1, 0.5, 0.9].map((part) => at(Math.floor(part * plain))), none: [...book.slice(0, plain + needle.length), ...needle] };
}

/** Log-probability of the needle at the end of each text. @param {string} file @param {string} kv */
async function scores(file, kv) {
  return withModel({ kv, context: TOKENS }, async (model) => {
    const { needle, texts, none } = await prompts(model);
    const last = async (/** @type {number[]} */ ids) => (await model.score(ids)).slice(-needle.length).reduce((a, b) => a + b, 0);
    const found = [];
    for (const ids of texts) found.push(await last(ids));
    return { found, without: await last(none) };
  }, file);
}

for (const file of [...random, ...models])
  test(`${path.basename(file)}: the needle's log-probability is the same from latents and from keys and values, to 1 %`, async () => {
    const latent = await scores(file, 'clla');
    const heads = await scores(file, 'width=heads,f16');
    latent.found.forEach((x, i) => {
      const off = Math.abs(x - heads.found[i]) / Math.abs(heads.found[i]);
      assert.ok(off <= 0.01, `depth ${i}: ${x} and ${heads.found[i]}, ${(100 * off).toFixed(2)} % apart`);
    });
    assert.ok(latent.found.some((x) => Math.abs(x - latent.without) > 1e-3 * Math.abs(x)), `without the needle the same: ${latent.without}`);
  });

if (models.length === 0) test('the bundled model', { skip: 'none in models/ is of architecture clla' }, () => {});
