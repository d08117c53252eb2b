// endpoint_web.js: workers of a page as endpoints for rpc.js. endpoint_node.js has the same names.

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
        listener(`the worker failed: ${event.message || 'its script cannot be loaded'}`);
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

/** How many threads are worth having. */
export const hardwareThreads = () => Math.min(globalThis.navigator?.hardwareConcurrency || 1, 8);

/** The thread that computes. Bundlers look for this very expression. */
export const startWorker = () =>
  workerEndpoint(new Worker(new URL('./workers/compute_web.js', import.meta.url), { type: 'module' }));

/** The thread that renders chat templates. */
export const startTemplateWorker = () =>
  workerEndpoint(new Worker(new URL('./workers/template_web.js', import.meta.url), { type: 'module' }));

/** The thread that hashes what is being stored. */
export const startHashWorker = () =>
  workerEndpoint(new Worker(new URL('./workers/hash_web.js', import.meta.url), { type: 'module' }));
