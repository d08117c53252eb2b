// embeddings.mjs: embeddings of texts by llama.cpp, into embeddings.json.
//
//     npm install && node embeddings.mjs [SmolLM2-135M-Instruct.Q4_1.gguf] && python3 embeddings.py
//
// A model's pooling is what its metadata say, so that each model is loaded twice with them overridden. The values are as
// llama.cpp gives them: not normalised. embeddings.py adds those of double precision, and the models that llama.cpp does
// not know.
import { readFileSync, writeFileSync } from 'node:fs';
import { LlamaEmbeddingContext } from 'node-llama-cpp';
import { llama, source } from './llama.mjs';

const TYPES = { mean: 1, last: 3 }; // pooling_type
const SHORT = 'the tiny heron lost a note';
const NAMES = ['llama-tied-factors', 'llama-untied-linear', 'qwen2', 'qwen3', 'gemma3', 'phi3', 'type-f16', 'mixed'];
const LONG = readFileSync(new URL('wikitext2/head.txt', import.meta.url), 'utf8').slice(0, 900).trim(); // more than one chunk
const CASES = [
  ...NAMES.map((name) => ({ name, path: `models/${name}.gguf`, text: SHORT, context: 256, kv: 'F32' })),
  { name: 'tinystories-656k', path: '../../models/tinystories-656k.gguf', text: 'Once upon a time', context: 256, kv: 'F32' },
];
const [smollm] = process.argv.slice(2);
if (smollm)
  for (const [name, text] of Object.entries({ 'smollm2-short': 'Why is the sky blue?', 'smollm2-long': LONG }))
    CASES.push({ name, path: smollm, text, context: 512, kv: 'F16' });

const rounded = (values) => Array.from(values, (x) => Number(x.toPrecision(6)));

/** llama.cpp's embedding of a text, and its ids. */
async function embedding({ path, text, context, kv }, pooling) {
  const modelPath = new URL(path, import.meta.url).pathname;
  const arch = (await llama.loadModel({ modelPath, vocabOnly: true })).fileInfo.metadata.general.architecture;
  const model = await llama.loadModel({ modelPath, metadataOverrides: { [arch]: { pooling_type: TYPES[pooling] } } });
  const _llamaContext = await model.createContext({
    contextSize: context,
    batchSize: context,
    threads: 2,
    flashAttention: false,
    experimentalKvCacheKeyType: kv,
    experimentalKvCacheValueType: kv,
    _embeddings: true,
  });
  const made = await new LlamaEmbeddingContext({ _llamaContext }).getEmbeddingFor(text);
  const ids = [...(model.tokens.shouldPrependBosToken ? [model.tokens.bos] : []), ...model.tokenize(text)];
  await _llamaContext.dispose();
  await model.dispose();
  return { ids, vector: rounded(made.vector) };
}

const cases = [];
for (const one of CASES) {
  const { ids, vector: mean } = await embedding(one, 'mean');
  const { vector: last } = await embedding(one, 'last');
  console.log(one.name.padEnd(22), ids.length, 'ids,', mean.length, 'channels');
  const { name, text, context, kv } = one;
  cases.push({ name, file: one.path === smollm ? null : one.path, context, kv: kv.toLowerCase(), text, ids, llama: { mean, last } });
}
const lines = cases.map((c) => '  ' + JSON.stringify(c));
const json = `{\n "source": ${JSON.stringify(source)},\n "cases": [\n${lines.join(',\n')}\n ]\n}\n`;
writeFileSync(new URL('embeddings.json', import.meta.url), json);
process.exit(0);
