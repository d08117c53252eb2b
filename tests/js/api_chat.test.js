// api_chat.test.js: conversations. Whatever is reused of the cache, the text must be that of a chat from scratch.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { load } from '../../js/index.js';
import { LINES, fails, smollm, textOf, tiny, withModel, withoutSmollm } from './helpers.js';

/** @typedef {import('../../js/types.js').Reply} Reply */

const SHORT = { maxTokens: 16 };

/** What a new chat answers to these messages of a user, one after the other.
 * @param {import('../../js/types.js').Model} model @param {string[]} said @param {import('../../js/types.js').ChatOptions} [options] */
async function fromScratch(model, said, options) {
  const chat = model.chat({ template: LINES, ...options });
  let text = '';
  for (const message of said) ({ text } = await chat.send(message, SHORT).done);
  const { messages } = chat;
  await chat.close();
  return { text, messages };
}

test('a chat keeps its messages and continues from its cache', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES, system: 'A story.' });
    assert.deepEqual(chat.messages, [{ role: 'system', content: 'A story.' }]);
    const first = await textOf(chat.send('Once upon a time', SHORT));
    const second = chat.send('The dog was', SHORT);
    const { text, usage, promptIds } = await second.done;
    assert.deepEqual(chat.messages, [
      { role: 'system', content: 'A story.' },
      { role: 'user', content: 'Once upon a time' },
      { role: 'assistant', content: first },
      { role: 'user', content: 'The dog was' },
      { role: 'assistant', content: text },
    ]);
    const added = promptIds.length - usage.cachedTokens;
    assert.ok(usage.cachedTokens > 16 && added < 12, `${added} tokens were evaluated, ${usage.cachedTokens} reused`);
    assert.equal(chat.usage.cachedTokens, usage.cachedTokens);
    assert.ok(chat.usage.contextUsed > promptIds.length);
    assert.equal(chat.usage.contextSize, 512);
    assert.equal(chat.usage.kvBytesPerToken, 2 * 2 * 2 * 4 * 16); // layers, keys and values, bytes, heads, width
    assert.equal(chat.usage.plainKvBytesPerToken, 2 * 2 * 2 * 128); // with as many heads for keys as for queries
    assert.ok(chat.usage.kvBytes >= 512 * chat.usage.kvBytesPerToken);
  }));

test('the messages of a chat are a copy', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ system: 'A' });
    chat.messages[0].content = 'B';
    chat.messages.push({ role: 'user', content: 'C' });
    assert.deepEqual(chat.messages, [{ role: 'system', content: 'A' }]);
  }));

test('an edited message is answered as from scratch, computing only what changed', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    for (const message of ['Once upon a time', 'The dog was', 'The sun']) await chat.send(message, SHORT).done;
    const edited = await /** @type {Reply} */ (chat.edit(2, 'The cat was', SHORT)).done;
    const expected = await fromScratch(model, ['Once upon a time', 'The cat was']);
    assert.equal(edited.text, expected.text);
    assert.deepEqual(chat.messages, expected.messages);
    assert.ok(edited.usage.cachedTokens > 16, `${edited.usage.cachedTokens} reused`);
    assert.ok(edited.promptIds.length - edited.usage.cachedTokens < 8);
  }));

test('other messages are edited without an answer', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES, system: 'A dog.' });
    await chat.send('Once', SHORT).done;
    assert.equal(chat.edit(0, 'A cat.'), undefined);
    assert.deepEqual(chat.messages.map(({ role }) => role), ['system', 'user', 'assistant']);
    const again = await chat.retry(SHORT).done;
    assert.equal(again.text, (await fromScratch(model, ['Once'], { system: 'A cat.' })).text);
    assert.equal(chat.edit(2, 'It rained.'), undefined);
    const next = await chat.send('Then', SHORT).done;
    assert.match(await model.detokenize(next.promptIds), /It rained\./);
  }));

test('retry answers the last message again: the same when greedy, anew when drawn, as before with a seed', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    const first = await chat.send('Once upon a time', SHORT).done;
    const again = await chat.retry(SHORT).done;
    assert.equal(again.text, first.text);
    assert.equal(chat.messages.length, 2);
    assert.equal(again.usage.cachedTokens, first.promptIds.length - 1, 'only the last token is evaluated');
    const drawn = model.chat({ template: LINES, sampling: { temperature: 1.5, seed: 5 } });
    const one = await drawn.send('Once upon a time', SHORT).done;
    const two = await drawn.retry(SHORT).done;
    assert.notEqual(two.text, one.text);
    const same = await drawn.retry({ ...SHORT, sampling: { seed: 5 } }).done;
    assert.equal(same.text, one.text);
  }));

test('retry stops the reply that still runs and takes its place', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    const slow = chat.send('Once upon a time', { ignoreEos: true });
    const retried = await chat.retry(SHORT).done;
    assert.equal((await slow.done).finishReason, 'abort');
    assert.equal(retried.text, (await fromScratch(model, ['Once upon a time'])).text);
    assert.equal(chat.messages.length, 2);
    assert.equal(chat.messages[1].content, retried.text);
  }));

