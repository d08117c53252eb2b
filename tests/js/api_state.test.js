// api_state.test.js: chats that are saved and restored: nothing is computed again, and everything goes on as if nothing
// had happened, in whatever build of the engine; what is damaged or belongs elsewhere is refused.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { load } from '../../js/index.js';
import { LINES, fails, inFolder, nodeMajor, root, withModel } from './helpers.js';

/** @typedef {import('../../js/types.js').Chat} Chat */
/** @typedef {import('../../js/types.js').Model} Model */

const SHORT = { maxTokens: 16 };
const DRAWN = { template: LINES, system: 'A story.', sampling: { temperature: 1.2, topP: 0.9, seed: 11 } };

/** @param {Chat} chat @param {...string} said */
async function say(chat, ...said) {
  let result = { text: '', ids: /** @type {number[]} */ ([]), usage: { cachedTokens: 0, contextUsed: 0 } };
  for (const message of said) result = await chat.send(message, SHORT).done;
  return result;
}

/** @param {Blob} blob @param {(bytes: Uint8Array) => Uint8Array} change */
async function changed(blob, change) {
  return new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (change(new Uint8Array(await blob.arrayBuffer())))]);
}

test('a restored chat goes on as the saved one does, without computing anything again', () =>
  withModel({ threads: 1 }, async (model) => {
    for (const kv of ['f16', 'q8', 'q4']) {
      const other = await load(path.join(root, 'models/tinystories-656k.gguf'), { threads: 1, kv });
      const chat = other.chat(DRAWN);
      await say(chat, 'Once upon a time', 'The dog was');
      const blob = await chat.save();
      assert.ok(blob.size > 1000);
      const later = await other.restore(blob);
      assert.deepEqual(later.messages, chat.messages);
      assert.equal(later.usage.contextUsed, chat.usage.contextUsed);
      assert.equal(later.usage.contextSize, chat.usage.contextSize);
      assert.equal(later.usage.kvBytes, chat.usage.kvBytes);
      const [ours, theirs] = [await say(chat, 'The sun'), await say(later, 'The sun')];
      assert.deepEqual(theirs.ids, ours.ids);
      assert.equal(theirs.usage.cachedTokens, ours.usage.cachedTokens);
      assert.ok(theirs.usage.cachedTokens > 40, `${theirs.usage.cachedTokens} tokens were in the cache`);
      const [again, too] = [await chat.retry(SHORT).done, await later.retry(SHORT).done];
      assert.deepEqual(too.ids, again.ids, 'the next attempt draws alike');
      assert.notDeepEqual(again.ids, ours.ids);
      await other.close();
    }
    assert.ok(model.info.context > 0);
  }));

test('a chat can be saved before anything was said, saved again, edited and forked when restored', () =>
  withModel({ threads: 1 }, async (model) => {
    const empty = await model.restore(await model.chat(DRAWN).save());
    assert.deepEqual(empty.messages, [{ role: 'system', content: 'A story.' }]);
    const fresh = await say(model.chat(DRAWN), 'Once upon a time');
    assert.deepEqual((await say(empty, 'Once upon a time')).ids, fresh.ids);
    const twice = await model.restore(await empty.save());
    const fork = twice.fork();
    const next = await say(empty, 'The dog was');
    assert.deepEqual((await say(twice, 'The dog was')).ids, next.ids);
    assert.deepEqual((await say(fork, 'The dog was')).ids, next.ids);
    const edited = await twice.edit(1, 'A cat', SHORT)?.done;
    const expected = await empty.edit(1, 'A cat', SHORT)?.done;
    assert.deepEqual(edited?.ids, expected?.ids);
    for (const chat of [empty, twice, fork]) await chat.close();
    assert.deepEqual((await say(model.chat(DRAWN), 'Once upon a time')).ids, fresh.ids, 'other chats are as ever');
  }));

test('a file comes from a path, bytes or a stream as well; sampling may change', () =>
  inFolder((folder) =>
    withModel({ threads: 1 }, async (model) => {
      const chat = model.chat({ ...DRAWN, sampling: { temperature: 1, seed: 3, logitBias: { 5: -Infinity, 7: 0.5 } } });
      await say(chat, 'Once upon a time');
      const blob = await chat.save();
      const bytes = new Uint8Array(await blob.arrayBuffer());
      const file = path.join(folder, 'chat.clla');
      writeFileSync(file, bytes);
      const { ids } = await say(chat, 'The dog was');
      for (const source of [file, bytes, blob.stream()])
        assert.deepEqual((await say(await model.restore(source), 'The dog was')).ids, ids);
      const greedy = await model.restore(blob, { sampling: { temperature: 0 } });
      const first = await say(greedy, 'The dog was');
      assert.deepEqual((await greedy.retry(SHORT).done).ids, first.ids);
    }),
  ));

