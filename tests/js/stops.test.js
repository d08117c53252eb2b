// stops.test.js: however a text is cut into pieces, what is shown of it is the same.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { stopWatch } from '../../js/stops.js';

/** What is shown of a text that comes in pieces of `size`. @param {string} text @param {string[]} stops @param {number} size */
function shown(text, stops, size) {
  const watch = stopWatch(stops);
  let out = '';
  for (let at = 0; at < text.length; at += size) {
    const { text: piece, stopped } = watch.push(text.slice(at, at + size));
    out += piece;
    if (stopped) return { out, stopped };
  }
  return { out: out + watch.finish(), stopped: false };
}

/** @type {[string, string[], string, boolean][]} */
const CASES = [
  ['hello world', [], 'hello world', false],
  ['hello world', ['world'], 'hello ', true],
  ['hello world', ['word', 'lo w'], 'hel', true],
  ['hello world', ['worldly'], 'hello world', false],
  ['aaab', ['aab'], 'a', true],
  ['ababac', ['abac'], 'ab', true],
  ['stop', ['stop'], '', true],
  ['a\n\nb', ['\n\n'], 'a', true],
  ['xyz', ['z', 'yz'], 'x', true],
  ['é😀!', ['😀'], 'é', true],
];

for (const [text, stops, expected, stopped] of CASES)
  test(`${JSON.stringify(text)} with ${JSON.stringify(stops)}`, () => {
    for (let size = 1; size <= text.length; size++) assert.deepEqual(shown(text, stops, size), { out: expected, stopped }, `pieces of ${size}`);
  });

test('text is held back no longer than it must', () => {
  const watch = stopWatch(['abc']);
  assert.deepEqual(watch.push('xa'), { text: 'x', stopped: false });
  assert.deepEqual(watch.push('b'), { text: '', stopped: false });
  assert.deepEqual(watch.push('d'), { text: 'abd', stopped: false });
});
