// catalogue.test.js: models/catalogue.json says what models/README.md promises, and the bundled model is what it says.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { cllaJson, root, withModel } from './helpers.js';

const folder = path.join(root, 'models');
/** @type {Record<string, any>[]} */
const models = JSON.parse(readFileSync(path.join(folder, 'catalogue.json'), 'utf8')).models;

const TEXTS = ['name', 'description', 'architecture', 'quantization', 'licence', 'licenceUrl'];

test('every entry has its fields, with values of the right form', () => {
  for (const m of models) {
    for (const field of TEXTS) assert.ok(typeof m[field] === 'string' && m[field].length > 0, `${m.name}: ${field}`);
    for (const field of ['parameters', 'context']) assert.ok(Number.isSafeInteger(m[field]) && m[field] > 0, `${m.name}: ${field}`);
    assert.match(m.name, /^[a-z0-9][a-z0-9._-]*$/);
    assert.match(m.licenceUrl, /^https:\/\//);
    assert.ok(['clla', 'llama', 'qwen2', 'qwen3', 'gemma3', 'phi3'].includes(m.architecture), `${m.name}: ${m.architecture}`);
    assert.ok(m.bytes === null || (Number.isSafeInteger(m.bytes) && m.bytes > 0), `${m.name}: bytes`);
    assert.ok(m.sha256 === null || /^[0-9a-f]{64}$/.test(m.sha256), `${m.name}: sha256`);
  }
});

test('names are unique and SmolLM2 is among them with bytes and hash', () => {
  assert.equal(new Set(models.map((m) => m.name)).size, models.length);
  const smollm = models.find((m) => m.name === 'smollm2-135m-instruct');
  assert.equal(smollm?.bytes, 98_362_432);
  assert.equal(smollm?.sha256, 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53');
});

test('a model is bundled or has a URL; a known revision stands in the URL', () => {
  for (const m of models) {
    assert.ok('path' in m !== 'url' in m, m.name);
    if (!('url' in m)) continue;
    assert.ok(m.revision === null || /^[0-9a-f]{40}$/.test(m.revision), `${m.name}: revision`);
    assert.ok(m.url.startsWith('https://') && m.url.endsWith('.gguf'), `${m.name}: ${m.url}`);
    assert.ok(m.url.includes(`/resolve/${m.revision ?? 'main'}/`), `${m.name}: ${m.url}`);
  }
});

test('a bundled model has its bytes, its hash and its licence', async () => {
  const bundled = models.filter((m) => 'path' in m);
  assert.ok(bundled.length > 0);
  for (const m of bundled) {
    const bytes = readFileSync(path.join(folder, m.path));
    assert.equal(bytes.length, m.bytes);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), m.sha256);
    assert.ok(existsSync(path.join(folder, m.path.replace(/\.gguf$/, '.LICENSE'))));
    await withModel({}, async ({ info }) => {
      assert.equal(info.architecture, m.architecture);
      assert.equal(info.trainedContext, m.context);
      assert.equal(info.license?.toLowerCase(), m.licence.toLowerCase());
      assert.ok(Math.abs(info.parameters - m.parameters) < 1000, `${info.parameters} parameters`);
    }, path.join(folder, m.path));
  }
});

test('the engine gives the text that the framework gave the bundled model the perplexity it had there', () => {
  const kept = JSON.parse(readFileSync(path.join(root, 'tests/vectors/clla-4m-chat.json'), 'utf8')); // models/train/check.py
  assert.equal(kept.sha256, models.find((m) => m.name === 'clla-4m-chat')?.sha256);
  for (const variant of ['simd', 'auto']) {
    const args = ['perplexity', 'clla-4m-chat', '--file', path.join(root, 'tests/vectors/wikitext2/head.txt'), '--variant', variant];
    const report = cllaJson([...args, '--ctx', String(kept.context), '--chunks', String(kept.chunks)]);
    assert.equal(report.tokens, kept.tokens);
    assert.ok(Math.abs(report.ppl / kept.perplexity - 1) < 0.005, `${variant}: ${report.ppl}, not ${kept.perplexity}`);
  }
});
