// ours_run.js: one round of this repository's engine, in a process of its own:
//
//     node ours_run.js MODEL      work as JSON on stdin: {variant, threads, kv, prompts}; prints the figures as JSON
import { load } from '../../js/index.js';
import { median } from './workload.js';

let stdin = '';
for await (const piece of process.stdin) stdin += piece;
const { variant, threads, kv, prompts } = JSON.parse(stdin);

const model = await load(process.argv[2], { variant, threads, kv, context: prompts.context });
const reply = async (ids, count) => {
  const { timings, ids: got } = await model.complete(ids, { maxTokens: count, ignoreEos: true }).done;
  if (got.length !== count) throw new Error(`${got.length} tokens came, not ${count}`);
  return timings;
};

const { ttftMs, loadMs } = await reply(prompts.prefills[0].ids.slice(0, 1), 1);
/** The first run warms up: the engine's code is compiled better as it runs. */
async function measure(once) {
  const speeds = [];
  for (let run = 0; run <= prompts.runs; run++) speeds.push(await once(run));
  return median(speeds.slice(1));
}
const prefill = await measure(async (run) => (await reply(prompts.prefills[run % prompts.prefills.length].ids, 1)).promptPerSecond);
const decode = await measure(async () => (await reply(prompts.start.ids, prompts.decoded)).decodePerSecond);
const deep = prompts.deep && (await measure(async () => (await reply(prompts.deep.ids, prompts.decoded)).decodePerSecond));
process.stdout.write(JSON.stringify({ prefill, decode, ...(deep && { deep }), load: loadMs, first: loadMs + ttftMs }));
await model.close();
