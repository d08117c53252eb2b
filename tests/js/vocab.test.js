// vocab.test.js: six vocabularies, 46 texts each: the ids of llama.cpp, and the way back (tests/vectors/vocab/README.md).

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { root, withModel } from './helpers.js';

const folder = path.join(root, 'tests/vectors/vocab');
/** @type {{texts: string[], ids: Record<string, number[][]>}} */
const { texts, ids: golden } = JSON.parse(readFileSync(path.join(folder, 'golden.json'), 'utf8'));
const vocabulary = (/** @type {string} */ name) => brotliDecompressSync(readFileSync(path.join(folder, `${name}.gguf.br`)));

const BERT_UNKNOWN = 100;

test('there are six vocabularies and 46 texts', () => {
  assert.deepEqual(Object.keys(golden).sort(), ['bert-bge', 'deepseek-llm', 'gpt-2', 'llama-spm', 'phi-3', 'starcoder']);
  for (const rows of Object.values(golden)) assert.equal(rows.length, 46);
  assert.equal(texts.length, 46);
});

for (const [name, rows] of Object.entries(golden)) {
  test(`${name} gives every text its golden ids`, () =>
    withModel(
      { vocabularyOnly: true },
      async (model) => {
        for (const [i, text] of texts.entries()) assert.deepEqual(await model.tokenize(text), rows[i], JSON.stringify(text));
      },
      vocabulary(name),
    ));

  // BERT's vocabulary lowers letters and forgets spaces and accents: its way back is a text with the same ids.
  test(`${name} gives the texts back`, () =>
    withModel(
      { vocabularyOnly: true },
      async (model) => {
        for (const [i, text] of texts.entries()) {
          if (name !== 'bert-bge') {
            assert.equal(await model.detokenize(rows[i]), text);
            continue;
          }
          const known = rows[i].filter((id) => id !== BERT_UNKNOWN);
          assert.deepEqual(await model.tokenize(await model.detokenize(known)), known, JSON.stringify(text));
        }
      },
      vocabulary(name),
    ));
}
