// types.d.ts: the shapes that the package offers, then those that its own files share.

// ---- the public interface ------------------------------------------------------------------------------------------

export type CllaErrorCode =
  | 'OUT_OF_MEMORY'
  | 'BAD_ARGUMENT'
  | 'BAD_FILE'
  | 'TRUNCATED_FILE'
  | 'UNSUPPORTED_VERSION'
  | 'UNSUPPORTED_TYPE'
  | 'UNSUPPORTED_ARCHITECTURE'
  | 'UNSUPPORTED_TOKENIZER'
  | 'CONTEXT_FULL'
  | 'BAD_KV_SPEC'
  | 'ABORTED'
  | 'OTHER_MODEL'
  | 'NOT_READABLE'
  | 'NETWORK'
  | 'FILE_CHANGED'
  | 'WRONG_FILE'
  | 'NO_SPACE'
  | 'DAMAGED'
  | 'NOT_STORED'
  | 'IN_USE'
  | 'BAD_TEMPLATE'
  | 'BUSY'
  | 'CLOSED'
  | 'INTERNAL';

/** Every failure: `code` says what, `message` is a sentence that names where. errors.js explains the codes. */
export class CllaError extends Error {
  constructor(code: CllaErrorCode, message: string, options?: { cause?: unknown });
  code: CllaErrorCode;
}

/** The name of a model of the catalogue or of a stored one, an http(s): URL (it is stored, then loaded from there), in Node
 *  a path or file: URL; or the bytes in some form. A first part "-00001-of-0000N.gguf" stands for all parts. */
export type ModelSource =
  | string
  | URL
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>;

export interface LoadProgress {
  /** From the network into the store; from the caller's file into the store; into the engine. */
  phase: 'download' | 'store' | 'load';
  /** Bytes so far; `total` is undefined while a stream has not told. */
  loaded: number;
  total: number | undefined;
  bytesPerSecond: number;
  secondsLeft: number | undefined;
}

export interface LoadOptions {
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
  /** Tokens that a chat can hold. Default: what the model was trained for, at most 4096. */
  context?: number | 'auto';
  /** Cache specification: "f32", "f16", "q8", "q4", "clla" (latents as the model was trained), or items joined by
   *  commas: "width=heads|latent", "depth=own|shared", "length=all", "bits=32|16|8|4", "rope=32|16|8|4", "sym" or "min",
   *  "group=N", "sinks=N" (as "bits=4,min,sinks=4"). Default: "clla" where the model has latents, else "f16". */
  kv?: string;
  /** Default: one for each core, at most 8. */
  threads?: number | 'auto';
  /** Default: relaxed SIMD where it is sound, else plain SIMD. */
  variant?: 'simd' | 'relaxed' | 'auto';
  /** Read the header only: tokenizer and information, no weights. */
  vocabularyOnly?: boolean;
  /** Where the .wasm files are, if not beside the package's modules: the URL of their folder, or a function that gives the
   *  URL of each by its name ("clla-simd.wasm" and so on). In Node a file: URL. */
  wasmUrl?: string | URL | ((file: string) => string | URL);
}

/** Read the weights of a model and make it ready. Rejects with a CllaError and leaves nothing behind. */
export function load(source: ModelSource, options?: LoadOptions): Promise<Model>;

/** A model on this device. */
export interface StoredModel {
  /** What load(), models.remove() and models.export() take. */
  name: string;
  /** Where it came from; undefined: a file of one's own. */
  url: string | undefined;
  /** Bytes that are here, and of the whole; undefined while a stream has not ended. */
  stored: number;
  bytes: number | undefined;
  complete: boolean;
  /** Of the whole file, or of the first part where there are several; undefined until it is complete. */
  sha256: string | undefined;
  /** The hash was expected beforehand, from the catalogue, the caller or the server: not only computed here. */
  verified: boolean;
  parts: number;
}

export interface StoreProgressOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Pauses it: what has come stays, and the next call goes on from there. */
  signal?: AbortSignal;
}

export interface PullOptions extends StoreProgressOptions {
  /** What the file must be; a file that is not is never used. Of the first part, where there are several. */
  sha256?: string;
}

export interface AddOptions extends StoreProgressOptions {
  /** Default: the name of the file. */
  name?: string;
  sha256?: string;
}

