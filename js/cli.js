#!/usr/bin/env node
// cli.js: the command line. Commands, options and exit codes are declared here; what commands do is in cli/.

import { Command, CommanderError, Option } from 'commander';
import { CllaError } from './index.js';
import {
  DEPTHS,
  JSON_OPTION,
  MODEL_OPTIONS,
  PROMPT_OPTIONS,
  REPLY_OPTIONS,
  RESUME_OPTION,
  SAMPLING_OPTIONS,
  SYSTEM_OPTION,
  TIMINGS_OPTION,
  TRIM_OPTION,
  packageVersion,
} from './cli/arguments.js';
import { chatCommand } from './cli/chat.js';
import { completeCommand } from './cli/complete.js';
import { embedCommand } from './cli/embed.js';
import { inspectCommand, tokenizeCommand } from './cli/inspect.js';
import { benchCommand, perplexityCommand } from './cli/measure.js';
import { listCommand, pullCommand, removeCommand } from './cli/store.js';
import { colours, interrupts } from './cli/terminal.js';
import { FULL } from './store/shelf_folder.js';

/** @type {Partial<Record<import('./types.js').CllaErrorCode, number>>} */
const EXIT_CODES = {
  BAD_ARGUMENT: 2,
  BAD_KV_SPEC: 2,
  BAD_FILE: 3,
  TRUNCATED_FILE: 3,
  UNSUPPORTED_VERSION: 3,
  UNSUPPORTED_TYPE: 3,
  UNSUPPORTED_ARCHITECTURE: 3,
  UNSUPPORTED_TOKENIZER: 3,
  NOT_READABLE: 3,
  BAD_TEMPLATE: 3,
  CONTEXT_FULL: 4,
  OUT_OF_MEMORY: 4,
  OTHER_MODEL: 3,
  NETWORK: 3,
  FILE_CHANGED: 3,
  WRONG_FILE: 3,
  DAMAGED: 3,
  NOT_STORED: 3,
  IN_USE: 3,
  NO_SPACE: 4,
  ABORTED: 130,
};

const EXIT_HELP = `
Exit codes:
  0    done
  1    something that should not happen
  2    the command line or an option is wrong
  3    a file cannot be read or fetched, is damaged or not supported
  4    it does not fit: a prompt into the context, a model into memory or disk
  130  interrupted (Ctrl-C); 143, 129: ended by SIGTERM, SIGHUP`;

const stopping = interrupts();

/**
 * @param {string} usage @param {string} description
 * @param {Option[]} options
 * @param {(model: any, given: any, interrupts: typeof stopping, more: any) => Promise<void>} run
 * @param {string} [what] the model may be
 */
function command(usage, description, options, run, what = 'a GGUF file, its URL, or the name of a model that is here') {
  const [name, argument, more] = usage.split(' ');
  const made = new Command(name).description(description).addHelpText('after', EXIT_HELP);
  if (argument) made.argument(argument, what);
  if (more) made.argument(more, 'what to work on (default: the lines of stdin)');
  for (const option of options) made.addOption(option);
  return made.action((...values) => {
    const [model, texts] = values.slice(0, -2); // the options and the command come last
    return run(model, values.at(-2), stopping, texts);
  });
}

const program = new Command('clla')
  .description('Run quantized language models (GGUF) in WebAssembly.')
  .version(packageVersion())
  .addHelpText('after', EXIT_HELP);

