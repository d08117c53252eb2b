// chat.js: `clla chat`: a conversation in the terminal, or line by line from a pipe.

import { createInterface } from 'node:readline';
import { CllaError } from '../index.js';
import { colours, formatBytes, formatCount } from './terminal.js';
import { findModel, givenPrompt, loadOptions, replyOptions, samplingOptions } from './arguments.js';
import { openChatFile } from './chat_file.js';
import { prefillBar, printTimings, replyJson, showReply, withModel } from './model.js';

/**
 * @typedef {import('../types.js').Chat} Chat
 * @typedef {import('../types.js').Reply} Reply
 * @typedef {ReturnType<typeof import('./terminal.js').interrupts>} Interrupts
 * @typedef {import('./arguments.js').Given} Given
 */

const DEFAULTS = { temperature: 0.7, topP: 0.9 };

const HELP = `/retry         answer the last message anew
/edit TEXT     say TEXT instead of the last message
/clear         begin a new conversation
/usage         how much of the context is used
/help          this
/exit          leave; so do Ctrl-D, and Ctrl-C where nothing is being written
`;

const out = colours(process.stdout);

/**
 * @param {string | undefined} name
 * @param {Given} given
 * @param {Interrupts} interrupts
 */
export async function chatCommand(name, given, interrupts) {
  const { path, description } = await findModel(name);
  const file = given.resume === undefined ? undefined : await openChatFile(given);
  const said = given.prompt ?? given.file; // else a person, or a pipe line by line
  const message = said === undefined ? undefined : await givenPrompt(given);
  const run = () => withModel(path, loadOptions(given), interrupts, async (model) => {
    const start = () => model.chat({ system: given.system, sampling: samplingOptions(given, DEFAULTS), trim: given.trim });
    const saved = await interrupts.during(async (signal) => file?.resume(model, signal));
    const talk = conversation(saved ?? start(), given, interrupts, start);
    const work = async () => {
      if (interrupts.leaving.aborted) return;
      if (message !== undefined) return talk.say(message);
      return process.stdin.isTTY ? interactive(model.info, description, talk, interrupts) : lines(talk, interrupts);
    };
    await (file ? saveAfter(work, () => file.save(talk.chat())) : work());
  });
  await (file ? interrupts.held(() => file.alone(run)) : run());
}

/** @param {() => Promise<void>} work @param {() => Promise<void>} save whether it fails or not */
async function saveAfter(work, save) {
  try {
    await work();
  } catch (error) {
    await save().catch(() => {}); // the failure that comes first is the one to tell
    throw error;
  }
  await save();
}

/**
 * A message or a command on each line of stdin.
 * @param {ReturnType<typeof conversation>} talk @param {Interrupts} interrupts
 */
async function lines(talk, { state, leaving }) {
  const input = createInterface({ input: process.stdin, signal: leaving });
  for await (const line of input) {
    if (leaving.aborted || !(await talk.take(line))) break;
    if (state.interrupted) break;
  }
  input.close(); // a pipe that stays open would keep the program
  process.stdin.pause();
}

/**
 * What can be said, whoever says it.
 * @param {Chat} first @param {Given} given @param {Interrupts} interrupts @param {() => Chat} start a new chat
 */
function conversation(first, given, interrupts, start) {
  let chat = first;

  /** @param {(chat: Chat, options: import('../types.js').SendOptions) => Reply} ask */
  async function answer(ask) {
    const bar = prefillBar();
    const result = await interrupts.during((signal) => {
      const reply = ask(chat, { ...replyOptions(given), onPrefill: bar.onPrefill, onTrim: tellDropped, signal });
      return given.json ? reply.done : showReply(reply, bar);
    });
    if (given.json) process.stdout.write(`${JSON.stringify(replyJson(result))}\n`);
    else process.stdout.write(`${note(result, chat)}\n`);
    if (given.timings) printTimings(result);
  }

  const say = (/** @type {string} */ text) => answer((c, options) => c.send(text, options));

  /** @param {string} text */
  function edit(text) {
    const at = chat.messages.findLastIndex((message) => message.role === 'user');
    if (at < 0) throw new CllaError('BAD_ARGUMENT', 'there is no message to edit yet');
    return answer((c, options) => /** @type {Reply} */ (c.edit(at, text, options))); // a user's message is answered
  }

  /**
   * @param {string} line a command or a message
   * @returns {Promise<boolean>} false: leave
   */
  async function take(line) {
    const [, command, text] = /^\/(\w+)\s*(.*)$/.exec(line) ?? [];
    if (command === 'exit') return false;
    if (command === 'help') process.stdout.write(HELP);
    else if (command === 'usage') process.stdout.write(`${usage(chat)}\n`);
    else if (command === 'retry') await answer((c, options) => c.retry(options));
    else if (command === 'edit') await edit(text);
    else if (command === 'clear') await chat.close().then(() => (chat = start()));
    else if (command !== undefined) process.stdout.write(`There is no /${command}; /help lists what there is.\n`);
    else if (line.trim() !== '') await say(line);
    return true;
  }

  return { say, take, chat: () => chat };
}

