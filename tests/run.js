// run.js: the program behind `npm test`: build everything, run everything, add it up.
//
//   node tests/run.js [WORD...]     only those jobs whose name holds all the words (nothing: all jobs)
//
// A job is one test program in one engine. Jobs run two at a time; each ends with a line "N passed, N failed,
// N skipped" of its own, in the form of its kind. What a job skips is listed again at the end, with the reason. A job
// that crashes, hangs or says nothing counts as one failure.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);

const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');
const node24 = path.join(cache, 'node24/node_modules/.bin/node');
const FUZZ_SECONDS = 20;
const MINUTE = 60_000;
const here = `Node ${process.versions.node.split('.')[0]}`; // Node 20 on the machine that the README names
const words = process.argv.slice(2);

/** @typedef {{passed: number, failed: number, skipped: string[]}} Result */
/** @typedef {{name: string, command: string[], read: (output: string, code: number) => Result, env?: Record<string, string>, limit?: number}} Job */

/** Run a program; its whole output and exit code (-1: killed after `limit` milliseconds).
 * @param {string[]} command @param {{env?: Record<string, string>, limit?: number}} [options]
 * @returns {Promise<{output: string, code: number}>} */
function run(command, { env = {}, limit = 15 * MINUTE } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      output += `\n(killed: not done after ${limit / 1000} s)\n`;
      child.kill('SIGKILL');
    }, limit);
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (output += data));
    child.on('error', (error) => (output += `${error.message}\n`));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (signal && !late) output += `\n(ended by ${signal})\n`;
      resolve({ output, code: late ? -1 : (code ?? -1) });
    });
  });
}

// ---- what the kinds of jobs say ------------------------------------------------------------------------------------

/** C programs: tests/c/test.h. @param {string} output @param {number} code @returns {Result} */
function readC(output, code) {
  const report = output.match(/^(\d+) passed, (\d+) failed, (\d+) skipped$/m);
  if (!report) return { passed: 0, failed: 1, skipped: [] };
  const failed = Number(report[2]);
  const skipped = [...output.matchAll(/^SKIP (.*)$/gm)].map((match) => match[1]);
  return { passed: Number(report[1]), failed: code !== 0 && failed === 0 ? 1 : failed, skipped };
}