export interface StoreUsage {
  /** Bytes of weights that are stored. */
  bytes: number;
  /** What the browser says it keeps and grants to this site; in Node the disk's. Undefined: it does not tell. */
  usage: number | undefined;
  quota: number | undefined;
  /** Whether the browser promised not to clear it by itself. */
  persisted: boolean;
}

/** The models on this device: IndexedDB in a page, a folder in Node. */
export const models: {
  list(): Promise<StoredModel[]>;
  /** Download: a name of the catalogue or an http(s): URL. Goes on where an earlier one stopped. */
  pull(source: string | URL, options?: PullOptions): Promise<StoredModel>;
  /** Store a file of one's own, in the same way. */
  add(file: Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>, options?: AddOptions): Promise<StoredModel>;
  /** IN_USE while it is downloaded or, in a page, loaded, in this or another tab; in Node a loaded model has its bytes. */
  remove(name: string): Promise<void>;
  usage(): Promise<StoreUsage>;
  /** Its bytes, checked as they are read; of all parts in order, where there are several. */
  export(name: string): Promise<ReadableStream<Uint8Array>>;
};

/** A chat on this device. */
export interface StoredChat {
  name: string;
  /** What its model calls itself (model.info.name): only that very model opens it. */
  model: string;
  messages: number;
  bytes: number;
  /** When it was saved. */
  date: Date;
}

/** The chats on this device, each with its cache: IndexedDB in a page, a folder in Node. */
export const chats: {
  /** Under a name: an earlier chat of that name is there until the new one is, whole. What is sent meanwhile waits. BUSY while
   *  a reply is being written. */
  save(name: string, chat: Chat, options?: { signal?: AbortSignal }): Promise<StoredChat>;
  /** It goes on where it was saved, nothing is computed again. Refused as model.restore() refuses; NOT_STORED, DAMAGED. */
  open(name: string, model: Model, options?: RestoreOptions): Promise<Chat>;
  /** The last saved one first. */
  list(): Promise<StoredChat[]>;
  remove(name: string): Promise<void>;
};

/** Everything is off by default: greedy decoding. */
export interface Sampling {
  temperature?: number;
  topK?: number;
  /** Only the likeliest that make up so much of the probability: 1 is all of them, 0 the likeliest one. */
  topP?: number;
  minP?: number;
  /** The same with the most typical (arXiv 2202.00666). */
  typicalP?: number;
  /** What logits of recent tokens are divided by: 1 changes nothing. */
  repetitionPenalty?: number;
  frequencyPenalty?: number;
  presencePenalty?: number;
  /** Tokens that the penalties look back, at least 1; default 64. */
  penaltyWindow?: number;
  /** Same seed, same text, on every build. Default: random. */
  seed?: number;
  /** Added to the logits of tokens; -Infinity forbids one. */
  logitBias?: Record<number, number> | Map<number, number>;
}

export interface SendOptions {
  signal?: AbortSignal;
  /** Tokens of the prompt that are evaluated, of those that had to be. */
  onPrefill?: (progress: { done: number; total: number }) => void;
  /** Of a chat that trims: what was dropped to make room, before the prompt is evaluated. */
  onTrim?: (dropped: Message[]) => void;
  /** Default: until the context is full. */
  maxTokens?: number;
  /** The reply ends before the first of these; they may span tokens. */
  stop?: string | string[];
  /** Keep going where the model would end. */
  ignoreEos?: boolean;
  /** Report the log-probability of each token and of the N most likely ones. */
  logprobs?: number;
  /** Takes precedence over the chat's, field by field. */
  sampling?: Sampling;
}

export interface CompleteOptions extends Omit<SendOptions, 'onTrim'> {
  /** Put the beginning-of-sequence token in front. Default: where the model wants one. */
  bos?: boolean;
  /** Read control tokens that the prompt spells. Default: true. */
  special?: boolean;
}

export interface EmbedOptions {
  signal?: AbortSignal;
  /** Tokens that are evaluated, of all texts. */
  onPrefill?: (progress: { done: number; total: number }) => void;
  /** What becomes of the hidden states of a text's tokens: their mean, or the last one alone. Default: what the model's
   *  file says (info.pooling), else "mean". */
  pooling?: 'mean' | 'last';
  /** Make every vector as long as 1, so that a dot product is a cosine. Default: true. */
  normalize?: boolean;
}

export interface Timings {
  loadMs: number;
  /** Tokens of the prompt that had to be evaluated; the others were in the cache. */
  promptN: number;
  promptMs: number;
  promptPerSecond: number;
  /** Tokens evaluated one by one; the first of a reply comes from the prompt's evaluation. */
  decodeN: number;
  decodeMs: number;
  decodePerSecond: number;
  /** From the call to the first token. */
  ttftMs: number;
}

