// real.mjs: the expected values of published models, by llama.cpp, into NAME.json.
//
//     npm install && node real.mjs NAME MODEL.gguf         NAME: a key of JOBS below
//
// Text: wikitext2/head.txt, cut into chunks, each from an empty cache (KV F16; where the model wants a beginning-of-sequence
// token, it takes the place of a chunk's first). The perplexity is over the second half of each chunk's tokens; the
// log-probabilities of the whole first chunk are listed. Then greedy continuations of three prompts.
import { readFileSync, writeFileSync } from 'node:fs';
import { greedy, judgements, llama, rounded, source, withSequence } from './llama.mjs';

const JOBS = {
  'smollm2-135m-q4_1': { chunk: 512, chunks: 6, count: 48 },
  'gemma-3-270m-q4_k_m': { chunk: 128, chunks: 2, count: 24 }, // a vocabulary of 262,144 makes this slow
};
const PROMPTS = ['Once upon a time', 'The capital of France is', 'def fibonacci(n):'];

const [name, path] = process.argv.slice(2);
const { chunk, chunks, count } = JOBS[name];
const model = await llama.loadModel({ modelPath: path });
const bos = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];

async function perplexity() {
  const text = readFileSync(new URL('wikitext2/head.txt', import.meta.url), 'utf8');
  const all = [...bos, ...model.tokenize(text)];
  if (all.length < chunk * chunks + 8) throw new Error(`the text has only ${all.length} tokens`);
  const result = { chunk_nll: [] };
  for (let c = 0; c < chunks; c++) {
    const ids = all.slice(c * chunk, (c + 1) * chunk);
    if (bos.length) ids[0] = bos[0];
    const judged = await withSequence(model, { context: chunk, kv: 'F16' }, (s) => judgements(s, ids));
    if (c === 0) Object.assign(result, { ids, logprobs: judged.map((j) => rounded(j.logprob, 4)) });
    const scored = judged.slice(chunk / 2 - 1); // of tokens chunk / 2 to chunk - 1
    result.chunk_nll.push(rounded(-scored.reduce((sum, j) => sum + j.logprob, 0) / scored.length, 6));
    console.log(name, 'chunk', c + 1, 'perplexity', Math.exp(result.chunk_nll[c]).toFixed(4));
  }
  const mean = result.chunk_nll.reduce((a, b) => a + b, 0) / chunks;
  return { ppl: rounded(Math.exp(mean), 4), ...result };
}

async function continuation(prompt) {
  const prompt_ids = [...bos, ...model.tokenize(prompt)];
  return withSequence(model, { context: 256, kv: 'F16' }, async (sequence) => {
    const output_ids = await greedy(sequence, prompt_ids, count);
    const judged = await judgements(sequence, [...prompt_ids, ...output_ids], prompt_ids.length - 1);
    return {
      prompt,
      prompt_ids,
      output_ids,
      logprobs: judged.map((j) => rounded(j.logprob, 4)),
      margins: judged.map((j) => rounded(j.margin, 3)),
      output: model.detokenize(output_ids),
    };
  });
}

const result = { source: `${source}, KV F16`, chunk, chunks, ...(await perplexity()), greedy: [] };
for (const prompt of PROMPTS) {
  const run = await continuation(prompt);
  console.log(JSON.stringify(run.output), 'smallest margin', Math.min(...run.margins));
  result.greedy.push(run);
}
writeFileSync(new URL(`${name}.json`, import.meta.url), JSON.stringify(result) + '\n');
console.log(name, 'perplexity', result.ppl);
process.exit(0);
