// chats.test.js: chats kept on this machine: saved under a name, opened again by whatever program, replaced in one step;
// chats.test.js in tests/browser says the same of a page.

import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DAMAGED_RECORDS, LINES, fails, root, smollm, tiny, withModel, withoutSmollm } from './helpers.js';

const data = mkdtempSync(path.join(tmpdir(), 'clla-chats-'));
process.env.CLLA_DATA = data; // before the package looks, in this thread and in its workers
const { chats, load } = await import('../../js/index.js');
after(() => rmSync(data, { recursive: true }));

/** @typedef {import('../../js/types.js').Chat} Chat */
/** @typedef {import('../../js/types.js').Model} Model */

const folder = path.join(data, 'chats');
const SHORT = { maxTokens: 16 };
const DRAWN = { template: LINES, system: 'A story.', sampling: { temperature: 1.2, topP: 0.9, seed: 11 } };
const files = () => readdirSync(folder).filter((name) => !name.startsWith('.lock'));

/** @param {Chat} chat @param {...string} said */
async function say(chat, ...said) {
  let result = { ids: /** @type {number[]} */ ([]), usage: { cachedTokens: 0 } };
  for (const message of said) result = await chat.send(message, SHORT).done;
  return result;
}

/** Another program with the same chats. @param {string} body with `chats`, `load`, `model` @param {string} [source] */
const program = (body, source = tiny) => `
  import { chats, load } from ${JSON.stringify(`file://${path.join(root, 'js/index.js')}`)};
  const model = await load(${JSON.stringify(source)}, { threads: 1, context: 1024 });
  ${body}
  await model.close();`;

/**
 * @param {string} body
 * @param {string} [source]
 * @param {string} [options] of Node, for its workers too
 * @returns {any} what it prints, as JSON
 */
function inProgram(body, source, options = '') {
  const env = { ...process.env, NODE_OPTIONS: options };
  const made = spawnSync(process.execPath, ['--input-type=module', '-e', program(body, source)], { encoding: 'utf8', env });
  assert.equal(made.status, 0, made.stderr);
  return JSON.parse(made.stdout);
}

test('a chat is saved under a name, listed, and opened again: it goes on with the same tokens and computes nothing', () =>
  withModel({ threads: 1 }, async (model) => {
    assert.deepEqual(await chats.list(), []);
    const chat = model.chat(DRAWN);
    await say(chat, 'Once upon a time', 'The dog was');
    const before = Date.now();
    const saved = await chats.save('Fido / 1?', chat);
    assert.deepEqual({ ...saved, date: 0 }, { name: 'Fido / 1?', model: model.info.name, messages: 5, bytes: (await chat.save()).size, date: 0 });
    assert.ok(saved.date.getTime() >= before && saved.date.getTime() <= Date.now());
    assert.deepEqual(await chats.list(), [saved]);
    const later = await chats.open('Fido / 1?', model);
    assert.deepEqual(later.messages, chat.messages);
    const [ours, theirs] = [await say(chat, 'The sun'), await say(later, 'The sun')];
    assert.deepEqual(theirs.ids, ours.ids);
    assert.equal(theirs.usage.cachedTokens, ours.usage.cachedTokens);
    assert.ok(theirs.usage.cachedTokens > 40);
    const fromProgram = inProgram(`
      const chat = await chats.open('Fido / 1?', model);
      const { ids, usage } = await chat.send('The sun', { maxTokens: 16 }).done;
      console.log(JSON.stringify({ ids, cached: usage.cachedTokens }));`);
    assert.deepEqual(fromProgram, { ids: ours.ids, cached: ours.usage.cachedTokens });
    await chats.remove('Fido / 1?');
    assert.deepEqual(files(), []);
  }));

test('saving again takes the place of the earlier chat; the last saved one is listed first; nobody else can read them', () =>
  withModel({ threads: 1 }, async (model) => {
    const [one, two] = [model.chat(DRAWN), model.chat({ template: LINES })];
    await say(one, 'Once upon a time');
    await chats.save('one', one);
    await say(two, 'The cat');
    await chats.save('two', two);
    await say(one, 'Then');
    await chats.save('one', one);
    assert.deepEqual((await chats.list()).map(({ name, messages }) => [name, messages]), [['one', 5], ['two', 2]]);
    assert.equal(files().length, 4, 'a file and its record for each');
    for (const name of files()) assert.equal(statSync(path.join(folder, name)).mode & 0o077, 0, name);
    const greedy = await chats.open('one', model, { sampling: { temperature: 0 } });
    const first = await say(greedy, 'The end');
    assert.deepEqual((await greedy.retry(SHORT).done).ids, first.ids, 'sampling may change');
    for (const name of ['one', 'two']) await chats.remove(name);
    assert.deepEqual(await chats.list(), []);
  }));

test('what is wrong is told by name', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat(DRAWN);
    await assert.rejects(chats.open('none', model), fails('NOT_STORED', /none: no chat of this name is saved here; none is/));
    await chats.save('there', chat);
    await assert.rejects(chats.open('none', model), fails('NOT_STORED', /none: no chat .* there is there$/));
    await assert.rejects(chats.remove('none'), fails('NOT_STORED', /none: no chat/));
    await assert.rejects(chats.save('', chat), fails('BAD_ARGUMENT', /save: name: want one that is not empty/));
    await assert.rejects(chats.save(/** @type {any} */ (7), chat), fails('BAD_ARGUMENT', /save: name: want a string/));
    await assert.rejects(chats.save('x', /** @type {any} */ (model)), fails('BAD_ARGUMENT', /save: chat: want a chat/));
    await assert.rejects(chats.open('there', /** @type {any} */ (chat)), fails('BAD_ARGUMENT', /open: model: want a model/));
    await assert.rejects(chats.open('there', model, /** @type {any} */ ({ kv: 'q8' })), fails('BAD_ARGUMENT', /no option "kv"/));
    const reply = chat.send('Once upon a time', SHORT);
    await assert.rejects(chats.save('there', chat), fails('BUSY', /still writing/));
    await reply.done;
    await withModel({ threads: 1 }, async (other) => {
      await assert.rejects(chats.open('there', other), fails('OTHER_MODEL', /another model/));
    }, path.join(root, 'tests/vectors/models/type-q4_0.gguf'));
    const long = 'a'.repeat(100_000);
    const many = [long, ...Array.from({ length: 12 }, (_, i) => `chat ${i}`)];
    for (const name of many) await chats.save(name, chat);
    await assert.rejects(chats.remove(`${long}b`), fails('NOT_STORED', /^a{100}…: no chat .* there is .{1,400} and 4 more$/));
    for (const name of many) await chats.remove(name);
    await chat.close();
    await assert.rejects(chats.save('there', chat), fails('CLOSED', /closed/));
    await chats.remove('there');
  }));

test('a signal stops saving and opening; the earlier chat stays', () =>
  withModel({ threads: 1, context: 2 ** 16, kv: 'f32' }, async (model) => {
    const chat = model.chat({ template: LINES });
    await say(chat, 'Once upon a time');
    await chats.save('stopped', chat);
    await chat.send('the dog ran and the cat sat '.repeat(1000), { maxTokens: 1 }).done;
    const aborted = AbortSignal.abort('no');
    await assert.rejects(chats.save('stopped', chat, { signal: aborted }), fails('ABORTED', /stopped/));
    await assert.rejects(chats.open('stopped', model, { signal: aborted }), fails('ABORTED', /stopped/));
    const during = new AbortController();
    const saving = chats.save('stopped', chat, { signal: during.signal });
    setTimeout(() => during.abort(), 5);
    await assert.rejects(saving, fails('ABORTED', /stopped/));
    const [{ messages }] = await chats.list();
    assert.equal(messages, 2);
    assert.equal(files().length, 2, 'nothing is left of the other');
    assert.equal((await chats.open('stopped', model)).messages.length, 2);
    assert.equal((await chats.save('stopped', chat)).messages, 4);
    const stop = new AbortController();
    const opening = chats.open('stopped', model, { signal: stop.signal });
    setTimeout(() => stop.abort(), 5);
    await assert.rejects(opening, fails('ABORTED', /stopped/));
    const { usedBytes } = await model.memory();
    await (await chats.open('stopped', model)).close();
    assert.equal((await model.memory()).usedBytes, usedBytes, 'what was begun was given back, and so is a chat that is closed');
    await chats.remove('stopped');
  }));

test('a damaged record counts as not there: all else goes on', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat(DRAWN);
    await chats.save('sound', chat);
    const noChat = '{"id": "d", "name": "sound", "writer": "w", "chunkBytes": 1, "chunkHashes": [], "complete": true}';
    const file = path.join(folder, 'd.clla.json');
    for (const text of [...DAMAGED_RECORDS, noChat]) {
      writeFileSync(file, text);
      assert.deepEqual((await chats.list()).map(({ name }) => name), ['sound'], text);
      await (await chats.open('sound', model)).close();
      await chats.save('sound', chat);
      await chats.save('other', chat);
      await chats.remove('other');
      await assert.rejects(chats.remove('d'), fails('NOT_STORED', /d: no chat of this name is saved here; there is sound$/));
    }
    rmSync(file, { force: true });
    await chats.remove('sound');
    assert.deepEqual(files(), []);
  }));

/** Read before a program, in each of its threads: the disk has no room for what a lock holds. */
const FULL = `data:text/javascript,${encodeURIComponent(`
  import { open } from 'node:fs/promises';
  const handle = await open(${JSON.stringify(tiny)});
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  Object.getPrototypeOf(handle).writeFile = () => Promise.reject(full);
  await handle.close();`)}`;

test('a full disk has no room for a lock: nothing is saved and no lock is left, and removing makes room', () =>
  withModel({ threads: 1 }, async (model) => {
    await chats.save('there', model.chat(DRAWN));
    const body = `
      const { code, message } = await chats.save('more', model.chat()).catch((error) => error);
      await chats.remove('there');
      console.log(JSON.stringify({ code, message, left: await chats.list() }));`;
    const { code, message, left } = inProgram(body, tiny, `--import=${FULL}`);
    assert.equal(code, 'NO_SPACE', message);
    assert.match(message, /chats: storage is full: ENOSPC/);
    assert.deepEqual(left, []);
    assert.deepEqual(readdirSync(folder), []);
  }));

test('a flipped bit is found, and said', () =>
  withModel({ threads: 1 }, async (model) => {
    const chat = model.chat(DRAWN);
    await say(chat, 'Once upon a time');
    await chats.save('broken', chat);
    const file = path.join(folder, /** @type {string} */ (files().find((name) => name.endsWith('.clla'))));
    const bytes = readFileSync(file);
    bytes[1000] ^= 8;
    writeFileSync(file, bytes);
    await assert.rejects(chats.open('broken', model), fails('DAMAGED', /^broken: bytes 0 to \d+ \(chunk 1 of 1\) are damaged in the store$/));
    await chats.save('broken', chat);
    assert.equal((await chats.open('broken', model)).messages.length, 3);
    await chats.remove('broken');
  }));

test('a program that is killed while it saves leaves the earlier chat whole', async () => {
  const body = `
    const chat = model.chat({ template: ${JSON.stringify(LINES)} });
    await chat.send('first', { maxTokens: 4 }).done;
    await chats.save('killed', chat);
    await chat.send('second', { maxTokens: 4 }).done;
    console.log('saving');
    for (;;) await chats.save('killed', chat);`;
  await withModel({ threads: 1, context: 1024 }, async (model) => {
    for (let kill = 0; kill < 6; kill++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program(body)], { stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((resolve) => child.stdout.once('data', resolve));
      await new Promise((resolve) => setTimeout(resolve, 7 * kill));
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      const [stored, ...others] = await chats.list();
      assert.deepEqual(others, []);
      const chat = await chats.open('killed', model);
      assert.equal(chat.messages.length, stored.messages);
      assert.ok([2, 4].includes(stored.messages));
      await chat.close();
    }
    const chat = model.chat(DRAWN);
    const ago = new Date(Date.now() - 100_000);
    for (const name of files().filter((found) => found.endsWith('.new'))) utimesSync(path.join(folder, name), ago, ago);
    await chats.save('killed', chat);
    assert.equal(files().length, 2, `nothing is left of those that were killed: ${files()}`);
    await chats.remove('killed');
  });
});

test('a chat that is opened while another program removes it is not called damaged', () =>
  withModel({ threads: 1, context: 128 }, async (model) => {
    await chats.save('going', model.chat({ template: LINES }));
    const lock = path.join(folder, `.lock-${createHash('sha256').update('clla chat going').digest('hex').slice(0, 16)}`);
    writeFileSync(lock, String(process.pid)); // of that program, which is in the middle of it
    const [file, record] = files().sort();
    rmSync(path.join(folder, file));
    const opening = assert.rejects(chats.open('going', model), fails('NOT_STORED', /going/));
    await new Promise((resolve) => setTimeout(resolve, 300));
    rmSync(path.join(folder, record));
    rmSync(lock);
    await opening;
  }));

test('two programs save under one name, a third one opens it all the while: the last one wins, nothing is mixed', async () => {
  const saver = (/** @type {string} */ said) => `
    const chat = model.chat({ template: ${JSON.stringify(LINES)} });
    await chat.send('${said} '.repeat(${said.length * 10}), { maxTokens: 4 }).done;
    for (let i = 0; i < 12; i++) await chats.save('both', chat);
    console.log(JSON.stringify(chat.messages));`;
  const start = (/** @type {string} */ said) =>
    new Promise((resolve) => {
      let output = '';
      const child = spawn(process.execPath, ['--input-type=module', '-e', program(saver(said))], { stdio: ['ignore', 'pipe', 'inherit'] });
      child.stdout.on('data', (text) => (output += text));
      child.on('close', () => resolve(output.trim()));
    });
  await withModel({ threads: 1, context: 1024 }, async (model) => {
    let ended = false;
    const both = Promise.all([start('ant'), start('elephant')]).finally(() => (ended = true));
    const seen = new Set();
    while (!ended) {
      const chat = await chats.open('both', model).catch((error) => void fails('NOT_STORED', /both/)(error));
      if (chat) seen.add(JSON.stringify(chat.messages));
      await chat?.close();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const messages = await both;
    assert.equal(messages.filter((text) => text !== '').length, 2, 'both ended well');
    for (const text of seen) assert.ok(messages.includes(text), text);
    const last = await chats.open('both', model);
    assert.ok(messages.includes(JSON.stringify(last.messages)));
    assert.equal((await chats.list()).length, 1);
    assert.equal(files().length, 2, `${files()}`);
    await chats.remove('both');
  });
});

test('SmolLM2 goes on in another program as it would have here', { skip: withoutSmollm }, async () => {
  const model = await load(String(smollm), { context: 512 });
  const chat = model.chat({ sampling: { temperature: 0.7, seed: 4 } });
  await chat.send('Tell me of the sea.', { maxTokens: 24 }).done;
  await chats.save('sea', chat);
  const { ids, usage } = await chat.send('And of ships?', { maxTokens: 16 }).done;
  await model.close();
  const there = inProgram(`
    const chat = await chats.open('sea', model);
    const { ids, usage } = await chat.send('And of ships?', { maxTokens: 16 }).done;
    console.log(JSON.stringify({ ids, cached: usage.cachedTokens }));`, smollm);
  assert.deepEqual(there, { ids, cached: usage.cachedTokens });
  assert.ok(usage.cachedTokens > 40);
  await chats.remove('sea');
});
