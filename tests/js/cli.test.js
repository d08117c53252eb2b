// cli.test.js: the command line as a person runs it: pipes, files, JSON shapes, exit codes, Ctrl-C.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { clla, cllaJson, golden, inFolder, root, smollm, tiny, withModel, withoutSmollm } from './helpers.js';

const ONCE = golden[1];
const cli = path.join(root, 'js/cli.js');

/** @param {number} status @param {RegExp} sentence @param {string[]} args */
function fails(status, sentence, ...args) {
  const result = clla(args);
  assert.equal(result.status, status, `${args.join(' ')}: ${result.stderr}`);
  assert.match(result.stderr, sentence);
  assert.equal(result.stdout, '');
}

test('complete --json has the golden ids and the shape that is kept stable', () => {
  const { prompt, prompt_ids, output_ids, output } = ONCE;
  const args = ['complete', tiny, '-p', prompt, '--temp', '0', '--max-tokens', String(output_ids.length), '--ignore-eos', '--kv', 'f32'];
  const reply = cllaJson(args);
  assert.deepEqual(Object.keys(reply), ['ids', 'text', 'finish_reason', 'prompt_ids', 'timings']);
  assert.deepEqual(Object.keys(reply.timings), ['load_ms', 'prompt_n', 'prompt_per_second', 'decode_n', 'decode_per_second', 'ttft_ms']);
  assert.deepEqual(reply.ids, output_ids);
  assert.equal(reply.text, output);
  assert.equal(reply.finish_reason, 'length');
  assert.deepEqual(reply.prompt_ids, prompt_ids);
  assert.equal(reply.timings.prompt_n, prompt_ids.length);
  assert.equal(reply.timings.decode_n, output_ids.length - 1);
  assert.equal(cllaJson(['complete', tiny, '-p', prompt]).finish_reason, 'stop');
});

test('complete prints the text and nothing else; --timings goes to stderr', () => {
  const args = ['complete', tiny, '-p', ONCE.prompt, '--max-tokens', '20'];
  const plain = clla(args);
  assert.equal(plain.status, 0);
  assert.equal(plain.stderr, '');
  assert.ok(ONCE.output.startsWith(plain.stdout.slice(0, -1)) && plain.stdout.endsWith('\n'));
  const timed = clla([...args, '--timings']);
  assert.equal(timed.stdout, plain.stdout);
  assert.match(timed.stderr, /^prompt 6 tokens at [\d,]+\/s · reply 20 at [\d.]+\/s · first token [\d.]+ s · load [\d.]+ s\n$/);
});

test('the prompt comes from stdin or a file as well', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'prompt.txt');
    writeFileSync(file, ONCE.prompt);
    const { ids } = cllaJson(['complete', tiny, '-p', ONCE.prompt, '--max-tokens', '8']);
    assert.deepEqual(cllaJson(['complete', tiny, '--max-tokens', '8'], { input: `${ONCE.prompt}\n` }).ids, ids);
    assert.deepEqual(cllaJson(['complete', tiny, '--max-tokens', '8', '--file', file]).ids, ids);
    assert.deepEqual(cllaJson(['complete', tiny, '--max-tokens', '8', '--file', '-'], { input: ONCE.prompt }).ids, ids);
    fails(2, /either -p TEXT or --file/, 'complete', tiny, '-p', 'x', '--file', file);
    fails(3, /nowhere\.txt/, 'complete', tiny, '--file', path.join(folder, 'nowhere.txt'));
  }));

test('sampling options reach the sampler; a seed gives the same text in every variant', () => {
  const draw = (/** @type {string[]} */ ...more) =>
    cllaJson(['complete', tiny, '-p', ONCE.prompt, '--max-tokens', '24', '--temp', '1.2', '--top-k', '100', '--kv', 'f32', ...more]).ids.join();
  const seven = draw('--seed', '7');
  assert.equal(draw('--seed', '7', '--threads', '1', '--variant', 'simd'), seven);
  assert.notEqual(draw('--seed', '8'), seven);
  assert.notEqual(draw('--seed', '7', '--top-p', '0.1'), seven);
  assert.equal(draw('--seed', '7', '--top-p', '0'), draw('--seed', '8', '--min-p', '1'), 'the likeliest alone');
  assert.notEqual(draw('--seed', '7', '--min-p', '0.9'), seven);
  assert.notEqual(draw('--seed', '7', '--typical-p', '0.1'), seven);
  assert.equal(draw('--seed', '7', '--typical-p', '0'), draw('--seed', '8', '--typical-p', '0'), 'the most typical alone');
  assert.notEqual(draw('--seed', '7', '--repeat-penalty', '3'), seven);
  assert.notEqual(draw('--seed', '7', '--frequency-penalty', '3'), seven);
  assert.notEqual(draw('--seed', '7', '--presence-penalty', '3'), seven);
  assert.notEqual(draw('--seed', '7', '--repeat-penalty', '3', '--penalty-window', '2'), draw('--seed', '7', '--repeat-penalty', '3'));
  assert.equal(draw('--logit-bias', '85=inf', '--logit-bias', '80=-inf'), Array(24).fill(85).join());
});

