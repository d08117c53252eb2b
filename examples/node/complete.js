// complete.js: go on writing from a text, as it is written.
//
//     node examples/node/complete.js [MODEL.gguf] [TEXT]

import { load } from 'clla';

const [source = new URL('../../models/tinystories-656k.gguf', import.meta.url), prompt = 'Once upon a time'] = process.argv.slice(2);

const model = await load(source);
const reply = model.complete(prompt, { maxTokens: 100, sampling: { temperature: 0.8, topP: 0.95, seed: 1 } });
process.stdout.write(prompt);
for await (const text of reply) process.stdout.write(text);

const { finishReason, timings } = await reply.done;
console.log(`\n\n${finishReason}, ${timings.decodePerSecond.toFixed(1)} tokens per second`);
await model.close();
