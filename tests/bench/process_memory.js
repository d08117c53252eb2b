// process_memory.js: what a whole Node process takes with a session of so many tokens.
//
//   node tests/bench/process_memory.js MODEL [--context 32800] [--kv SPEC] [--variant simd|relaxed] [--threads N]
//
// A session's memory is cleared when it is made, so it counts whole however many tokens it holds; 500 are read and 33 written.

import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    context: { type: 'string', default: '32800' },
    kv: { type: 'string' },
    variant: { type: 'string' },
    threads: { type: 'string', default: '1' },
  },
});
const options = { context: Number(values.context), kv: values.kv, variant: values.variant, threads: Number(values.threads) };
const line = (what, bytes) => console.log(`  ${what.padEnd(28)} ${(bytes / 1e6).toFixed(1).padStart(7)} MB`);
const most = () => process.resourceUsage().maxRSS * 1024;

const before = most();
const { load } = await import('../../js/index.js');
const model = await load(positionals[0], options);
try {
  const ids = Array.from({ length: Math.min(500, options.context - 40) }, (_, i) => (i * 7919) % model.info.vocabulary);
  await model.complete(ids, { maxTokens: 33, ignoreEos: true }).done;
  const { cacheBytes } = await model.sessionBytes({ context: options.context, kv: values.kv });
  const { name, variant, threads, bytes, context } = model.info;
  console.log(`${name}, ${context} tokens, ${variant}, threads: ${threads}`);
  line('weights', bytes);
  line('cache', cacheBytes);
  line('Wasm memory', (await model.memory()).memoryBytes);
  line('process, at most', most());
  line('of it Node before loading', before);
} finally {
  await model.close();
}