export interface TokenLogprob {
  id: number;
  logprob: number;
}

export interface ReplyResult {
  ids: number[];
  text: string;
  /** The model ended or a stop string was met; maxTokens or the context was reached; it was cancelled. */
  finishReason: 'stop' | 'length' | 'abort';
  promptIds: number[];
  logprobs?: (TokenLogprob & { top: TokenLogprob[] })[];
  usage: { contextUsed: number; cachedTokens: number; reusable: boolean };
  timings: Timings;
  /** Of a chat that trims: the messages that were dropped before this reply, oldest first; left out where none were. */
  trimmed?: Message[];
}

/** Iterate over it for text as it is written; leaving the loop cancels. `done` is the whole. */
export interface Reply extends AsyncIterable<string> {
  done: Promise<ReplyResult>;
  stop(): void;
}

// OpenAI's shapes, where this engine fills them; names and meanings are those of its documentation.

export interface ChatCompletionMessageParam {
  /** "developer" is another word for "system". */
  role: 'system' | 'developer' | 'user' | 'assistant';
  content: string | { type: 'text'; text: string }[];
  refusal?: null;
}

export interface ChatCompletionCreateParams {
  /** All of the conversation. What was computed of it for an earlier call is not computed again: the last two conversations
   *  are kept, each with a cache of its own. */
  messages: ChatCompletionMessageParam[];
  /** If given: model.info.name. */
  model?: string | null;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  max_completion_tokens?: number | null;
  /** The older name. */
  max_tokens?: number | null;
  /** Default: 1, as there; other calls of this package take the likeliest token. */
  temperature?: number | null;
  top_p?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  logprobs?: boolean | null;
  top_logprobs?: number | null;
  /** Over the last 64 tokens, as is presence_penalty. */
  frequency_penalty?: number | null;
  presence_penalty?: number | null;
  logit_bias?: Record<string, number> | null;
  n?: 1 | null;
  response_format?: { type: 'text' } | null;
  /** It changes nothing, nor do `metadata` and `store`. */
  user?: string | null;
  metadata?: Record<string, string> | null;
  store?: false | null;
}

export interface ChatCompletionTokenLogprob {
  token: string;
  logprob: number;
  /** null: the token is part of a character. */
  bytes: number[] | null;
}

export interface ChatCompletionLogprob extends ChatCompletionTokenLogprob {
  top_logprobs: ChatCompletionTokenLogprob[];
}

export interface ChatCompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  choices: {
    index: 0;
    message: { role: 'assistant'; content: string; refusal: null };
    logprobs: { content: ChatCompletionLogprob[]; refusal: null } | null;
    finish_reason: 'stop' | 'length';
  }[];
  usage: ChatCompletionUsage;
}

export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  /** Empty in the last chunk with usage. */
  choices: {
    index: 0;
    delta: { role?: 'assistant'; content?: string; refusal?: null };
    logprobs: { content: ChatCompletionLogprob[]; refusal: null } | null;
    finish_reason: 'stop' | 'length' | null;
  }[];
  usage?: ChatCompletionUsage | null;
}

/** Leaving the loop, the controller and the signal cancel; the loop ends then, without a finish_reason. */
export interface ChatCompletionStream extends AsyncIterable<ChatCompletionChunk> {
  controller: AbortController;
}

export interface ChatCompletions {
  create(
    params: ChatCompletionCreateParams & { stream: true },
    options?: { signal?: AbortSignal },
  ): Promise<ChatCompletionStream>;
  create(
    params: ChatCompletionCreateParams & { stream?: false | null },
    options?: { signal?: AbortSignal },
  ): Promise<ChatCompletion>;
  create(params: ChatCompletionCreateParams, options?: { signal?: AbortSignal }): Promise<ChatCompletion | ChatCompletionStream>;
}

export interface ChatOptions {
  system?: string;
  sampling?: Sampling;
  /** A Jinja chat template in place of the model's own. */
  template?: string;
  /** What to do when a prompt and its reply do not fit into the context. Default: a prompt that does not fit is refused as
   *  CONTEXT_FULL. True or a number: the oldest turns are dropped, whole ones; the system message and the newest message
   *  stay, and alone they may still be too long. A number is the tokens to leave for the reply; true leaves `maxTokens` where
   *  it is given, else a quarter of the context; never more than half of it. Half of what turns may fill is made free at
   *  once, so that it does not happen at every turn: what stays is computed anew. */
  trim?: boolean | number;
}

