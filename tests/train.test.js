// train.test.js: the tests of models/train, where there is a Python with torch (some 800 MB, which the set-up does not fetch).

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPython } from './python.js';

const cwd = path.join(path.dirname(fileURLToPath(import.meta.url)), '../models/train');
const python = findPython('train-venv', 'torch, numpy');
const skip = python ? false : 'there is no Python with torch (models/train/requirements.txt)';

test('training: quantizer, kinds, recall tasks, resuming', { skip, timeout: 600_000 }, () => {
  const { status, stdout, stderr } = spawnSync(/** @type {string} */ (python), ['test_train.py'], { cwd, encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
});
