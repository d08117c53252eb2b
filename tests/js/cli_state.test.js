// cli_state.test.js: `clla chat --resume FILE`: one conversation over several runs of the program.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { inFolder, root, tiny, withModel } from './helpers.js';

const cli = path.join(root, 'js/cli.js');
const CHAT = ['chat', tiny, '--temp', '1', '--seed', '4', '--max-tokens', '12', '--threads', '1'];

/** @param {string[]} args @param {string} [input] */
function clla(args, input = '') {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', input });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** Lines that are said to a chat with --json, and its replies. @param {string[]} said @param {string[]} more */
function replies(said, ...more) {
  const { status, stdout, stderr } = clla([...CHAT, '--json', ...more], said.map((line) => `${line}\n`).join(''));
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
}

const SAID = ['Once upon a time', 'The dog was', 'The sun'];

test('a chat that is resumed goes on as one that never stopped, and evaluates only what is new', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const whole = replies(SAID);
    const parts = SAID.flatMap((line) => replies([line], '--resume', file));
    assert.deepEqual(parts.map(({ ids }) => ids), whole.map(({ ids }) => ids));
    assert.deepEqual(parts.map(({ prompt_ids }) => prompt_ids), whole.map(({ prompt_ids }) => prompt_ids));
    assert.ok(parts[2].timings.prompt_n < parts[2].prompt_ids.length / 2, `${parts[2].timings.prompt_n} tokens were evaluated`);
    assert.deepEqual(readdirSync(folder), ['chat.clla'], 'nothing else is left');
  }));

test('two programs cannot go on with one file at the same time', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const first = spawn(process.execPath, [cli, ...CHAT, '--json', '--resume', file], { stdio: ['pipe', 'pipe', 'inherit'] });
    first.stdin.write(`${SAID[0]}\n`);
    await new Promise((resolve) => first.stdout.once('data', resolve));
    const link = path.join(folder, 'link');
    symlinkSync(file, link);
    for (const name of [file, link]) {
      const second = clla([...CHAT, '--resume', name], 'Hello\n');
      assert.equal(second.status, 3, second.stderr);
      assert.equal(second.stderr, `clla: ${name} is in use: another program is going on with this chat\n`);
      assert.equal(second.stdout, '');
    }
    unlinkSync(link);
    const ended = new Promise((resolve) => first.on('exit', resolve));
    first.stdin.end();
    assert.equal(await ended, 0);
    assert.equal((await savedMessages(file)).length, 2);
  }));

test('a program that was killed does not keep its file from others', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const first = spawn(process.execPath, [cli, ...CHAT, '--json', '--resume', file], { stdio: ['pipe', 'pipe', 'inherit'] });
    first.stdin.write(`${SAID[0]}\n`);
    await new Promise((resolve) => first.stdout.once('data', resolve));
    const ended = new Promise((resolve) => first.on('exit', resolve));
    first.kill('SIGKILL');
    await ended;
    replies([SAID[0]], '--resume', file);
    assert.equal((await savedMessages(file)).length, 2);
  }));

test('what another program wrote while this one was stopped is not overwritten', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const first = spawn(process.execPath, [cli, ...CHAT, '--json', '--resume', file], { stdio: 'pipe' });
    first.stdin.write(`${SAID[0]}\n`);
    await new Promise((resolve) => first.stdout.once('data', resolve));
    writeFileSync(file, 'what another one wrote');
    let told = '';
    first.stderr.on('data', (text) => (told += text));
    const ended = new Promise((resolve) => first.on('close', resolve));
    first.stdin.end();
    const beside = `${file}.${first.pid}`;
    assert.equal(await ended, 3);
    assert.equal(told, `clla: another program has saved a chat to ${file} meanwhile: this one is in ${beside}\n`);
    assert.equal(readFileSync(file, 'utf8'), 'what another one wrote');
    assert.deepEqual(readdirSync(folder).sort(), [file, beside].map((name) => path.basename(name)));
    await withModel({ threads: 1 }, async (model) => assert.equal((await model.restore(beside)).messages.length, 2));
  }));

