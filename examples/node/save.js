// save.js: a chat that is put away as a file and opened again later: nothing is read a second time.
//
//     node examples/node/save.js MODEL.gguf

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { load } from 'clla';

const [source = new URL('../../models/tinystories-656k.gguf', import.meta.url)] = process.argv.slice(2);
const folder = await mkdtemp(path.join(tmpdir(), 'clla-save-'));
const file = path.join(folder, 'chat.clla');

const template = '{{ bos_token }}{% for message in messages %}{{ message.content }}\n{% endfor %}'; // all that was said, as one story

const first = await load(source);
const chat = first.chat({ template, sampling: { temperature: 0.7, seed: 7 } });
await chat.send('Once upon a time', { maxTokens: 40 }).done;
await writeFile(file, (await chat.save()).stream());
await first.close();

const second = await load(source); // the same model, on another day
const later = await second.restore(file);
console.log(later.messages);
const reply = later.send('Tom found a red', { maxTokens: 40 });
for await (const text of reply) process.stdout.write(text);
const { usage, timings } = await reply.done;
console.log(`\n  (${usage.cachedTokens} tokens were in the file, ${timings.promptN} were new)`);
await second.close();
await rm(folder, { recursive: true });
