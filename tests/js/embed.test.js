// embed.test.js: texts as vectors: against llama.cpp and double precision (tests/vectors/embeddings.json) in every build of the
// engine; what a file says of pooling; several texts, long ones, stopping; what is refused.
//
// How near, as |difference| / |exact|. Float weights: measured 1e-6 to 3e-6, llama.cpp 3e-7 to 2e-6 (GELU from a table, weights
// in halves: 9e-4); 1e-5 is asked for. Models with latents and a cache of halves: 2e-6, where halves have ties 1e-4; 5e-4.
// Quantized weights, where activations are rounded to 8 bits, each in its own way: 0.005 to 0.03, llama.cpp as much; 0.045, and
// a cosine of 0.999. The mean and the last state are 0.5 to 1.1 apart, so that neither passes for the other.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { clla, fails, inFolder, nodeMajor, root, smollm, tiny, withModel, withoutSmollm } from './helpers.js';

const folder = path.join(root, 'tests/vectors');
/** @typedef {{mean: number[], last: number[]}} Pooled */
/** @typedef {{name: string, file: string | null, context: number, kv: string, text: string, ids: number[], llama?: Pooled, exact: Pooled}} Case */
/** @type {Case[]} */
const cases = JSON.parse(readFileSync(path.join(folder, 'embeddings.json'), 'utf8')).cases;
const pick = (/** @type {string} */ name) => /** @type {Case} */ (cases.find((c) => c.name === name));
const sourceOf = (/** @type {Case} */ { file }) => (file ? path.join(folder, file) : smollm);

const BUILDS = /** @type {const} */ ([['simd', 1], ['simd', 2], ['relaxed', 1], ['relaxed', 2]]);
const builds = BUILDS.filter(([variant]) => variant === 'simd' || nodeMajor >= 22);
const POOLINGS = /** @type {const} */ (['mean', 'last']);

const dot = (/** @type {ArrayLike<number>} */ a, /** @type {ArrayLike<number>} */ b) =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);
const lengthOf = (/** @type {ArrayLike<number>} */ a) => Math.sqrt(dot(a, a));
const cosine = (/** @type {ArrayLike<number>} */ a, /** @type {ArrayLike<number>} */ b) => dot(a, b) / lengthOf(a) / lengthOf(b);
/** |a - b| / |b| @param {ArrayLike<number>} a @param {number[]} b */
const apart = (a, b) => lengthOf(b.map((x, i) => x - a[i])) / lengthOf(b);

/** @param {Case} c */
const boundOf = ({ name }) => (/smollm2|mixed/.test(name) ? 0.045 : name.startsWith('clla') ? 5e-4 : 1e-5);

/** @param {ArrayLike<number>} vector @param {Case} c @param {'mean' | 'last'} pooling */
function assertNear(vector, { name, llama, exact, ...c }, pooling) {
  const bound = boundOf({ name, llama, exact, ...c });
  const off = apart(vector, exact[pooling]);
  assert.ok(off < bound, `${name}, ${pooling}: ${off} from double precision`);
  if (!llama) return;
  const other = apart(vector, llama[pooling]);
  assert.ok(other < Math.max(bound, 1e-3), `${name}, ${pooling}: ${other} from llama.cpp`);
  assert.ok(cosine(vector, llama[pooling]) > 0.999, `${name}, ${pooling}: cosine ${cosine(vector, llama[pooling])}`);
}

/** @param {import('../../js/types.js').Model} model @param {Case} c */
async function checkCase(model, c) {
  assert.equal(model.info.pooling, undefined);
  assert.deepEqual(await model.tokenize(c.text, { bos: model.info.tokenizer.addsBos }), c.ids);
  for (const pooling of POOLINGS) {
    const plain = await model.embed(c.text, { pooling, normalize: false });
    assert.equal(plain.length, model.info.width);
    assertNear(plain, c, pooling);
    if (c.file === null) continue; // once is enough where it takes long
    const unit = await model.embed(c.text, { pooling });
    assert.ok(Math.abs(lengthOf(unit) - 1) < 1e-6 && cosine(unit, plain) > 1 - 1e-6);
    if (pooling === 'mean') assert.deepEqual(await model.embed(c.text), unit, 'the defaults');
  }
}

for (const [variant, threads] of builds) {
  const build = `${variant}, ${threads === 1 ? 'one thread' : `${threads} threads`}`;
  for (const c of cases.filter(({ file }) => file !== null))
    test(`${c.name} has the golden embeddings (${build})`, () =>
      withModel({ context: c.context, kv: c.kv, variant, threads }, (model) => checkCase(model, c), sourceOf(c)));
  test(`SmolLM2 has the golden embeddings (${build})`, { skip: withoutSmollm }, async () => {
    const own = cases.filter(({ file }) => file === null);
    const [{ context, kv }] = own;
    await withModel({ context, kv, variant, threads }, async (model) => {
      for (const c of own) await checkCase(model, c);
    }, smollm);
  });
}

