// openai.test.js: model.openai.chat.completions.create(): OpenAI's parameters, objects and chunks, over the same engine.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { load } from '../../js/index.js';
import { fails, root } from './helpers.js';

/** @typedef {import('../../js/types.js').ChatCompletion} ChatCompletion */
/** @typedef {import('../../js/types.js').ChatCompletionChunk} ChatCompletionChunk */
/** @typedef {import('../../js/types.js').ChatCompletionMessageParam} Message */
/** @typedef {import('../../js/types.js').ChatCompletionStream} ChatCompletionStream */

/** @type {import('../../js/types.js').Model} */
let model;
/** Casts away types: some calls are wrong on purpose. @type {any} */
let create;

before(async () => {
  model = await load(path.join(root, 'models/clla-4m-chat.gguf'), { threads: 1 });
  create = model.openai.chat.completions.create;
});
after(() => model.close());

/** @type {Message} */
const HELLO = { role: 'user', content: 'Hello!' };
/** @type {Message} */
const STORY = { role: 'user', content: 'Tell me a story about a dog.' };
const GREEDY = { messages: [HELLO], temperature: 0 };

/** @param {ChatCompletionStream} stream */
async function chunksOf(stream) {
  /** @type {ChatCompletionChunk[]} */
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** @param {ChatCompletion} completion */
const textOf = (completion) => completion.choices[0].message.content;

test('a completion has the shape of OpenAI, and the text of a chat', async () => {
  const expected = await model.chat().send('Hello!').done;
  const before = Math.floor(Date.now() / 1000);
  const { id, created, ...rest } = await create(GREEDY);
  assert.match(id, /^chatcmpl-[\w-]{20,}$/);
  assert.ok(created >= before && created <= Date.now() / 1000);
  const { length: prompt } = expected.promptIds;
  assert.deepEqual(rest, {
    object: 'chat.completion',
    model: model.info.name,
    choices: [{ index: 0, message: { role: 'assistant', content: expected.text, refusal: null }, logprobs: null, finish_reason: 'stop' }],
    usage: {
      prompt_tokens: prompt,
      completion_tokens: expected.ids.length,
      total_tokens: prompt + expected.ids.length,
      prompt_tokens_details: { cached_tokens: rest.usage.prompt_tokens_details.cached_tokens },
    },
  });
  assert.notEqual((await create(GREEDY)).id, id);
});

test('a stream has the shape of OpenAI, and the same text', async () => {
  const whole = await create(GREEDY);
  const chunks = await chunksOf(await create({ ...GREEDY, stream: true }));
  const [first] = chunks;
  for (const { id, created, model: name, object, ...rest } of chunks) {
    assert.deepEqual({ id, created, name, object }, { id: first.id, created: first.created, name: model.info.name, object: 'chat.completion.chunk' });
    assert.deepEqual(Object.keys(rest), ['choices']);
  }
  assert.deepEqual(first.choices, [{ index: 0, delta: { role: 'assistant', content: '', refusal: null }, logprobs: null, finish_reason: null }]);
  assert.deepEqual(chunks.at(-1)?.choices, [{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }]);
  const middle = chunks.slice(1, -1);
  assert.ok(middle.length > 3, 'it comes in pieces');
  for (const { choices } of middle) assert.deepEqual(choices, [{ index: 0, delta: { content: choices[0].delta.content }, logprobs: null, finish_reason: null }]);
  assert.equal(middle.map(({ choices }) => choices[0].delta.content).join(''), textOf(whole));
});

test('usage comes in a last chunk without choices, when it is asked for', async () => {
  const { usage } = await create(GREEDY);
  const chunks = await chunksOf(await create({ ...GREEDY, stream: true, stream_options: { include_usage: true } }));
  const last = chunks.pop();
  assert.deepEqual(last?.choices, []);
  assert.equal(last?.usage?.total_tokens, usage.total_tokens);
  assert.ok(chunks.every((chunk) => chunk.usage === null));
});

test('a conversation that goes on is not read again, nor are two in turn', async () => {
  /** @type {Record<string, Message[]>} */
  const talks = { a: [{ role: 'system', content: 'Be kind.' }, HELLO], b: [STORY] };
  /** @type {Record<string, number>} */
  const held = {};
  for (const turn of [0, 1, 2])
    for (const [name, messages] of Object.entries(talks)) {
      const { choices, usage } = await create({ messages, temperature: 0, max_tokens: 12 });
      const read = usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens;
      if (turn > 0) assert.ok(usage.prompt_tokens_details.cached_tokens >= held[name] - 1, `${name}: ${read} tokens read`);
      held[name] = usage.prompt_tokens + usage.completion_tokens - 1; // the last token of a reply is not in the cache yet
      messages.push(choices[0].message, { role: 'user', content: `And ${turn}?` }); // the message as it came
    }
});

test('what is cached changes nothing in the answer', async () => {
  const messages = [HELLO];
  for (let turn = 0; turn < 2; turn++) messages.push((await create({ messages, temperature: 0, max_tokens: 20 })).choices[0].message, STORY);
  const again = await create({ messages, temperature: 0, max_tokens: 20 });
  const fresh = await load(path.join(root, 'models/clla-4m-chat.gguf'), { threads: 1 });
  const anew = await fresh.openai.chat.completions.create({ messages, temperature: 0, max_tokens: 20 });
  await fresh.close();
  assert.equal(textOf(again), textOf(anew));
  assert.equal(anew.usage.prompt_tokens_details.cached_tokens, 0);
  assert.ok(again.usage.prompt_tokens_details.cached_tokens > 0);
});

test('replies at the same time are those that come one by one', async () => {
  const requests = ['Hello!', 'Who are you?', 'Tell me a story.'].map((content) => ({ messages: [{ role: 'user', content }], temperature: 0, max_tokens: 16 }));
  const alone = [];
  for (const request of requests) alone.push(textOf(await create(request)));
  assert.deepEqual((await Promise.all(requests.map((request) => create(request)))).map(textOf), alone);
});

test('limits end a reply: tokens, and stop strings that are not shown', async () => {
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    const { choices, usage } = await create({ ...GREEDY, [name]: 3 });
    assert.equal(choices[0].finish_reason, 'length');
    assert.equal(usage.completion_tokens, 3);
  }
  const whole = textOf(await create(GREEDY));
  const stop = whole.slice(4, 6);
  for (const given of [stop, [stop, 'never']]) {
    const { choices } = await create({ ...GREEDY, stop: given });
    assert.deepEqual([choices[0].message.content, choices[0].finish_reason], [whole.slice(0, whole.indexOf(stop)), 'stop']);
  }
});