test('a context may be longer, not too short; the cache must be the same', () =>
  withModel({ threads: 1, context: 200, kv: 'q8' }, async (model) => {
    const chat = model.chat(DRAWN);
    await say(chat, 'Once upon a time', 'The dog was');
    const blob = await chat.save();
    const { ids } = await say(chat, 'The sun');
    const source = path.join(root, 'models/tinystories-656k.gguf');
    const restored = async (/** @type {object} */ options) => {
      const other = await load(source, { threads: 1, ...options });
      try {
        const later = await other.restore(blob);
        const { contextSize } = later.usage;
        return { contextSize, ids: (await say(later, 'The sun')).ids };
      } finally {
        await other.close();
      }
    };
    assert.deepEqual(await restored({}), { contextSize: 200, ids });
    assert.deepEqual(await restored({ context: 400, kv: 'q8' }), { contextSize: 400, ids });
    await assert.rejects(restored({ context: 20 }), fails('CONTEXT_FULL', /context of 20 has no room/));
    await assert.rejects(restored({ kv: 'f16' }), fails('BAD_KV_SPEC', /saved with a cache "q8".*"f16"/));
  }));

test('a model that turns keys by the length of the context (longrope) takes a chat only into one that turns alike', () => {
  const source = path.join(root, 'tests/vectors/models/phi3.gguf'); // other rope factors beyond 256 tokens
  return withModel({ threads: 1, context: 200 }, async (model) => {
    const chat = model.chat(DRAWN);
    await say(chat, 'a');
    const blob = await chat.save();
    const { ids } = await say(chat, 'b');
    for (const context of [250, 300])
      await withModel({ threads: 1, context }, async (other) => {
        if (context > 256) return assert.rejects(other.restore(blob), fails('BAD_ARGUMENT', /context of 200: with one of 300/));
        assert.deepEqual((await say(await other.restore(blob), 'b')).ids, ids);
      }, source);
  }, source);
});

test('what is no saved chat of this model is refused, and the model goes on', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat(DRAWN);
    await say(chat, 'Once upon a time');
    const blob = await chat.save();
    const refused = (/** @type {(bytes: Uint8Array) => Uint8Array} */ change) => changed(blob, change).then((b) => model.restore(b));
    await assert.rejects(refused((b) => b.subarray(0, 100)), fails('TRUNCATED_FILE', /within the head/));
    await assert.rejects(refused((b) => b.subarray(0, b.length - 9)), fails('TRUNCATED_FILE', /ends before/));
    await assert.rejects(refused((b) => b.with(b.length - 100, b[b.length - 100] ^ 4)), fails('BAD_FILE', /damaged/));
    await assert.rejects(refused((b) => b.with(50, 1)), fails('BAD_FILE', /damaged: its head/));
    await assert.rejects(refused((b) => b.with(8, 9)), fails('UNSUPPORTED_VERSION', /version 9: this build reads version 1/));
    await assert.rejects(model.restore(new Blob(['GGUF'.repeat(99)])), fails('BAD_FILE', /no saved session/));
    await assert.rejects(model.restore(new Blob([])), fails('TRUNCATED_FILE', /head/));
    await assert.rejects(model.restore('/nowhere/chat.clla'), fails('NOT_READABLE', /nowhere/));
    await assert.rejects(model.restore(blob, /** @type {any} */ ({ kv: 'q8' })), fails('BAD_ARGUMENT', /no option "kv"/));
    const later = await model.restore(blob);
    assert.deepEqual((await say(later, 'The dog was')).ids, (await say(chat, 'The dog was')).ids);
    await withModel({ threads: 1 }, async (other) => {
      await assert.rejects(other.restore(blob), fails('OTHER_MODEL', /another model/));
    }, path.join(root, 'tests/vectors/models/type-q4_0.gguf'));
  }));

test('what is sent while a chat is saved waits; a reply under way is not saved', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat(DRAWN);
    await say(chat, 'Once upon a time');
    const saving = chat.save();
    const next = chat.send('The dog was', SHORT);
    await assert.rejects(chat.save(), fails('BUSY', /still writing/));
    const later = await model.restore(await saving);
    assert.equal(later.messages.length, 3);
    assert.deepEqual((await say(later, 'The dog was')).ids, (await next.done).ids);
    const stop = new AbortController();
    stop.abort();
    await assert.rejects(chat.save({ signal: stop.signal }), fails('ABORTED', /stopped/));
    await assert.rejects(model.restore(await chat.save(), { signal: stop.signal }), fails('ABORTED', /stopped/));
    await chat.close();
    await assert.rejects(chat.save(), fails('CLOSED', /closed/));
  }));