/** What takes the place of what was saved. */
export interface RestoreOptions {
  signal?: AbortSignal;
  sampling?: Sampling;
  trim?: boolean | number;
}

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface Chat {
  /** A copy; change it by edit() and retry(). */
  readonly messages: Message[];
  readonly usage: {
    contextUsed: number;
    contextSize: number;
    /** Tokens of the last prompt that were in the cache already. */
    cachedTokens: number;
    kvBytes: number;
    kvBytesPerToken: number;
    /** Of multi-head attention of the same width and depth in 16 bits. */
    plainKvBytesPerToken: number;
  };
  /** A reply that is stopped stays with what it said; before it said anything, the messages are again as they were. The same
   *  holds for retry() and edit(), and for failures. */
  send(text: string, options?: SendOptions): Reply;
  /** Answer the last message of the user anew; a reply that still runs is stopped. */
  retry(options?: SendOptions): Reply;
  /** Replace message i and forget those after it (after the system message: keep them). A user's message is answered:
   *  the reply is returned; others give undefined. */
  edit(i: number, text: string, options?: SendOptions): Reply | undefined;
  /** A second chat that goes on from the same messages, with a cache of its own. */
  fork(): Chat;
  /** All of it as a file: messages, settings, and the cache, so that model.restore() needs no prefill. What is sent
   *  meanwhile waits. BUSY while a reply is being written. */
  save(options?: { signal?: AbortSignal }): Promise<Blob>;
  close(): Promise<void>;
}

export interface ModelInfo {
  name: string;
  architecture: string;
  parameters: number;
  /** Memory that the weights take, and the bytes of the file. */
  bytes: number;
  fileBytes: number;
  /** Tokens that a chat can hold, and those the model was trained for. */
  context: number;
  trainedContext: number;
  vocabulary: number;
  layers: number;
  width: number;
  feedForward: number;
  heads: number;
  kvHeads: number;
  keyDim: number;
  valueDim: number;
  /** Where layers store latents: their channels, those of the rope key beside them, and whose each layer reads. */
  latent: { rank: number; ropeDim: number; owner: number[] } | undefined;
  /** Sliding window of the layers that have one; 0: none. */
  window: number;
  types: Record<string, { tensors: number; bytes: number }>;
  tokenizer: { kind: string; pre: string | null; addsBos: boolean };
  /** How the model was trained to make embeddings, where its file says so: "mean", "last", or what embed() refuses. */
  pooling: string | undefined;
  license: string | null;
  chatTemplate: string | null;
  variant: 'simd' | 'simd-threads' | 'relaxed' | 'relaxed-threads';
  threads: number;
  /** Why it does not run as fast, or not as the caller might expect. */
  reasons: string[];
}

/** What a session takes, in bytes. */
export interface SessionSize {
  /** The cache specification in its short form. */
  kv: string;
  /** Keys and values, or latents, and the sinks; what the engine works in, for the model's number of threads. */
  cacheBytes: number;
  scratchBytes: number;
  /** Of the cache, over all layers; the sum of codes, scales and ropeKeys. */
  bytesPerToken: number;
  components: {
    /** Numbers of keys and values, or of latents; scales and minima; numbers of rope keys: each for one token. */
    codes: number;
    scales: number;
    ropeKeys: number;
    /** In all: the first tokens in 16 bits, where the specification keeps some. */
    residual: number;
  };
  /** Of multi-head attention of the same width and depth in 16 bits. */
  plainBytesPerToken: number;
  /** Layers that store; the others read one of theirs. */
  storingLayers: number;
}

