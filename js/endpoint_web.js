// endpoint_web.js: workers of a page as endpoints for rpc.js. endpoint_node.js has the same names.

import { CllaError } from './errors.js';
import { pause } from './parent_web.js';

/** @typedef {import('./types.d.ts').Endpoint} Endpoint */

/**
 * @param {Worker} worker
 * @returns {Endpoint}
 */
function workerEndpoint(worker) {
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    onMessage: (listener) => worker.addEventListener('message', ({ data }) => listener(data)),
    onFailure(listener) {
      worker.addEventListener('error', (event) => {
        event.preventDefault();
        listener(`the worker failed: ${event.message || whyNot('its script cannot be loaded')}`);
      });
      worker.addEventListener('messageerror', () => listener('the worker sent what cannot be read'));
    },
    hold() {},
    pause,
    async terminate() {
      worker.terminate();
    },
  };
}

/** What this place lacks for a worker. @param {any} error */
function whyNot(error) {
  const { Worker, origin, trustedTypes } = /** @type {any} */ (globalThis);
  if (!Worker) return 'there are none here: import clla in a page or in its worker, not in a shared or service worker';
  if (origin === 'null') return 'this frame is of no site: its sandbox needs "allow-same-origin"';
  if (trustedTypes && error instanceof TypeError)
    return 'the page requires trusted types: its policy named "default" must let createScriptURL pass the workers of clla';
  if (error?.name === 'SecurityError') return `its script must be of this site: serve the files of clla from ${origin}`;
  return String(error);
}

/** @param {() => Worker} make */
function started(make) {
  try {
    return workerEndpoint(make());
  } catch (error) {
    throw new CllaError('INTERNAL', `no worker can be started: ${whyNot(error)}`, { cause: error });
  }
}

/** How many threads are worth having. */
export const hardwareThreads = () => Math.min(globalThis.navigator?.hardwareConcurrency || 1, 8);

/** The thread that computes. Bundlers look for this very expression. */
export const startWorker = () =>
  started(() => new Worker(new URL('./workers/compute_web.js', import.meta.url), { type: 'module' }));

/** The thread that renders chat templates. */
export const startTemplateWorker = () =>
  started(() => new Worker(new URL('./workers/template_web.js', import.meta.url), { type: 'module' }));

/** The thread that hashes what is being stored. */
export const startHashWorker = () =>
  started(() => new Worker(new URL('./workers/hash_web.js', import.meta.url), { type: 'module' }));
