// package.test.js: the package as it is published: what the tarball holds, and that it works where it is installed: in
// Node 20 and 24, on a terminal, for TypeScript, and in a page under a strict Content-Security-Policy without a bundler.
// examples.test.js has the bundlers.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { startChromium, withoutChromium } from './browser/chromium.js';
import { installPackage, root } from './browser/installed.js';
import { startServer } from './browser/server.js';

const { prompt, output_ids: expected } = JSON.parse(readFileSync(path.join(root, 'tests/vectors/tinystories-656k.json'), 'utf8')).prompts[1];
const ids = expected.slice(0, 24);
const OPTIONS = JSON.stringify({ maxTokens: ids.length, ignoreEos: true });

/** @type {Awaited<ReturnType<typeof installPackage>>} */
let installed;
before(async () => (installed = await installPackage()));
after(() => installed.remove());

// ---- what it holds -------------------------------------------------------------------------------------------------

/** Our own: layers.test.js has each of them in its list. And two that are made while building, of each kind. */
const MODULES = ['', 'cli/', 'store/', 'workers/']
  .flatMap((folder) => readdirSync(path.join(root, 'js', folder)).filter((name) => name.endsWith('.js')).map((name) => folder + name.slice(0, -3)))
  .concat('vendor/hash-wasm', 'vendor/jinja', 'wasm/clla-simd', 'wasm/clla-simd-threads');
const WASM = ['simd', 'simd-threads', 'relaxed', 'relaxed-threads'].map((name) => `js/wasm/clla-${name}.wasm`);
const MODELS = [
  'README.md', 'catalogue.json', 'clla-4m-chat.LICENSE', 'clla-4m-chat.attribution.tsv', 'clla-4m-chat.gguf',
  'tinystories-656k.LICENSE', 'tinystories-656k.gguf',
].map((name) => `models/${name}`);
const CONTENTS = [
  'LICENSE', 'README.md', 'package.json', 'js/types.d.ts', 'js/store/types.d.ts', ...MODULES.map((name) => `js/${name}.js`), ...WASM, ...MODELS,
];

/** Modules that no page loads. */
const NODE_ONLY = /^cli|_node$|^store\/(shelf_folder|processes)$/;

/** In bytes; gzip -9 where it says so. */
const BUDGET = { tarball: 6_400_000, unpacked: 8_400_000, withoutModels: 2_300_000, jsGzip: 118_000, wasmGzip: 140_000 };

test('the tarball holds what users need and nothing else', () => {
  assert.deepEqual(installed.files.map((file) => file.path).sort(), CONTENTS.sort());
});

test('the tarball keeps to its budget', (t) => {
  const bytes = (/** @type {RegExp} */ pattern) => installed.files.reduce((sum, file) => sum + (pattern.test(file.path) ? file.size : 0), 0);
  const gzip = (/** @type {string} */ name) => gzipSync(readFileSync(path.join(installed.folder, 'node_modules/clla', name)), { level: 9 }).length;
  const sizes = {
    tarball: installed.size,
    unpacked: bytes(/./),
    withoutModels: bytes(/^(?!models\/.*\.gguf)/),
    jsGzip: MODULES.filter((name) => !NODE_ONLY.test(name)).reduce((sum, name) => sum + gzip(`js/${name}.js`), 0),
    wasmGzip: Math.max(...WASM.map(gzip)),
  };
  t.diagnostic(JSON.stringify(sizes));
  for (const wasm of WASM) t.diagnostic(`${wasm}: ${gzip(wasm)} gzip`);
  for (const [name, limit] of Object.entries(BUDGET))
    assert.ok(sizes[/** @type {keyof typeof sizes} */ (name)] <= limit, `${name}: ${sizes[/** @type {keyof typeof sizes} */ (name)]} bytes, at most ${limit}`);
});

test('what it carries of others has their licences', () => {
  for (const [name, owner] of [['hash-wasm', /Dani Bir/], ['jinja', /Hugging Face|huggingface/i]]) {
    const head = readFileSync(path.join(installed.folder, `node_modules/clla/js/vendor/${name}.js`), 'utf8').slice(0, 4000);
    assert.match(head, /Permission is hereby granted[^]*THE SOFTWARE IS PROVIDED "AS IS"/);
    assert.match(head, /** @type {RegExp} */ (owner));
  }
});

