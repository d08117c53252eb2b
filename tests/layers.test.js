// layers.test.js: what may include what. A file uses its own layer and lower ones; nothing includes itself round about;
// and the few rules of the house that a machine can check.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');

// Layers from the bottom up, by file name without its ending; "x*" is every name that begins with x. clla.h stands where
// its first implementers are: the loader is one.
const C_LAYERS = [
  ['status', 'arena', 'f16', 'hash', 'simd', 'vector', 'threads', 'platform'],
  ['gguf', 'quant', 'kernels*'],
  ['ops'],
  ['kv/*', 'tokenizer*', 'pretokenizer', 'unicode*', 'sampler*'],
  ['clla', 'model', 'loader', 'arch', 'forward'],
  ['engine', 'session', 'state'],
  ['wasm_api', 'main_wasi'],
];
const JS_LAYERS = [
  ['errors', 'kinds', 'shown', 'protocol', 'rpc', 'options', 'stops'],
  ['source', 'source_node', 'wasm', 'binding', 'progress', 'parent_web', 'endpoint_*'],
  ['store/layout', 'store/record', 'store/hashing', 'store/hasher', 'store/patience', 'store/shelf_*', 'store/tabs', 'store/processes'],
  ['store/remote', 'store/local', 'store/sink', 'store/intake', 'store/reader', 'store/obtain', 'store/kept'],
  ['store/store_*'],
  ['generate', 'embed', 'worker', 'template_worker', 'hash_worker', 'workers/*'],
  ['platform_*', 'locate'],
  ['engine', 'model', 'models', 'runtime', 'chat', 'chats', 'saved', 'template', 'prompt', 'reply', 'trim', 'conversations', 'openai'],
  ['index', 'index_web'],
  ['cli', 'cli/*'],
];