/** @param {import('../types.js').Message[]} messages */
function tellDropped({ length }) {
  const { dim } = colours(process.stderr);
  process.stderr.write(`${dim(`[the context is full: the oldest ${formatCount(length)} messages were dropped]`)}\n`);
}

/** @param {import('../types.js').ReplyResult} result @param {Chat} chat */
function note({ finishReason: reason, ids }, chat) {
  if (!process.stdout.isTTY) return '';
  if (reason === 'abort') return out.dim(ids.length > 0 ? ' [stopped]' : ' [stopped: the message is taken back]');
  const full = chat.usage.contextUsed >= chat.usage.contextSize;
  return reason === 'length' ? out.dim(full ? ' [the context is full]' : ' [--max-tokens reached]') : '';
}

/** @param {Chat} chat */
const contextUsed = ({ usage: u }) => `context ${formatCount(u.contextUsed)} of ${formatCount(u.contextSize)} tokens`;

/** @param {Chat} chat */
const usage = (chat) =>
  `${contextUsed(chat)}, ${formatBytes(chat.usage.kvBytesPerToken)} each, ${formatBytes(chat.usage.kvBytes)} set aside`;

/**
 * @param {import('../types.js').ModelInfo} info
 * @param {string | undefined} description
 * @param {ReturnType<typeof conversation>} talk
 * @param {Interrupts} interrupts
 */
async function interactive(info, description, talk, interrupts) {
  const facts = [`${formatCount(info.parameters)} parameters`, `context ${formatCount(info.context)}`, info.variant];
  process.stdout.write(`${out.bold(info.name)}\n${out.dim(facts.join(' · '))}\n`);
  if (description) process.stdout.write(`${description}\n`);
  for (const reason of info.reasons) process.stdout.write(`${out.dim(reason)}\n`);
  process.stdout.write(`${out.dim('/help lists the commands')}\n`);
  const { length } = talk.chat().messages;
  const before = `going on after ${formatCount(length)} messages: ${contextUsed(talk.chat())}`;
  if (length > 0) process.stdout.write(`${out.dim(before)}\n`);
  process.stdout.write('\n');
  /** @type {string[]} */
  const history = [];
  const ask = async () => {
    if (interrupts.leaving.aborted) return undefined;
    interrupts.state.interrupted = false; // a reply that was stopped is no program that was stopped
    return question(history, () => (interrupts.state.interrupted = true), interrupts.leaving);
  };
  for (let line = await ask(); line !== undefined; line = await ask()) {
    const more = await talk.take(line).catch(explain);
    if (!more) break;
    process.stdout.write('\n');
  }
}

/** A failure ends one answer, not the conversation. @param {unknown} error */
function explain(error) {
  if (!(error instanceof CllaError) || error.code === 'INTERNAL') throw error;
  const advice = error.code === 'CONTEXT_FULL' ? '; /clear begins anew' : '';
  process.stderr.write(`${colours(process.stderr).red(error.message)}${advice}\n`);
  return true;
}

/**
 * The line editor; undefined where the terminal was closed just now.
 * @param {string[]} history @param {AbortSignal} signal
 */
function openEditor(history, signal) {
  try {
    return createInterface({ input: process.stdin, output: process.stdout, history, historySize: 200, signal });
  } catch (error) {
    if (/** @type {any} */ (error).code === 'EIO') return undefined;
    throw error;
  }
}

/**
 * One line from the terminal; undefined at its end. The line editor lives only as long as the question, so that Ctrl-C
 * is a signal while a reply is being written; here it is the end, too.
 * @param {string[]} history
 * @param {() => void} onInterrupt
 * @param {AbortSignal} signal ends it as well
 * @returns {Promise<string | undefined>}
 */
function question(history, onInterrupt, signal) {
  const editor = openEditor(history, signal);
  return new Promise((resolve) => {
    if (!editor) return resolve(undefined);
    let answered = false;
    editor.on('error', () => (process.stdin.destroy(), resolve(undefined))); // the terminal is closed: nothing to reset
    editor.on('SIGINT', () => (onInterrupt(), editor.close()));
    editor.on('history', (lines) => history.splice(0, history.length, ...lines));
    editor.on('close', () => answered || (process.stdout.write('\n'), resolve(undefined)));
    editor.question(out.bold('> '), (line) => {
      answered = true;
      editor.close();
      resolve(line);
    });
  });
}