test('a full disk is told as one, and what was saved before stays', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    replies([SAID[0]], '--resume', file);
    const saved = readFileSync(file);
    const limited = ['-c', 'ulimit -f 8; exec "$@"', 'sh', process.execPath, cli, ...CHAT, '--resume', file];
    const { status, stderr } = spawnSync('sh', limited, { encoding: 'utf8', input: 'Hello\n' });
    assert.equal(status, 4, stderr);
    assert.match(stderr, /^clla: the chat cannot be saved to .*chat\.clla: EFBIG: [^\n]*\n$/);
    assert.deepEqual(readFileSync(file), saved);
    assert.deepEqual(readdirSync(folder), ['chat.clla']);
  }));

test('/clear, sampling and -p work on a resumed chat', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const [first] = replies([SAID[0]], '--resume', file);
    const greedy = clla(['chat', tiny, '--resume', file, '--temp', '0', '--max-tokens', '8', '-p', 'And then']);
    assert.equal(greedy.status, 0, greedy.stderr);
    const again = replies(['/clear', SAID[0]], '--resume', file);
    assert.deepEqual(again[0].prompt_ids, first.prompt_ids);
  }));

test('a file that does not fit is refused and stays as it is', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    replies([SAID[0]], '--resume', file, '--system', 'A story.');
    const saved = readFileSync(file);
    /** @param {number} status @param {RegExp} sentence @param {Buffer} bytes @param {string[]} args */
    const refused = (status, sentence, bytes, ...args) => {
      writeFileSync(file, bytes);
      const { status: got, stdout, stderr } = clla([...CHAT, '--resume', file, ...args], 'Hello\n');
      assert.equal(got, status, stderr);
      assert.match(stderr, sentence);
      assert.ok(stderr.startsWith(`clla: ${file}`), stderr);
      assert.equal(stdout, '');
      assert.deepEqual(readFileSync(file), bytes, 'the file was changed');
      assert.deepEqual(readdirSync(folder), ['chat.clla']);
    };
    const damaged = Buffer.from(saved);
    damaged[damaged.length >> 1] ^= 1;
    refused(3, /damaged/, damaged);
    refused(3, /ends before/, saved.subarray(0, saved.length - 1));
    refused(3, /no saved session/, Buffer.from('my shopping list: bread, milk, butter'));
    refused(2, /saved with a cache "f16"/, saved, '--kv', 'q8');
    refused(4, /has no room/, saved, '--ctx', '8');
    refused(2, /with the system message "A story\."/, saved, '--system', 'A poem.');
    const other = ['chat', 'tests/vectors/models/type-q4_0.gguf', '--resume', file];
    const { status, stderr } = clla(other.with(1, path.join(root, other[1])), 'Hello\n');
    assert.equal(status, 3, stderr);
    assert.match(stderr, /another model, "TinyStories/);
    assert.deepEqual(readFileSync(file), saved);
  }));

test('a chat is saved when the context is full and the program fails', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const full = clla([...CHAT, '--ctx', '40', '--resume', file], `${SAID[0]}\n${'the dog ran '.repeat(20)}\n`);
    assert.equal(full.status, 4, full.stderr);
    assert.ok(existsSync(file));
    assert.equal(replies([SAID[1]], '--resume', file)[0].finish_reason.length > 0, true);
  }));

test('/clear before leaving saves nothing of what was said before', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    replies(['My secret is marmalade.', '/clear'], '--resume', file);
    await withModel({ threads: 1 }, async (model) => {
      const chat = await model.restore(file);
      assert.deepEqual(chat.messages, []);
      assert.equal(chat.usage.contextUsed, 0);
    });
  }));

// ---- where a chat cannot be saved ------------------------------------------------------------------------------------

/** A chat that is refused before its model is looked at, which is not there.
 * @param {string} file @param {RegExp} sentence @param {number} [uid] who tries */
