// cancel.js: one AbortSignal stops loading, reading the prompt and writing; what was written until then is kept.
//
//     node examples/node/cancel.js [MODEL.gguf] [SECONDS]

import { CllaError, load } from 'clla';

const [source = new URL('../../models/tinystories-656k.gguf', import.meta.url), seconds = '2'] = process.argv.slice(2);
const signal = AbortSignal.timeout(Number(seconds) * 1000);

try {
  const model = await load(source, { signal, context: 8192, onProgress: ({ loaded, total }) => console.log(`${loaded} of ${total} bytes`) });
  const { text, finishReason } = await model.complete('Once upon a time', { signal, ignoreEos: true }).done;
  console.log(text.slice(0, 300), `...\n\n${finishReason} after ${text.length} characters`);
  await model.close();
} catch (error) {
  if (!(error instanceof CllaError && error.code === 'ABORTED')) throw error;
  console.log('stopped while loading');
}
