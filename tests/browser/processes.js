// processes.js: the processes of a browser, so that one of its tabs can be ended as a crash ends it (Linux), and ports.

import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';

/** @returns {{pid: number, parent: number, command: string}[]} */
function allProcesses() {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const parent = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]);
      return [{ pid: Number(pid), parent, command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() }];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

/**
 * The processes below one whose command matches.
 * @param {number | undefined} top @param {RegExp} command @returns {number[]}
 */
export function processesBelow(top, command) {
  const all = allProcesses();
  /** @param {number | undefined} pid @returns {typeof all} */
  const below = (pid) => all.filter(({ parent }) => parent === pid).flatMap((child) => [child, ...below(child.pid)]);
  return below(top).filter((found) => command.test(found.command)).map(({ pid }) => pid);
}

/** @param {import('node:child_process').ChildProcess | null} child @param {NodeJS.Signals} [signal] */
export async function killed(child, signal = 'SIGKILL') {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

/** One that nobody listens at. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(resolve));
  return port;
}