export interface Model {
  readonly info: ModelInfo;
  chat(options?: ChatOptions): Chat;
  /** A chat that was saved with the same model, by any build of the engine: bytes, a Blob, a stream, in Node a path or a file:
   *  URL; names of models and http: URLs are not read here. Its context and cache are the file's unless
   *  load() was told others; `sampling` and `trim` take the place of what was saved. The file is refused as OTHER_MODEL,
   *  BAD_KV_SPEC, CONTEXT_FULL, UNSUPPORTED_VERSION (it is newer), TRUNCATED_FILE or BAD_FILE (it is damaged). */
  restore(file: ModelSource, options?: RestoreOptions): Promise<Chat>;
  /** Go on writing from a text or from ids. */
  complete(prompt: string | ArrayLike<number>, options?: CompleteOptions): Reply;
  /** OpenAI's library, as far as this goes: n is 1, and there are no tools. */
  readonly openai: { chat: { completions: ChatCompletions } };
  /** Log-probability of each id but the first, given those before it. */
  score(
    ids: ArrayLike<number>,
    options?: Pick<SendOptions, 'signal' | 'onPrefill'>,
  ): Promise<Float32Array>;
  /** What a text means, as a vector of `info.width` numbers: for a string one, for an array of strings one each (for none
   *  none), the same as one by one. BOS and end tokens stand where the model wants them; control tokens are not read. An
   *  empty text is refused, and so is one that is longer than the context (CONTEXT_FULL), before any work. */
  embed(text: string, options?: EmbedOptions): Promise<Float32Array>;
  embed(texts: readonly string[], options?: EmbedOptions): Promise<Float32Array[]>;
  /** No BOS and no control tokens unless asked. */
  tokenize(text: string, options?: { bos?: boolean; special?: boolean }): Promise<number[]>;
  detokenize(ids: ArrayLike<number>, options?: { special?: boolean }): Promise<string>;
  /** What a context would take, exactly, before anything is allocated. */
  sessionBytes(options?: {
    context?: number;
    kv?: string;
  }): Promise<SessionSize>;
  /** Wasm memory, what is allocated in it, the most that ever was. */
  memory(): Promise<{ memoryBytes: number; usedBytes: number; peakBytes: number }>;
  /** Ends the worker and frees everything; replies under way fail with CLOSED. */
  close(): Promise<void>;
}

// ---- between our own files -----------------------------------------------------------------------------------------

/** One end of a pair of message ports. */
export interface Endpoint {
  post(message: any, transfer?: ArrayBuffer[]): void;
  onMessage(listener: (message: any) => void): void;
  onFailure(listener: (message: string) => void): void;
  /** Whether a call is under way: an idle worker does not keep the program alive. */
  hold(busy: boolean): void;
  /** Let messages in. */
  pause(): Promise<void>;
  terminate(): Promise<void>;
}

export interface CallOptions {
  signal?: AbortSignal;
  onEvent?: (event: any) => void;
  transfer?: ArrayBuffer[];
}

export interface CallContext {
  cancelled(): boolean;
  /** The same as a signal. */
  signal: AbortSignal;
  emit(event: object): void;
  pause(): Promise<void>;
  /** Buffers of the result that are handed over, not copied. */
  transfer: ArrayBuffer[];
}

/** What differs between Node and a page (platform_node.js, platform_web.js). */
export interface Platform {
  startWorker(): Endpoint;
  startTemplateWorker(): Endpoint;
  hardwareThreads(): number;
  openStore(): import('./store/types.d.ts').Store;
  openChats(): import('./store/types.d.ts').Store;
  /** The models known by name, each with a URL, or a path where it comes with the package. */
  catalogue(): Promise<{ name: string; url?: string; path?: string; sha256?: string | null; bytes?: number | null }[]>;
  /** Undefined: there are no files with paths. */
  files:
    | {
        exists(path: string): boolean;
        fromUrl(url: string): string;
        bytes(path: string): Promise<number>;
        stream(path: string): AsyncIterable<Uint8Array>;
      }
    | undefined;
  /** What relative URLs are relative to. */
  baseUrl: string | undefined;
  /** Ask that the store is not cleared. Nobody waits for the answer: some browsers leave it to the person. */
  askToKeep(): void;
}

/** An instance of the module that Emscripten made; its functions are those of src/wasm_api.c. */
export interface WasmModule {
  wasmMemory: { readonly buffer: ArrayBufferLike };
  [name: `_wasm_${string}`]: (...args: number[]) => number;
}

/** What makes one: the threads beside the caller's, and where its .wasm file is. */
export interface WasmOptions {
  poolSize: number;
  locateFile: (file: string) => string;
}

/** Sampling as options.js hands it on. */
export type CheckedSampling = Omit<Sampling, 'logitBias'> & { logitBias?: [number, number][] };

export interface SamplerNumbers {
  numbers: number[];
  bias: [number, number][];
}

/** What the engine tells of a session's size: see SessionSize. */
export interface SessionNumbers {
  cache: number;
  scratch: number;
  perToken: number;
  codes: number;
  scales: number;
  ropeKeys: number;
  sinks: number;
  plainPerToken: number;
  rows: number;
  kv: string;
}

