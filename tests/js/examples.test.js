// examples.test.js: the examples for Node run as they stand.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { root } from './helpers.js';

/** What each prints in the end, arguments apart. @type {Record<string, {args?: string[], prints: RegExp}>} */
const EXAMPLES = {
  'chat.js': { prints: /in the cache[^]*There was a little cat/ },
  'complete.js': { prints: /^Once upon a time, [^]*(stop|length), [\d.]+ tokens per second\n$/ },
  'cancel.js': { prints: /abort after \d+ characters\n$|stopped while loading\n$/ },
  'save.js': { prints: /Once upon a time[^]*\(\d+ tokens were in the file, \d+ were new\)\n$/ },
  'score.js': { prints: /^-[\d.]+ {2}The dog[^]*\n-[\d.]+ {2}The park/ },
};

test('every example is tested', () => {
  const programs = readdirSync(path.join(root, 'examples/node')).filter((name) => name.endsWith('.js'));
  assert.deepEqual(programs.sort(), Object.keys(EXAMPLES).sort());
});

for (const [name, { args = [], prints }] of Object.entries(EXAMPLES))
  test(`examples/node/${name}`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(root, 'examples/node', name), ...args], { encoding: 'utf8' });
    assert.equal(stderr, '');
    assert.equal(status, 0);
    assert.match(stdout, prints);
  });