test('--stop and --logprobs', () => {
  const whole = cllaJson(['complete', tiny, '-p', ONCE.prompt, '--max-tokens', '20']);
  const cut = cllaJson(['complete', tiny, '-p', ONCE.prompt, '--max-tokens', '20', '--stop', 'nothing', '--stop', whole.text.slice(12, 20)]);
  assert.equal(cut.text, whole.text.slice(0, 12));
  assert.equal(cut.finish_reason, 'stop');
  const { ids, logprobs } = cllaJson(['complete', tiny, '-p', ONCE.prompt, '--max-tokens', '5', '--logprobs', '3']);
  assert.deepEqual(logprobs.map((/** @type {any} */ t) => [t.id, t.top.length]), ids.map((/** @type {number} */ id) => [id, 3]));
});

test('tokenize prints ids, a line each, or as JSON', () => {
  assert.deepEqual(cllaJson(['tokenize', tiny, '-p', ONCE.prompt]), { ids: ONCE.prompt_ids.slice(1) });
  assert.deepEqual(cllaJson(['tokenize', tiny, '-p', ONCE.prompt, '--bos']).ids, ONCE.prompt_ids);
  assert.deepEqual(cllaJson(['tokenize', tiny, '-p', '<|end_story|>', '--special']).ids, [2]);
  assert.ok(cllaJson(['tokenize', tiny, '-p', '<|end_story|>']).ids.length > 1);
  assert.equal(clla(['tokenize', tiny, '-p', ONCE.prompt]).stdout, ONCE.prompt_ids.slice(1).map((id) => `${id}\n`).join(''));
  assert.deepEqual(cllaJson(['tokenize', tiny], { input: ONCE.prompt }).ids, ONCE.prompt_ids.slice(1));
});

test('perplexity scores the second half of every chunk and lists all', () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'story.txt');
    writeFileSync(file, golden.map(({ prompt, output }) => `${prompt}${output}\n`).join('').repeat(2));
    const args = ['perplexity', tiny, '--file', file, '--ctx', '64', '--chunks', '3'];
    const report = cllaJson([...args, '--logprobs']);
    assert.deepEqual(Object.keys(report), ['ppl', 'chunks', 'tokens', 'logprobs']);
    assert.equal(report.chunks, 3);
    assert.equal(report.tokens, 3 * 32);
    assert.deepEqual(report.logprobs.map((/** @type {number[]} */ chunk) => chunk.length), [63, 63, 63]);
    const half = report.logprobs.flatMap((/** @type {number[]} */ chunk) => chunk.slice(31)); // entry i is of token i + 1
    const mean = half.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b) / half.length;
    assert.ok(Math.abs(report.ppl - Math.exp(-mean)) < 1e-4 * report.ppl);
    assert.ok(report.ppl > 1 && report.ppl < 20, `${report.ppl}: its own kind of text`);
    await withModel({ threads: 1 }, async (model) => {
      const ids = await model.tokenize(readFileSync(file, 'utf8'), { bos: true });
      const scores = await model.score([1, ...ids.slice(65, 128)]); // the second chunk: BOS takes its first place
      for (const [i, x] of scores.entries()) assert.ok(Math.abs(x - report.logprobs[1][i]) < 2e-3, `token ${i}`);
    });
    assert.match(clla(args).stdout, /^perplexity [\d.]+, 96 tokens of 3 chunks scored\n$/);
    fails(2, /too few for one chunk of 50000/, 'perplexity', tiny, '--file', path.join(root, 'package.json'), '--ctx', '50000');
  }));

