// programs.test.js: the programs that stand on clla.h (src/main_wasi.c and examples/c), run as a person runs them:
// natively, in Node's WASI and in wasmtime. Expected ids are an independent implementation's.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pathOf } from '../scripts/fetch-models.js';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');
const model = 'models/tinystories-656k.gguf';
const golden = JSON.parse(readFileSync(path.join(root, 'tests/vectors/tinystories-656k.json'), 'utf8'));

/** How each kind of build is started. @type {Record<string, string[]>} */
const PROGRAMS = {
  natively: [path.join(root, 'build/native/clla')],
  'in Node under WASI': [process.execPath, '--no-warnings', path.join(root, 'tests/wasi.js'), path.join(root, 'build/wasi/clla.wasm')],
  'in wasmtime': [path.join(cache, 'wasmtime/bin/python'), path.join(root, 'tests/wasi.py'), path.join(root, 'build/wasi/clla.wasm')],
};

/** @param {string[]} program @param {string[]} args @param {string} [cwd] */
function start([program, ...before], args, cwd = root) {
  const { status, stdout, stderr, error } = spawnSync(program, [...before, ...args], { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** The model with the gains of a norm so large that all that follows is no number. @param {string} file */
function writeOverflowing(file) {
  const bytes = readFileSync(path.join(root, model));
  const name = 'blk.0.attn_norm.weight';
  const info = bytes.indexOf(name) + name.length; // one dimension (u32, u64), the type (u32), the offset (u64)
  const data = bytes.length - 1_313_280; // all tensors lie behind the header
  const at = data + Number(bytes.readBigUInt64LE(info + 16));
  for (let i = 0; i < 128; i++) bytes.writeFloatLE(3e38, at + 4 * i);
  writeFileSync(file, bytes);
}

/** @param {string[]} program @param {string[]} args */
function startJson(program, args) {
  const { status, stdout, stderr } = start(program, [...args, '--json']);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

for (const [where, program] of Object.entries(PROGRAMS)) {
  test(`complete gives the golden greedy ids and text ${where}`, () => {
    for (const { prompt, prompt_ids, output_ids, output } of golden.prompts) {
      const args = ['complete', model, '-p', prompt, '--max-tokens', String(output_ids.length), '--ignore-eos', '--kv', 'f32'];
      const reply = startJson(program, args);
      assert.deepEqual(reply.prompt_ids, prompt_ids);
      assert.deepEqual(reply.ids, output_ids);
      assert.equal(reply.text, output);
      assert.equal(reply.finish_reason, 'length');
      assert.equal(reply.timings.prompt_n, prompt_ids.length);
      assert.equal(reply.timings.decode_n, output_ids.length - 1);
    }
  });

  test(`complete prints the text as it comes without --json ${where}`, () => {
    const { prompt, output_ids, output } = golden.prompts[1];
    const args = ['complete', model, '-p', prompt, '--max-tokens', String(output_ids.length), '--ignore-eos', '--kv', 'f32'];
    assert.equal(start(program, args).stdout, `${output}\n`);
  });

  test(`a seed gives the same text again, another seed another text ${where}`, () => {
    const ids = (/** @type {string} */ seed) =>
      startJson(program, ['complete', model, '-p', 'Once', '--max-tokens', '24', '--temp', '1', '--seed', seed]).ids.join();
    assert.equal(ids('7'), ids('7'));
    assert.notEqual(ids('7'), ids('8'));
  });

  test(`tokenize adds no BOS and parses no control tokens unless asked ${where}`, () => {
    const { prompt, prompt_ids } = golden.prompts[0];
    assert.deepEqual(startJson(program, ['tokenize', model, '-p', prompt, '--bos']).ids, prompt_ids);
    assert.deepEqual(startJson(program, ['tokenize', model, '-p', prompt]).ids, prompt_ids.slice(1));
    const lines = start(program, ['tokenize', model, '-p', prompt]).stdout;
    assert.equal(lines, prompt_ids.slice(1).join('\n') + '\n');
  });

  test(`tokenize reads a text of more than one piece from a file ${where}`, () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const file = path.join(folder, 'long.txt');
    const lines = 50_000;
    writeFileSync(file, `${golden.prompts[0].prompt}\n`.repeat(lines));
    const { ids } = startJson(program, ['tokenize', model, '--file', file]);
    rmSync(folder, { recursive: true });
    const period = (ids.length - 1) / lines; // a space is put in front of the first word only
    assert.ok(Number.isInteger(period), `${ids.length} ids`);
    assert.ok(ids.slice(2).every((/** @type {number} */ id, /** @type {number} */ i) => i < period || id === ids[i + 2 - period]));
  });

  test(`inspect tells the model and the exact bytes of a cache ${where}`, () => {
    const half = startJson(program, ['inspect', model, '--ctx', '256', '--kv', 'f16']);
    const full = startJson(program, ['inspect', model, '--ctx', '256', '--kv', 'f32']);
    assert.equal(half.model.architecture, 'llama');
    assert.ok(half.session.bytes_per_token > 0);
    assert.equal(full.session.bytes_per_token, 2 * half.session.bytes_per_token);
    assert.match(start(program, ['inspect', model]).stdout, /cache f16: \d+ bytes/);
  });

  test(`inspect tells a cache by its parts and at four lengths ${where}`, () => {
    const report = startJson(program, ['inspect', 'tests/vectors/clla/models/sinks.gguf', '--kv', 'min']);
    assert.equal(report.kv, 'min');
    assert.deepEqual(report.components, { codes: 32, scales: 12, rope_keys: 16, residual: 480 });
    assert.equal(report.bytes_per_token, 60);
    assert.equal(report.mha_fp16_bytes_per_token, 384);
    assert.equal(report.percent, 15.625);
    assert.equal(report.storing_layers, 2);
    assert.deepEqual(report.storing_layer, { bytes_per_token: 30, codes: 16, scales: 6, rope_keys: 8, residual: 240 });
    for (const length of [2048, 8192, 32768, 131072]) {
      assert.ok(report.cache_bytes[length] >= 60 * length + 480 && report.cache_bytes[length] < 60 * length + 480 + 256);
      assert.ok(report.session_bytes[length] > report.cache_bytes[length]);
    }
    const page = start(program, ['inspect', 'tests/vectors/clla/models/sinks.gguf', '--kv', 'min']).stdout;
    assert.match(page, /codes 32, scales 12, rope keys 16 bytes, in 2 layers: 15\.6 % of multi-head attention/);
    assert.match(page, /^a layer of them: codes 16, scales 6, rope keys 8 bytes$/m);
    assert.match(page, /^ {2}8192 tokens: cache \d+ bytes \(15\.\d %\), scratch \d+ bytes$/m);
  });

  test(`inspect tells why a model cannot run ${where}`, () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const file = path.join(folder, 'spoilt.gguf'), bytes = readFileSync(path.join(root, 'tests/vectors/clla/models/sinks.gguf'));
    bytes.writeInt32LE(1, bytes.indexOf('attention.kv_owner') + 18 + 4 + 4 + 8);
    writeFileSync(file, bytes);
    for (const more of [[], ['--json'], ['--kv', 'clla']]) {
      const { status, stdout, stderr } = start(program, ['inspect', file, ...more]);
      assert.equal(status, 3);
      assert.match(stderr, /^clla: BAD_FILE: .*layer 0 cannot read the latent of layer 1/);
      if (more[0] !== '--kv') assert.match(stdout, /"architecture":"clla"/);
    }
    rmSync(folder, { recursive: true });
  });

  test(`what goes wrong is one sentence and an exit status ${where}`, () => {
    /** @param {number} status @param {RegExp} sentence @param {string[]} args */
    const fails = (status, sentence, ...args) => {
      const result = start(program, args);
      assert.equal(result.status, status, result.stderr);
      assert.match(result.stderr, sentence);
      assert.equal(result.stdout, '');
    };
    fails(2, /which command/);
    fails(2, /no command frobnicate/, 'frobnicate');
    fails(2, /no option --frob/, 'complete', model, '--frob');
    fails(2, /no option --bos/, 'complete', model, '-p', 'x', '--bos');
    fails(2, /--ctx: the value/, 'complete', model, '-p', 'x', '--ctx', '12q');
    fails(2, /--ctx: the value/, 'complete', model, '-p', 'x', '--ctx', '1.5');
    fails(2, /--temp: the value/, 'complete', model, '-p', 'x', '--temp', 'nan');
    fails(2, /--seed needs a value/, 'complete', model, '-p', 'x', '--seed');
    fails(2, /either -p TEXT or --file/, 'tokenize', model);
    fails(3, /BAD_FILE: .*nowhere\.gguf/, 'complete', 'nowhere.gguf', '-p', 'x');
    fails(3, /^clla: BAD_FILE: /, 'complete', 'package.json', '-p', 'x');
    fails(2, /^clla: BAD_KV_SPEC: .*q9/, 'complete', model, '-p', 'x', '--kv', 'q9');
    fails(4, /^clla: CONTEXT_FULL: /, 'complete', model, '-p', 'Once upon a time there was', '--ctx', '4');
  });

  test(`a model whose logits are no numbers is a file that cannot be used ${where}`, () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-'));
    try {
      const file = path.join(folder, 'overflows.gguf');
      writeOverflowing(file);
      for (const more of [[], ['--json']]) {
        const { status, stderr } = start(program, ['complete', file, '-p', 'x', '--max-tokens', '1', ...more]);
        assert.equal(status, 3, stderr);
        assert.match(stderr, /no token may follow/);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test(`a split model is found part by part ${where}`, () => {
    const { model: info } = startJson(program, ['inspect', 'tests/vectors/models/split-00001-of-00003.gguf']);
    assert.ok(info.architecture);
    const reply = startJson(program, ['complete', 'tests/vectors/models/split-00001-of-00003.gguf', '-p', 'a', '--max-tokens', '4', '--ignore-eos']);
    assert.equal(reply.ids.length, 4);
    const result = start(program, ['complete', 'tests/vectors/models/split-00002-of-00003.gguf', '-p', 'a']);
    assert.equal(result.status, 3);
    assert.match(result.stderr, /^clla: BAD_FILE: /);
  });
}

test('a seed gives the same text natively and as Wasm', () => {
  const args = ['complete', model, '-p', 'Once', '--max-tokens', '100', '--temp', '1', '--seed', '11', '--ignore-eos'];
  const replies = Object.values(PROGRAMS).map((program) => startJson(program, args).ids);
  assert.deepEqual(replies[1], replies[0]);
  assert.deepEqual(replies[2], replies[0]);
});

/** How each program goes on with a saved session. @param {string} model @param {Buffer | undefined} saved @param {string[]} args */
function resumeEverywhere(model, saved, ...args) {
  return Object.values(PROGRAMS).map((program) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const file = path.join(folder, 'session');
    if (saved) writeFileSync(file, saved);
    const { ids, prompt_ids } = startJson(program, ['complete', model, '--max-tokens', '12', '--ignore-eos', '--resume', file, ...args]);
    const after = readFileSync(file);
    rmSync(folder, { recursive: true });
    return { ids, prompt_ids, after };
  });
}

/** Each model with the cache that it is saved with: plain heads, and the latents of the model's own. @type {[string, string[]][]} */
const SAVED = [
  [model, ['--kv', 'f32']],
  ['models/clla-4m-chat.gguf', []],
];
for (const [model, kv] of SAVED) {
  test(`a session of ${model} saved natively, as Wasm or in JavaScript goes on everywhere as it would have where it was saved`, () => {
    const draw = ['--temp', '1', '--seed', '5', ...kv];
    const first = resumeEverywhere(model, undefined, '-p', 'Once upon a time', ...draw);
    for (const { ids } of first) assert.deepEqual(ids, first[0].ids);
    const second = first.flatMap(({ after }) => resumeEverywhere(model, after, '-p', ' The dog', '--temp', '1', ...kv));
    assert.equal(second.length, 9);
    const { ids: said } = startJson(PROGRAMS.natively, ['tokenize', model, '-p', ' The dog']);
    for (const { ids, prompt_ids } of second) {
      assert.deepEqual(ids, second[0].ids);
      assert.deepEqual(prompt_ids, said, 'only what is new is evaluated');
    }
    assert.notDeepEqual(resumeEverywhere(model, undefined, '-p', ' The dog', ...draw)[0].ids, second[0].ids);
    const seeded = resumeEverywhere(model, first[0].after, '-p', ' The dog', ...draw);
    for (const { ids } of seeded) assert.deepEqual(ids, seeded[0].ids);
    assert.notDeepEqual(seeded[0].ids, second[0].ids, 'a seed that is given begins anew');
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const file = path.join(folder, 'chat');
    const chat = ['chat', model, '--variant', 'simd', '--threads', '1', ...kv, '--resume', file, '--max-tokens', '12'];
    assert.equal(start([process.execPath, path.join(root, 'js/cli.js')], [...chat, '-p', 'Once upon a time']).status, 0);
    const saved = readFileSync(file);
    rmSync(folder, { recursive: true });
    const third = resumeEverywhere(model, saved, '-p', ' The dog');
    for (const { ids, after } of third) {
      assert.deepEqual(ids, third[0].ids);
      assert.ok(after.includes('Once upon a time'), 'the messages of the chat are kept');
    }
  });
}

test('where the context ends a saved session holds all that was said', () => {
  const context = ['--ctx', '24', '--ignore-eos'];
  for (const program of Object.values(PROGRAMS)) {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const file = path.join(folder, 'session');
    const { ids, prompt_ids } = startJson(program, ['complete', model, '-p', 'Once upon a time', ...context, '--resume', file]);
    assert.equal(prompt_ids.length + ids.length, 24);
    assert.equal(readFileSync(file).readUInt32LE(16), 24); // its length (src/state.c)
    const longer = startJson(program, ['complete', model, '-p', 'a', '--max-tokens', '2', '--ctx', '40', '--resume', file]);
    assert.equal(longer.prompt_ids.length, 1);
    rmSync(folder, { recursive: true });
  }
});

test('a file that does not fit is refused by every program and stays as it is', () => {
  const [{ after }] = resumeEverywhere(model, undefined, '-p', 'Once');
  const damaged = Buffer.from(after);
  damaged[damaged.length >> 1] ^= 1;
  for (const program of Object.values(PROGRAMS)) {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const file = path.join(folder, 'session');
    /** @param {number} status @param {RegExp} sentence @param {Buffer} bytes @param {string[]} more */
    const refused = (status, sentence, bytes, ...more) => {
      writeFileSync(file, bytes);
      const result = start(program, ['complete', model, '-p', 'x', '--resume', file, ...more]);
      assert.equal(result.status, status, result.stderr);
      assert.match(result.stderr, sentence);
      if (status === 3) assert.ok(result.stderr.includes(`: ${file}: `), result.stderr);
      assert.deepEqual(readFileSync(file), bytes);
      assert.deepEqual(readdirSync(folder), ['session']);
    };
    refused(3, /^clla: BAD_FILE: .*damaged/, damaged);
    refused(3, /^clla: TRUNCATED_FILE: /, after.subarray(0, -3));
    refused(2, /^clla: BAD_KV_SPEC: .*"f16"/, after, '--kv', 'q8');
    refused(2, /a session goes on with a token at least/, after, '-p', '');
    rmSync(folder, { recursive: true });
  }
});

test('a session that cannot be saved is refused before anything is generated; nothing of others beside it is touched', () => {
  for (const program of Object.values(PROGRAMS)) {
    const folder = mkdtempSync(path.join(tmpdir(), 'clla-programs-'));
    const complete = ['complete', model, '-p', 'Once', '--max-tokens', '2', '--resume'];
    const nowhere = start(program, [...complete, path.join(folder, 's'.repeat(252))]);
    assert.equal(nowhere.status, 3, nowhere.stderr);
    assert.match(nowhere.stderr, /^clla: BAD_FILE: .*sss cannot be written: /);
    assert.equal(nowhere.stdout, '');
    const nameless = start(program, [...complete, '']);
    assert.deepEqual([nameless.status, nameless.stdout], [3, ''], nameless.stderr);
    assert.match(nameless.stderr, /a file without a name/);
    const mine = path.join(folder, 'session.0.tmp');
    writeFileSync(mine, 'mine');
    assert.equal(start(program, [...complete, path.join(folder, 'session')]).status, 0);
    assert.equal(readFileSync(mine, 'utf8'), 'mine');
    assert.deepEqual(readdirSync(folder).sort(), ['session', 'session.0.tmp']);
    rmSync(folder, { recursive: true });
  }
});

const smollm2 = pathOf('smollm2');
const skip = existsSync(smollm2) ? false : `${smollm2} is not there: node scripts/fetch-models.js smollm2`;

test('a model of 98 MB writes the same natively and as Wasm', { skip }, () => {
  const args = ['complete', smollm2, '-p', 'The capital of France is', '--max-tokens', '8', '--ctx', '64'];
  const replies = Object.values(PROGRAMS).map((program) => startJson(program, args));
  assert.match(replies[0].text, /Paris/);
  for (const reply of replies) assert.deepEqual(reply.ids, replies[0].ids);
});

test('the example in C writes on from a text', () => {
  const { prompt, output } = golden.prompts[1];
  const { status, stdout, stderr } = start([path.join(root, 'build/native/examples/c/complete')], [model, prompt]);
  assert.equal(status, 0, stderr);
  assert.ok(stdout.startsWith(prompt + output.slice(0, 100)), stdout);
});

test('the programs are built', () => {
  for (const file of ['build/native/clla', 'build/wasi/clla.wasm']) assert.ok(existsSync(path.join(root, file)), file);
});
