// store_download.test.js: downloads into a folder, from a server that misbehaves on command.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openStore } from '../../js/store/store_node.js';
import { obtain } from '../../js/store/obtain.js';
import { CHUNK, PATIENCE, ROWS, runRow } from '../browser/misbehaviour.js';
import { startServer, syntheticFile } from '../browser/server.js';
import { fails } from './helpers.js';

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
const folder = mkdtempSync(path.join(tmpdir(), 'clla-store-'));
before(async () => void (server = await startServer()));
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const never = new AbortController().signal;

/** One try in a store that knows nothing but what is in the folder. @type {Parameters<typeof runRow>[2]} */
async function attempt(request) {
  const store = openStore(folder);
  const chunks = async () => (await store.shelf.get(request.id))?.chunkHashes.length ?? 0;
  try {
    const record = await obtain(store, request, undefined, () => {}, never);
    return { sha256: record.sha256, verified: record.expected !== undefined, chunks: await chunks() };
  } catch (error) {
    const { code, message } = /** @type {any} */ (error);
    return { code, message: message + (code ? '' : /** @type {any} */ (error).stack), chunks: await chunks() };
  }
}

for (const row of ROWS)
  test(row.name, async () => {
    const wrong = await runRow(row, server, attempt);
    assert.equal(wrong, undefined, wrong);
  });

test('a hub tells the hash on the way, before it redirects', async () => {
  const bytes = syntheticFile(1000);
  const blob = server.put('blob', { bytes });
  const url = server.put('hub.gguf', { bytes, redirect: blob, headers: { 'X-Linked-ETag': `"${'0'.repeat(64)}"` } });
  const outcome = await attempt({ id: url, name: 'hub.gguf', url });
  assert.equal(outcome.code, 'WRONG_FILE');
  assert.match(outcome.message ?? '', /want 0{64}/);
});

