// reply.js: a reply while it is being written: text to iterate over, and a promise of the whole.

/**
 * Start `work` at once. It gets a signal and a function that shows text; what it returns is what `done` gives. Leaving
 * a loop over the reply stops the work, as `stop()` does; each loop sees the text from the start.
 * @template T
 * @param {(signal: AbortSignal, show: (text: T) => void) => Promise<import('./types.d.ts').ReplyResult>} work
 * @param {AbortSignal} [signal] the caller's
 * @returns {import('./types.d.ts').ReplyOf<T>}
 */
export function startReply(work, signal) {
  const controller = new AbortController();
  /** @type {T[]} */
  const pieces = [];
  let ended = false;
  /** @type {(() => void)[]} */
  let waiting = [];

  const wake = () => {
    for (const resume of waiting.splice(0)) resume();
  };
  const stop = () => controller.abort();
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);

  const done = work(controller.signal, (text) => {
    pieces.push(text);
    wake();
  }).finally(() => {
    ended = true;
    signal?.removeEventListener('abort', stop);
    wake();
  });
  done.catch(() => {}); // whoever iterates or awaits `done` sees it

  async function* iterate() {
    try {
      for (let next = 0; ; ) {
        if (next < pieces.length) yield pieces[next++];
        else if (ended) break;
        else await new Promise((resume) => waiting.push(() => resume(undefined)));
      }
      await done; // a failure ends the loop with its error
    } finally {
      stop();
      await done.catch(() => {}); // so that the chat is free again once the loop is left
    }
  }

  return { [Symbol.asyncIterator]: iterate, done, stop };
}
