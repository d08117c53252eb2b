// store_models.test.js: models in the folder that Node keeps them in: the API and the command line.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import {
  createReadStream, mkdirSync, mkdtempSync, openAsBlob, readFileSync, readdirSync, renameSync, rmSync, rmdirSync, statSync, writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { load, models } from '../../js/index.js';
import { processLocks } from '../../js/store/processes.js';
import { startServer, syntheticFile } from '../browser/server.js';
import { DAMAGED_RECORDS, fails, golden, root, tiny } from './helpers.js';

const TINY_SHA = 'dc606fac801bf67d0c85ababa734fc620981f22df97fd058a1f1a5d6da39690a';
const cache = mkdtempSync(path.join(tmpdir(), 'clla-models-'));
const folder = path.join(cache, 'store');
const bytes = readFileSync(tiny);
/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
before(async () => {
  process.env.CLLA_CACHE = cache;
  server = await startServer();
});
after(async () => {
  await server.close();
  rmSync(cache, { recursive: true });
});

const served = (/** @type {string} */ name, /** @type {object} */ more = {}) => server.put(name, { bytes, etag: '"t"', ...more });

/** @param {import('../../js/types.js').ModelSource} source */
async function check(source) {
  /** @type {Set<string>} */
  const phases = new Set();
  const model = await load(source, { threads: 1, kv: 'f32', onProgress: ({ phase }) => phases.add(phase) });
  const { ids } = await model.complete(golden[1].prompt, { maxTokens: 8 }).done;
  await model.close();
  assert.deepEqual(ids, golden[1].output_ids.slice(0, 8));
  return [...phases];
}

/** The command line, while this program goes on serving. @param {string[]} args @returns {Promise<{status: number, stdout: string, stderr: string}>} */
const cli = (...args) =>
  new Promise((resolve) => {
    execFile(process.execPath, [path.join(root, 'js/cli.js'), ...args], (error, stdout, stderr) =>
      resolve({ status: Number(error?.code ?? 0), stdout, stderr }),
    );
  });

test('a URL is stored, then loaded from the store, by its URL and by its name', async () => {
  const url = served('tiny.gguf');
  assert.deepEqual(await check(url), ['download', 'load']);
  served('tiny.gguf', { status: 500 });
  assert.deepEqual(await check(new URL(url)), ['load']);
  assert.deepEqual(await check('tiny.gguf'), ['load']);
  const [model] = await models.list();
  assert.deepEqual(model, { name: 'tiny.gguf', url, stored: bytes.length, bytes: bytes.length, complete: true, sha256: TINY_SHA, verified: false, parts: 1 });
  assert.ok(readdirSync(folder).includes('tiny.gguf') && !readdirSync(folder).includes('tiny.gguf.part'));
});

test('a damaged file is mended while it is loaded', async () => {
  served('tiny.gguf');
  const file = path.join(folder, 'tiny.gguf');
  const damaged = readFileSync(file);
  damaged[777_777] ^= 1;
  writeFileSync(file, damaged);
  assert.deepEqual(await check('tiny.gguf'), ['load']);
  assert.equal(server.requests('tiny.gguf').at(-1)?.range, `bytes=0-${bytes.length - 1}`);
  assert.ok(readFileSync(file).equals(bytes));
});

test('two files of one name get two names', async () => {
  const url = server.put('more/tiny.gguf', { bytes });
  const { name } = await models.pull(url, { sha256: TINY_SHA });
  assert.equal(name, '2-tiny.gguf');
  await models.remove(name);
});

test('a percent sign in a URL that encodes nothing is a part of the name', async () => {
  for (const last of ['100%.gguf', 'a%ff.gguf']) {
    served(last);
    const { name } = await models.pull(`${server.origin}/files/${last}`);
    assert.equal(name, last);
    await models.remove(name);
  }
});

test('a split model is stored part by part and loaded as one', async () => {
  const names = [1, 2, 3].map((n) => `split-0000${n}-of-00003.gguf`);
  for (const name of names) server.put(name, { bytes: readFileSync(path.join(root, 'tests/vectors/models', name)) });
  const url = `${server.origin}/files/${names[0]}`;
  const model = await load(url, { threads: 1 });
  const { ids } = await model.complete('a', { maxTokens: 4, ignoreEos: true }).done;
  await model.close();
  assert.equal(ids.length, 4);
  const [stored] = (await models.list()).filter(({ name }) => name === names[0]);
  assert.deepEqual([stored.parts, stored.complete, stored.bytes], [3, true, names.reduce((sum, name) => sum + readFileSync(path.join(folder, name)).length, 0)]);
  await models.remove(names[0]);
  assert.ok(!(await models.list()).some(({ name }) => name.startsWith('split')));
});