function refused(file, sentence, uid) {
  const nothing = path.join(root, 'package.json'); // no model: whoever reads it fails in other words
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'chat', nothing, '--resume', file], { encoding: 'utf8', input: 'Hello\n', uid, timeout: 60_000 });
  assert.equal(status, 3, stderr);
  assert.match(stderr, /^clla: the chat cannot be saved to [^\n]*\n$/);
  assert.match(stderr, sentence);
  assert.equal(stdout, '');
}

test('a file that cannot be written is refused before the model is loaded', () =>
  inFolder(async (folder) => {
    refused(path.join(folder, 'no/chat.clla'), /no\/chat\.clla: ENOENT/);
    refused('', /"": it has no name/);
    refused(folder, /no regular file/);
    refused(path.join(folder, `${'x'.repeat(250)}`), /ENAMETOOLONG/);
    const file = path.join(folder, 'file');
    writeFileSync(file, '');
    refused(path.join(file, 'chat.clla'), /ENOTDIR/);
    const loop = path.join(folder, 'loop');
    symlinkSync(loop, loop);
    refused(loop, /ELOOP/);
    const pipe = path.join(folder, 'pipe');
    assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
    refused(pipe, /no regular file/);
    assert.deepEqual(readdirSync(folder).sort(), ['file', 'loop', 'pipe']);
  }));

const NOBODY = 65534;
const root0 = process.getuid?.() === 0;
const readable = root0 && spawnSync(process.execPath, ['--check', cli], { uid: NOBODY }).status === 0;
const noOther = readable ? false : 'needs root, and a Node and a clone that others may read';

test('folders and files that somebody else may not use are refused, whatever is in them', { skip: noOther }, () =>
  inFolder(async (folder) => {
    chmodSync(folder, 0o755);
    const [closed, fixed, open] = ['closed', 'fixed', 'open'].map((name) => path.join(folder, name));
    for (const [name, mode] of /** @type {[string, number][]} */ ([[closed, 0o000], [fixed, 0o755], [open, 0o777]])) {
      mkdirSync(name);
      writeFileSync(path.join(name, 'chat.clla'), 'a chat', { mode: 0o644 });
      chmodSync(name, mode);
    }
    refused(path.join(closed, 'chat.clla'), /EACCES/, NOBODY);
    refused(path.join(closed, 'new.clla'), /EACCES/, NOBODY);
    refused(path.join(fixed, 'new.clla'), /EACCES/, NOBODY);
    refused(path.join(open, 'chat.clla'), /EACCES/, NOBODY);
    assert.equal(readFileSync(path.join(closed, 'chat.clla'), 'utf8'), 'a chat');
  }));

test('a chat is private, keeps the permissions of its file and goes where a link leads', () =>
  inFolder(async (folder) => {
    const [file, link, lost, behind] = ['chat.clla', 'link', 'lost', 'behind'].map((name) => path.join(folder, name));
    const mode = (/** @type {string} */ name) => statSync(name).mode & 0o777;
    symlinkSync('chat.clla', link);
    replies([SAID[0]], '--resume', link);
    assert.equal(mode(file), 0o600);
    chmodSync(file, 0o640);
    replies([SAID[1]], '--resume', link);
    assert.equal(mode(file), 0o640);
    assert.ok(lstatSync(link).isSymbolicLink());
    symlinkSync(behind, lost);
    copyFileSync(file, behind);
    replies([SAID[2]], '--resume', lost);
    assert.ok(lstatSync(lost).isSymbolicLink());
    await withModel({ threads: 1 }, async (model) => {
      assert.equal((await model.restore(file)).messages.length, 4);
      assert.equal((await model.restore(behind)).messages.length, 6);
    });
    assert.deepEqual(readdirSync(folder).sort(), ['behind', 'chat.clla', 'link', 'lost']);
  }));

// ---- signals ---------------------------------------------------------------------------------------------------------

/** A chat by a pipe; its exit code once it is over.
 * @param {string} file @param {string[]} args @param {(child: import('node:child_process').ChildProcess) => void} onReply its first output */
