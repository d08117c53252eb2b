// restore.js: what it takes to save a long chat and to open it again, beside reading it anew.
//
//   node tests/bench/restore.js MODEL [--tokens 8000] [--kv SPEC] [--variant simd|relaxed] [--threads N] [--rounds 5]
//
// prefill: one message of so many tokens, from the call to the first token; measured once. save: to a Blob. restore: from a
// file to a chat that can go on, in a model that was loaded before, so that both figures leave out the same. The least and
// the greatest of the rounds stand beside the median. The restored chat must go on as the saved one.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { load } from '../../js/index.js';
import { median } from './replies.js';
import { root } from './workload.js';

const WHOLE = '{% for message in messages %}{{ message.content }}{% endfor %}';
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '8000' },
    kv: { type: 'string' },
    variant: { type: 'string' },
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '5' },
  },
});
const tokens = Number(values.tokens);
const options = { context: tokens + 256, kv: values.kv, variant: values.variant, threads: Number(values.threads) };

/** A text of about so many tokens. */
async function textOf(model) {
  const text = readFileSync(path.join(root, 'tests/vectors/wikitext2/head.txt'), 'utf8');
  let ids = await model.tokenize(text);
  while (ids.length < tokens) ids = ids.concat(ids);
  return model.detokenize(ids.slice(0, tokens));
}

async function timed(work) {
  const start = performance.now();
  const result = await work();
  return { ms: performance.now() - start, result };
}

const folder = mkdtempSync(path.join(tmpdir(), 'clla-restore-'));
const model = await load(positionals[0], options);
try {
  const file = path.join(folder, 'chat');
  const chat = model.chat({ template: WHOLE, sampling: { temperature: 0 } });
  const first = await chat.send(await textOf(model), { maxTokens: 1, ignoreEos: true }).done;
  const { promptN, promptMs } = first.timings;
  const saves = [];
  const restores = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const saved = await timed(() => chat.save());
    writeFileSync(file, new Uint8Array(await saved.result.arrayBuffer()));
    const restored = await timed(() => model.restore(file));
    saves.push(saved.ms);
    restores.push(restored.ms);
    if (round === 0) {
      const more = { maxTokens: 8, ignoreEos: true };
      const [ours, theirs] = [await chat.send(' And then', more).done, await restored.result.send(' And then', more).done];
      assert.deepEqual(theirs.ids, ours.ids, 'the restored chat goes on otherwise');
      assert.ok(theirs.usage.cachedTokens >= promptN, 'the restored chat was read again');
    }
    await restored.result.close();
  }
  const span = (list) => `${median(list).toFixed(0)} ms (${Math.min(...list).toFixed(0)} to ${Math.max(...list).toFixed(0)})`;
  const { variant, threads, name } = model.info;
  console.log(`${name}, cache ${values.kv ?? "the model's own"}, ${variant}, threads: ${threads}`);
  console.log(`  prefill of ${promptN} tokens   ${(promptMs / 1000).toFixed(1)} s`);
  console.log(`  the file                 ${(statSync(file).size / 1e6).toFixed(2)} MB`);
  console.log(`  save                     ${span(saves)}`);
  console.log(`  restore                  ${span(restores)}: ${((100 * median(restores)) / promptMs).toFixed(2)} % of prefill`);
} finally {
  await model.close();
  rmSync(folder, { recursive: true });
}