test('files of one’s own: a Blob, a stream, an export', async () => {
  assert.equal((await models.add(await openAsBlob(tiny), { name: 'mine.gguf' })).sha256, TINY_SHA);
  assert.equal((await models.add(createReadStream(tiny), { name: 'stream.gguf', sha256: TINY_SHA })).verified, true);
  assert.deepEqual(await check('mine.gguf'), ['load']);
  const exported = await new Response(await models.export('stream.gguf')).arrayBuffer();
  assert.ok(Buffer.from(exported).equals(bytes));
  await assert.rejects(models.add(createReadStream(tiny), { name: 'tiny.gguf' }), fails('BAD_ARGUMENT', /another stored model is called tiny\.gguf/));
  await assert.rejects(models.add(new Blob(['GGUX']), { name: 'no.gguf' }), fails('BAD_FILE', /no\.gguf: is not a GGUF file/));
  await assert.rejects(models.add(createReadStream(tiny), { name: 'bad.gguf', sha256: '0'.repeat(64) }), fails('WRONG_FILE', /want 0{64}/));
  const twice = await Promise.allSettled([models.remove('stream.gguf'), models.remove('stream.gguf')]);
  assert.deepEqual(twice.map((removal) => removal.status === 'fulfilled' || removal.reason.code).sort(), ['NOT_STORED', true]);
  await assert.rejects(models.remove('stream.gguf'), fails('NOT_STORED', /stream\.gguf: is not stored here; there is mine\.gguf/));
  const { bytes: used, quota } = await models.usage();
  assert.equal(used, 2 * bytes.length);
  assert.ok(Number(quota) > used);
});

/** @param {string} name */
const small = (name) => Buffer.from(`GGUF ${name}`);
/** Each file is there with its own bytes; then it is removed. @param {string[]} names */
async function checkKept(names) {
  for (const name of names) {
    const exported = await new Response(await models.export(name)).text();
    assert.equal(exported, small(name).toString(), name);
  }
  const stored = readdirSync(folder);
  for (const name of names) await models.remove(name);
  return stored;
}

test('names that no file can have do not become the same', async () => {
  const names = ['모델.gguf', '소설.gguf', 'my model.gguf', 'my_model.gguf', 'ok', 'ok.gguf', '.ok.gguf', '_ok.gguf', 'ok.gguf.part'];
  for (const name of names) await models.add(new Blob([small(name)]), { name });
  const stored = await checkKept(names);
  for (const plain of ['my_model.gguf', 'ok.gguf', '_ok.gguf']) assert.ok(stored.includes(plain), plain);
  for (const at of ['a%20b.gguf', 'a_b.gguf', 'q.gguf?x=1', 'q_x_1.gguf']) {
    const [part] = at.split('?');
    server.put(`odd/${part}`, { bytes: small(decodeURIComponent(part)) });
    await models.pull(`${server.origin}/files/odd/${at}`);
  }
  await checkKept(['a b.gguf', 'a_b.gguf', 'q.gguf', 'q_x_1.gguf']);
});

test('names of parts that no split model has are refused; those that are stored are listed and removed', async () => {
  const names = ['p-00005-of-00003.gguf', 'm-00001-of-00000.gguf', 'z-00000-of-00002.gguf'];
  const before = await models.list();
  for (const name of names) {
    const refused = fails('BAD_ARGUMENT', new RegExp(`${name}: no split model has a part`));
    await assert.rejects(models.add(new Blob([small(name)]), { name }), refused);
    await assert.rejects(models.pull(served(name)), refused);
    assert.deepEqual(await models.list(), before);
    await models.pull(served(name.replace('.gguf', '%2Egguf'))); // its name is seen when it is decoded
    const found = (await models.list()).find((model) => model.name === name);
    assert.deepEqual([found?.complete, found?.parts], [true, 1]);
    await models.remove(name);
  }
  assert.deepEqual(await models.list(), before);
  const loud = 'M-00002-OF-00002.GGUF';
  await models.add(new Blob([small(loud)]), { name: loud });
  assert.equal((await models.list()).find(({ name }) => name === 'M-00001-OF-00002.GGUF')?.complete, false);
  await models.remove(loud);
});

test('names that are too long for a file', async () => {
  const names = [`${'n'.repeat(300)}.gguf`, `${'n'.repeat(300)}m.gguf`, '모'.repeat(300)];
  for (const name of names) await models.add(new Blob([small(name)]), { name });
  await checkKept(names);
});

test('what an earlier version stored under a name that it changed is found, and makes way', async () => {
  await models.add(new Blob([small('my old.gguf')]), { name: 'my old.gguf' });
  const file = readdirSync(folder).find((name) => /^my_old=.*gguf$/.test(name));
  for (const end of ['', '.json']) renameSync(path.join(folder, file + end), path.join(folder, `my_old.gguf${end}`));
  assert.equal(await new Response(await models.export('my old.gguf')).text(), 'GGUF my old.gguf');
  await models.add(new Blob([small('my_old.gguf')]), { name: 'my_old.gguf' });
  await checkKept(['my old.gguf', 'my_old.gguf']);
  assert.ok(!readdirSync(folder).some((name) => name.startsWith('my_old')));
});