// ---- what a file says ----------------------------------------------------------------------------------------------

const encoder = new TextEncoder();
const u64 = (/** @type {number} */ n) => new Uint8Array(new BigUint64Array([BigInt(n)]).buffer);
const u32 = (/** @type {number} */ n) => new Uint8Array(new Uint32Array([n]).buffer);
const text = (/** @type {string} */ s) => [u64(encoder.encode(s).length), encoder.encode(s)];
const join = (/** @type {Uint8Array[]} */ parts) => new Uint8Array(Buffer.concat(parts));
const UINT32 = 4;
const BOOL = 7;
const STRING = 8;

/**
 * A GGUF file with more metadata, put before its own. A text of spaces keeps the tensors aligned.
 * @param {string} file @param {[string, number | boolean][]} entries
 */
function withMetadata(file, entries) {
  const bytes = new Uint8Array(readFileSync(file));
  const parts = entries.flatMap(([key, value]) =>
    typeof value === 'boolean' ? [...text(key), u32(BOOL), Uint8Array.of(Number(value))] : [...text(key), u32(UINT32), u32(value)],
  );
  const head = [...text('test.padding'), u32(STRING)];
  const size = join([...parts, ...head]).length + 8;
  const made = join([bytes.subarray(0, 24), ...parts, ...head, ...text(' '.repeat(32 - (size % 32))), bytes.subarray(24)]);
  const view = new DataView(made.buffer);
  view.setBigUint64(16, view.getBigUint64(16, true) + BigInt(entries.length + 1), true);
  return made;
}

test("a file's pooling is the default, and an option goes before it", async () => {
  for (const [type, pooling] of /** @type {[number, 'mean' | 'last'][]} */ ([[1, 'mean'], [3, 'last']])) {
    const c = pick('qwen3');
    const file = withMetadata(path.join(folder, 'models/qwen3.gguf'), [['qwen3.pooling_type', type]]);
    await withModel(
      { context: c.context, kv: c.kv, threads: 1 },
      async (model) => {
        assert.equal(model.info.pooling, pooling);
        assertNear(await model.embed(c.text, { normalize: false }), c, pooling);
        for (const other of POOLINGS) assertNear(await model.embed(c.text, { normalize: false, pooling: other }), c, other);
      },
      file,
    );
  }
});

test('a pooling that there is not is refused by name, unless another is asked for', async () => {
  for (const [type, name] of /** @type {[number, string][]} */ ([[2, 'cls'], [4, 'rank'], [9, 'type 9']])) {
    const file = withMetadata(path.join(folder, 'models/qwen2.gguf'), [['qwen2.pooling_type', type]]);
    await withModel(
      { threads: 1 },
      async (model) => {
        assert.equal(model.info.pooling, name);
        await assert.rejects(model.embed('a'), fails('UNSUPPORTED_ARCHITECTURE', new RegExp(`trained for "${name}" pooling`)));
        assert.equal((await model.embed('a', { pooling: 'last' })).length, model.info.width);
      },
      file,
    );
  }
});

test('the end token is there where the file wants one, for embeddings only', () => {
  const file = withMetadata(path.join(folder, 'models/qwen3.gguf'), [['tokenizer.ggml.add_eos_token', true]]);
  return withModel(
    { kv: 'f32', threads: 1 },
    async (model) => {
      const ids = await model.tokenize('the tiny heron', { bos: true });
      const { promptIds } = await model.complete('the tiny heron', { maxTokens: 0 }).done;
      assert.deepEqual(promptIds, ids);
      await withModel(
        { kv: 'f32', threads: 1 },
        async (plain) => {
          const ended = await plain.embed('the tiny heron', { pooling: 'last' });
          assert.ok(apart(await model.embed('the tiny heron', { pooling: 'last' }), [...ended]) > 0.1);
        },
        path.join(folder, 'models/qwen3.gguf'),
      );
      const { done } = await countOf(model, 'the tiny heron');
      assert.equal(done, ids.length + 1);
    },
    file,
  );
});

/** The tokens of a text, as embed() tells. @param {import('../../js/types.js').Model} model @param {string} what */
async function countOf(model, what) {
  let last = { done: 0, total: 0 };
  await model.embed(what, { onPrefill: (progress) => (last = progress) });
  return last;
}