test('what no second try can change is told at once', async () => {
  const away = (/** @type {string} */ redirect) => server.put('away.gguf', { bytes: syntheticFile(1000), redirect });
  /** @type {[() => string, RegExp][]} */
  const wrong = [
    [() => 'http://127.0.0.1:1/x.gguf', /127\.0\.0\.1:1\/x\.gguf: bad port$/],
    [() => `${server.origin.replace('//', '//me:secret@')}/x.gguf`, /x\.gguf: its URL has a user name or a password/],
    [() => away(''), /away\.gguf: redirected in circles$/],
    [() => away('http://['), /away\.gguf: redirected to http:\/\/\[: is no http: or https: URL$/],
    [() => away('ftp://x/y.gguf'), /away\.gguf: redirected to ftp:\/\/x\/y\.gguf: is no http: or https: URL$/],
    [() => away('http://me:secret@127.0.0.1/y.gguf'), /redirected to http:\/\/127\.0\.0\.1\/y\.gguf: its URL has a user name/],
  ];
  for (const [start, sentence] of wrong) {
    const url = start();
    const outcome = await attempt({ id: url, name: 'away.gguf', url, patience: { ...PATIENCE, pauseMs: 60_000, longestPauseMs: 60_000 } });
    assert.equal(outcome.code, 'NOT_READABLE', outcome.message);
    assert.match(outcome.message ?? '', sentence);
    assert.doesNotMatch(outcome.message ?? '', /secret|is kept/);
  }
});

test('where nothing has come, nothing is said to be kept', async () => {
  const url = server.put('none.gguf', { bytes: syntheticFile(1000), status: 503 });
  const outcome = await attempt({ id: url, name: 'none.gguf', url, patience: PATIENCE });
  assert.equal(outcome.code, 'NETWORK');
  assert.match(outcome.message ?? '', /answers 503 Service Unavailable$/);
});

/** Bytes that were sent twice, of each request after the first. @param {string} name */
function sentTwice(name) {
  const seen = server.requests(name).map(({ range, sent }) => ({ from: Number(/\d+/.exec(range ?? '0')?.[0]), sent }));
  return seen.slice(1).map(({ from }, i) => Math.max(0, seen[i].from + seen[i].sent - from));
}

test('cut at 100 random bytes: the same file, at most a chunk sent twice for each cut', async () => {
  const bytes = syntheticFile(40 * CHUNK + 99, 5);
  let cuts = 0;
  const cutAfter = () => (cuts < 100 ? (cuts++, randomInt(1, CHUNK / 2)) : undefined);
  const url = server.put('cut.gguf', { bytes, etag: '"c"', cutAfter });
  const store = openStore(folder);
  await obtain(store, { id: url, name: 'cut.gguf', url, chunkBytes: CHUNK, patience: PATIENCE }, undefined, () => {}, never);
  assert.equal(cuts, 100);
  assert.ok(Buffer.compare(readFileSync(path.join(folder, 'cut.gguf')), bytes) === 0);
  const twice = sentTwice('cut.gguf');
  assert.equal(twice.length, 100);
  assert.ok(Math.max(...twice) <= CHUNK, `${Math.max(...twice)} bytes for one cut`);
});

test('stopped at 100 random bytes and begun again by another program: the same', async () => {
  const bytes = syntheticFile(130 * CHUNK, 6);
  const url = server.put('stop.gguf', { bytes, etag: '"s"', cutAfter: () => (server.requests('stop.gguf').length <= 100 ? CHUNK + randomInt(1, CHUNK / 2) : undefined) });
  const request = { id: url, name: 'stop.gguf', url, chunkBytes: CHUNK, patience: { ...PATIENCE, attempts: 1 } };
  for (let i = 0; i < 100; i++) await assert.rejects(obtain(openStore(folder), request, undefined, () => {}, never), fails('NETWORK', /what has come is kept/));
  await obtain(openStore(folder), request, undefined, () => {}, never);
  assert.ok(Buffer.compare(readFileSync(path.join(folder, 'stop.gguf')), bytes) === 0);
  const twice = sentTwice('stop.gguf');
  assert.equal(twice.length, 100);
  assert.ok(Math.max(...twice) <= CHUNK, `${Math.max(...twice)} bytes for one stop`);
});

test('a signal pauses it; the next call goes on', async () => {
  const bytes = syntheticFile(8 * CHUNK, 7);
  const url = server.put('pause.gguf', { bytes, etag: '"p"', bytesPerSecond: 8 * CHUNK });
  const request = { id: url, name: 'pause.gguf', url, chunkBytes: CHUNK };
  const pause = new AbortController();
  const report = (/** @type {number} */ loaded) => loaded > 3 * CHUNK && pause.abort();
  await assert.rejects(obtain(openStore(folder), request, undefined, report, pause.signal), fails('ABORTED', /./));
  const stored = (await openStore(folder).shelf.get(url))?.chunkHashes.length ?? 0;
  assert.ok(stored >= 2 && stored < 8, `${stored} chunks`);
  server.put('pause.gguf', { bytes, etag: '"p"' });
  await obtain(openStore(folder), request, undefined, () => {}, never);
  assert.equal(server.requests('pause.gguf').at(-1)?.range, `bytes=${stored * CHUNK}-`);
});

test('two at once: one downloads, the other sees the progress', async () => {
  const bytes = syntheticFile(8 * CHUNK, 8);
  const url = server.put('two.gguf', { bytes, etag: '"t"', bytesPerSecond: 8 * CHUNK });
  const request = { id: url, name: 'two.gguf', url, chunkBytes: CHUNK };
  /** @type {number[]} */
  const seen = [];
  const first = obtain(openStore(folder), request, undefined, () => {}, never);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const second = obtain(openStore(folder), request, undefined, (loaded) => seen.push(loaded), never);
  const [a, b] = await Promise.all([first, second]);
  assert.equal(a.sha256, b.sha256);
  assert.equal(server.requests('two.gguf').length, 1);
  assert.ok(seen.some((loaded) => loaded > 0), `${seen}`);
});