test('bench --json has the shape that is kept stable', () => {
  const args = ['bench', tiny, '--prefill', '64,128', '--decode', '0,200', '--decode-tokens', '8', '--runs', '2', '--threads', '1'];
  const report = cllaJson(args);
  assert.deepEqual(Object.keys(report), ['variant', 'threads', 'model_bytes', 'prefill', 'decode', 'load_ms', 'peak_bytes']);
  assert.match(report.variant, /^(simd|relaxed)$/);
  assert.deepEqual(Object.keys(report.prefill), ['64', '128']);
  assert.deepEqual(Object.keys(report.decode), ['0', '200']);
  for (const rate of [...Object.values(report.prefill), ...Object.values(report.decode)]) assert.ok(rate > 1);
  assert.ok(report.peak_bytes > report.model_bytes && report.load_ms > 0);
  assert.match(clla([...args.slice(0, 2), '--prefill', '16', '--decode', '4', '--decode-tokens', '4', '--runs', '1']).stdout, /prefill of 16 +[\d,.]+ tokens\/s/);
});

test('chat answers a prompt, a file, or each line of a pipe', () =>
  inFolder(async (folder) => {
    const args = ['chat', tiny, '--temp', '0', '--max-tokens', '12'];
    const one = clla([...args, '-p', ONCE.prompt]);
    assert.equal(one.status, 0);
    assert.equal(one.stderr, '');
    assert.ok(ONCE.output.startsWith(one.stdout.trimEnd()));
    const file = path.join(folder, 'prompt.txt');
    writeFileSync(file, ONCE.prompt);
    assert.equal(clla([...args, '--file', file]).stdout, one.stdout);
    const lines = clla(args, { input: `${ONCE.prompt}\n\n/retry\n/usage\n/nope\n/exit\nnever said\n` }).stdout;
    assert.ok(lines.startsWith(one.stdout + one.stdout), lines);
    assert.match(lines, /context \d+ of 512 tokens/);
    assert.match(lines, /There is no \/nope/);
    const bare = ['--temp', '0', '--max-tokens', '12', '-p', 'Hello'];
    assert.equal(clla(['chat', ...bare]).stdout, clla(['chat', 'clla-4m-chat', ...bare]).stdout, 'without a name it is ours');
    const replies = clla([...args, '--json'], { input: `${ONCE.prompt}\n/retry\n` }).stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(replies.length, 2);
    assert.deepEqual(replies[0].ids, replies[1].ids);
  }));

test('chat drops the oldest messages when the context is full, and says so; --no-trim refuses instead', () => {
  const args = ['chat', 'clla-4m-chat', '--temp', '0', '--max-tokens', '8', '--ignore-eos', '--ctx', '48'];
  const input = 'Once upon a time\n'.repeat(6);
  const trimmed = clla([...args, '--json'], { input });
  assert.equal(trimmed.status, 0, trimmed.stderr);
  assert.match(trimmed.stderr, /^\[the context is full: the oldest \d+ messages were dropped\]$/m);
  const replies = trimmed.stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.equal(replies.length, 6);
  const told = trimmed.stderr.match(/oldest/g)?.length;
  assert.equal(replies.filter((reply) => reply.trimmed?.[0].content === 'Once upon a time').length, told);
  const refused = clla([...args, '--no-trim'], { input });
  assert.equal(refused.status, 4);
  assert.match(refused.stderr, /the prompt has \d+ tokens, the context holds 48/);
});

test('chat --system reaches the model', { skip: withoutSmollm }, () => {
  const said = (/** @type {string[]} */ ...more) => cllaJson(['chat', String(smollm), '-p', 'Hello', '--max-tokens', '1', '--ctx', '512', ...more]);
  assert.ok(said().prompt_ids.length > said('--system', 'Be brief.').prompt_ids.length, 'it takes the place of the default one');
});

