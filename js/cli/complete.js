// complete.js: `clla complete`: go on writing from a text.

import { CllaError } from '../index.js';
import { findModel, givenPrompt, loadOptions, replyOptions, samplingOptions } from './arguments.js';
import { prefillBar, printTimings, replyJson, showReply, withModel } from './model.js';

/**
 * @param {string} name
 * @param {import('./arguments.js').Given} given
 * @param {ReturnType<typeof import('./terminal.js').interrupts>} interrupts
 */
export async function completeCommand(name, given, interrupts) {
  const { path } = await findModel(name);
  const prompt = await givenPrompt(given);
  if (prompt === undefined) throw new CllaError('BAD_ARGUMENT', 'complete needs -p TEXT, --file F or a text on stdin');
  const fromPipe = given.prompt === undefined && (given.file === undefined || given.file === '-');
  const text = fromPipe ? prompt.replace(/\r?\n$/, '') : prompt; // the line break that echo adds
  await withModel(path, loadOptions(given), interrupts, async (model) => {
    const bar = prefillBar();
    const result = await interrupts.during((signal) => {
      const sampling = samplingOptions(given);
      const options = { ...replyOptions(given), sampling, onPrefill: bar.onPrefill, signal };
      const reply = model.complete(text, options);
      return given.json ? reply.done.finally(bar.clear) : showReply(reply, bar);
    });
    process.stdout.write(given.json ? `${JSON.stringify(replyJson(result))}\n` : '\n');
    if (given.timings) printTimings(result);
  });
}