test('models that see what follows, and encoders, are refused at load', async () => {
  const both = withMetadata(path.join(folder, 'models/qwen3.gguf'), [['qwen3.attention.causal', false]]);
  await assert.rejects(withModel({}, async () => {}, both), fails('UNSUPPORTED_ARCHITECTURE', /qwen3\.attention\.causal is false/));
  const bert = new Uint8Array(readFileSync(path.join(folder, 'models/qwen3.gguf')));
  const at = Buffer.from(bert.buffer).indexOf('qwen3', Buffer.from(bert.buffer).indexOf('general.architecture'));
  bert.set(encoder.encode('bertx'), at);
  await assert.rejects(withModel({}, async () => {}, bert), fails('UNSUPPORTED_ARCHITECTURE', /"bertx" is not supported/));
});

// ---- several texts, long texts -------------------------------------------------------------------------------------

const LONG = 'One day a little girl found a big red ball in the park and she was happy. '.repeat(30); // several chunks

test('several texts give what each gives alone, to the bit, in any order', () =>
  withModel({ context: 2048 }, async (model) => {
    const texts = ['Once upon a time', LONG, 'a', 'Once upon a time there was', 'Once upon a time'];
    const all = await model.embed(texts);
    assert.equal(all.length, texts.length);
    for (const [i, one] of texts.entries()) assert.deepEqual(await model.embed(one), all[i], `text ${i}`);
    assert.deepEqual(await model.embed([...texts].reverse()), [...all].reverse());
    assert.deepEqual(await Promise.all(texts.map((one) => model.embed(one))), all, 'all at the same time');
    assert.deepEqual(await model.embed([]), []);
  }));

test('a text of several chunks: the mean over all its tokens, the state of the last', () =>
  withModel({ context: 2048, kv: 'f32' }, async (model) => {
    const ids = await model.tokenize(LONG, { bos: true });
    assert.ok(ids.length > 2 * 128, `${ids.length}`);
    /** @type {{done: number, total: number}[]} */
    const seen = [];
    const mean = await model.embed(LONG, { normalize: false, onPrefill: (progress) => seen.push(progress) });
    assert.deepEqual(seen.at(-1), { done: ids.length, total: ids.length });
    assert.equal(seen.length, Math.ceil(ids.length / 128));
    // What the tokens before it make of the last one does not depend on how they are cut.
    const cut = (/** @type {number} */ end) => model.detokenize(ids.slice(1, end));
    const head = await cut(ids.length - 1);
    assert.deepEqual(await model.tokenize(head, { bos: true }), ids.slice(0, -1));
    const before = await model.embed(head, { normalize: false });
    const last = await model.embed(LONG, { normalize: false, pooling: 'last' });
    const whole = [...before].map((x, i) => (x * (ids.length - 1) + last[i]) / ids.length);
    assert.ok(apart(mean, whole) < 1e-5, `${apart(mean, whole)}`);
  }));

test('chats and completions go on as if nothing had been embedded', () =>
  withModel({ threads: 1 }, async (model) => {
    const options = { maxTokens: 8, ignoreEos: true };
    const before = await model.complete('Once upon a time', options).done;
    const reply = model.complete('Once upon a time', { maxTokens: 60, ignoreEos: true }).done;
    await model.embed(['Once upon a time there was', 'a dog']);
    assert.deepEqual((await reply).ids.slice(0, 8), before.ids);
    assert.deepEqual((await model.complete('Once upon a time', options).done).ids, before.ids);
    const { usedBytes } = await model.memory();
    for (let i = 0; i < 5; i++) await model.embed('a dog');
    assert.equal((await model.memory()).usedBytes, usedBytes);
  }));

test('alike texts are nearer than others', { skip: withoutSmollm }, () =>
  withModel(
    {},
    async (model) => {
      const [cat, kitten, rates] = await model.embed([
        'The cat sits on the mat.',
        'A kitten is sitting on a rug.',
        'Interest rates rose sharply in March.',
      ]);
      assert.ok(dot(cat, kitten) > dot(cat, rates) + 0.1 && dot(cat, kitten) > dot(kitten, rates) + 0.1);
    },
    smollm,
  ));

// ---- the command ---------------------------------------------------------------------------------------------------

