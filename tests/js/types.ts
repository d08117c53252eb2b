// types.ts: a program in TypeScript that uses the package as published. It is checked by tsc, never run; every line
// with @ts-expect-error is a mistake that the types must catch.

import { CllaError, load, models } from 'clla';
import type { Chat, ChatCompletion, CllaErrorCode, LoadProgress, Model, Reply, ReplyResult, SessionSize, StoreUsage, StoredModel } from 'clla';

export async function use(path: string, signal: AbortSignal): Promise<string> {
  const onProgress = ({ phase, loaded, total, secondsLeft }: LoadProgress) => `${phase} ${loaded}/${total ?? '?'} ${secondsLeft ?? ''}`;
  const model: Model = await load(path, { onProgress, signal, context: 8192, kv: 'q8', threads: 'auto', variant: 'simd' });
  await load(new URL('file:///model.gguf'), { wasmUrl: (file) => new URL(file, 'file:///wasm/') });
  await load(new Uint8Array(8));
  await load(new Blob([]).stream());

  const chat: Chat = model.chat({ system: 'Answer briefly.', sampling: { temperature: 0.7, topP: 0.9, seed: 1 } });
  const reply: Reply = chat.send('Why?', { signal, onPrefill: ({ done, total }) => void (done / total), maxTokens: 5, stop: ['\n'] });
  for await (const text of reply) text.toUpperCase();
  const { ids, finishReason, timings, logprobs }: ReplyResult = await reply.done;
  const reason: 'stop' | 'length' | 'abort' = finishReason;
  const likeliest: number | undefined = logprobs?.[0]?.top[0]?.logprob;

  const roles: ('system' | 'user' | 'assistant')[] = chat.messages.map(({ role }) => role);
  const again: Reply = chat.retry();
  const edited: Reply | undefined = chat.edit(0, 'How?'); // a system message is not answered
  const fork: Chat = chat.fork();
  const saved: Blob = await chat.save({ signal });
  const restored: Chat = await model.restore(saved, { sampling: { temperature: 0 } });
  const scores: Float32Array = await model.score([1, 2, 3]);
  const vector: Float32Array = await model.embed('a', { pooling: 'last', normalize: false, signal });
  const vectors: Float32Array[] = await model.embed(['a', 'b']);
  const { cacheBytes, components, kv }: SessionSize = await model.sessionBytes({ context: 4096, kv: 'q4,sinks=4' });
  const size: number = cacheBytes - components.residual + kv.length;
  const owners: number[] | undefined = model.info.latent?.owner;
  await model.complete(await model.tokenize('a', { bos: true }), { logprobs: 3, sampling: { logitBias: { 5: -Infinity } } }).done;
  await model.close();
  return [ids, reason, timings.ttftMs, likeliest, roles, again, edited, fork, restored, scores, vector, vectors.length, size, owners, chat.usage.kvBytes].join();
}

export async function asOpenai({ openai }: Model, signal: AbortSignal): Promise<string> {
  const completion: ChatCompletion = await openai.chat.completions.create({ messages: [{ role: 'user', content: 'Why?' }], n: 1 }, { signal });
  const stream = await openai.chat.completions.create({ messages: [completion.choices[0]!.message], stream: true });
  const texts: string[] = [];
  for await (const chunk of stream) texts.push(chunk.choices[0]?.delta.content ?? '');
  stream.controller.abort();
  // @ts-expect-error one reply at a time
  await openai.chat.completions.create({ messages: [], n: 2 });
  return texts.join('') + completion.usage.total_tokens;
}

export async function keep(file: File, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const pulled: StoredModel = await models.pull('smollm2-135m-instruct', { signal, onProgress: ({ phase }) => void phase.length });
  const own: StoredModel = await models.add(file, { name: 'mine.gguf', sha256: pulled.sha256 });
  await models.remove(pulled.name);
  const { bytes, quota, persisted }: StoreUsage = await models.usage();
  const all: StoredModel[] = await models.list();
  return [bytes, quota, persisted, all.length].length > 0 ? models.export(own.name) : new Blob([]).stream();
}

export function explain(error: unknown): CllaErrorCode | undefined {
  return error instanceof CllaError ? error.code : undefined;
}

export async function misuse(model: Model, chat: Chat) {
  // @ts-expect-error no such option
  await load('a', { contxt: 5 });
  // @ts-expect-error not a variant
  await load('a', { variant: 'avx' });
  // @ts-expect-error a source is needed
  await load();
  // @ts-expect-error text is needed
  chat.send(5);
  // @ts-expect-error no such sampling option
  model.chat({ sampling: { temprature: 1 } });
  // @ts-expect-error messages are changed by edit() and retry()
  chat.messages = [];
  // @ts-expect-error no such code
  const code: CllaErrorCode = 'OOPS';
  // @ts-expect-error a stream has to be named by an option, not by a second text
  await models.add(new Blob([]).stream(), 'name');
  // @ts-expect-error not a pooling
  await model.embed('a', { pooling: 'cls' });
  // @ts-expect-error a promise, not ids
  const ids: number[] = model.tokenize('a');
  return [code, ids];
}
