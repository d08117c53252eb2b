// clla_vectors.test.js: what tests/vectors/clla holds is what its scripts make.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPython } from './python.js';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'vectors/clla');
const python = findPython('venv', 'numpy, gguf');

test('the models and values of architecture clla can be made anew', { skip: python ? false : 'there is no Python with numpy and gguf' }, () => {
  const { status, stdout, stderr } = spawnSync(/** @type {string} */ (python), ['make.py', '--check'], { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.match(stdout, /31 files, 0 differ/);
});
