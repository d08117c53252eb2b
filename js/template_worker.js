// template_worker.js: the thread that renders chat templates. A template is a program out of a model file; it runs
// here, away from everything else, with little memory, and whoever asked ends this thread when it takes too long.

import { CllaError } from './errors.js';
import { TEMPLATE } from './protocol.js';
import { serve } from './rpc.js';
import { Environment, Template } from './vendor/jinja.js';

const SIZE_MAX = 1 << 22; // characters of one rendering beyond its input
const RANGE_MAX = 1e6; // numbers in one list

/** @param {number} start @param {number} [stop] @param {number} [step] */
const rangeLength = (start, stop, step) => (stop === undefined ? start : (stop - start) / (step ?? 1));

// A list that grows in one step is not stopped by the limit of this thread's memory: it ends the whole process.
const { set } = Environment.prototype;
Environment.prototype.set = function (/** @type {string} */ name, /** @type {unknown} */ value) {
  if (name !== 'range' || typeof value !== 'function') return set.call(this, name, value);
  return set.call(this, name, (/** @type {[number, number?, number?]} */ ...bounds) => {
    if (rangeLength(...bounds) > RANGE_MAX) throw new Error(`range() of more than ${RANGE_MAX} numbers`);
    return value(...bounds);
  });
};

/** The last template: chats render the same one again and again. */
let current = { source: '', template: /** @type {Template | undefined} */ (undefined) };

/** @param {string} source */
function compiled(source) {
  if (current.template === undefined || current.source !== source) current = { source, template: new Template(source) };
  return /** @type {Template} */ (current.template);
}

/** @param {import('./types.d.ts').Endpoint} endpoint */
export const serveTemplates = (endpoint) => serve(endpoint, {
  /** @param {{source: string, inputs: Record<string, unknown>[]}} params */
  [TEMPLATE.RENDER]({ source, inputs }) {
    try {
      const template = compiled(source);
      return inputs.map((input) => {
        const text = template.render(input);
        if (text.length > SIZE_MAX + JSON.stringify(input).length) throw new Error('it writes without end');
        return text;
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new CllaError('BAD_TEMPLATE', `the chat template fails: ${reason}`);
    }
  },
});
