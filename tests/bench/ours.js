// ours.js: the engine of this repository, measured through its command line, a process of its own for each round.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { root } from './workload.js';

export const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');

/** Standard output of a program that must succeed. */
export function output(command, args, input = '') {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.end(input);
    let out = '';
    let err = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${command} ${args.join(' ')}: exit code ${code}\n${err.trim()}`)),
    );
  });
}

const majorOf = (program) => {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return Number(stdout?.match(/^v(\d+)/)?.[1] ?? 0);
};

/** The programs to run in: `modern` has relaxed SIMD, `old` has not (undefined where it is not on the machine). */
export function findNodes() {
  const installed = path.join(cache, 'node24/node_modules/.bin/node');
  const candidates = [existsSync(installed) ? installed : '', process.execPath, 'node'].filter(Boolean);
  const modern = candidates.find((program) => majorOf(program) >= 22);
  if (!modern)
    throw new Error('no Node >= 22 for the relaxed build: run scripts/setup.sh test, or `npm install --prefix ~/.cache/clla/node24 node@24`');
  return { modern, old: candidates.find((program) => majorOf(program) > 0 && majorOf(program) < 22) };
}

/**
 * One build of the engine in one Node. measure() gives the figures of a round: a process that loads the model and is
 * timed, and the command line's wall time to one token.
 */
export function ours({ name, node, variant, threads, kv, model, prompts }) {
  const clla = async (...args) => JSON.parse(await output(node, ['js/cli.js', ...args, '--json']));
  const build = ['--variant', variant, '--threads', String(threads)];
  return {
    name,
    threads,
    measure: async () => JSON.parse(await output(node, ['tests/bench/ours_run.js', model], JSON.stringify({ variant, threads, kv, prompts }))),
    /** Wasm memory at a context of 2,048 after a long prompt and a reply, and what of it is the cache. */
    async memory() {
      const { peak_bytes: peak } = await clla('bench', model, ...build, '--ctx', '2048', '--prefill', String(prompts.prefill),
        '--decode', '0', '--decode-tokens', '4', '--runs', '1');
      const { model: { file_bytes: file }, session: { cache_bytes: kept } } = await clla('inspect', model, '--ctx', '2048');
      return { peak, cache: kept, file };
    },
  };
}

// ---- what a page would download ------------------------------------------------------------------------------------

const IMPORTS = /^(?:import|export)\b[^'";]*?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|new URL\(\s*['"]([^'"]+\.js)['"]/gm;

/** A module and all it imports or starts as a worker; the Wasm glue of other variants left out. */
function modulesFrom(file, variant, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(file, 'utf8').replace(/\/\*[^]*?\*\//g, '');
  if (path.dirname(file).endsWith(path.join('js', 'wasm'))) return seen;
  for (const [, a, b, c] of text.matchAll(IMPORTS)) {
    const name = a ?? b ?? c;
    if (name.startsWith('node:') || !/^\.|^@huggingface\/jinja$/.test(name)) continue;
    if (name.includes('wasm/') && !name.endsWith(`clla-${variant}.js`)) continue;
    const next = name.startsWith('.') ? path.join(path.dirname(file), name) : path.join(root, 'node_modules', name, 'dist/index.js');
    if (existsSync(next)) modulesFrom(next, variant, seen);
  }
  return seen;
}

/** Bytes after gzip -9, file by file as they are (not minified), of one variant. */
export function downloadSize(variant) {
  const size = (file) => gzipSync(readFileSync(file), { level: 9 }).length;
  const modules = [...modulesFrom(path.join(root, 'js/index.js'), variant)];
  const sum = (files) => files.reduce((total, file) => total + size(file), 0);
  const templates = modules.filter((file) => file.includes('node_modules'));
  const parts = {
    wasm: size(path.join(root, `js/wasm/clla-${variant}.wasm`)),
    js: sum(modules.filter((file) => !file.includes('node_modules'))),
    templates: sum(templates),
  };
  return { variant, ...parts, total: parts.wasm + parts.js + parts.templates, files: modules.length + 1 };
}
