// cli_inspect.test.js: what `clla inspect` tells of a model and its cache: bytes by parts and by length, before anything
// runs. Figures are reckoned by hand or held against the sessions themselves.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { lengthRows } from '../../js/cli/inspect.js';
import { clla, cllaJson, inFolder, root, smollm, tiny, withModel, withoutSmollm } from './helpers.js';

const latents = path.join(root, 'tests/vectors/clla/models/sinks.gguf'); // 4 layers, pairs: 32 channels in q4, rope key of 8 in q8
const LENGTHS = ['2048', '8192', '32768', '131072'];

test('inspect tells shapes, bytes by type and what a context takes', () => {
  const { model, session } = cllaJson(['inspect', tiny, '--ctx', '100', '--kv', 'f32']);
  assert.equal(model.parameters, 656_000);
  assert.equal(model.context, 512);
  assert.equal(model.types.F16.bytes, 1_310_720);
  assert.equal(model.latent, undefined);
  assert.equal(session.bytes_per_token, 1024);
  assert.equal(session.context, 100);
  assert.equal(session.kv, 'f32');
  assert.ok(session.cache_bytes >= 100 * 1024 && session.scratch_bytes > 0);
});

test('inspect --json has the shape that is kept stable', () => {
  const report = cllaJson(['inspect', tiny, '--kv', 'q8']);
  const keys = ['model', 'session', 'kv', 'bytes_per_token', 'mha_fp16_bytes_per_token', 'percent', 'components'];
  assert.deepEqual(Object.keys(report), [...keys, 'storing_layers', 'storing_layer', 'session_bytes', 'cache_bytes']);
  assert.deepEqual(Object.keys(report.components), ['codes', 'scales', 'rope_keys', 'residual']);
  assert.deepEqual(Object.keys(report.session_bytes), LENGTHS);
  assert.deepEqual(Object.keys(report.cache_bytes), LENGTHS);
  assert.equal(report.kv, 'q8');
  assert.equal(report.bytes_per_token, 2 * 2 * 4 * (16 + 2)); // layers, keys and values, heads, bytes
  assert.deepEqual(report.components, { codes: 256, scales: 32, rope_keys: 0, residual: 0 });
  assert.equal(report.mha_fp16_bytes_per_token, 4 * 128 * 2);
  assert.equal(report.percent, 100 * (288 / 1024));
  assert.equal(report.storing_layers, 2);
  assert.deepEqual(report.storing_layer, { bytes_per_token: 144, codes: 128, scales: 16, rope_keys: 0, residual: 0 });
});

test('inspect of latents: the layers that own one, their codes, scales, rope keys and first tokens', () => {
  const report = cllaJson(['inspect', latents]);
  assert.deepEqual(report.model.latent, { rank: 32, rope_dim: 8, owner: [0, 0, 2, 2] });
  assert.equal(report.kv, 'clla');
  assert.equal(report.storing_layers, 2);
  assert.deepEqual(report.components, { codes: 2 * 16, scales: 2 * (2 + 2), rope_keys: 2 * 8, residual: 2 * 3 * 40 * 2 });
  assert.equal(report.bytes_per_token, 56);
  assert.deepEqual(report.storing_layer, { bytes_per_token: 28, codes: 16, scales: 4, rope_keys: 8, residual: 240 });
  assert.equal(report.mha_fp16_bytes_per_token, 4 * 24 * 4);
  for (const length of LENGTHS) {
    const constant = report.cache_bytes[length] - Number(length) * 56 - report.components.residual;
    assert.ok(constant >= 0 && constant < 256, `${length} tokens: ${constant} bytes more`);
  }
  const plain = cllaJson(['inspect', latents, '--kv', 'width=heads']);
  assert.equal(plain.bytes_per_token, 4 * 3 * (20 + 16) * 2); // layers, heads, keys of 20 and values of 12 in whole panels, bytes
  assert.equal(plain.storing_layers, 4);
});