test('what is wrong with the command line is said, with exit code 2', () => {
  fails(2, /unknown command 'frobnicate'/, 'frobnicate');
  fails(2, /unknown option '--frob'/, 'complete', tiny, '-p', 'x', '--frob');
  fails(2, /--penalty-window.*from 1 up/, 'complete', tiny, '-p', 'x', '--penalty-window', '0');
  fails(2, /missing required argument 'model'/, 'complete');
  fails(2, /too many arguments/, 'inspect', tiny, tiny);
  fails(2, /--ctx.*'12q'.*number/s, 'complete', tiny, '-p', 'x', '--ctx', '12q');
  fails(2, /--ctx.*'1\.5'.*whole number/s, 'complete', tiny, '-p', 'x', '--ctx', '1.5');
  fails(2, /--temp.*'hot'.*number/s, 'complete', tiny, '-p', 'x', '--temp', 'hot');
  fails(2, /temperature: want a number from 0/, 'complete', tiny, '-p', 'x', '--temp', '-1');
  fails(2, /--variant.*avx.*simd, relaxed, auto/s, 'complete', tiny, '-p', 'x', '--variant', 'avx');
  fails(2, /--logit-bias.*ID=BIAS/s, 'complete', tiny, '-p', 'x', '--logit-bias', 'x');
  fails(2, /q9/, 'complete', tiny, '-p', 'x', '--kv', 'q9');
  fails(2, /^clla: source: http:\/\/\[: is not a valid URL\n$/, 'pull', 'http://[');
});

test('files that cannot be used give exit code 3, what does not fit 4', () => {
  fails(3, /nowhere\.gguf/, 'complete', 'nowhere.gguf', '-p', 'x');
  fails(3, /./, 'inspect', path.join(root, 'package.json'));
  fails(3, /is not here: `clla pull llama-3\.2-1b-instruct` downloads it from https:/, 'inspect', 'llama-3.2-1b-instruct');
  fails(4, /the prompt has \d+ tokens, the context holds 4/, 'complete', tiny, '-p', 'Once upon a time there was', '--ctx', '4');
  fails(4, /this context takes .* MB/, 'complete', tiny, '-p', 'x', '--ctx', '16000000');
});

test('help tells the commands, the options and the exit codes', () => {
  const { status, stdout } = clla(['--help']);
  assert.equal(status, 0);
  for (const word of ['chat', 'complete', 'inspect', 'tokenize', 'perplexity', 'bench', 'Exit codes']) assert.match(stdout, new RegExp(word));
  const chat = clla(['chat', '--help']).stdout;
  for (const word of ['--threads', '--ctx', '--kv', '--seed', '--temp', '--max-tokens', '--system', '--file', '--variant', '--json', '--timings', '130', '143', '129'])
    assert.ok(chat.includes(word), word);
  assert.match(clla(['--version']).stdout, /^\d+\.\d+\.\d+\n$/);
  for (const text of [stdout, chat]) assert.ok(text.split('\n').every((line) => line.length <= 80));
});

test('a bundled model has a name', () => assert.equal(cllaJson(['inspect', 'tinystories-656k']).model.parameters, 656_000));

test('a reader that leaves ends the program quietly', async () => {
  const child = spawn(process.execPath, [cli, 'complete', tiny, '-p', ONCE.prompt, '--ignore-eos', '--ctx', '8192'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data) => (stderr += data));
  child.stdout.once('data', () => child.stdout.destroy());
  const [code] = await new Promise((resolve) => child.on('exit', (...args) => resolve(args)));
  assert.equal(stderr, '');
  assert.equal(code, 0);
});

const noFull = existsSync('/dev/full') ? false : '/dev/full is not here';

test('output that finds no room is told, with exit code 4', { skip: noFull }, () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'chat.clla');
    const full = openSync('/dev/full', 'w');
    const chat = ['chat', tiny, '-p', 'x', '--max-tokens', '4'];
    for (const args of [['complete', tiny, '-p', 'x', '--max-tokens', '4'], ['list'], ['embed', tiny, 'x'], chat, [...chat, '--resume', file]]) {
      const { status, stderr } = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', stdio: ['ignore', full, 'pipe'] });
      assert.match(stderr, /^clla: the output cannot be written: ENOSPC.*\n$/, args.join(' '));
      assert.equal(status, 4, args.join(' '));
    }
    closeSync(full);
    assert.ok(existsSync(file), 'a chat is saved first');
  }));

const ENDLESS = ['complete', tiny, '-p', ONCE.prompt, '--ignore-eos', '--ctx', '32768', '--kv', 'f32'];