test('it needs one other package, and that for the command line only', () => {
  assert.deepEqual(readdirSync(path.join(installed.folder, 'node_modules')).filter((name) => !name.startsWith('.')).sort(), ['clla', 'commander']);
  for (const name of MODULES.filter((module) => !module.startsWith('cli'))) {
    const code = readFileSync(path.join(installed.folder, `node_modules/clla/js/${name}.js`), 'utf8');
    const bare = [...code.matchAll(/^(?:import|export)\b[^'"]*from\s*'([^./'][^']*)'/gm)].map((match) => match[1]);
    assert.deepEqual(bare.filter((from) => !from.startsWith('node:')), [], name);
    if (!name.endsWith('_node') && !/^index$|processes|shelf_folder/.test(name)) assert.deepEqual(bare, [], `${name} goes into pages`);
  }
});

test('the loaders of plain and relaxed SIMD differ in the name of their file only', () => {
  for (const threads of ['', '-threads']) {
    const [simd, relaxed] = ['simd', 'relaxed'].map((name) => readFileSync(path.join(root, `js/wasm/clla-${name}${threads}.js`), 'utf8'));
    assert.equal(relaxed.replaceAll('clla-relaxed', 'clla-simd'), simd);
  }
});

// ---- Node ----------------------------------------------------------------------------------------------------------

const PROGRAM = `
import { load, models, CllaError } from 'clla';
const model = await load('tinystories-656k', { kv: 'f32', threads: Number(process.argv[2]) });
const { ids } = await model.complete(${JSON.stringify(prompt)}, ${OPTIONS}).done;
const refused = await load('nowhere.gguf').catch((error) => error instanceof CllaError && error.code);
console.log(JSON.stringify({ ids, refused, variant: model.info.variant, list: typeof models.list }));
await model.close();
`;

/** @param {string} command @param {string[]} args */
function start(command, args, input = '') {
  const made = spawnSync(command, args, { cwd: installed.folder, encoding: 'utf8', input, env: { ...process.env, CLLA_CACHE: path.join(installed.folder, 'cache') } });
  if (made.error) throw made.error;
  return made;
}

for (const [name, engine, variant] of [
  ['this Node', process.execPath, Number.parseInt(process.versions.node, 10) < 22 ? 'simd' : 'relaxed'],
  ['Node 24', process.env.CLLA_NODE24, 'relaxed'],
])
  test(`installed and imported in ${name}`, { skip: engine && existsSync(engine) ? false : 'CLLA_NODE24 names no Node 24' }, () => {
    writeFileSync(path.join(installed.folder, 'program.mjs'), PROGRAM);
    for (const threads of [1, 2]) {
      const { stdout, stderr } = start(/** @type {string} */ (engine), ['program.mjs', String(threads)]);
      assert.equal(stderr, '');
      assert.deepEqual(JSON.parse(stdout), { ids, refused: 'NOT_STORED', variant: variant + (threads > 1 ? '-threads' : ''), list: 'function' });
    }
  });

test('the command line is installed with it', () => {
  const { status, stdout } = start(path.join(installed.folder, 'node_modules/.bin/clla'), ['complete', 'tinystories-656k', '--max-tokens', '4', '--json'], prompt);
  assert.equal(status, 0);
  assert.equal(JSON.parse(stdout).ids.length, 4);
});

test('its parts have addresses', () => {
  const names = ['clla/package.json', 'clla/wasm/clla-simd.wasm', 'clla/models/catalogue.json', 'clla/models/clla-4m-chat.gguf'];
  const { stdout } = start(process.execPath, ['--input-type=module', '-e', `for (const name of ${JSON.stringify(names)}) console.log(import.meta.resolve(name))`]);
  for (const [i, url] of stdout.trim().split('\n').entries()) assert.ok(existsSync(new URL(url)), names[i]);
});

// ---- TypeScript ----------------------------------------------------------------------------------------------------

const NODE_TYPES = ['--types', 'node', '--typeRoots', path.join(root, 'node_modules/@types')];
for (const [where, flags] of Object.entries({
  'as a bundler resolves it': ['--module', 'esnext', '--moduleResolution', 'bundler', '--lib', 'es2022,dom,dom.iterable'],
  'as Node resolves it': ['--module', 'nodenext', '--moduleResolution', 'nodenext', '--lib', 'es2022', ...NODE_TYPES],
}))
  test(`a strict TypeScript program compiles against it, ${where}`, () => {
    const program = readFileSync(path.join(root, 'tests/js/types.ts'), 'utf8'); // its mistakes must be found, too
    writeFileSync(path.join(installed.folder, 'use.mts'), program);
    const strict = ['--strict', '--noUncheckedIndexedAccess', '--target', 'es2022', '--noEmit'];
    const { stdout } = start(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), ...strict, ...flags, 'use.mts']);
    assert.equal(stdout, '');
  });

// ---- a page --------------------------------------------------------------------------------------------------------

const CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src data:";

/**
 * Run a program as a script tag of a page next to node_modules; what it puts into window.result, and what the console said.
 * @param {string} program @param {{isolated?: boolean}} [options]
 */
async function inPage(program, { isolated = false } = {}) {
  writeFileSync(path.join(installed.folder, 'index.html'), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="program.js"></script>');
  writeFileSync(path.join(installed.folder, 'program.js'), `import { load } from './node_modules/clla/js/index_web.js';\n${program}`);
  const server = await startServer({ isolated, folder: installed.folder, headers: { 'Content-Security-Policy': CSP } });
  const chromium = await startChromium();
  try {
    const page = await chromium.browser.newPage();
    /** @type {string[]} */
    const said = [];
    page.on('console', (message) => void said.push(message.text()));
    page.on('pageerror', (error) => void said.push(String(error)));
    await page.goto(`${server.origin}/`);
    await page.waitForFunction('window.result', { timeout: 60_000 }).catch((error) => Promise.reject(new Error(`${error}: ${said}`)));
    return { result: /** @type {any} */ (await page.evaluate('window.result')), said };
  } finally {
    await chromium.close();
    await server.close();
  }
}

for (const isolated of [false, true])
  test(`a script tag under a strict Content-Security-Policy, ${isolated ? 'isolated' : 'not isolated'}`, { skip: withoutChromium }, async () => {
    const { result, said } = await inPage(
      `const model = await load('tinystories-656k', { kv: 'f32', threads: 2 });
      const { ids } = await model.complete(${JSON.stringify(prompt)}, ${OPTIONS}).done;
      const reply = await model.chat().send('The dog', { maxTokens: 4 }).done; // templates, too
      window.result = { ids, chat: reply.text.length > 0, variant: model.info.variant, reasons: model.info.reasons };`,
      { isolated },
    );
    const { reasons, ...rest } = result;
    assert.deepEqual(rest, { ids, chat: true, variant: isolated ? 'relaxed-threads' : 'relaxed' });
    assert.equal(reasons.includes('the page is not cross-origin isolated: one thread'), !isolated);
    assert.deepEqual(said, []);
  });

test('a page reads the .wasm files from where it is told', { skip: withoutChromium }, async () => {
  for (const name of WASM) cpSync(path.join(installed.folder, 'node_modules/clla', name), path.join(installed.folder, 'moved', path.basename(name)));
  const { result } = await inPage(
    `const outcomes = [];
    for (const wasmUrl of ['nowhere/', 'moved', (file) => new URL('/moved/' + file, location.href)]) {
      const model = await load('tinystories-656k', { kv: 'f32', wasmUrl }).catch((error) => outcomes.push([error.code, error.message]));
      if (model.complete) outcomes.push((await model.complete(${JSON.stringify(prompt)}, ${OPTIONS}).done).ids);
    }
    window.result = outcomes;`,
  );
  const [[code, message], ...written] = result;
  assert.equal(code, 'NOT_READABLE');
  assert.match(message, /^wasmUrl: no engine at http:\/\/127\.0\.0\.1:\d+\/nowhere\/clla-relaxed\.wasm: /);
  assert.deepEqual(written, [ids, ids]);
});
