// prompt.js: from the pieces of a prompt to token ids.
//
// Text of the template may spell control tokens, text of a person may not. Where a person's text spells none, it is
// tokenized together with the template around it, exactly as one text; where it does, it is tokenized apart, as plain
// text. Replies that the model wrote keep the ids it wrote, so the cache still fits them.

import { TOKENIZE } from './protocol.js';

/**
 * @typedef {import('./types.d.ts').PromptPiece} PromptPiece
 * @typedef {(texts: {text: string, flags: number}[]) => Promise<number[][]>} Tokenize
 */

/** @param {number[]} a @param {number[]} b */
const startsWith = (a, b) => b.every((id, i) => a[i] === id);

/**
 * Which plain pieces spell control tokens.
 * @param {PromptPiece[]} pieces @param {Tokenize} tokenize
 */
async function findUnsafe(pieces, tokenize) {
  const plain = pieces.filter((piece) => 'text' in piece && !piece.special);
  const texts = plain.map((piece) => ('text' in piece ? piece.text : ''));
  const asSpecial = await tokenize(texts.map((text) => ({ text, flags: TOKENIZE.SPECIAL })));
  const asPlain = await tokenize(texts.map((text) => ({ text, flags: 0 })));
  return new Set(plain.filter((_, i) => String(asSpecial[i]) !== String(asPlain[i])));
}

/**
 * Neighbouring texts that may be tokenized as one become one.
 * @param {PromptPiece[]} pieces @param {Set<PromptPiece>} unsafe
 * @returns {({text: string, flags: number} | {ids: number[]})[]}
 */
function joinRuns(pieces, unsafe) {
  /** @type {({text: string, flags: number} | {ids: number[]})[]} */
  const runs = [];
  for (const piece of pieces) {
    if ('ids' in piece) {
      runs.push(piece);
      continue;
    }
    const flags = unsafe.has(piece) ? 0 : TOKENIZE.SPECIAL;
    const last = runs.at(-1);
    if (last && 'text' in last && last.flags === flags && flags !== 0) last.text += piece.text;
    else if (piece.text !== '') runs.push({ text: piece.text, flags });
  }
  return runs;
}

/**
 * Tokenize a text that goes on after others. A tokenizer may treat the first word of a text in its own way
 * (SentencePiece puts a space before it), so the text follows a line break whose tokens are taken off again.
 * @param {{text: string, flags: number}} run @param {Tokenize} tokenize
 */
async function tokenizeFollowing({ text, flags }, tokenize) {
  const [head, both, alone] = await tokenize([
    { text: '\n', flags },
    { text: `\n${text}`, flags },
    { text, flags },
  ]);
  return startsWith(both, head) ? both.slice(head.length) : alone;
}

/**
 * @param {PromptPiece[]} pieces
 * @param {Tokenize} tokenize
 * @param {number} bos -1 where the model has none
 * @returns {Promise<number[]>}
 */
export async function promptIds(pieces, tokenize, bos) {
  const runs = joinRuns(pieces, await findUnsafe(pieces, tokenize));
  const parts = await Promise.all(
    runs.map(async (run, i) => {
      if ('ids' in run) return run.ids;
      if (i > 0) return tokenizeFollowing(run, tokenize);
      return (await tokenize([{ text: run.text, flags: run.flags | TOKENIZE.BOS_IF_WANTED }]))[0];
    }),
  );
  const ids = parts.flat();
  return ids[0] === bos && ids[1] === bos ? ids.slice(1) : ids; // the template wrote one, too
}
