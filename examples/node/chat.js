// chat.js: a conversation: each answer reuses what is in the cache, and so do a second try and a fork.
//
//     node examples/node/chat.js MODEL.gguf

import { load } from 'clla';

const [source = new URL('../../models/tinystories-656k.gguf', import.meta.url)] = process.argv.slice(2);

const model = await load(source, { context: 512 });
const chat = model.chat({ system: 'You are a friend.', sampling: { temperature: 0.7, topP: 0.9, seed: 7 } });

/** @param {import('clla').Reply} reply */
async function show(reply) {
  for await (const text of reply) process.stdout.write(text);
  const { usage } = await reply.done;
  console.log(`\n  (${usage.cachedTokens} of ${usage.contextUsed} tokens were in the cache)\n`);
}

await show(chat.send('Once upon a time', { maxTokens: 40 }));
await show(chat.send('Tom found a red', { maxTokens: 40 }));
await show(chat.retry({ maxTokens: 40 }));

const other = chat.fork(); // both go on from here
await show(other.send('One day the sun', { maxTokens: 40 }));
const edited = chat.edit(1, 'There was a little cat', { maxTokens: 40 }); // a message of the user: it is answered
if (edited) await show(edited);
console.log(chat.messages);
await model.close();