test('a saved chat holds the tokens of its own messages, not those of a chat before it or of what was taken back', () =>
  withModel({ threads: 1 }, async (model) => {
    const used = async (/** @type {Chat} */ chat) => (await model.restore(await chat.save())).usage.contextUsed;
    const before = model.chat(DRAWN);
    await say(before, 'My secret is marmalade.');
    await before.close();
    const chat = model.chat(DRAWN);
    assert.equal(await used(chat), 0, 'another chat was closed');
    await model.complete('My secret is marmalade.', SHORT).done;
    assert.equal(await used(model.chat()), 0, 'a text was completed');
    await say(chat, 'Once upon a time');
    assert.equal(await used(chat), chat.usage.contextUsed);
    await assert.rejects(chat.send('the dog ran '.repeat(400)).done, fails('CONTEXT_FULL', /context holds/));
    assert.equal(await used(chat), chat.usage.contextUsed, 'a message that does not fit changes nothing');
    assert.ok(chat.usage.contextUsed > 0);
    const fork = chat.fork();
    assert.equal(await used(fork), chat.usage.contextUsed);
    chat.edit(2, 'It rained.');
    assert.equal(await used(chat), 0, 'a message was replaced');
    assert.equal(chat.usage.contextUsed, 0);
    const next = await say(chat, 'Then');
    assert.equal(await used(chat), next.usage.contextUsed);
    const running = fork.send('Then', { ignoreEos: true });
    const other = fork.fork();
    assert.equal(await used(other), 0, 'a reply was under way');
    running.stop();
  }));

test('a signal stops restoring from a stream that gives nothing more', () =>
  withModel({ threads: 1 }, async (model) => {
    const stop = new AbortController();
    async function* stalls() {
      yield new TextEncoder().encode('CLLA');
      stop.abort();
      await new Promise(() => {});
    }
    await assert.rejects(model.restore(/** @type {any} */ (stalls()), { signal: stop.signal }), fails('ABORTED', /stopped/));
  }));

test('a reply that is stopped before its first word leaves what was read before it in the cache', () =>
  withModel({ threads: 1, context: 8192 }, async (model) => { // which takes long to fill: the signal must come before its end
    const chat = model.chat(DRAWN);
    await say(chat, 'Once upon a time', 'The dog was');
    const { contextUsed } = chat.usage;
    for (let i = 0; i < 2; i++) {
      const stop = new AbortController();
      const long = { ...SHORT, signal: stop.signal, onPrefill: () => stop.abort() };
      const { ids } = await chat.send('My secret is marmalade. '.repeat(700), long).done;
      assert.deepEqual(ids, []);
      assert.ok(chat.usage.contextUsed > contextUsed, 'some of it was read');
    }
    const fork = chat.fork();
    for (const saved of [await chat.save(), await fork.save()]) {
      const later = await model.restore(saved);
      assert.equal(later.usage.contextUsed, contextUsed);
      assert.equal((await say(later, 'The sun')).usage.cachedTokens, contextUsed);
    }
    assert.equal(chat.usage.contextUsed, contextUsed);
  }));

test('a restored chat that is saved again gives the same file', () =>
  withModel({ threads: 1 }, async (model) => {
    const settings = [DRAWN, {}, { sampling: { seed: 7, topK: 5 } }, { sampling: { logitBias: { 5: -Infinity }, temperature: 1 } }];
    for (const options of settings) {
      const chat = model.chat({ template: LINES, ...options });
      await say(chat, 'Once upon a time');
      const blob = await chat.save();
      const again = await (await model.restore(blob)).save();
      assert.deepEqual(Buffer.from(await again.arrayBuffer()), Buffer.from(await blob.arrayBuffer()));
    }
  }));

/** Each model with the cache that its chat is saved with; of latents the one they were trained for. @type {[string, string?][]} */
const CACHES = [['tinystories-656k', 'q8'], ['clla-4m-chat']];
for (const [name, kv] of CACHES) {
  const source = path.join(root, `models/${name}.gguf`);
  const acrossBuilds = async (/** @type {Model} */ model) => {
    const variants = nodeMajor < 22 ? ['simd'] : ['simd', 'relaxed'];
    const chat = model.chat({ template: LINES });
    await say(chat, 'Once upon a time', 'The dog was');
    const blob = await chat.save();
    const { text } = await say(chat, 'The sun');
    for (const variant of variants)
      for (const threads of [1, 2]) {
        const goOn = async (/** @type {Model} */ other) => {
          const later = await other.restore(blob);
          const reply = await say(later, 'The sun');
          assert.equal(reply.text, text, `${variant} with ${threads} threads`);
          assert.ok(reply.usage.cachedTokens > 40);
          const back = await model.restore(await later.save());
          assert.deepEqual(back.messages, later.messages);
          assert.ok((await say(back, 'The end')).usage.cachedTokens > 60);
        };
        await withModel({ threads, variant: /** @type {any} */ (variant), kv }, goOn, source);
      }
  };
  test(`a chat with ${name} saved by one build of the engine goes on in another`, () =>
    withModel({ threads: 1, variant: 'simd', kv }, acrossBuilds, source));
}
