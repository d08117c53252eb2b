// types.d.ts: the shapes that the files of store/ share.

import type { StoreUsage } from '../types.d.ts';

/** What is known of one stored file; kept beside its chunks and written together with each of them. */
export interface FileRecord {
  /** The key: the URL, or "own:" and the name. */
  id: string;
  name: string;
  url: string | undefined;
  /** Which download wrote it: a writer that finds another one here has lost the file to it. */
  writer: string;
  /** Bytes; undefined until the source has told. */
  size: number | undefined;
  chunkBytes: number;
  /** SHA-256 of each chunk that is stored, in order: its length is how many there are. */
  chunkHashes: string[];
  /** SHA-256 over those chunks, not yet ended: going on re-reads nothing. Gone when the file is complete. */
  hashState: Uint8Array | undefined;
  /** Expected beforehand, and computed in the end. */
  expected: string | undefined;
  sha256: string | undefined;
  /** What tells whether the source is still the same. */
  validator: string | undefined;
  complete: boolean;
  /** In a folder, where it lies, if an earlier version chose another name for it; the record does not keep it. */
  file?: string;
  /** Of a saved chat only. */
  chat?: ChatFacts;
}

/** What is told of a saved chat without opening it. */
export interface ChatFacts {
  /** The name of the model that wrote it. */
  model: string;
  messages: number;
  /** When it was saved, in milliseconds. */
  date: number;
  /** Of the files of one name the one with the greatest counts. */
  version: number;
}

/** A place that keeps files in chunks: IndexedDB (shelf_idb.js) or a folder (shelf_folder.js). */
export interface Shelf {
  get(id: string): Promise<FileRecord | undefined>;
  list(): Promise<FileRecord[]>;
  /** Begin a file anew: what was there under this id is dropped. */
  begin(record: FileRecord): Promise<void>;
  /** Store the next chunk and the record that counts it, both or neither. IN_USE when another writer has the file. */
  append(record: FileRecord, bytes: Uint8Array): Promise<void>;
  /** All chunks are there and right. */
  finish(record: FileRecord): Promise<void>;
  /** Put a chunk in place of a damaged one. */
  replace(record: FileRecord, index: number, bytes: Uint8Array): Promise<void>;
  /** Undefined: it is missing. */
  read(record: FileRecord, index: number): Promise<Uint8Array<ArrayBuffer> | undefined>;
  remove(id: string): Promise<void>;
  space(): Promise<Omit<StoreUsage, 'bytes'>>;
  close(): void;
}

/** Who may do what at a time, among all tabs or processes (locks_web.js, locks_node.js). */
export interface Locks {
  /** Wait for the lock, hold it while `work` runs. `onWait` is called once when it is taken. */
  exclusive<T>(name: string, signal: AbortSignal | undefined, onWait: () => void, work: () => Promise<T>): Promise<T>;
  /** Hold it with others until the returned function is called, or this tab ends. */
  share(name: string): Promise<() => void>;
  /** Run `work` if nobody holds the lock; false: somebody does. */
  ifFree(names: string[], work: () => Promise<void>): Promise<boolean>;
}

/** What other tabs are told, and tell. */
export interface Channel {
  post(message: StoreMessage): void;
  /** Returns what ends it. */
  listen(id: string, listener: (message: StoreMessage) => void): () => void;
}

export interface StoreMessage {
  id: string;
  loaded: number;
  total: number | undefined;
}

/** Everything that differs between a page and Node. */
export interface Store {
  shelf: Shelf;
  locks: Locks;
  channel: Channel;
  fetch: Fetch;
  /** For one file. */
  openHasher(): Hasher;
}

/** SHA-256 of a file, chunk by chunk, and of each chunk alone. */
export interface Hasher {
  /** Go on behind a state; without one, anew. */
  begin(state?: Uint8Array): Promise<void>;
  /** Takes the bytes and gives them back, with the state behind them. One call need not wait for the one before. */
  add(bytes: Uint8Array<ArrayBuffer>): Promise<HashedChunk>;
  end(): Promise<string>;
  close(): void;
}

export interface HashedChunk {
  bytes: Uint8Array<ArrayBuffer>;
  state: Uint8Array;
  sha256: string;
}

/** A response with the headers of every answer on the way to it, where redirects can be seen. */
export interface Answer {
  response: Response;
  /** SHA-256 that a hub told on the way, in X-Linked-ETag. */
  linked: string | undefined;
}

export type Fetch = (url: string, headers: Record<string, string>, signal: AbortSignal) => Promise<Answer>;

/** The bytes of a source from a place on. */
export interface Opened {
  /** Where they begin: 0 when the source cannot begin elsewhere. */
  from: number;
  /** Of the whole file, where the source tells. */
  total: number | undefined;
  validator: string | undefined;
  sha256: string | undefined;
  body: AsyncIterable<Uint8Array>;
  /** Let go of the connection. */
  close(): void;
}

/** Where a file comes from. */
export interface Origin {
  /** For messages. */
  name: string;
  /** Whether a failure may pass. */
  retries: boolean;
  /** Whether it can be read again from its beginning. */
  reopens: boolean;
  /** `wanted` is the validator of the file that was begun: one that differs is told by what is returned. */
  open(from: number, wanted: string | undefined, signal: AbortSignal): Promise<Opened>;
}

/** How patient it is; the defaults are in patience.js. */
export interface Patience {
  /** Failures in a row, without a byte between them, after which it gives up. */
  attempts: number;
  /** The same where no answer ever came and none is to be expected. */
  attemptsUnreached: number;
  /** The first pause; each further one is twice as long. */
  pauseMs: number;
  longestPauseMs: number;
  /** A connection that is silent for so long is cut. */
  silenceMs: number;
}

/** What a caller may say of a file to store. */
export interface StoreRequest {
  id: string;
  name: string;
  url: string | undefined;
  expected?: string;
  size?: number;
  chunkBytes?: number;
  patience?: Partial<Patience>;
  /** A complete file counts as there only with this validator; or not at all. */
  validator?: string;
  replace?: boolean;
}
