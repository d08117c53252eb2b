// api_sources.test.js: a model comes from a path, a URL, bytes, a Blob, a stream or an iterable, and is the same model.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { runInNewContext } from 'node:vm';
import { load } from '../../js/index.js';
import { partNames } from '../../js/source.js';
import { fails, golden, root, tiny, withModel } from './helpers.js';

const bytes = readFileSync(tiny);

/** @param {import('../../js/types.js').ModelSource} source */
const check = (source) =>
  withModel(
    { threads: 1, kv: 'f32' },
    async (model) => {
      const { ids } = await model.complete(golden[1].prompt, { maxTokens: 20 }).done;
      assert.deepEqual(ids, golden[1].output_ids.slice(0, 20));
    },
    source,
  );

test('a path relative to the working folder', () => check(path.relative(process.cwd(), tiny)));
test('a file: URL, as an object and as text', async () => {
  await check(pathToFileURL(tiny));
  await check(pathToFileURL(tiny).href);
});
test('bytes, which stay the caller’s', async () => {
  const own = new Uint8Array(bytes);
  await check(own);
  assert.deepEqual(Buffer.compare(own, bytes), 0);
  await check(own.buffer);
});
test('a view into the middle of a buffer', () => {
  const padded = Buffer.concat([Buffer.alloc(13, 7), bytes, Buffer.alloc(5, 9)]);
  return check(new Uint8Array(padded.buffer, padded.byteOffset + 13, bytes.length));
});
test('a Blob', () => check(new Blob([bytes])));
test('a ReadableStream', () => check(new Blob([bytes]).stream()));
test('a stream of Node', () => check(createReadStream(tiny)));
test('an async iterable of pieces of any size', () =>
  check(
    (async function* () {
      for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7 + 3) % 100_003) yield bytes.subarray(at, at + size);
    })(),
  ));
test('bytes of another realm', async () => {
  /** @type {Uint8Array} */
  const foreign = runInNewContext(`new Uint8Array(${bytes.length})`);
  foreign.set(bytes);
  await check(/** @type {any} */ (foreign));
  await check(/** @type {any} */ (foreign.buffer));
});
test('an iterable of pieces', () => check([bytes.subarray(0, 5), bytes.subarray(5, 700_000), bytes.subarray(700_000)]));

test('progress of a stream learns its total from the header', async () => {
  /** @type {(number | undefined)[]} */
  const totals = [];
  const stream = Readable.from(chunked(100_000));
  const model = await load(stream, { threads: 1, onProgress: ({ total }) => totals.push(total) });
  await model.close();
  assert.equal(totals.at(-1), bytes.length);
});

/** @param {number} size */
function* chunked(size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test('a stream that ends early, gives text or fails says so', async () => {
  await assert.rejects(load([bytes.subarray(0, 900_000)]), fails('TRUNCATED_FILE', /./));
  await assert.rejects(load(/** @type {any} */ (['GGUF'])), fails('BAD_ARGUMENT', /pieces that are not bytes/));
  async function* breaks() {
    yield bytes.subarray(0, 1000);
    throw new Error('the cable was pulled');
  }
  const pulled = fails('NOT_READABLE', /^the stream cannot be read: Error: the cable was pulled$/);
  await assert.rejects(load(breaks()), pulled);
  await assert.rejects(load(/** @type {any} */ (Readable.toWeb(Readable.from(breaks())))), pulled);
});

test('what cannot be read any more is refused', async () => {
  const locked = new Blob([bytes]).stream();
  locked.getReader();
  await assert.rejects(load(locked), fails('BAD_ARGUMENT', /the stream is locked/));
  const gone = new Uint8Array(bytes);
  const { buffer } = gone;
  structuredClone(undefined, { transfer: [buffer] });
  for (const source of [gone, buffer, [gone]]) await assert.rejects(load(source), fails('BAD_ARGUMENT', /these bytes are gone/));
});

test('a split model is named by its first part', () => {
  assert.deepEqual(partNames('a/model.gguf'), ['a/model.gguf']);
  assert.deepEqual(partNames('m-00001-of-00003.gguf'), ['m-00001-of-00003.gguf', 'm-00002-of-00003.gguf', 'm-00003-of-00003.gguf']);
  assert.deepEqual(partNames('M-00001-OF-00002.GGUF'), ['M-00001-OF-00002.GGUF', 'M-00002-OF-00002.GGUF']);
  assert.throws(() => partNames('m-00002-of-00003.gguf'), fails('BAD_ARGUMENT', /first part/));
  assert.throws(() => partNames('m-00005-of-00003.gguf'), fails('BAD_ARGUMENT', /^m-00005-.*: no split model has a part 5 of 3$/));
  assert.throws(() => partNames('m-00001-of-00000.gguf'), fails('BAD_ARGUMENT', /^m-00001-.*: no split model has a part 1 of 0$/));
  assert.throws(() => partNames('m-00000-of-00003.gguf'), fails('BAD_ARGUMENT', /^m-00000-.*: no split model has a part 0 of 3$/));
});

const split = path.join(root, 'tests/vectors/models/split-00001-of-00003.gguf');
test('a split model is read part by part', { skip: !existsSync(split) && `${split} is not here` }, () =>
  withModel(
    { threads: 1 },
    async (model) => {
      const { ids } = await model.complete('a', { maxTokens: 4, ignoreEos: true }).done;
      assert.equal(ids.length, 4);
    },
    split,
  ));