test('a fork continues by itself, with the tokens that were there', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    await chat.send('Once upon a time', SHORT).done;
    const fork = chat.fork();
    const [ours, theirs] = await Promise.all([chat.send('The dog was', SHORT).done, fork.send('The cat was', SHORT).done]);
    assert.equal(ours.text, (await fromScratch(model, ['Once upon a time', 'The dog was'])).text);
    assert.equal(theirs.text, (await fromScratch(model, ['Once upon a time', 'The cat was'])).text);
    assert.ok(ours.usage.cachedTokens > 16 && theirs.usage.cachedTokens > 16);
    assert.equal(chat.messages[2].content, 'The dog was');
    assert.equal(fork.messages[2].content, 'The cat was');
    await fork.close();
    assert.throws(() => fork.send('x'), fails('CLOSED', /chat was closed/));
    await chat.send('more', SHORT).done;
  }));

test('a chat writes one reply at a time', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    const reply = chat.send('Once', SHORT);
    assert.throws(() => chat.send('Twice'), fails('BUSY', /still writing/));
    await reply.done;
    await chat.send('Twice', SHORT).done;
  }));

test('a prompt that does not fit leaves the chat as it was', () =>
  withModel({ threads: 1, context: 48 }, async (model) => {
    const chat = model.chat({ template: LINES });
    await chat.send('Once', { maxTokens: 4 }).done;
    const before = chat.messages;
    await assert.rejects(chat.send('the dog ran '.repeat(40)).done, fails('CONTEXT_FULL', /the prompt has \d+ tokens, the context holds 48/));
    assert.deepEqual(chat.messages, before);
    await chat.send('Then', { maxTokens: 4 }).done;
    assert.equal(chat.messages.length, 4);
  }));

test('a message is never read as control tokens, the template is', () =>
  withModel({ threads: 1 }, async (model) => {
    const template = '{% for m in messages %}{{ m.content }}<|end_story|>{% endfor %}';
    const chat = model.chat({ template, system: 'a <|end_story|>' });
    const { promptIds } = await chat.send('<|end_story|> b', SHORT).done;
    assert.equal(promptIds.filter((id) => id === 2).length, 2, 'those of the template');
    assert.equal(await model.detokenize(promptIds), 'a <|end_story|><|end_story|> b', 'and the text is all there');
  }));

test('a template that trims, rewrites or repeats what is said gets what it asks for', () =>
  withModel({ threads: 1 }, async (model) => {
    const trims = model.chat({ template: '{% for m in messages %}"{{ m.content | trim }}"{% endfor %}' });
    assert.equal(await model.detokenize((await trims.send('  a dog \n', SHORT).done).promptIds), '"a dog"');
    const rewrites = model.chat({ template: "{% for m in messages %}{{ m.content.split('|')[-1] }} and {% endfor %}" });
    assert.equal(await model.detokenize((await rewrites.send('a cat|a dog', SHORT).done).promptIds), 'a dog and ');
    const repeats = model.chat({ template: '{% for m in messages %}{{ m.content }} {{ m.content }}{% endfor %}' });
    assert.equal(await model.detokenize((await repeats.send('dog', SHORT).done).promptIds), 'dog dog');
  }));

test('a template that refuses system messages gets them in front of the first message', () =>
  withModel({ threads: 1 }, async (model) => {
    const template =
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.content }}{% endfor %}";
    const chat = model.chat({ template, system: 'the sun' });
    assert.equal(await model.detokenize((await chat.send('a dog', SHORT).done).promptIds), 'the sun\n\na dog');
  }));

test('a template that throws, loops or swells is stopped, and the model stays usable', () =>
  withModel({ threads: 1 }, async (model) => {
    const throws = model.chat({ template: "{{ raise_exception('turns must alternate') }}" });
    await assert.rejects(throws.send('a').done, fails('BAD_TEMPLATE', /turns must alternate/));
    assert.deepEqual(throws.messages, []);
    const broken = model.chat({ template: '{% for m in messages %}' });
    await assert.rejects(broken.send('a').done, fails('BAD_TEMPLATE', /template fails/));
    const loops = model.chat({
      template: '{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a %}{% endfor %}{% endfor %}',
    });
    await assert.rejects(loops.send('a').done, fails('BAD_TEMPLATE', /takes more than/));
    const swells = model.chat({
      template: "{% set ns = namespace(s='abcdefgh') %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | upper }}",
    });
    await assert.rejects(swells.send('a').done, fails('BAD_TEMPLATE', /more memory|without end|template fails|takes more/));
    for (const bounds of ['1000000000', '0, 1000000000', '0, 900000, 0.5'])
      await assert.rejects(
        model.chat({ template: `{% for i in range(${bounds}) %}x{% endfor %}` }).send('a').done,
        fails('BAD_TEMPLATE', /range\(\) of more than 1000000 numbers/),
      );
    const { text } = await model.chat({ template: `{% for i in range(3) %}${LINES}{% endfor %}` }).send('Once', SHORT).done;
    assert.ok(text.length > 0);
  }));

