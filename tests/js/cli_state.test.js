// cli_state.test.js: `clla chat --resume FILE`: one conversation over several runs of the program.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { inFolder, root, tiny } from './helpers.js';

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

test('a chat is saved when the context is full and the program fails, and not where it cannot be', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const full = clla([...CHAT, '--ctx', '40', '--resume', file], `${SAID[0]}\n${'the dog ran '.repeat(20)}\n`);
    assert.equal(full.status, 4, full.stderr);
    assert.ok(existsSync(file));
    assert.equal(replies([SAID[1]], '--resume', file)[0].finish_reason.length > 0, true);
    const nowhere = clla([...CHAT, '--resume', path.join(folder, 'no/chat.clla')], `${SAID[0]}\n`);
    assert.equal(nowhere.status, 3);
    assert.match(nowhere.stderr, /cannot be saved to .*no\/chat\.clla/);
    assert.notEqual(nowhere.stdout, '', 'it did answer');
  }));

const noPython = spawnSync('python3', ['-c', 'import pty']).status === 0 ? false : 'python3 is not here: no terminal to test in';

test('in a terminal a chat is saved when Ctrl-C or Ctrl-D leaves it', { skip: noPython }, () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const inTerminal = (/** @type {[string, string][]} */ steps) => {
      const args = [path.join(root, 'tests/js/terminal.py'), JSON.stringify(steps), process.execPath, cli, ...CHAT, '--resume', file];
      const { stdout, stderr } = spawnSync('python3', args, { encoding: 'utf8' });
      assert.equal(stderr, '');
      return JSON.parse(stdout);
    };
    const left = inTerminal([['> ', `${SAID[0]}\r`], ['[--max-tokens reached]', ''], ['> ', '\x03']]);
    assert.equal(left.status, 130, left.output);
    const again = inTerminal([['> ', `${SAID[1]}\r`], ['[--max-tokens reached]', ''], ['> ', '\x04']]);
    assert.equal(again.status, 0, again.output);
    assert.match(again.output, /going on after 2 messages: context \d+ of/);
    const last = inTerminal([['> ', '\x04']]);
    assert.match(last.output, /going on after 4 messages/);
  }));
