// api_trim.test.js: the limit of the context: refused before any work, ended by 'length', or trimmed: the oldest turns go, the
// system message and the newest one stay, and what goes is told.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { LINES, fails, smollm, withModel, withoutSmollm } from './helpers.js';

/** @typedef {import('../../js/types.js').Chat} Chat */
/** @typedef {import('../../js/types.js').Message} Message */

const SHORT = { maxTokens: 8, ignoreEos: true };
/** @type {Message} */
const SYSTEM = { role: 'system', content: 'A story.' };

/** @param {Chat} chat @param {number} from @param {number} count of turns, each with a number */
async function talk(chat, from, count) {
  for (let i = from; i < from + count; i++) await chat.send(`The dog ran ${i} times`, SHORT).done;
}

/** Whole turns, the last one without its answer or with it. @param {Message[]} messages */
function assertWholeTurns(messages) {
  messages.forEach(({ role }, i) => assert.equal(role, i % 2 === 0 ? 'user' : 'assistant', JSON.stringify(messages)));
}

test('a prompt that does not fit is refused before any work: nothing is read, the cache stays', () =>
  withModel({ threads: 1, context: 64 }, async (model) => {
    const chat = model.chat({ template: LINES });
    await chat.send('Once', { maxTokens: 8 }).done;
    const { contextUsed } = chat.usage;
    let read = 0;
    const onPrefill = () => read++;
    await assert.rejects(
      chat.send('the dog ran '.repeat(40), { onPrefill }).done,
      fails('CONTEXT_FULL', /the prompt has \d+ tokens, the context holds 64/),
    );
    assert.equal(read, 0);
    assert.equal(chat.usage.contextUsed, contextUsed);
    const next = await chat.send('Then', { maxTokens: 4 }).done;
    assert.ok(next.usage.cachedTokens >= contextUsed - 1, `${next.usage.cachedTokens} of ${contextUsed} tokens were still there`);
  }));

test('a reply that fills the context ends with length', () =>
  withModel({ threads: 1, context: 64 }, async (model) => {
    const chat = model.chat({ template: LINES, trim: true });
    const { finishReason, ids, promptIds, usage } = await chat.send('Once upon a time', { ignoreEos: true }).done;
    assert.equal(finishReason, 'length');
    assert.equal(usage.contextUsed, 64);
    assert.equal(ids.length, 64 - promptIds.length + 1, 'the last token needs no place');
  }));

test('trimming drops the oldest turns, keeps the system message and the newest one, and tells what it dropped', () =>
  withModel({ threads: 1, context: 160 }, async (model) => {
    const chat = model.chat({ template: LINES, system: SYSTEM.content, trim: true });
    /** @type {Message[]} */
    const all = [SYSTEM];
    /** @type {Message[]} */
    const dropped = [];
    let trims = 0;
    for (let i = 0; i < 40; i++) {
      /** @type {Message[] | undefined} */
      let told;
      const said = `The dog ran ${i} times`;
      const { text, trimmed, promptIds, usage } = await chat.send(said, { ...SHORT, onTrim: (messages) => (told = messages) }).done;
      all.push({ role: 'user', content: said }, { role: 'assistant', content: text });
      assert.deepEqual(told, trimmed);
      if (trimmed) {
        trims++;
        dropped.push(...trimmed);
        assertWholeTurns(trimmed);
        assert.equal(trimmed.length % 2, 0);
        assert.ok(usage.cachedTokens > 0, 'the system message was not read again');
        assert.ok(promptIds.length <= 90, `about half is free: ${promptIds.length}`);
      }
      assert.ok(promptIds.length <= 160 - 8, 'the reply has its room');
      assert.deepEqual([SYSTEM, ...dropped, ...chat.messages.slice(1)], all, 'what is kept and what was dropped is all there was');
      assert.deepEqual(chat.messages[0], SYSTEM);
      assertWholeTurns(chat.messages.slice(1));
    }
    assert.ok(trims >= 3 && trims <= 14, `${trims} times in 40 turns: not at every turn`);
  }));

test('a trimmed chat answers as one that never heard what was dropped, also when it is retried, edited, forked, saved', () =>
  withModel({ threads: 1, context: 128 }, async (model) => {
    const chat = model.chat({ template: LINES, system: SYSTEM.content, trim: 32 });
    await talk(chat, 0, 20);
    const expected = async () => {
      const { promptIds, ids } = await chat.retry(SHORT).done;
      const alone = await model.complete(promptIds, SHORT).done;
      assert.deepEqual(ids, alone.ids);
    };
    await expected();
    const fork = chat.fork();
    const later = await model.restore(await chat.save());
    assert.deepEqual(later.messages, chat.messages);
    for (let i = 20; i < 40; i++) {
      const said = `The cat sat ${i} times`;
      const [a, b, c] = [await chat.send(said, SHORT).done, await fork.send(said, SHORT).done, await later.send(said, SHORT).done];
      assert.deepEqual([b.ids, c.ids], [a.ids, a.ids]);
      assert.deepEqual([b.trimmed, c.trimmed], [a.trimmed, a.trimmed], 'settings travel along');
    }
    const at = chat.messages.length - 2;
    const edited = await chat.edit(at, 'a long message '.repeat(20), SHORT)?.done;
    assert.ok(edited?.trimmed, 'what an edit makes too long is trimmed as well');
    await expected();
    await assert.rejects(async () => {
      const plain = await model.restore(await later.save(), { trim: false });
      await talk(plain, 40, 20);
    }, fails('CONTEXT_FULL', /context holds 128/));
  }));

