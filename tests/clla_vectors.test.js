// clla_vectors.test.js: what tests/vectors/clla holds is what its scripts make.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'vectors/clla');
const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');

/** A Python that has numpy and gguf, or undefined. */
function findPython() {
  const candidates = [path.join(cache, 'venv/bin/python'), 'python3'].filter((name) => !name.includes('/') || existsSync(name));
  return candidates.find((python) => spawnSync(python, ['-c', 'import numpy, gguf']).status === 0);
}

const python = findPython();

test('the models and values of architecture clla can be made anew', { skip: python ? false : 'there is no Python with numpy and gguf' }, () => {
  const { status, stdout, stderr } = spawnSync(/** @type {string} */ (python), ['make.py', '--check'], { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.match(stdout, /31 files, 0 differ/);
});
