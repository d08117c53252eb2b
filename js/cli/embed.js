// embed.js: `clla embed`: texts as vectors, a line each.

import { CllaError } from '../index.js';
import { findModel, givenPrompt, loadOptions } from './arguments.js';
import { prefillBar, withModel } from './model.js';

/** No more digits than 32 bits hold. @param {Float32Array} vector */
const digits = (vector) => Array.from(vector, (x) => Number(x.toPrecision(8)));

/** Those that are not blank. @param {string} text */
const linesOf = (text) => text.split(/\r?\n/).filter((line) => line.trim() !== '');

/** @param {string[]} texts @param {import('./arguments.js').Given} given */
async function givenTexts(texts, { file }) {
  if (texts.length > 0 && file !== undefined) throw new CllaError('BAD_ARGUMENT', 'give either texts or --file F, not both');
  if (texts.length > 0) return texts;
  const lines = linesOf((await givenPrompt({ file })) ?? '');
  if (lines.length === 0) throw new CllaError('BAD_ARGUMENT', 'embed needs texts, --file F or texts on stdin');
  return lines;
}

/**
 * @param {string} name
 * @param {import('./arguments.js').Given} given
 * @param {ReturnType<typeof import('./terminal.js').interrupts>} interrupts
 * @param {string[]} more
 */
export async function embedCommand(name, given, interrupts, more) {
  const { path } = await findModel(name);
  const texts = await givenTexts(more, given);
  await withModel(path, loadOptions(given), interrupts, async (model) => {
    const bar = prefillBar();
    const { pooling, normalize } = given;
    const vectors = await interrupts
      .during((signal) => model.embed(texts, { pooling, normalize, onPrefill: bar.onPrefill, signal }))
      .finally(bar.clear);
    for (const [index, vector] of vectors.entries()) {
      const embedding = digits(vector);
      process.stdout.write(`${given.json ? JSON.stringify({ index, embedding }) : embedding.join(' ')}\n`);
    }
  });
}