test('a turn that is long by itself does not take the others with it: no more is dropped than must be', () =>
  withModel({ threads: 1, context: 160 }, async (model) => {
    const chat = model.chat({ template: LINES, trim: 16 });
    await chat.send('short', SHORT).done;
    await chat.send('the dog ran and '.repeat(20), SHORT).done; // alone more than half
    /** @type {Message[] | undefined} */
    let trimmed;
    for (let words = 1; !trimmed; words++) {
      const fork = chat.fork();
      ({ trimmed } = await fork.send('and '.repeat(words), SHORT).done);
      await fork.close();
    }
    assert.deepEqual(trimmed.map(({ role }) => role), ['user', 'assistant']);
    assert.equal(trimmed[0].content, 'short');
  }));

test('an only message that is too long is refused, and what was said before stays', () =>
  withModel({ threads: 1, context: 96 }, async (model) => {
    const chat = model.chat({ template: LINES, trim: true });
    await talk(chat, 0, 3);
    const before = chat.messages;
    let told = 0;
    const long = 'the dog ran '.repeat(60);
    await assert.rejects(chat.send(long, { onTrim: () => told++ }).done, fails('CONTEXT_FULL', /context holds 96/));
    assert.equal(told, 0);
    assert.deepEqual(chat.messages, before);
    const system = model.chat({ template: LINES, system: long, trim: true });
    await assert.rejects(system.send('hello').done, fails('CONTEXT_FULL', /context holds 96/));
    await talk(chat, 3, 1);
  }));

test('a failure after trimming gives back what was dropped', () =>
  withModel({ threads: 1, context: 96 }, async (model) => {
    const chat = model.chat({ template: LINES, trim: true });
    while (chat.usage.contextUsed < 70) await talk(chat, 0, 1);
    const before = chat.messages;
    const onTrim = () => {
      throw new Error('no');
    };
    await assert.rejects(chat.send('and the cat sat on the mat and ran and ran', { onTrim }).done, /no/);
    assert.deepEqual(chat.messages, before);
    assert.ok((await chat.send('and the cat sat on the mat and ran and ran', SHORT).done).trimmed);
  }));

test('how much room: maxTokens, the number given, a quarter; never more than half', () =>
  withModel({ threads: 1, context: 160 }, async (model) => {
    /** The longest prompt that was not trimmed. @param {boolean | number} trim @param {object} options */
    async function most(trim, options) {
      const chat = model.chat({ template: LINES, trim });
      let longest = 0;
      for (;;) {
        const { promptIds, trimmed } = await chat.send('a b c', options).done;
        await chat.edit(chat.messages.length - 1, 'x');
        if (trimmed) return longest;
        longest = promptIds.length;
      }
    }
    const near = (/** @type {number} */ got, /** @type {number} */ limit) => assert.ok(got <= limit && got > limit - 12, `${got}, want at most ${limit}`);
    near(await most(true, { maxTokens: 4 }), 156);
    near(await most(50, { maxTokens: 4 }), 156);
    near(await most(50, { maxTokens: 60, stop: ' ' }), 110);
    near(await most(true, { maxTokens: 2000, stop: ' ' }), 80);
    near(await most(true, { stop: ' ' }), 120);
  }));

test('wrong options are refused by name', () =>
  withModel({ threads: 1 }, async (model) => {
    for (const trim of [0, -1, 1.5, 'yes', {}])
      assert.throws(() => model.chat(/** @type {any} */ ({ trim })), fails('BAD_ARGUMENT', /chat: trim: want true, false, or the tokens/));
    assert.throws(() => model.chat().send('a', /** @type {any} */ ({ onTrim: 1 })), fails('BAD_ARGUMENT', /send: onTrim: want a function/));
    assert.throws(() => model.complete('a', /** @type {any} */ ({ onTrim() {} })), fails('BAD_ARGUMENT', /no option "onTrim"/));
  }));

test('SmolLM2 keeps its system prompt while turns go', { skip: withoutSmollm }, () =>
  withModel({ context: 256 }, async (model) => {
    const chat = model.chat({ system: 'You are a pirate.', trim: 48 });
    let trims = 0;
    for (let i = 0; i < 8; i++) {
      const { trimmed, promptIds } = await chat.send(`Tell me something about the number ${i}.`, { maxTokens: 24 }).done;
      if (trimmed) trims++;
      assert.match(await model.detokenize(promptIds, { special: true }), /^<\|im_start\|>system\nYou are a pirate\.<\|im_end\|>\n<\|im_start\|>user\n/);
    }
    assert.ok(trims >= 1);
    assert.equal(chat.messages[0].content, 'You are a pirate.');
  }, smollm),
);