/** `node --test` with the TAP reporter. @param {string} output @param {number} code @returns {Result} */
function readTap(output, code) {
  const count = (/** @type {string} */ word) => Number(output.match(new RegExp(`^# ${word} (\\d+)$`, 'm'))?.[1] ?? NaN);
  const failed = count('fail') + count('cancelled');
  if (Number.isNaN(failed)) return { passed: 0, failed: 1, skipped: [] };
  const skipped = [...output.matchAll(/^ *ok \d+ - (.*?) # SKIP ?(.*)$/gm)].map((match) => `${match[1]}: ${match[2] || 'no reason given'}`);
  while (skipped.length < count('skipped')) skipped.push('a test that does not say its name');
  return { passed: count('pass'), failed: code !== 0 && failed === 0 ? 1 : failed, skipped };
}

/** The parts of an output that tell what failed and why: TAP's failed tests, or the end. @param {string} output */
function reasonsIn(output) {
  const tests = output.match(/^ *not ok .*\n(?:(?! *\.\.\.$).*\n){0,30}/gm) ?? [output.split('\n').slice(-30).join('\n')];
  return tests.join('').split('\n').map((line) => `    | ${line}`).join('\n');
}

/** Programs that only succeed or fail. @param {string} _output @param {number} code @returns {Result} */
const readExit = (_output, code) => ({ passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: [] });

// ---- the jobs ------------------------------------------------------------------------------------------------------

/** @param {string} folder @param {RegExp} pattern @returns {string[]} */
const names = (folder, pattern) => (existsSync(folder) ? readdirSync(folder).filter((name) => pattern.test(name)).sort() : []);

/** What to build, and how to start a C test of that build. */
const C_RUNS = [
  { preset: 'native-sanitize', where: 'natively with ASan and UBSan', start: (/** @type {string} */ t) => [`build/native-sanitize/tests/c/${t}`] },
  { preset: 'wasm-simd', where: `as Wasm with SIMD128 and one thread in ${here}`, start: (/** @type {string} */ t) => [process.execPath, `build/wasm-simd/tests/c/${t}.cjs`] },
  { preset: 'wasm-relaxed-threads', where: 'as Wasm with relaxed SIMD and threads in Node 24', start: (/** @type {string} */ t) => [node24, `build/wasm-relaxed-threads/tests/c/${t}.cjs`] },
  { preset: 'wasi', where: 'under WASI', start: (/** @type {string} */ t) => [process.execPath, '--no-warnings', 'tests/wasi.js', `build/wasi/tests/c/${t}.wasm`] },
];

const SANITIZER = {
  ASAN_OPTIONS: 'detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};

/** @returns {Job[]} */
function cJobs() {
  const tests = names('tests/c', /^test_.*\.c$/).map((name) => name.slice(0, -2));
  return C_RUNS.flatMap(({ where, start }) =>
    tests.map((test) => ({ name: `${test} ${where}`, command: start(test), read: readC, env: SANITIZER })),
  );
}

/** Tests of tests/browser that run in each of its browsers; the others say themselves where they run. */
const IN_EACH_BROWSER = ['e2e.test.js', 'store.test.js'];
const BROWSERS = { chromium: 'Chromium', firefox: 'Firefox', webkit: 'WebKitGTK' };

/** The JavaScript tests, file by file, in both engines; those of pages in every browser. @returns {Job[]} */
function jsJobs() {
  const both = names('tests/js', /\.test\.js$/).map((name) => `tests/js/${name}`);
  const once = ['tests', 'tests/browser'].flatMap((folder) => names(folder, /\.test\.js$/).map((name) => `${folder}/${name}`));
  const each = IN_EACH_BROWSER.map((name) => `tests/browser/${name}`);
  const job = (/** @type {string} */ file, /** @type {string} */ engine, /** @type {string} */ where, browser = '') => ({
    name: `${file}${where}`,
    command: [engine, '--test', '--test-reporter=tap', file],
    read: readTap,
    env: { CLLA_NODE24: node24, ...(browser ? { CLLA_BROWSER: browser } : {}) },
  });
  return [
    ...both.map((file) => job(file, process.execPath, ` in ${here}`)),
    ...both.map((file) => job(file, node24, ' in Node 24')),
    ...once.filter((file) => !each.includes(file)).map((file) => job(file, process.execPath, '')),
    ...each.flatMap((file) => Object.entries(BROWSERS).map(([browser, name]) => job(file, process.execPath, ` in ${name}`, browser))),
  ];
}

/** @param {string} scratch a folder for what the fuzzers find interesting @returns {Job[]} */
function fuzzJobs(scratch) {
  return names('tests/fuzz', /^fuzz_.*\.c$/).map((file) => {
    const harness = file.slice(0, -2);
    const corpus = path.join(scratch, harness);
    mkdirSync(corpus);
    const seeds = `tests/fuzz/${harness.replace('fuzz_', 'seeds_')}`;
    return {
      name: `${harness} for ${FUZZ_SECONDS} s`,
      command: [
        `build/fuzz/${harness}`, `-max_total_time=${FUZZ_SECONDS}`, '-timeout=10', '-rss_limit_mb=2048', '-print_final_stats=1',
        `-artifact_prefix=${corpus}/`, corpus, ...(existsSync(seeds) ? [seeds] : []),
      ],
      read: readExit,
      env: SANITIZER,
    };
  });
}

/** @param {string} scratch @returns {Job[]} */
function allJobs(scratch) {
  /** @type {Job[]} */
  const types = [{ name: 'types (tsc --checkJs --strict)', command: [process.execPath, 'node_modules/typescript/bin/tsc', '-p', 'jsconfig.json'], read: readExit }];
  const jobs = [...jsJobs(), ...fuzzJobs(scratch), ...types, ...cJobs()];
  return jobs.filter((job) => words.every((word) => job.name.includes(word)));
}

// ---- the run -------------------------------------------------------------------------------------------------------

/** @type {Result & {failures: string[]}} */
const total = { passed: 0, failed: 0, skipped: [], failures: [] };

/** @param {string} name @param {Result} result @param {number} seconds @param {string} output */
function report(name, result, seconds, output) {
  total.passed += result.passed;
  total.failed += result.failed;
  total.skipped.push(...result.skipped.map((reason) => `${name}: ${reason}`));
  const counts = `${result.passed} passed, ${result.failed} failed, ${result.skipped.length} skipped`;
  console.log(`${result.failed ? 'FAIL' : 'ok  '} ${name}: ${counts} (${seconds.toFixed(1)} s)`);
  for (const reason of result.skipped) console.log(`     SKIPPED ${reason}`);
  if (result.failed) {
    total.failures.push(`${name}\n${reasonsIn(output)}`);
    console.log(output.split('\n').slice(-200).map((line) => `     | ${line}`).join('\n'));
  }
}

/** @param {Job} job */
async function runJob(job) {
  const started = performance.now();
  const { output, code } = await run(job.command, job);
  report(job.name, job.read(output, code), (performance.now() - started) / 1000, output);
}

/** Build one preset; a build that fails is a failed test, and so are the jobs that needed it. @param {string[]} targets */
async function build(...targets) {
  const started = performance.now();
  const { output, code } = await run(['scripts/build.sh', ...targets]);
  const seconds = (performance.now() - started) / 1000;
  if (code === 0) console.log(`built ${targets.join(' ') || 'the Wasm variants'} (${seconds.toFixed(1)} s)`);
  else report(`building ${targets.join(' ')}`, { passed: 0, failed: 1, skipped: [] }, seconds, output);
}

const started = performance.now();
await build();
await build('native');
for (const { preset } of C_RUNS) await build(...(preset.startsWith('wasm') ? [] : [preset]), `${preset}:c_tests`);
await build('fuzz');

const scratch = mkdtempSync(path.join(tmpdir(), 'clla-test-'));
const queue = allJobs(scratch);
async function work() {
  for (let job = queue.shift(); job; job = queue.shift()) await runJob(job);
}
await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, work));
if (total.failed === 0) rmSync(scratch, { recursive: true });
else console.log(`\nwhat the fuzzers left is in ${scratch}`);

if (total.skipped.length) console.log(`\nSKIPPED, and so not shown to work:\n${total.skipped.map((s) => `  ${s}`).join('\n')}`);
if (total.failures.length) console.log(`\nFAILED:\n${total.failures.map((s) => `  ${s}`).join('\n')}`);
console.log(`\n${((performance.now() - started) / MINUTE).toFixed(1)} minutes`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