export interface SessionFacts {
  session: number;
  context: number;
  /** It came from a file: its context and cache may be other than those of new ones. */
  restored?: boolean;
}

/** What a session's cache takes, and what a plain one would. */
export interface CacheFacts {
  contextSize: number;
  kvBytes: number;
  kvBytesPerToken: number;
  plainKvBytesPerToken: number;
}

/** What a chat is besides its cache; `seed` and `attempt` decide what will be drawn. */
export interface ChatNote {
  messages: ChatEntry[];
  sampling: CheckedSampling;
  template?: string;
  trim?: boolean | number;
  seed: number;
  attempt: number;
}

/** A session that came from a file. */
export interface RestoredSession {
  session: SessionFacts;
  /** Tokens in it. */
  length: number;
  cache: CacheFacts;
  note: ChatNote;
}

export interface GenerateParams {
  session: number;
  ids: number[];
  sampling: CheckedSampling;
  maxTokens: number;
  stop: string[];
  ignoreEos: boolean;
  logprobs: number;
}

export interface EmbedParams {
  session: number;
  /** Ids of each. */
  texts: number[][];
  pooling: 'mean' | 'last';
  normalize: boolean;
}

export interface Generated {
  ids: number[];
  text: string;
  finishReason: 'stop' | 'length' | 'abort';
  logprobs: (TokenLogprob & { top: TokenLogprob[] })[];
  /** The text is that of the ids: no stop string cut it. */
  whole: boolean;
  /** Tokens that were evaluated one by one: the first one's logits are the prompt's. */
  evaluated: number;
  contextUsed: number;
  promptTokens: number;
  cachedTokens: number;
  promptMs: number;
  /** From the start of the work to the first token; 0 without one. */
  firstMs: number;
  decodeMs: number;
}

/** What load() found: the build of the engine, what the engine says of the model, and the first session. */
export interface Loaded {
  build: { variant: ModelInfo['variant']; threads: number; reasons: string[] };
  facts: { info: any; bytes: number; context: number; vocabulary: number };
  wanted: { context: number; kv: string };
  session: SessionFacts | undefined;
  loadMs: number;
}

/** A loaded model as chats and completions see it (runtime.js). */
export interface Runtime {
  call(method: string, params?: object, options?: CallOptions): Promise<any>;
  /** In pieces that may be handed on. */
  piecesOfFile(file: ModelSource): AsyncIterable<Uint8Array>;
  renderer: {
    prepare(): void;
    render(source: string, inputs: Record<string, unknown>[]): Promise<string[]>;
    close(error: CllaError): Promise<void>;
  };
  wanted: { context: number; kv: string };
  modelName: string;
  bos: number;
  cacheFacts: CacheFacts;
  /** Of a session with this specification. */
  cacheFactsOf(kv: string, session: SessionFacts): Promise<CacheFacts>;
  randomSeed(): number;
  tokenize(texts: { text: string; flags: number }[]): Promise<number[][]>;
  template(source?: string): { source: string; bos: string; eos: string };
  generate(request: GenerateRequest): Promise<ReplyResult>;
  checkOpen(): void;
  takeSession(): Promise<SessionFacts>;
  returnSession(session: SessionFacts): Promise<void>;
  /** Make room: free the session that nobody uses. */
  dropSpare(): Promise<void>;
  forkSession(session: SessionFacts): Promise<SessionFacts>;
  close(): Promise<void>;
}

export interface GenerateRequest {
  prompt(): Promise<number[]>;
  session(): Promise<SessionFacts>;
  options: Omit<SendOptions, 'sampling' | 'stop'> & {
    sampling: CheckedSampling;
    stop?: string[];
    /** With logprobs: each token before its text is shown. */
    onToken?: (token: TokenLogprob & { top: TokenLogprob[] }) => void;
  };
  signal: AbortSignal;
  show(text: string): void;
}

/** A reply that shows other things than text. */
export type ReplyOf<T> = Omit<Reply, typeof Symbol.asyncIterator> & AsyncIterable<T>;

/** A message of a chat; a reply that the model wrote keeps its ids. */
export interface ChatEntry extends Message {
  ids?: number[];
}

/** Part of a prompt: text that may or may not spell control tokens, or tokens. */
export type PromptPiece = { text: string; special: boolean } | { ids: number[] };
