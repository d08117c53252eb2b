// terminal.js: what a person sees besides the text of replies: colours, progress, interrupts. Colours only on a
// terminal that wants them; progress only on a terminal, always on stderr, gone when it is done.

import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { isatty } from 'node:tty';

const { env, stderr } = process;

/** @param {NodeJS.WriteStream} stream */
function wantsColour(stream) {
  if (env.NO_COLOR) return false;
  return Boolean(stream.isTTY) && env.TERM !== 'dumb';
}

/**
 * @param {NodeJS.WriteStream} stream
 * @param {number} on @param {number} off
 */
const paint = (stream, on, off) => (/** @type {string} */ text) =>
  wantsColour(stream) && text !== '' ? `\x1b[${on}m${text}\x1b[${off}m` : text;

/** @param {NodeJS.WriteStream} stream */
export const colours = (stream) => ({ dim: paint(stream, 2, 22), bold: paint(stream, 1, 22), red: paint(stream, 31, 39) });

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes < 1e3) return `${bytes} bytes`;
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, 'kB'] : bytes < 1e9 ? [bytes / 1e6, 'MB'] : [bytes / 1e9, 'GB'];
  return `${value < 100 ? value.toPrecision(3) : Math.round(value)} ${unit}`;
}

/** @param {number} n */
export const formatCount = (n) => n.toLocaleString('en-US');
/** @param {number} ms */
export const formatSeconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 2 : 0)} s`;

/**
 * Text that arrives in pieces, broken between words where a line of the terminal ends. A word is held back until it is
 * whole; into a pipe or a file everything goes as it is.
 * @param {Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>} stream
 */
export function wordWriter(stream) {
  let column = 0;
  let word = '';

  function put() {
    if (stream.isTTY && column > 0 && column + word.length > (stream.columns || 80)) {
      stream.write('\n');
      column = 0;
      word = word.trimStart();
    }
    stream.write(word);
    column += word.length;
    word = '';
  }

  return {
    /** @param {string} text */
    write(text) {
      if (!stream.isTTY) return void stream.write(text);
      for (const piece of text.split(/(?=[ \n])|(?<=\n)/)) {
        if (piece.startsWith(' ') || piece === '\n') put();
        if (piece === '\n') {
          stream.write('\n');
          column = 0;
        } else word += piece;
      }
    },
    end: put,
  };
}

const BAR_WIDTH = 30;
const SHOW_AFTER_MS = 200; // what is over sooner needs no bar

/**
 * A line of progress on stderr.
 * @param {string} label
 * @param {(n: number) => string} format of the numbers behind the bar
 */
export function progressBar(label, format) {
  const { dim } = colours(stderr);
  const start = performance.now();
  let drawn = '';
  return {
    /** @param {number} done @param {number | undefined} total @param {string} [more] behind the numbers */
    update(done, total, more = '') {
      if (!stderr.isTTY || performance.now() - start < SHOW_AFTER_MS) return;
      const filled = total ? Math.round((BAR_WIDTH * done) / total) : 0;
      const bar = total ? `${'━'.repeat(filled)}${dim('━'.repeat(BAR_WIDTH - filled))}  ` : '';
      const line = `${label}  ${bar}${format(done)}${total ? ` of ${format(total)}` : ''}${more}`;
      if (line !== drawn) stderr.write(`\r${line}\x1b[K`);
      drawn = line;
    },
    clear() {
      if (drawn !== '') stderr.write('\r\x1b[K');
      drawn = '';
    },
  };
}

const SIGNALS = /** @type {const} */ ({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 });
const QUIET = ['EPIPE', 'EIO']; // of an output whose reader left
const TWICE_MS = 300; // a terminal that closes, or a wrapper, may send one signal twice

/** A terminal that was closed: Node crashes when it resets it at the end. @param {number} fd */
function release(fd) {
  closeSync(fd);
  openSync(devNull, 'r+'); // takes the number at once
}

/**
 * Signals. Ctrl-C stops what runs now; when nothing runs, or when it does not stop at once, the program. The others
 * stop both. Where something is to be saved first no signal ends the program by itself: `leaving` says that it should.
 */
export function interrupts() {
  /** @type {AbortController | undefined} */
  let current;
  const leaving = new AbortController();
  const state = { interrupted: false };
  let held = false;
  let exitCode = 130;
  let stoppedAt = 0;

  /** exit() waits for threads, and those that read or write a file may be stuck: no signal waits.
   * @param {keyof typeof SIGNALS} name */
  function end(name) {
    for (const other of Object.keys(SIGNALS)) process.off(other, onSignal);
    if (current && performance.now() - stoppedAt > TWICE_MS) process.kill(process.pid, name);
    process.exit(exitCode);
  }

  /** @param {keyof typeof SIGNALS} name */
  function onSignal(name) {
    const idle = !current || current.signal.aborted;
    exitCode = SIGNALS[name];
    state.interrupted = true;
    if (idle && !held) end(name);
    if (idle || name !== 'SIGINT') leaving.abort();
    if (!idle) stoppedAt = performance.now();
    current?.abort();
  }

  for (const name of Object.keys(SIGNALS)) process.on(name, onSignal);
  const terminals = [0, 1, 2].filter(isatty);
  process.on('exit', (code) => {
    if (code === 130) process.exitCode = exitCode; // which signal it was
    for (const fd of terminals) if (!isatty(fd)) release(fd);
  });

  return {
    state,
    leaving: leaving.signal,

    /**
     * @template T
     * @param {(signal: AbortSignal) => Promise<T>} work
     * @returns {Promise<T>}
     */
    async during(work) {
      current = new AbortController();
      try {
        return await work(current.signal);
      } finally {
        current = undefined;
      }
    },

    /**
     * Work that ends by saving something. A terminal or a reader that is gone is a reason to leave then, not to exit.
     * @template T
     * @param {() => Promise<T>} work
     * @returns {Promise<T>}
     */
    async held(work) {
      /** @type {NodeJS.ErrnoException | undefined} */
      let failed;
      const leave = () => (leaving.abort(), current?.abort());
      const leaveFailed = (/** @type {NodeJS.ErrnoException} */ error) => ((failed ??= error), leave());
      const { stdin, stdout } = process;
      const before = /** @type {((error: Error) => void)[]} */ (stdout.listeners('error'));
      stdout.removeAllListeners('error').on('error', leaveFailed);
      stdin.on('error', leave);
      held = true;
      try {
        return await work();
      } finally {
        held = false;
        stdin.off('error', leave);
        stdout.off('error', leaveFailed);
        for (const listener of before) stdout.on('error', listener);
        if (failed && !QUIET.includes(failed.code ?? '')) stdout.emit('error', failed); // said now that it is saved
      }
    },
  };
}