test('a damaged record counts as not there: all else goes on, and its file is stored again', async () => {
  const before = await models.list();
  const file = path.join(folder, 'd.gguf.json');
  mkdirSync(folder, { recursive: true });
  const damage = [...DAMAGED_RECORDS.map((text) => () => writeFileSync(file, text)), () => mkdirSync(file)];
  for (const write of damage) {
    write();
    assert.deepEqual(await models.list(), before);
    await models.add(new Blob([small('a.gguf')]), { name: 'a.gguf' });
    assert.ok((await models.usage()).bytes > 0);
    await checkKept(['a.gguf']);
    await assert.rejects(models.remove('d.gguf'), fails('NOT_STORED', /d\.gguf: is not stored here/));
    await assert.rejects(load('d.gguf'), fails('NOT_STORED', /d\.gguf: is no file/));
    if (statSync(file).isDirectory()) continue;
    await models.add(new Blob([small('d.gguf')]), { name: 'd.gguf' });
    await checkKept(['d.gguf']);
  }
  rmdirSync(file);
});

test('the lock of a program that is gone is removed by one program at a time', async () => {
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  const place = path.join(cache, 'locks');
  let entered = 0;
  const enter = () => processLocks(place).exclusive('x', new AbortController().signal, () => {}, async () => void entered++);
  let file = '';
  await processLocks(place).exclusive('x', new AbortController().signal, () => {}, async () => void ([file] = readdirSync(place)));
  const leave = (/** @type {string} */ name, /** @type {number} */ pid) => writeFileSync(path.join(place, name), String(pid));
  leave(file, gone);
  leave(`${file}.break`, process.pid); // another one is about to remove it
  const waiting = enter();
  await sleep(500);
  assert.deepEqual([entered, readdirSync(place).length], [0, 2]);
  rmSync(path.join(place, `${file}.break`));
  await waiting;
  leave(file, gone);
  leave(`${file}.break`, gone); // that one ended in the middle of it
  await enter();
  assert.deepEqual([entered, readdirSync(place)], [2, []]);
});

test('a lock that another program has taken over stays', async () => {
  const place = path.join(cache, 'locks');
  const taken = async () => writeFileSync(path.join(place, readdirSync(place)[0]), String(process.ppid));
  await processLocks(place).exclusive('x', new AbortController().signal, () => {}, taken);
  const [file] = readdirSync(place);
  assert.equal(readFileSync(path.join(place, file), 'utf8'), String(process.ppid));
  rmSync(path.join(place, file));
});

test('a full disk has no room for a lock: nothing is added and no lock is left, and removing makes room', async (t) => {
  await models.add(new Blob([small('full.gguf')]), { name: 'full.gguf' });
  const handle = await open(tiny);
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  t.mock.method(Object.getPrototypeOf(handle), 'writeFile', () => Promise.reject(full));
  await handle.close();
  const adding = models.add(new Blob([small('more.gguf')]), { name: 'more.gguf' });
  await assert.rejects(adding, fails('NO_SPACE', /store: storage is full: ENOSPC/));
  assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('.lock')), []);
  await models.remove('full.gguf');
  await assert.rejects(models.remove('full.gguf'), fails('NOT_STORED', /full\.gguf/));
});

test('a store that cannot be made is told of', async () => {
  const pull = [path.join(root, 'js/cli.js'), 'pull', served('nowhere.gguf')];
  const made = await new Promise((resolve) => {
    execFile(process.execPath, pull, { env: { ...process.env, CLLA_CACHE: tiny } }, (error, _, stderr) => {
      resolve({ status: error?.code, stderr });
    });
  });
  assert.equal(made.status, 3, made.stderr);
  assert.match(made.stderr, /^clla: .*tinystories-656k\.gguf.store: ENOTDIR: not a directory, mkdir .*\n$/);
});