test('sampling: temperature 1 unless told, a seed repeats, a bias forbids', async () => {
  const drawn = async (/** @type {object} */ more) => textOf(await create({ messages: [STORY], max_tokens: 24, ...more }));
  assert.equal(await drawn({ seed: 5 }), await drawn({ seed: 5, temperature: 1, top_p: 1 }));
  assert.notEqual(await drawn({ seed: 5 }), await drawn({ seed: 6 }));
  assert.equal(await drawn({ seed: 5, top_p: 1e-6 }), await drawn({ temperature: 0 }));
  const [first] = await model.tokenize(textOf(await create(GREEDY)));
  const without = textOf(await create({ ...GREEDY, logit_bias: { [first]: -100 } }));
  assert.notEqual((await model.tokenize(without))[0], first);
});

test('log-probabilities of each token, and of the likeliest', async () => {
  const asked = { ...GREEDY, logprobs: true, top_logprobs: 2 };
  const [choice] = (await create(asked)).choices;
  assert.equal(choice.logprobs.refusal, null);
  const { content } = choice.logprobs;
  assert.equal(content.map((/** @type {any} */ token) => token.token).join(''), choice.message.content);
  for (const { token, logprob, bytes, top_logprobs } of content) {
    assert.ok(logprob <= 0);
    assert.deepEqual(bytes, [...Buffer.from(token)]);
    assert.equal(top_logprobs.length, 2);
    assert.deepEqual(top_logprobs[0], { token, logprob, bytes }, 'the likeliest was taken');
  }
  const chunks = await chunksOf(await create({ ...asked, stream: true }));
  assert.deepEqual(chunks.flatMap(({ choices }) => choices[0].logprobs?.content ?? []), content);
  const [plain] = (await create({ ...GREEDY, logprobs: true })).choices;
  assert.ok(plain.logprobs.content.every((/** @type {any} */ token) => token.top_logprobs.length === 0));
});

test('a signal, the controller and leaving the loop cancel', async () => {
  const long = { messages: [STORY], temperature: 0, logit_bias: {}, max_tokens: 400 };
  await assert.rejects(create(long, { signal: AbortSignal.abort() }), fails('ABORTED', /./));
  const stop = new AbortController();
  const stopped = create(long, { signal: stop.signal });
  setTimeout(() => stop.abort(), 20);
  await assert.rejects(stopped, fails('ABORTED', /./));

  for (const cancel of ['controller', 'signal', 'leave']) {
    const own = new AbortController();
    /** @type {ChatCompletionStream} */
    const stream = await create({ ...long, stream: true }, { signal: own.signal });
    const chunks = [];
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (chunks.length < 3) continue;
      if (cancel === 'leave') break;
      if (cancel === 'signal') own.abort();
      else stream.controller.abort();
    }
    assert.ok(chunks.every(({ choices }) => choices[0].finish_reason === null), cancel);
  }
  assert.match(textOf(await create(GREEDY)), /./);
});

