// api_errors.test.js: what goes wrong is a CllaError with a code and a sentence that names what and where; the program
// stays usable.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { load } from '../../js/index.js';
import { readParts } from '../../js/source_node.js';
import { fails, inFolder, nodeMajor, tiny, withModel } from './helpers.js';

/** Casts away types: these calls are wrong on purpose. @type {any} */
const loadAnything = load;

test('options of load that are wrong are refused by name', async () => {
  const wrong = [
    [{ contxt: 5 }, /load has no option "contxt"; it has .*context/],
    [{ context: 0 }, /load: context: want an integer from 1 to \d+, got 0/],
    [{ context: Object.create(null) }, /context: want an integer .* got an object/],
    [{ context: '512' }, /context: want an integer .* got "512"/],
    [{ threads: 1.5 }, /threads: want an integer/],
    [{ variant: 'avx' }, /variant: want "simd" or "relaxed", got "avx"/],
    [{ onProgress: 5 }, /onProgress: want a function/],
    [{ signal: {} }, /signal: want an AbortSignal/],
    [{ kv: 16 }, /kv: want a string/],
    [{ wasmUrl: 16 }, /wasmUrl: want a URL or a function that gives one, got 16/],
    [{ wasmUrl: '' }, /wasmUrl: want a URL or a function that gives one, got ""/],
    ['fast', /load: want an object/],
    [[], /load: want an object with options, got \[\]/],
    [null, /load: want an object/],
  ];
  for (const [options, sentence] of wrong) await assert.rejects(loadAnything(tiny, options), fails('BAD_ARGUMENT', /** @type {RegExp} */ (sentence)));
});

test('options of replies that are wrong are refused by name, at once', () =>
  withModel({ threads: 1 }, async (/** @type {any} */ model) => {
    const wrong = [
      [{ maxTokens: -1 }, /maxTokens: want an integer from 0/],
      [{ maxtokens: 1 }, /complete has no option "maxtokens"/],
      [{ stop: '' }, /stop: want .* none of them empty/],
      [{ stop: [1] }, /stop: want/],
      [{ stop: [''] }, /stop: want .* got \[""\]$/],
      [{ stop: ['', 'x'.repeat(100_000)] }, /stop: want .{1,200}$/],
      [{ logprobs: 1000 }, /logprobs: want an integer from 0 to 100/],
      [{ sampling: { temprature: 1 } }, /sampling has no option "temprature"/],
      [{ sampling: { topP: 2 } }, /topP: want a number from 0 to 1, got 2/],
      [{ sampling: { temperature: NaN } }, /temperature: want a number/],
      [{ sampling: { seed: -1 } }, /seed: want an integer/],
      [{ sampling: { logitBias: 5 } }, /logitBias: want an object or a Map of token ids, got 5/],
      [{ sampling: { logitBias: { x: 1 } } }, /logitBias: token: want a token id/],
      [{ sampling: { logitBias: { 1: 'a' } } }, /logitBias\[1\]: want a number/],
      [{ ignoreEos: 1 }, /ignoreEos: want a boolean/],
    ];
    for (const [options, sentence] of wrong) assert.throws(() => model.complete('a', options), fails('BAD_ARGUMENT', /** @type {RegExp} */ (sentence)));
    assert.throws(() => model.complete(5), fails('BAD_ARGUMENT', /prompt: want a text or an array of token ids, got 5/));
    assert.throws(() => model.complete([1, -2]), fails('BAD_ARGUMENT', /token ids/));
    assert.throws(() => model.chat({ sytem: 'a' }), fails('BAD_ARGUMENT', /chat has no option "sytem"/));
    assert.throws(() => model.chat().send(5), fails('BAD_ARGUMENT', /send: text: want a string/));
    assert.throws(() => model.chat().retry(), fails('BAD_ARGUMENT', /no message was sent/));
    assert.throws(() => model.chat().edit(0, 'a'), fails('BAD_ARGUMENT', /edit: want a message/));
    await assert.rejects(model.tokenize('a', { bot: true }), fails('BAD_ARGUMENT', /no option "bot"/));
    await assert.rejects(model.score([1]), fails('BAD_ARGUMENT', /at least two/));
    assert.equal((await model.complete('Once', { maxTokens: 2 }).done).ids.length, 2);
  }));

test('what the engine refuses keeps its sentence', () =>
  withModel({ threads: 1 }, async (model) => {
    const far = model.complete([1, 999_999], { maxTokens: 1 });
    await assert.rejects(far.done, fails('BAD_ARGUMENT', /999999.*vocabulary/));
    const bias = model.complete('a', { sampling: { logitBias: { 999999: 1 } } });
    await assert.rejects(bias.done, fails('BAD_ARGUMENT', /999999/));
    await assert.rejects(model.complete('', { bos: false }).done, fails('BAD_ARGUMENT', /no tokens/));
    await assert.rejects(model.detokenize([5, 2048]), fails('BAD_ARGUMENT', /token 1 is 2048: the vocabulary has 0 to 2047/));
    await assert.rejects(model.score([1, 2048]), fails('BAD_ARGUMENT', /token 1 is 2048/));
    const none = Object.fromEntries(Array.from({ length: 2048 }, (_, id) => [id, -Infinity]));
    await assert.rejects(model.complete('a', { sampling: { logitBias: none } }).done, fails('BAD_ARGUMENT', /no token may follow/));
    assert.equal((await model.complete('Once', { maxTokens: 2 }).done).ids.length, 2);
  }));

