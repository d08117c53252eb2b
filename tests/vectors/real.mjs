// real.mjs: the expected values of published models, by llama.cpp, into NAME.json.
//
//     npm install && node real.mjs NAME MODEL.gguf         NAME: smollm2-135m-q4_1 or gemma-3-270m-q4_k_m
//
// Text: wikitext2/head.txt, cut into chunks of 512 tokens, each from an empty cache (KV F16, as llama-perplexity does: where
// the model wants a beginning-of-sequence token, it takes the place of a chunk's first). The perplexity is over the second half
// of each chunk; the log-probabilities of the whole first chunk are listed. Then greedy continuations of three prompts.
import { readFileSync, writeFileSync } from 'node:fs';
import { allLogits, greedy, llama, logprobOf, marginOf, rounded, source, withSequence } from './llama.mjs';

const [name, path] = process.argv.slice(2);
const CHUNK = 512;
const CHUNKS = 6;
const GREEDY = 48;
const PROMPTS = ['Once upon a time', 'The capital of France is', 'def fibonacci(n):'];

const model = await llama.loadModel({ modelPath: path });
const bos = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];

async function chunkLogprobs(sequence, ids) {
  const rows = await allLogits(sequence, ids.slice(0, -1));
  return rows.map((row, i) => logprobOf(row, ids[i + 1]));
}

async function perplexity() {
  const text = readFileSync(new URL('wikitext2/head.txt', import.meta.url), 'utf8');
  const all = [...bos, ...model.tokenize(text)];
  if (all.length < CHUNK * CHUNKS + 8) throw new Error(`the text has only ${all.length} tokens`);
  const result = { chunk_nll: [] };
  for (let c = 0; c < CHUNKS; c++) {
    const ids = all.slice(c * CHUNK, (c + 1) * CHUNK);
    if (bos.length) ids[0] = bos[0];
    const logprobs = await withSequence(model, { context: CHUNK, kv: 'F16' }, (s) => chunkLogprobs(s, ids));
    if (c === 0) Object.assign(result, { ids, logprobs: logprobs.map((x) => rounded(x, 4)) });
    const scored = logprobs.slice(CHUNK / 2);
    result.chunk_nll.push(rounded(-scored.reduce((a, b) => a + b, 0) / scored.length, 6));
    console.log(name, 'chunk', c + 1, 'perplexity', Math.exp(result.chunk_nll[c]).toFixed(3));
  }
  const mean = result.chunk_nll.reduce((a, b) => a + b, 0) / CHUNKS;
  return { ppl: rounded(Math.exp(mean), 4), ...result };
}

async function continuation(prompt) {
  const prompt_ids = [...bos, ...model.tokenize(prompt)];
  return withSequence(model, { context: 256, kv: 'F16' }, async (sequence) => {
    const output_ids = await greedy(sequence, prompt_ids, GREEDY);
    const rows = await allLogits(sequence, [...prompt_ids, ...output_ids].slice(0, -1), prompt_ids.length - 1);
    return {
      prompt,
      prompt_ids,
      output_ids,
      logprobs: rows.map((row, i) => rounded(logprobOf(row, output_ids[i]), 4)),
      margins: rows.map((row) => rounded(marginOf(row), 3)),
      output: model.detokenize(output_ids),
    };
  });
}

const result = { source: `${source}, KV F16`, chunk: CHUNK, chunks: CHUNKS, ...(await perplexity()), greedy: [] };
for (const prompt of PROMPTS) {
  const run = await continuation(prompt);
  console.log(JSON.stringify(run.output), 'smallest margin', Math.min(...run.margins));
  result.greedy.push(run);
}
writeFileSync(new URL(`${name}.json`, import.meta.url), JSON.stringify(result) + '\n');
console.log(name, 'perplexity', result.ppl);
process.exit(0);