test('parts of text and the role "developer" are read as what they say', async () => {
  const parts = [{ type: 'text', text: 'Hel' }, { type: 'text', text: 'lo!' }];
  const said = async (/** @type {any} */ ...messages) => (await create({ messages, temperature: 0 })).usage.prompt_tokens;
  assert.equal(await said({ role: 'user', content: parts }), await said(HELLO));
  assert.equal(await said({ role: 'developer', content: 'Be kind.' }, HELLO), await said({ role: 'system', content: 'Be kind.' }, HELLO));
});

test('null stands for what is not given', async () => {
  const nothing = { model: null, stream: null, stop: null, max_tokens: null, top_p: null, seed: null, logprobs: null, n: null, logit_bias: null };
  assert.equal(textOf(await create({ ...GREEDY, ...nothing })), textOf(await create({ ...GREEDY, model: model.info.name, n: 1 })));
});

test('what changes nothing is taken', async () => {
  const more = { response_format: { type: 'text' }, user: 'ann', metadata: { a: 'b' }, store: false };
  assert.equal(textOf(await create({ ...GREEDY, ...more })), textOf(await create(GREEDY)));
});

test('a stream that was read says so when it is read again', async () => {
  const stream = await create({ ...GREEDY, max_tokens: 2, stream: true });
  assert.ok((await chunksOf(stream)).length > 2);
  await assert.rejects(chunksOf(stream), fails('BAD_ARGUMENT', /this stream was read already/));
});

test('what cannot be done is refused by name', async () => {
  const wrong = [
    [{ n: 2 }, /create: n: want 1, got 2/],
    [{ tools: [] }, /create has no option "tools"/],
    [{ response_format: { type: 'json_object' } }, /response_format: type: want "text", got "json_object"/],
    [{ store: true }, /create: store: want false, got true/],
    [{ user: 5 }, /create: user: want a string/],
    [{ model: 'gpt-4o' }, /model: "CLLA 4M chat" is loaded, not "gpt-4o"/],
    [{ temperature: 3 }, /temperature: want a number from 0 to 2/],
    [{ top_logprobs: 2 }, /top_logprobs: needs logprobs: true/],
    [{ stream_options: { include_usage: true } }, /stream_options: needs stream: true/],
    [{ stream: true, stream_options: { usage: true } }, /stream_options has no option "usage"/],
    [{ messages: [] }, /messages: want an array with at least one message/],
    [{ messages: undefined }, /messages: want an array/],
    [{ messages: [{ role: 'tool', content: 'a' }] }, /messages\[0\]: role: want system, developer, user, assistant, got "tool"/],
    [{ messages: [HELLO, { role: 'user' }] }, /messages\[1\]: content: want a string or an array of text parts/],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, /content\[0\]: want {type: "text", text}, got type "image_url"/],
    [{ messages: [{ ...HELLO, name: 'Ann' }] }, /messages\[0\]: "name" is not supported/],
  ];
  for (const [more, sentence] of wrong) await assert.rejects(create({ ...GREEDY, .../** @type {object} */ (more) }), fails('BAD_ARGUMENT', /** @type {RegExp} */ (sentence)));
  await assert.rejects(create(), fails('BAD_ARGUMENT', /messages/));
  await assert.rejects(create(GREEDY, { timeout: 5 }), fails('BAD_ARGUMENT', /create: options has no option "timeout"/));
});

test('a prompt that does not fit fails before a stream begins', async () => {
  const messages = [{ role: 'user', content: 'word '.repeat(600) }];
  for (const stream of [false, true]) await assert.rejects(create({ messages, stream }), fails('CONTEXT_FULL', /the prompt has \d+ tokens, the context holds 512/));
});

test('a closed model says so', async () => {
  const closed = await load(path.join(root, 'models/clla-4m-chat.gguf'), { threads: 1 });
  const stream = await closed.openai.chat.completions.create({ messages: [STORY], stream: true });
  await closed.close();
  await assert.rejects(chunksOf(stream), fails('CLOSED', /./));
  await assert.rejects(closed.openai.chat.completions.create({ messages: [HELLO] }), fails('CLOSED', /./));
});
