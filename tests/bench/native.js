// native.js: llama.cpp as node-llama-cpp brings it, on the CPU. A program of its own, started anew for each round:
//
//     node native.js MODEL      work as JSON on stdin: {threads, prompts}; prints the figures as JSON
import { fileURLToPath } from 'node:url';
import { median } from './replies.js';
import { output } from './ours.js';

/** The contender of peers.js. */
export const native = ({ threads, model, prompts }) => ({
  name: 'node-llama-cpp, native',
  threads,
  measure: async () =>
    JSON.parse(await output(process.execPath, [fileURLToPath(import.meta.url), model], JSON.stringify({ threads, prompts }))),
});

/** Greedy ids after `ids`; when the first one and the last one came. */
async function reply(sequence, ids, count) {
  const started = performance.now();
  let first = 0;
  let got = 0;
  for await (const _ of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    if (got++ === 0) first = performance.now();
    if (got === count) break;
  }
  const end = performance.now();
  return { promptPerSecond: (ids.length / (first - started)) * 1000, decodePerSecond: ((count - 1) / (end - first)) * 1000 };
}

/** The prompt is kept between runs but for its last id, whose logits the reply starts from. */
async function decodeAfter(sequence, ids, { runs, decoded }) {
  await sequence.clearHistory();
  const speeds = [];
  let rest = ids;
  for (let run = 0; run <= runs; run++) {
    speeds.push((await reply(sequence, rest, decoded)).decodePerSecond);
    await sequence.eraseContextTokenRanges([{ start: ids.length - 1, end: sequence.nextTokenIndex }]);
    rest = ids.slice(-1);
  }
  return median(speeds.slice(1));
}

async function main(modelPath) {
  let stdin = '';
  for await (const piece of process.stdin) stdin += piece;
  const { threads, prompts } = JSON.parse(stdin);
  const started = performance.now();
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: threads });
  const model = await llama.loadModel({ modelPath });
  const context = await model.createContext({ contextSize: prompts.context, batchSize: 512, threads });
  const sequence = context.getSequence();
  const load = performance.now() - started;
  await reply(sequence, prompts.prefills[0].ids.slice(0, 1), 1);
  const first = performance.now() - started;

  const prefills = [];
  for (let run = 0; run <= prompts.runs; run++) {
    await sequence.clearHistory();
    prefills.push((await reply(sequence, prompts.prefills[run % prompts.prefills.length].ids, 1)).promptPerSecond);
  }
  const decode = await decodeAfter(sequence, prompts.start.ids, prompts);
  const deep = prompts.deep && (await decodeAfter(sequence, prompts.deep.ids, prompts));
  const { repo, release } = llama.llamaCppRelease;
  const figures = { prefill: median(prefills.slice(1)), decode, ...(deep && { deep }), load, first };
  process.stdout.write(JSON.stringify({ ...figures, version: `${repo} ${release}` }));
  await llama.dispose();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2]);