test('clla embed prints a line for each text, numbers or JSON', () =>
  inFolder(async (folder) => {
    const texts = ['Once upon a time', 'a dog'];
    const expected = await withModel({}, (model) => model.embed(texts));
    const near = (/** @type {number[][]} */ got, /** @type {Float32Array[]} */ wanted) => {
      assert.equal(got.length, wanted.length);
      for (const [i, vector] of wanted.entries()) assert.ok(apart(got[i], [...vector]) < 1e-7, `${i}`);
    };
    const numbers = (/** @type {string} */ stdout) => stdout.trimEnd().split('\n').map((line) => line.split(' ').map(Number));
    const plain = clla(['embed', tiny, ...texts]);
    assert.equal(plain.status, 0, plain.stderr);
    near(numbers(plain.stdout), expected);
    const file = path.join(folder, 'texts');
    writeFileSync(file, `${texts.join('\n')}\n`);
    assert.equal(clla(['embed', tiny, '--file', file]).stdout, plain.stdout);
    assert.equal(clla(['embed', tiny], { input: `\n${texts.join('\n\n \r\n')}\n\n` }).stdout, plain.stdout, 'blank lines are no texts');
    const json = clla(['embed', tiny, '--json'], { input: texts.join('\r\n') }).stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(json.map(({ index }) => index), [0, 1]);
    near(json.map(({ embedding }) => embedding), expected);
    const own = clla(['embed', tiny, ...texts, '--pooling', 'last', '--no-normalize']);
    near(numbers(own.stdout), await withModel({}, (model) => model.embed(texts, { pooling: 'last', normalize: false })));
  }));

test('clla embed refuses what it cannot do', () => {
  /** @type {[number, RegExp, string[], string?][]} */
  const wrong = [
    [2, /embed needs texts, --file F or texts on stdin/, []],
    [2, /embed needs texts/, [], '\n \n'],
    [2, /texts\[1\] is empty/, ['a', '']],
    [2, /either texts or --file F/, ['a', '--file', '-']],
    [2, /'--pooling <name>'.*mean, last/, ['a', '--pooling', 'cls']],
    [4, /texts\[0\] has \d+ tokens, the context holds 8/, [LONG, '--ctx', '8']],
  ];
  for (const [status, sentence, args, input] of wrong) {
    const made = clla(['embed', tiny, ...args], { input });
    assert.equal(made.status, status, made.stderr);
    assert.match(made.stderr, sentence);
    assert.equal(made.stdout, '');
  }
  assert.ok(clla(['embed', '--help']).stdout.split('\n').every((line) => line.length <= 80));
});

// ---- stopping, and what is refused ---------------------------------------------------------------------------------

test('a signal stops it between chunks, and nothing is left behind', () =>
  withModel({ threads: 1, context: 2048 }, async (model) => {
    const [, expected] = await model.embed([LONG, 'a dog']);
    const { usedBytes } = await model.memory();
    const controller = new AbortController();
    /** @type {number[]} */
    const seen = [];
    const onPrefill = (/** @type {{done: number}} */ { done }) => (seen.push(done), controller.abort());
    await assert.rejects(model.embed([LONG, LONG], { signal: controller.signal, onPrefill }), fails('ABORTED', /stopped/));
    assert.ok(seen.length <= 2, `${seen}`);
    await assert.rejects(model.embed('a', { signal: AbortSignal.abort() }), fails('ABORTED', /stopped/));
    assert.deepEqual(await model.embed('a dog'), expected);
    assert.equal((await model.memory()).usedBytes, usedBytes);
  }));

test('what is wrong is refused by name, before any work', async () => {
  await withModel({ threads: 1, context: 64 }, async (model) => {
    const refuses = (/** @type {any} */ given, /** @type {any} */ options, /** @type {RegExp} */ sentence) =>
      assert.rejects(model.embed(given, options), fails('BAD_ARGUMENT', sentence));
    let calls = 0;
    const onPrefill = () => void calls++;
    await assert.rejects(model.embed(['a', LONG], { onPrefill }), fails('CONTEXT_FULL', /texts\[1\] has \d+ tokens, the context holds 64/));
    await refuses(['a', ''], { onPrefill }, /embed: texts\[1\] is empty/);
    await refuses('', {}, /embed: texts\[0\] is empty/);
    await refuses(['a', 5], {}, /embed: texts\[1\]: want a string, got 5/);
    await refuses(undefined, {}, /embed: text: want a string, got undefined/);
    await refuses('a', { pooling: 'cls' }, /pooling: want "mean" or "last", got "cls"/);
    await refuses('a', { normalise: true }, /has no option "normalise"; it has .*normalize/);
    assert.equal(calls, 0);
    await model.close();
    await assert.rejects(model.embed('a'), fails('CLOSED', /closed/));
  });
  await withModel({ vocabularyOnly: true }, (model) => assert.rejects(model.embed('a'), fails('BAD_ARGUMENT', /vocabulary only|without its weights/)));
});