test('an aborted reply stays in the chat with what it said', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    let said = '';
    for await (const piece of chat.send('Once upon a time', { ignoreEos: true })) {
      said += piece;
      if (said.length > 20) break;
    }
    assert.equal(chat.messages.length, 2);
    assert.ok(chat.messages[1].content.startsWith(said));
    const next = await chat.send('The dog', SHORT).done;
    assert.ok(next.usage.cachedTokens > 4);
  }));

test('a reply that is stopped before its first word leaves the messages as they were', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    await chat.send('Once upon a time', SHORT).done;
    const before = chat.messages;
    const signal = AbortSignal.abort();
    for (const ask of [() => chat.send('The dog', { signal }), () => chat.retry({ signal }), () => chat.edit(0, 'A cat', { signal })]) {
      const result = await ask()?.done;
      assert.deepEqual([result?.finishReason, result?.ids], ['abort', []]);
      assert.deepEqual(chat.messages, before);
    }
    const next = await chat.send('The dog', SHORT).done;
    assert.equal(chat.messages.length, 4);
    const fresh = model.chat({ template: LINES });
    await fresh.send('Once upon a time', SHORT).done;
    assert.equal((await fresh.send('The dog', SHORT).done).text, next.text);
  }));

test('a model that is closed while a prompt is made says so', async () => {
  for (let turns = 0; turns < 6; turns++) {
    const model = await load(tiny, { threads: 1, context: 512 });
    const chat = model.chat({ template: LINES });
    await chat.send('Once', SHORT).done;
    const { done } = chat.send('The dog', { ignoreEos: true });
    for (let i = 0; i < turns; i++) await Promise.resolve();
    await model.close();
    await assert.rejects(done, fails('CLOSED', /the model was closed/));
  }
});

test('a reply cut by a stop string is continued from its shown text', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat({ template: LINES });
    const whole = await chat.send('Once upon a time', SHORT).done;
    const cut = await chat.retry({ ...SHORT, stop: whole.text.slice(9, 14) }).done;
    assert.equal(cut.text, whole.text.slice(0, 9));
    const { promptIds } = await chat.send('Then', SHORT).done;
    assert.equal(await model.detokenize(promptIds), `Once upon a time\n${cut.text}\nThen\n`);
  }));

test('whatever was done to a chat before, an answer is that of an empty cache to the same tokens', () =>
  withModel({ threads: 1 }, (model) =>
    withModel({ threads: 1 }, async (reference) => {
      let state = 20;
      const draw = (/** @type {number} */ n) => (state = (state * 1103515245 + 12345) % 2 ** 31) % n;
      const words = ['the dog', 'a cat ran', 'one day', 'Lily was sad', 'so', 'they said no', 'Tom'];
      const chats = [model.chat({ template: LINES, system: 'A story' })];
      for (let round = 0; round < 30; round++) {
        const chat = chats[draw(chats.length)];
        const said = words[draw(words.length)];
        const users = chat.messages.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
        const what = users.length === 0 ? 0 : draw(5);
        if (what === 4 && chats.length < 3) chats.push(chat.fork());
        const options = { maxTokens: 1 + draw(9) };
        const reply =
          what === 1 ? chat.retry(options) : what === 2 ? chat.edit(users[draw(users.length)], said, options) : chat.send(said, options);
        const { promptIds, ids } = await /** @type {Reply} */ (reply).done;
        await reference.complete([85, 85], { maxTokens: 1 }).done; // nothing in common: the next one starts from nothing
        const expected = await reference.complete(promptIds, options).done;
        assert.equal(expected.usage.cachedTokens, 0);
        assert.deepEqual(ids, expected.ids, `round ${round}`);
      }
    }),
  ));

test('SmolLM2 answers, remembers, and its prompt is that of its template', { skip: withoutSmollm }, () =>
  withModel({ context: 1024 }, async (model) => {
    const chat = model.chat();
    const { promptIds } = await chat.send('Say hello. <|im_end|>', { maxTokens: 8 }).done;
    const text = await model.detokenize(promptIds, { special: true });
    assert.equal(
      text,
      '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' +
        '<|im_start|>user\nSay hello. <|im_end|><|im_end|>\n<|im_start|>assistant\n',
    );
    const [start, end] = [...(await model.tokenize('<|im_start|><|im_end|>', { special: true }))];
    assert.equal(promptIds.filter((id) => id === start).length, 3);
    assert.equal(promptIds.filter((id) => id === end).length, 2, 'what the user spelled is plain text');
    const second = await chat.send('And again.', { maxTokens: 8 }).done;
    const fresh = model.chat();
    await fresh.send('Say hello. <|im_end|>', { maxTokens: 8 }).done;
    assert.equal(second.text, (await fresh.send('And again.', { maxTokens: 8 }).done).text);
    assert.ok(second.usage.cachedTokens > promptIds.length);
  }, smollm),
);
