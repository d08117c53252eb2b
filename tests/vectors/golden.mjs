// golden.mjs: the expected values of models/*.gguf, by llama.cpp, into golden.json.
//
//     npm install && node golden.mjs
//
// For each model: a prompt of 20 ids, 24 greedy ids after it, and the log-probability of every id after those before it.
// Of 60 random prompts the one is kept whose greedy run is the most decided (largest smallest margin between the best and
// the second best token), so that a test can ask for equal ids although two engines round differently.
import { readdirSync, writeFileSync } from 'node:fs';
import { greedy, judgements, llama, rounded, source, withSequence } from './llama.mjs';

const PROMPT = 20;
const GREEDY = 24;
const TRIES = 60;

function random(seed) {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

async function attempt(sequence, prompt) {
  const output = await greedy(sequence, prompt, GREEDY);
  const ids = [...prompt, ...output];
  const judged = await judgements(sequence, ids);
  const margins = judged.slice(prompt.length - 1).map((j) => j.margin);
  return {
    prompt_ids: prompt,
    output_ids: output,
    margins: margins.map((m) => rounded(m, 3)),
    logprobs: judged.map((j) => rounded(j.logprob)),
    decided: Math.min(...margins),
    distinct: new Set(output).size,
  };
}

// A run that repeats one token proves little: want some variety, then decidedness.
const better = (a, b) => (a.distinct >= 4) - (b.distinct >= 4) || a.decided - b.decided;

async function golden(name, file, context) {
  const model = await llama.loadModel({ modelPath: new URL(`models/${file}`, import.meta.url).pathname });
  const vocabulary = model.fileInfo.metadata[model.fileInfo.metadata.general.architecture].vocab_size;
  const next = random(vocabulary + context);
  const best = await withSequence(model, { context, kv: 'F32', threads: 1 }, async (sequence) => {
    let kept;
    for (let i = 0; i < TRIES; i++) {
      const tried = await attempt(sequence, [1, ...Array.from({ length: PROMPT - 1 }, () => 3 + next(vocabulary - 3))]);
      if (!kept || better(tried, kept) > 0) kept = tried;
    }
    return kept;
  });
  await model.dispose();
  const { decided, distinct, ...values } = best;
  console.log(name.padEnd(22), 'smallest margin', decided.toFixed(3), 'distinct ids', distinct);
  return { name, file, context, ids: [...best.prompt_ids, ...best.output_ids], ...values };
}

const files = readdirSync(new URL('models/', import.meta.url)).filter((f) => !/-0000[2-9]-of-/.test(f)).sort();
const cases = [];
for (const file of files) {
  const name = file.replace(/(-00001-of-\d+)?\.gguf$/, '');
  cases.push(await golden(name, file, 256));
  // Phi-3's rope factors depend on the context: above the original one (256 here) the long ones hold.
  if (name === 'phi3') cases.push(await golden('phi3-long', file, 512));
}
const lines = cases.map((c) => '  ' + JSON.stringify(c));
writeFileSync(
  new URL('golden.json', import.meta.url),
  `{\n "source": ${JSON.stringify(`${source}, KV F32`)},\n "cases": [\n${lines.join(',\n')}\n ]\n}\n`,
);
process.exit(0);