test('a callback that throws fails its call, and nothing else', async () => {
  const throws = () => {
    throw new RangeError('my own mistake');
  };
  await assert.rejects(load(tiny, { onProgress: throws }), /my own mistake/);
  await withModel({ threads: 1 }, async (model) => {
    await assert.rejects(model.complete('Once', { onPrefill: throws }).done, /my own mistake/);
    assert.equal((await model.complete('Once', { maxTokens: 2 }).done).ids.length, 2);
  });
});

test('a failure reaches a loop as well as the promise', () =>
  withModel({ threads: 1, context: 8 }, async (model) => {
    const reply = model.complete('the dog ran '.repeat(50));
    const loop = async () => {
      for await (const piece of reply) assert.fail(piece);
    };
    await assert.rejects(loop(), fails('CONTEXT_FULL', /the prompt has \d+ tokens, the context holds 8/));
    await assert.rejects(reply.done, fails('CONTEXT_FULL', /./));
  }));

test('files that cannot be read say so', async () => {
  await assert.rejects(load('/nowhere/model.gguf'), fails('NOT_READABLE', /nowhere\/model\.gguf.*ENOENT/));
  await inFolder(async (folder) => {
    await assert.rejects(load(folder), fails('NOT_READABLE', /is a directory/));
    const first = path.join(folder, 'model-00001-of-00002.gguf');
    copyFileSync(tiny, first);
    await assert.rejects(load(first), fails('NOT_READABLE', /model-00002-of-00002\.gguf/));
    await assert.rejects(load(path.join(folder, 'model-00002-of-00002.gguf')), fails('BAD_ARGUMENT', /first part/));
  });
  await assert.rejects(load('ftp://example.org/model.gguf'), fails('BAD_ARGUMENT', /cannot read ftp:/));
  for (const name of ['nope', 'nope.gguf', ''])
    await assert.rejects(load(name), fails('NOT_STORED', /: is no file, and no model of this name is stored or in the catalogue, which has clla-4m-chat, /));
  for (const url of ['http://', 'http://[', 'https://a b/c.gguf']) await assert.rejects(load(url), fails('BAD_ARGUMENT', /^source: https?:.*: is not a valid URL$/));
  await assert.rejects(load('file://host/x'), fails('BAD_ARGUMENT', /^source: file:\/\/host\/x: .*host/));
  await assert.rejects(load('file:///a%2Fb'), fails('BAD_ARGUMENT', /^source: file:\/\/\/a%2Fb: /));
  await assert.rejects(loadAnything(42), fails('BAD_ARGUMENT', /source: want a name, a path/));
  await assert.rejects(loadAnything(undefined), fails('BAD_ARGUMENT', /source: want a name, a path/));
});

test('files that are damaged say so', async () => {
  const whole = readFileSync(tiny);
  await inFolder(async (folder) => {
    const file = path.join(folder, 'damaged.gguf');
    /** @param {Uint8Array} bytes */
    const loadBytes = (bytes) => {
      writeFileSync(file, bytes);
      return load(file, { threads: 1 });
    };
    for (const size of [0, 3, 20, 1000, 50_000, whole.length >> 1, whole.length - 1])
      await assert.rejects(loadBytes(whole.subarray(0, size)), fails('TRUNCATED_FILE', /./), `${size} bytes`);
    await assert.rejects(loadBytes(Buffer.from('This is no model at all, just text.')), fails('BAD_FILE', /GGUF|magic/i));
    const version = Buffer.from(whole);
    version.writeUInt32LE(99, 4);
    await assert.rejects(loadBytes(version), fails('UNSUPPORTED_VERSION', /99/));
    const architecture = Buffer.from(whole);
    architecture.write('lamma', architecture.indexOf('llama'));
    await assert.rejects(loadBytes(architecture), fails('UNSUPPORTED_ARCHITECTURE', /lamma/));
  });
});

test('a file that shrinks while it is read says so', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'shrinks.gguf');
    copyFileSync(tiny, file);
    const buffer = new Uint8Array(1 << 18);
    const reading = readParts(file, () => buffer, async () => {
      truncateSync(file, 1 << 18);
      return true;
    });
    await assert.rejects(reading, fails('TRUNCATED_FILE', /shrank from \d+ to 262144 bytes/));
  }));

test('a context larger than memory is refused with its bytes, before anything is allocated', async () => {
  const before = process.memoryUsage().rss;
  await assert.rejects(load(tiny, { threads: 1, context: 2 ** 24 }), fails('OUT_OF_MEMORY', /8,\d\d\d MB .*left/));
  assert.ok(process.memoryUsage().rss - before < 300e6);
});

test('a cache specification that is not valid is refused with its name', async () => {
  await assert.rejects(load(tiny, { threads: 1, kv: 'q9' }), fails('BAD_KV_SPEC', /q9/));
  for (const kv of ['', '\0', 'q8\0x']) await assert.rejects(load(tiny, { threads: 1, kv }), fails('BAD_KV_SPEC', /^load: kv: want a cache specification/));
});

test('a model without its weights does not run', () =>
  withModel({ vocabularyOnly: true }, async (model) => {
    await assert.rejects(model.complete('a').done, fails('BAD_ARGUMENT', /without its weights/));
  }));

test('relaxed SIMD is refused where it is not sound, and runs where it is', async () => {
  if (nodeMajor >= 22) return withModel({ variant: 'relaxed', threads: 1 }, async ({ info }) => assert.equal(info.variant, 'relaxed'));
  await assert.rejects(load(tiny, { variant: 'relaxed' }), fails('BAD_ARGUMENT', /relaxed.*Node before 22/));
});
