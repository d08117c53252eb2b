// clla_depth_run.js: one model in one build, a process of its own, for clla_depth.js:
//
//     node clla_depth_run.js MODEL      work as JSON on stdin: {variant, threads, kv, prefills, depths, decoded, runs, states, prepare}
//
// With `prepare` it reads a text once, and saves a chat at each depth to the folder `states`. Else it times: prefills, then
// decoding from those chats, `runs` times from all of them in turn, so that a noisy minute meets every depth. Prints
// {prefill: {n: tokens/s}, decode: {depth: tokens/s}, share: {depth: of the speed at 0 in the same turn}, context, cacheBytes, bytesPerToken,
// memoryBytes, processBytes} as JSON.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { load } from '../../js/index.js';
import { median } from './replies.js';
import { root } from './workload.js';

let stdin = '';
for await (const piece of process.stdin) stdin += piece;
const { variant, threads, kv, prefills, depths, decoded, runs, states, prepare } = JSON.parse(stdin);
const START = 4; // tokens in the cache "at 0"
const WHOLE = '{% for message in messages %}{{ message.content }}{% endfor %}';

const context = Math.max(...prefills, ...depths) + 2 * decoded;
const model = await load(process.argv[2], { variant, threads, kv, context });
const stateOf = (depth) => path.join(states, `${depth}.state`);
const shallowFirst = [...depths].sort((a, b) => a - b);

async function prepareStates() {
  const text = readFileSync(path.join(root, 'tests/vectors/wikitext2/head.txt'), 'utf8');
  let ids = await model.tokenize(text);
  while (ids.length < context) ids = ids.concat(ids);
  const chat = model.chat({ template: WHOLE, sampling: { temperature: 0 } });
  let read = 0;
  for (const depth of shallowFirst) {
    const until = Math.max(depth, START);
    await chat.send(await model.detokenize(ids.slice(read, until)), { maxTokens: 1, ignoreEos: true }).done;
    read = until;
    const file = await chat.save();
    writeFileSync(`${stateOf(depth)}.part`, new Uint8Array(await file.arrayBuffer()));
    renameSync(`${stateOf(depth)}.part`, stateOf(depth));
  }
}

/** Tokens from all over the vocabulary; each salt its own. */
const someIds = (count, salt) => Array.from({ length: count }, (_, i) => ((i + 1) * 7919 + salt * 104729) % model.info.vocabulary);
const complete = async (ids, maxTokens) => (await model.complete(ids, { maxTokens, ignoreEos: true }).done).timings;

async function prefillSpeeds() {
  const speeds = {};
  for (const n of prefills) {
    const results = [];
    for (let run = 0; run < runs; run++) results.push((await complete(someIds(n, 2 + run), 1)).promptPerSecond);
    speeds[n] = median(results);
  }
  return speeds;
}

async function decodeSpeed(depth) {
  const chat = await model.restore(stateOf(depth));
  const { timings } = await chat.send(' And then', { maxTokens: decoded, ignoreEos: true }).done;
  await chat.close();
  return timings.decodePerSecond;
}

async function decodeSpeeds() {
  const turns = [];
  for (let run = 0; run < runs; run++) {
    const turn = {};
    for (const depth of shallowFirst) turn[depth] = await decodeSpeed(depth);
    turns.push(turn);
  }
  const over = (pick) => Object.fromEntries(shallowFirst.map((depth) => [depth, median(turns.map((turn) => pick(turn, depth)))]));
  return { decode: over((turn, depth) => turn[depth]), share: over((turn, depth) => turn[depth] / turn[shallowFirst[0]]) };
}

async function measure() {
  await complete(someIds(128, 1), 16); // the engine's code is compiled better as it runs
  const speeds = { prefill: await prefillSpeeds(), ...(await decodeSpeeds()) };
  const { cacheBytes, bytesPerToken } = await model.sessionBytes({ context, kv });
  const { memoryBytes } = await model.memory();
  return { ...speeds, context, cacheBytes, bytesPerToken, memoryBytes, processBytes: process.resourceUsage().maxRSS * 1024 };
}

if (prepare) await prepareStates();
else process.stdout.write(JSON.stringify(await measure()));
await model.close();