test('Ctrl-C stops a reply: what was written stays, exit code 130', async () => {
  const child = spawn(process.execPath, [cli, ...ENDLESS], { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (data) => {
    if (stdout === '') child.kill('SIGINT');
    stdout += data;
  });
  assert.equal(await new Promise((resolve) => child.on('close', resolve)), 130);
  assert.ok(ONCE.output.startsWith(stdout.slice(0, 40).trimEnd()) && stdout.endsWith('\n'));
});

test('Ctrl-C stops a reply: --json reports what there is', async () => {
  let stdout = '';
  for (let delay = 500; stdout === '' && delay < 60_000; delay *= 2) {
    const child = spawn(process.execPath, [cli, ...ENDLESS, '--json'], { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout.on('data', (data) => (stdout += data));
    setTimeout(() => child.kill('SIGINT'), delay); // while it loads there is nothing to report: then later
    const [code, signal] = await new Promise((resolve) => child.on('close', (...end) => resolve(end)));
    if (signal !== 'SIGINT') assert.equal(code, 130); // a signal ends it only before the program itself has begun
    else assert.equal(stdout, '');
  }
  const reply = JSON.parse(stdout);
  assert.equal(reply.finish_reason, 'abort');
  const count = Math.min(100, reply.ids.length, ONCE.output_ids.length);
  assert.deepEqual(reply.ids.slice(0, count), ONCE.output_ids.slice(0, count));
});

const noFifo = spawnSync('mkfifo', ['--version']).error ? 'mkfifo is not here' : false;

/** Two signals to a program that hangs in a file which never ends. @param {string} fifo @param {string[]} args @param {NodeJS.Signals} signal */
async function endHanging(fifo, args, signal) {
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
  const child = spawn(process.execPath, [cli, ...args], { stdio: 'ignore', env: { ...process.env, CLLA_CACHE: path.dirname(path.dirname(fifo)) } });
  const ended = new Promise((resolve) => child.on('exit', (...how) => resolve(how)));
  const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const writer = await writerOf(fifo);
  child.kill(signal);
  await new Promise((resolve) => setTimeout(resolve, 600));
  child.kill(signal);
  const how = await ended;
  clearTimeout(late);
  if (writer !== undefined) closeSync(writer);
  return how;
}

/** Held open once somebody reads; undefined: nobody does. @param {string} fifo */
async function writerOf(fifo) {
  for (let tries = 0; tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    try {
      return openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {} // not yet
  }
}

test('a second signal ends a program that hangs', { skip: noFifo }, () =>
  inFolder(async (folder) => {
    const codes = { SIGTERM: 143, SIGINT: 130 };
    mkdirSync(path.join(folder, 'store'));
    for (const signal of /** @type {(keyof typeof codes)[]} */ (Object.keys(codes))) {
      const fifo = path.join(folder, 'store', `${signal}.json`); // where the records of models are
      for (const args of [['pull', 'http://127.0.0.1:9/x.gguf'], ['complete', tiny, '--file', fifo]]) {
        const [code, by] = await endHanging(fifo, args, signal);
        assert.ok(code === codes[signal] || by === signal, `${args}: ${code}, ${by}`);
        rmSync(fifo);
      }
    }
  }));

// ---- in a terminal ---------------------------------------------------------------------------------------------------

const noPython = spawnSync('python3', ['-c', 'import pty']).status === 0 ? false : 'python3 is not here: no terminal to test in';

/** Run in a terminal; each step waits for a text, then types. @param {[string, string][]} steps @param {string[]} args @param {Record<string, string>} [env] */
function inTerminal(steps, args, env = {}) {
  const helper = path.join(root, 'tests/js/terminal.py');
  const made = spawnSync('python3', [helper, JSON.stringify(steps), process.execPath, cli, ...args], { encoding: 'utf8', env: { ...process.env, ...env } });
  assert.equal(made.stderr, '');
  return JSON.parse(made.stdout);
}

const CTRL_C = '\x03';
const CTRL_D = '\x04';

test('in a terminal Ctrl-C stops the reply, then the program', { skip: noPython }, () => {
  const args = ['chat', tiny, '--temp', '0', '--ignore-eos', '--ctx', '8192'];
  const { output, status } = inTerminal([['> ', `${ONCE.prompt}\r`], ['little girl', CTRL_C], ['[stopped]', ''], ['> ', CTRL_C]], args);
  assert.equal(status, 130);
  assert.match(output, /TinyStories 656K/);
  assert.match(output, /little girl.*\[stopped\]/s);
});

test('in a terminal a chat goes on after a failure, and Ctrl-D leaves it', { skip: noPython }, () => {
  const args = ['chat', tiny, '--temp', '0', '--max-tokens', '4', '--ctx', '24'];
  const { output, status } = inTerminal([['> ', `${'the dog ran '.repeat(12)}\r`], ['/clear begins anew', ''], ['> ', `${ONCE.prompt}\r`], ['little girl', ''], ['> ', CTRL_D]], args);
  assert.equal(status, 0);
  assert.match(output, /the prompt has \d+ tokens, the context holds 24/);
});

test('in a terminal there is progress and colour, elsewhere there is not', { skip: noPython }, () =>
  inFolder(async (folder) => {
    const file = path.join(folder, 'text.txt');
    writeFileSync(file, golden.map(({ output }) => output).join('\n').repeat(6));
    const args = ['perplexity', tiny, '--file', file];
    const shown = inTerminal([], args);
    assert.equal(shown.status, 0);
    assert.match(shown.output, /Scoring {2}━+.*of [\d,]+/);
    assert.match(shown.output, /\x1b\[2m/);
    const piped = clla(args);
    assert.doesNotMatch(piped.stdout + piped.stderr, /\x1b|━/);
  }));