function piped(file, args, onReply) {
  const child = spawn(process.execPath, [cli, ...CHAT, '--resume', file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => {}).write(`${SAID[0]}\n`); // and it stays open
  child.stdout.once('data', () => onReply(child));
  return new Promise((resolve) => child.on('exit', (code) => resolve(code)));
}

/** @param {string} file the only one in its folder */
async function savedMessages(file) {
  assert.deepEqual(readdirSync(path.dirname(file)), [path.basename(file)], 'nothing else is left');
  return withModel({ threads: 1 }, async (model) => (await model.restore(file)).messages);
}

const SIGNALS = /** @type {[NodeJS.Signals, number][]} */ ([['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]);
const ENDLESS = ['--max-tokens', '100000', '--ignore-eos', '--ctx', '8192'];

for (const [signal, code] of SIGNALS)
  test(`${signal} between two lines and within a reply ends in a saved chat`, () =>
    inFolder(async (folder) => {
      const file = path.join(folder, 'chat.clla');
      assert.equal(await piped(file, ['--json'], (child) => child.kill(signal)), code); // a whole reply is out
      assert.equal((await savedMessages(file)).length, 2);
      assert.equal(await piped(file, ENDLESS, (child) => child.kill(signal)), code);
      const messages = await savedMessages(file);
      assert.equal(messages.length, 4);
      assert.ok(messages[3].content.length > 0);
    }));

test('signals that keep coming while a chat is saved are held until it is', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    await piped(file, ENDLESS, (child) => {
      const timer = setInterval(() => child.kill('SIGINT') && child.kill('SIGTERM'), 1);
      child.on('exit', () => clearInterval(timer));
    });
    assert.equal((await savedMessages(file)).length, 2);
  }));

test('a chat is saved when its reader leaves', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    assert.equal(await piped(file, ENDLESS, (child) => child.stdout?.destroy()), 0);
    assert.equal((await savedMessages(file)).length, 2);
  }));

/** Run in a terminal; each step waits for a text, then types, or closes it. @param {string[]} args @param {[string, string | null][]} steps */
function inTerminal(args, steps) {
  const helper = path.join(root, 'tests/js/terminal.py');
  const { stdout, stderr } = spawnSync('python3', [helper, JSON.stringify(steps), process.execPath, cli, ...args], { encoding: 'utf8' });
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

const noPython = spawnSync('python3', ['-c', 'import pty']).status === 0 ? false : 'python3 is not here: no terminal to test in';

test('in a terminal a chat is saved when Ctrl-C or Ctrl-D leaves it', { skip: noPython }, () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const args = [...CHAT, '--resume', file];
    const left = inTerminal(args, [['> ', `${SAID[0]}\r`], ['[--max-tokens reached]', ''], ['> ', '\x03']]);
    assert.equal(left.status, 130, left.output);
    const again = inTerminal(args, [['> ', `${SAID[1]}\r`], ['[--max-tokens reached]', ''], ['> ', '\x04']]);
    assert.equal(again.status, 0, again.output);
    assert.match(again.output, /going on after 2 messages: context \d+ of/);
    const last = inTerminal(args, [['> ', '\x04']]);
    assert.match(last.output, /going on after 4 messages/);
  }));

test('a terminal that is closed ends every command quietly, and a chat is saved', { skip: noPython }, () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const chat = ['chat', tiny, ...ENDLESS];
    const closed = (/** @type {string[]} */ args, /** @type {[string, string | null][]} */ ...steps) => {
      const { status, output } = inTerminal(args, steps);
      assert.equal(status, 129, output); // a crash would be -6
    };
    closed([...chat, '--resume', file], ['> ', `${SAID[0]}\r`], [SAID[0], ''], [' a ', null]);
    assert.equal((await savedMessages(file)).length, 2);
    closed([...chat, '--resume', file], ['> ', null]);
    assert.equal((await savedMessages(file)).length, 2);
    closed(chat, ['> ', null]);
    closed(['complete', tiny, '-p', SAID[0], ...ENDLESS], [' a ', null]);
  }));