test('wrong arguments are refused by name', async () => {
  await assert.rejects(models.pull('tiny.gguf', /** @type {any} */ ({ sha: 1 })), fails('BAD_ARGUMENT', /pull has no option "sha"/));
  const unknown = fails('NOT_STORED', /^\S*nope: is no file, and no model of this name is stored or in the catalogue, which has clla-4m-chat, /);
  for (const name of ['nope', './nope', 'file:///nowhere/nope']) await assert.rejects(models.pull(name), unknown);
  for (const wrong of [undefined, 5, new Blob(['GGUF'])])
    await assert.rejects(models.pull(/** @type {any} */ (wrong)), fails('BAD_ARGUMENT', /^pull: a name or a URL: want a string, got /));
  await assert.rejects(models.pull('x', { sha256: 'abc' }), fails('BAD_ARGUMENT', /sha256: want a SHA-256/));
  await assert.rejects(models.pull(tiny), fails('BAD_ARGUMENT', /is here already, as a file/));
  await assert.rejects(models.pull('ftp://x/y.gguf'), fails('BAD_ARGUMENT', /cannot read ftp:/));
  await assert.rejects(models.add(/** @type {any} */ (5), { name: 'five' }), fails('BAD_ARGUMENT', /want a Blob/));
  const asUrl = models.add(new Blob(['GGUF']), { name: 'https://x.example/y.gguf' });
  await assert.rejects(asUrl, fails('BAD_ARGUMENT', /^add: https:\/\/x\.example\/y\.gguf: is a URL: give it another name/));
  const locked = new Blob(['GGUF']).stream();
  locked.getReader();
  await assert.rejects(models.add(locked, { name: 'locked.gguf' }), fails('BAD_ARGUMENT', /the stream is locked/));
  async function* breaks() {
    yield new TextEncoder().encode('GGUF');
    throw new Error('the cable was pulled');
  }
  await assert.rejects(models.add(breaks(), { name: 'breaks.gguf' }), fails('NOT_READABLE', /the cable was pulled/));
  await models.remove('breaks.gguf');
});

test('an aborted load in the download leaves what came, and the next one goes on', async () => {
  const slow = syntheticFile(12 << 20);
  const url = server.put('slow.gguf', { bytes: slow, etag: '"s"', bytesPerSecond: 10 << 20 });
  const stop = new AbortController();
  const onProgress = (/** @type {{loaded: number}} */ { loaded }) => loaded > 6 << 20 && stop.abort();
  await assert.rejects(load(url, { onProgress, signal: stop.signal }), fails('ABORTED', /./));
  const { sha256 } = await models.pull(url);
  assert.match(sha256 ?? '', /^[0-9a-f]{64}$/);
  const ranges = server.requests('slow.gguf').map(({ range }) => range);
  assert.deepEqual(ranges, ['bytes=0-', `bytes=${4 << 20}-`]);
  await models.remove('slow.gguf');
});

test('clla pull, list, complete by name, rm', async () => {
  const url = served('cli.gguf');
  const pulled = await cli('pull', url, '--json');
  assert.equal(JSON.parse(pulled.stdout).sha256, TINY_SHA, pulled.stderr);
  assert.match((await cli('pull', url, '--sha256', TINY_SHA)).stdout, /^cli\.gguf: 1\.36 MB, SHA-256/);
  const listed = await cli('list');
  assert.match(listed.stdout, /Here:\n[^]* cli\.gguf +1\.36 MB\n[^]*In the catalogue:\n[^]*smollm2-135m-instruct +98\.4 MB/);
  assert.deepEqual(listed.stdout.split('\n').filter((line) => line.length > 80), []);
  assert.match(listed.stdout, / clla-4m-chat +bundled +Bundled: [^]* knows\s+nothing\.\n/);
  assert.equal(JSON.parse((await cli('list', '--json')).stdout).stored.length, 3);
  assert.equal((await cli('complete', 'cli.gguf', '-p', golden[1].prompt, '--max-tokens', '4')).status, 0);
  assert.equal((await cli('rm', 'cli.gguf')).stdout, 'cli.gguf: removed\n');
  const gone = await cli('rm', 'cli.gguf');
  assert.deepEqual([gone.status, gone.stdout], [3, '']);
  assert.match(gone.stderr, /cli\.gguf: is not stored here/);
  assert.equal((await cli('pull', served('lost.gguf', { status: 404 }))).status, 3);
});

test('a program that is killed while it pulls: the next one goes on behind the last chunk', async () => {
  const slow = syntheticFile(16 << 20, 3);
  const url = server.put('killed.gguf', { bytes: slow, etag: '"k"', bytesPerSecond: 8 << 20, stallAfter: 14 << 20 });
  const child = spawn(process.execPath, [path.join(root, 'js/cli.js'), 'pull', url], { stdio: 'ignore' });
  const stored = async () => (await models.list()).find(({ name }) => name === 'killed.gguf')?.stored ?? 0;
  while ((await stored()) < 4 << 20) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.on('close', resolve));
  const kept = await stored();
  server.put('killed.gguf', { bytes: slow, etag: '"k"' });
  const { complete } = await models.pull(url);
  assert.ok(complete);
  assert.equal(server.requests('killed.gguf').at(-1)?.range, `bytes=${kept}-`);
  assert.ok(readFileSync(path.join(folder, 'killed.gguf')).equals(slow));
});