test('the bundled model: at most 2 % of multi-head attention in 16 bits, all counted', () => {
  const report = cllaJson(['inspect', 'clla-4m-chat']);
  assert.equal(report.kv, 'clla');
  assert.deepEqual(report.model.latent, { rank: 64, rope_dim: 16, owner: [0, 0, 0, 3, 3, 3, 3, 3] });
  assert.deepEqual(report.components, { codes: 2 * 32, scales: 2 * (4 + 2), rope_keys: 2 * 16, residual: 0 });
  assert.equal(report.mha_fp16_bytes_per_token, 8 * 192 * 2 * 2);
  assert.ok(report.percent <= 2 && report.percent === (100 * 108) / 6144, `${report.percent} %`);
  for (const length of LENGTHS) assert.ok(report.cache_bytes[length] <= 0.02 * 6144 * Number(length), length);
});

/** A copy of the model with latents whose header is wrong at one place. @param {string} folder @param {(header: Buffer) => void} change */
function spoilt(folder, change) {
  const bytes = readFileSync(latents);
  change(bytes);
  const file = path.join(folder, 'spoilt.gguf');
  writeFileSync(file, bytes);
  return file;
}

test('a model that cannot run is described as far as it goes, and the reason is told', () =>
  inFolder(async (folder) => {
    const spoilers = /** @type {[RegExp, (header: Buffer) => void][]} */ ([
      [/layer 0 cannot read the latent of layer 1/, (b) => b.writeInt32LE(1, b.indexOf('attention.kv_owner') + 18 + 4 + 4 + 8)],
      [/kv_lora_rank is 30: want a multiple of 4|latent's 30 channels/, (b) => b.writeUInt32LE(30, b.indexOf('attention.kv_lora_rank') + 22 + 4)],
      [/architecture "clxa" is not supported/, (b) => b.write('clxa', b.indexOf('general.architecture') + 20 + 4 + 8)],
    ]);
    for (const [reason, change] of spoilers) {
      const file = spoilt(folder, change);
      const page = clla(['inspect', file]);
      assert.equal(page.status, 3, page.stderr);
      assert.match(page.stderr, reason);
      assert.match(page.stdout, /architecture +cl.a\n(.|\n)* tensors /);
      assert.doesNotMatch(page.stdout, /layers|heads|Cache|latent/);
      const json = clla(['inspect', file, '--json']);
      assert.equal(json.status, 3);
      assert.match(json.stderr, reason);
      assert.ok(JSON.parse(json.stdout).model.parameters > 0);
      for (const more of [['--kv', 'clla'], ['--ctx', '100']]) {
        const asked = clla(['inspect', file, ...more]);
        assert.deepEqual([asked.status, asked.stdout], [3, '']);
        assert.match(asked.stderr, reason);
      }
      assert.match(clla(['complete', file, '-p', 'x']).stderr, reason);
    }
  }));

test('session_bytes are what sessions take', async () => {
  for (const kv of ['f16', 'q4,sinks=4']) {
    const report = cllaJson(['inspect', tiny, '--kv', kv, '--variant', 'simd']);
    await withModel({ threads: 1, variant: 'simd', context: 2048, kv }, async (model) => {
      const before = await model.memory();
      const first = model.chat(); // takes the session that was made while loading
      await first.send('Once', { maxTokens: 1 }).done;
      const second = model.chat();
      await second.send('Once', { maxTokens: 1 }).done;
      const grown = (await model.memory()).usedBytes - before.usedBytes;
      assert.ok(Math.abs(grown - report.session_bytes[2048]) < 8192, `${kv}: ${grown} against ${report.session_bytes[2048]}`);
      const told = await model.sessionBytes({ context: 2048, kv });
      assert.equal(told.cacheBytes + told.scratchBytes, report.session_bytes[2048]);
      assert.equal(told.components.codes + told.components.scales + told.components.ropeKeys, told.bytesPerToken);
      assert.equal(told.components.residual, report.components.residual);
      assert.equal(told.kv, kv);
    });
  }
});

test('the page tells the same in 80 columns', () => {
  const page = clla(['inspect', tiny]).stdout;
  assert.match(page, /architecture +llama\n/);
  assert.match(page, /Cache f16, 512 tokens\n +a token +512 bytes: codes 512\n +50 % of multi-head attention in 16 bits \(1,024 bytes\)\n/);
  assert.match(page, / 32,768 +16\.8 MB +16,777,216 +50 % +\S+ [kM]B\n/);
  assert.match(page, /working memory +\S+ [kM]B with one thread\n/);
  const other = clla(['inspect', latents, '--kv', 'min,sinks=9']).stdout;
  assert.match(other, /latent +32 channels, rope key of 8; 2 of 4 layers own one\n/);
  assert.match(other, /Cache min,sinks=9, 4,096 tokens\n +a token +60 bytes: codes 32, scales 12, rope keys 16\n/);
  assert.match(other, /a layer +30 bytes: codes 16, scales 6, rope keys 8; 2 of 4 store\n +first tokens +1\.44 kB more, once/);
  for (const line of `${page}${other}`.split('\n')) assert.ok(line.length <= 80, line);
});

test('columns of big numbers stay apart, within 80 columns', () => {
  const size = { context: 131_072, cacheBytes: 999_999_999_999, scratchBytes: 999_999_999_999, plainBytesPerToken: 69_120 };
  for (const line of lengthRows(/** @type {any} */ ([size]))) assert.ok(line.length <= 80, line);
  assert.match(lengthRows(/** @type {any} */ ([size]))[1], /^ +131,072 {2,}1000 GB {2,}999,999,999,999 {2,}\S+ % {2,}1000 GB$/);
});

test('what is wrong with a specification reaches the person, with exit code 2', () => {
  const refusals = /** @type {[string, string, RegExp][]} */ ([
    [tiny, 'clla', /the model has no latents: its width is heads/],
    [tiny, 'q8,bits=4', /"bits=4" settles what another item has settled/],
    [tiny, 'q8,rope=4', /rope= is the bits of the rope key beside a latent: the width is heads/],
    [tiny, 'bits=3', /"bits=3" is not one of f32, f16, q8, q4, clla/],
    [latents, 'depth=own', /layers of the model share their latents and have none of their own/],
    [latents, 'group=64', /group=64: want a multiple of 32, at most the 32 channels/],
  ]);
  for (const [model, kv, reason] of refusals)
    for (const command of [['inspect', model], ['complete', model, '-p', 'x']]) {
      const { status, stdout, stderr } = clla([...command, '--kv', kv]);
      assert.equal(status, 2, stderr);
      assert.match(stderr, reason);
      assert.equal(stdout, '');
    }
});

test('inspect reads the header only', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'cut.gguf');
    writeFileSync(file, readFileSync(tiny).subarray(0, 100_000)); // 1.3 MB of weights are gone
    const [cut, whole] = [file, tiny].map((model) => cllaJson(['inspect', model, '--kv', 'q4']));
    cut.model.file_bytes = whole.model.file_bytes; // what was there to read
    assert.deepEqual(cut, whole);
  }));

test('inspect of a real model: grouped heads in q8 and q4', { skip: withoutSmollm }, () => {
  const at = (/** @type {string} */ kv) => cllaJson(['inspect', String(smollm), '--kv', kv]);
  assert.equal(at('f16').mha_fp16_bytes_per_token, 69_120);
  assert.equal(at('f16').bytes_per_token, 23_040);
  assert.equal(at('q8').bytes_per_token, 30 * 3 * 2 * (64 + 4));
  assert.equal(at('q4').bytes_per_token, 6480);
  assert.equal(at('q4').percent, 9.375);
});
