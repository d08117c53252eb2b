// score.js: which of two sentences does a model find likelier?
//
//     node examples/node/score.js [MODEL.gguf]

import { load } from 'clla';

const [source = new URL('../../models/tinystories-656k.gguf', import.meta.url)] = process.argv.slice(2);

const model = await load(source);
for (const text of ['The dog ran to the park.', 'The park ran to the dog.']) {
  const logprobs = await model.score(await model.tokenize(text, { bos: true }));
  const sum = logprobs.reduce((a, b) => a + b, 0);
  console.log(`${sum.toFixed(2)}  ${text}`);
}
await model.close();
