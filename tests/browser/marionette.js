// marionette.js: WebDriver's commands for Firefox in its own protocol, as geckodriver sends them: "LENGTH:JSON" over a
// socket, [0, id, command, parameters] there, [1, id, error, result] back.

import { connect } from 'node:net';

/** @typedef {import('./webdriver.js').Commands} Commands */

/** The longest of its own limits is 60 s. Beyond, the command is lost, and those that wait for it would wait for ever. */
const LIMIT_MS = 75_000;

const wait = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {number} port @returns {Promise<import('node:net').Socket>} when Firefox listens there */
async function untilItListens(port) {
  for (let i = 0; i < 300; i++, await wait(100)) {
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    if (open) return socket;
  }
  throw new Error('Firefox does not listen');
}

/** @param {import('node:net').Socket} socket @param {(message: any) => void} heard */
function listen(socket, heard) {
  let bytes = Buffer.alloc(0);
  socket.on('data', (more) => {
    bytes = Buffer.concat([bytes, more]);
    for (let colon; (colon = bytes.indexOf(':')) > 0; ) {
      const end = colon + 1 + Number(bytes.subarray(0, colon));
      if (bytes.length < end) return;
      const message = JSON.parse(bytes.subarray(colon + 1, end).toString());
      bytes = bytes.subarray(end);
      heard(message);
    }
  });
}

/** @param {number} port */
export async function openMarionette(port) {
  const socket = await untilItListens(port);
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  const pending = new Map();
  let id = 0;
  listen(socket, (message) => {
    if (!Array.isArray(message)) return; // its greeting
    const [, answered, error, result] = message;
    const call = pending.get(answered);
    pending.delete(answered);
    if (error) call?.reject(new Error(`${error.error}: ${error.message}`));
    else call?.resolve(result && 'value' in result ? result.value : result);
  });
  const gone = () => {
    for (const { reject } of pending.values()) reject(new Error('Firefox is gone'));
    pending.clear();
  };
  socket.on('error', gone).on('close', gone);

  /** @param {string} command @param {object} [parameters] @returns {Promise<any>} */
  const send = (command, parameters = {}) =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`Firefox does not answer ${command}`)), LIMIT_MS);
      const ended = (/** @type {(value: any) => void} */ end) => (/** @type {any} */ value) => (clearTimeout(late), end(value));
      pending.set(++id, { resolve: ended(resolve), reject: ended(reject) });
      const text = JSON.stringify([0, id, command, parameters]);
      socket.write(`${Buffer.byteLength(text)}:${text}`);
    });
  /** @param {(...args: any[]) => void} fn @param {any[]} args */
  const script = (fn, args) => ({ script: `return (${fn}).apply(null, arguments)`, args });

  await send('WebDriver:NewSession', { capabilities: { alwaysMatch: { timeouts: { script: 60_000, pageLoad: 60_000 } } } });
  /** @type {Commands} */
  const commands = {
    create: async () => (await send('WebDriver:NewWindow', { type: 'tab', focus: true })).handle,
    switchTo: (handle) => send('WebDriver:SwitchToWindow', { handle, focus: false }),
    get: (url) => send('WebDriver:Navigate', { url }),
    refresh: () => send('WebDriver:Refresh'),
    run: (fn, args) => send('WebDriver:ExecuteScript', script(fn, args)),
    runAsync: (fn, args) => send('WebDriver:ExecuteAsyncScript', script(fn, args)),
    screenshot: () => send('WebDriver:TakeScreenshot', { full: false }),
    close: () => send('WebDriver:CloseWindow'),
  };
  const first = await send('WebDriver:GetWindowHandle');
  return { commands, first, quit: () => send('Marionette:Quit', { flags: ['eForceQuit'] }) };
}