const { whole, readDepths } = DEPTHS;
const commands = [
  command(
    'chat [model]',
    'talk with a model',
    [
      ...PROMPT_OPTIONS,
      SYSTEM_OPTION,
      RESUME_OPTION,
      TRIM_OPTION,
      ...MODEL_OPTIONS,
      ...SAMPLING_OPTIONS,
      ...REPLY_OPTIONS,
      JSON_OPTION,
      TIMINGS_OPTION,
    ],
    chatCommand,
  ),
  command(
    'complete <model>',
    'go on writing from a text',
    [...PROMPT_OPTIONS, ...MODEL_OPTIONS, ...SAMPLING_OPTIONS, ...REPLY_OPTIONS, JSON_OPTION, TIMINGS_OPTION],
    completeCommand,
  ),
  command(
    'embed <model> [texts...]',
    'texts as vectors, a line each',
    [
      new Option('--file <path>', 'read texts from a file, a line each'),
      new Option('--pooling <name>', "of hidden states (default: the model's own, else mean)").choices(['mean', 'last']),
      new Option('--no-normalize', 'leave the vectors as long as they are, not 1'),
      ...MODEL_OPTIONS,
      new Option('--json', 'print a JSON object for each text'),
    ],
    embedCommand,
  ),
  command(
    'inspect <model>',
    'what a model is, and what a context takes',
    [...MODEL_OPTIONS.filter((o) => o.long !== '--threads'), JSON_OPTION],
    inspectCommand,
  ),
  command(
    'tokenize <model>',
    'the token ids of a text',
    [
      ...PROMPT_OPTIONS,
      new Option('--bos', 'put the beginning-of-sequence token in front'),
      new Option('--special', 'read control tokens that the text spells'),
      MODEL_OPTIONS[0],
      JSON_OPTION,
    ],
    tokenizeCommand,
  ),
  command(
    'perplexity <model>',
    'how well a model foretells a text',
    [
      PROMPT_OPTIONS[1],
      ...MODEL_OPTIONS.filter((o) => o.long !== '--ctx'),
      new Option('--ctx <n>', 'tokens of a chunk').argParser(whole(1)).default(512),
      new Option('--chunks <n>', 'only the first n (default: all)').argParser(whole(1)),
      new Option('--logprobs', 'with --json: list the log-probability of every token'),
      JSON_OPTION,
    ],
    perplexityCommand,
  ),
  command(
    'bench <model>',
    'how fast it is: medians of several runs',
    [
      ...MODEL_OPTIONS,
      new Option('--prefill <n,...>', 'lengths of prompts').argParser(readDepths).default([512], '512'),
      new Option('--decode <n,...>', 'depths to decode at').argParser(readDepths).default([0, 2048], '0,2048'),
      new Option('--decode-tokens <n>', 'tokens of a run').argParser(whole(2)).default(32),
      new Option('--runs <n>', 'runs that count, after one that does not').argParser(whole(1)).default(3),
      JSON_OPTION,
    ],
    benchCommand,
  ),
  command(
    'pull <model>',
    'download a model, or go on with it',
    [new Option('--sha256 <hash>', 'what the file must be'), JSON_OPTION],
    pullCommand,
    'a name of the catalogue (`clla list` shows it) or a URL',
  ),
  command('list', 'the models that are here, and those that can be pulled', [JSON_OPTION], listCommand),
  command('rm <model>', 'remove a downloaded model', [], removeCommand, 'a name that `clla list` shows'),
];
for (const made of commands) program.addCommand(made);
for (const made of [program, ...commands]) made.exitOverride();

/** @param {unknown} error @returns {number} the exit code */
function report(error) {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has said why
  const { red } = colours(process.stderr);
  if (!(error instanceof CllaError)) {
    process.stderr.write(`${red('clla:')} ${error instanceof Error ? error.stack : error}\n`);
    return 1;
  }
  process.stderr.write(`${red('clla:')} ${error.message}\n`);
  return EXIT_CODES[error.code] ?? 1;
}

/** The reader left; the terminal was closed. @type {Record<string, number>} */
const GONE = { EPIPE: 0, EIO: 129 };
process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ { code = '', message }) => {
  if (code in GONE) process.exit(GONE[code]);
  process.stderr.write(`${colours(process.stderr).red('clla:')} the output cannot be written: ${message}\n`);
  process.exit(FULL.includes(code) ? 4 : 1);
});

try {
  await program.parseAsync();
  process.exitCode = stopping.state.interrupted ? 130 : 0;
} catch (error) {
  process.exitCode = report(error);
}