/** @param {string} folder @param {RegExp} ending @returns {string[]} paths from the root, sub-folders included */
function filesIn(folder, ending) {
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

const read = (/** @type {string} */ file) => readFileSync(path.join(root, file), 'utf8');

/** Comments and strings blanked, so that words in them do not count. @param {string} text */
function codeOf(text) {
  return text.replace(/\/\*[^]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g, (s) => s.replace(/[^\n]/g, ' '));
}

/** @param {string} file @param {RegExp} pattern whose first group is a relative path @returns {string[]} */
function usesOf(file, pattern) {
  return [...read(file).matchAll(pattern)].map((match) => path.join(path.dirname(file), match[1]));
}

const INCLUDE = /^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/gm;
const IMPORT = /^(?:import|export)\b[^'";()]*?['"](\.[^'"]+)['"]|\bimport\(\s*['"](\.[^'"]+)['"]\s*\)/gm;

const cFiles = filesIn('src', /\.(c|h|inc)$/);
const jsFiles = filesIn('js', /\.js$/).filter((file) => !/^js\/(wasm|vendor)\//.test(file));
const cUses = new Map(cFiles.map((file) => [file, usesOf(file, INCLUDE)]));
const jsUses = new Map(
  jsFiles.map((file) => [
    file,
    [...codeWithStrings(read(file)).matchAll(IMPORT)].map((m) => path.join(path.dirname(file), m[1] ?? m[2])).filter((f) => f.endsWith('.js')),
  ]),
);

/** Comments blanked: types named in them are no imports. @param {string} text */
function codeWithStrings(text) {
  return text.replace(/\/\*[^]*?\*\/|(?<![:'"])\/\/[^\n]*/g, '');
}

/** @param {string} file @param {string[][]} layers @returns {number} -1: in no layer */
function layerOf(file, layers) {
  const name = file.replace(/^(src|js)\//, '').replace(/\.[a-z]+$/, '');
  return layers.findIndex((names) => names.some((n) => (n.endsWith('*') ? name.startsWith(n.slice(0, -1)) : n === name)));
}

/** @param {Map<string, string[]>} uses @param {string[][]} layers @returns {string[]} */
function upwardUses(uses, layers) {
  const wrong = [];
  for (const [file, used] of uses) {
    if (layerOf(file, layers) < 0) wrong.push(`${file} is in no layer: give it one in tests/layers.test.js`);
    else for (const other of used)
      if (layerOf(other, layers) > layerOf(file, layers)) wrong.push(`${file} uses ${other}, which is in a higher layer`);
  }
  return wrong;
}

/** @param {Map<string, string[]>} uses @returns {string[]} the files of one cycle, or nothing */
function findCycle(uses) {
  const done = new Set();
  /** @param {string} file @param {string[]} trail @returns {string[]} */
  function visit(file, trail) {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
    if (done.has(file)) return [];
    for (const other of uses.get(file) ?? []) {
      const cycle = visit(other, [...trail, file]);
      if (cycle.length) return cycle;
    }
    done.add(file);
    return [];
  }
  for (const file of uses.keys()) {
    const cycle = visit(file, []);
    if (cycle.length) return cycle;
  }
  return [];
}

/** @param {string[]} files @param {RegExp} pattern @returns {string[]} file:line: what was found */
function occurrences(files, pattern) {
  return files.flatMap((file) =>
    codeOf(read(file))
      .split('\n')
      .flatMap((line, i) => (pattern.test(line) ? [`${file}:${i + 1}: ${line.trim()}`] : [])),
  );
}

test('the checks themselves find an upward include, an unknown file and a cycle', () => {
  assert.equal(upwardUses(new Map([['src/arena.c', ['src/clla.h']]]), C_LAYERS).length, 1);
  assert.equal(upwardUses(new Map([['src/session.c', ['src/kv/spec.h']]]), C_LAYERS).length, 0);
  assert.equal(upwardUses(new Map([['src/nowhere.c', []]]), C_LAYERS).length, 1);
  assert.deepEqual(findCycle(new Map([['a', ['b']], ['b', ['c']], ['c', ['b']]])), ['b', 'c', 'b']);
  assert.equal(codeOf('x /* malloc( */ "malloc("'), 'x                        ');
});

test('what C files include exists', () => {
  const missing = [...cUses].flatMap(([file, used]) => used.filter((f) => !existsSync(path.join(root, f))).map((f) => `${file}: ${f}`));
  assert.deepEqual(missing, []);
  assert.ok(cFiles.length > 10, 'the engine has files');
});

test('C files include their own layer and lower ones only', () => assert.deepEqual(upwardUses(cUses, C_LAYERS), []));

test('no C header includes itself round about', () => assert.deepEqual(findCycle(cUses), []));

test('JavaScript modules import their own layer and lower ones only', () => {
  assert.ok(jsFiles.length > 5, 'there are modules');
  assert.deepEqual(upwardUses(jsUses, JS_LAYERS), []);
});

test('no JavaScript module imports itself round about', () => assert.deepEqual(findCycle(jsUses), []));

test('the mains stand on the public interface', () => {
  const allowed = ['src/clla.h', 'src/arena.h', 'src/platform.h'];
  for (const main of ['src/wasm_api.c', 'src/main_wasi.c'])
    assert.deepEqual((cUses.get(main) ?? []).filter((file) => !allowed.includes(file)), [], main);
});

test('only arena.c allocates', () => {
  const others = cFiles.filter((file) => file !== 'src/arena.c');
  assert.deepEqual(occurrences(others, /\b(malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup)\s*\(/), []);
});

test('nothing in src/ but the mains prints, exits or aborts', () => {
  const others = cFiles.filter((file) => file !== 'src/main_wasi.c');
  assert.deepEqual(occurrences(others, /\b(printf|fprintf|puts|putchar|fputs|exit|_Exit|abort|perror)\s*\(/), []);
});

test('only simd.h mentions an intrinsic or an instruction set', () => {
  const others = cFiles.filter((file) => file !== 'src/simd.h');
  assert.deepEqual(occurrences(others, /\b(wasm_[a-z0-9]+x\d+_\w+|wasm_v128_\w+|v128_t|_mm\d*_\w+|__wasm_simd128__|__wasm_relaxed_simd__|__AVX\w*|__ARM_NEON)\b/), []);
});

test('no line in src/ and js/ is over 130 columns', () => {
  const own = [...cFiles, ...jsFiles, ...filesIn('js', /\.d\.ts$/)].filter((file) => !/vendor|unicode_tables/.test(file));
  const long = own.flatMap((file) => read(file).split('\n').flatMap((line, i) => (line.length > 130 ? [`${file}:${i + 1}`] : [])));
  assert.deepEqual(long, []);
});

test('the public header is short', () => {
  const lines = read('src/clla.h').split('\n').length;
  assert.ok(lines <= 250, `src/clla.h has ${lines} lines`);
});
