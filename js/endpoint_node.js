// endpoint_node.js: worker threads of Node as endpoints for rpc.js. endpoint_web.js and parent_web.js have the same names.

import { availableParallelism } from 'node:os';
import { Worker, parentPort } from 'node:worker_threads';

/** @typedef {import('./types.d.ts').Endpoint} Endpoint */

/**
 * @param {Worker} worker
 * @returns {Endpoint}
 */
function workerEndpoint(worker) {
  let ended = false;
  return {
    post: (message, transfer = []) => worker.postMessage(message, /** @type {any} */ (transfer)),
    onMessage: (listener) => void worker.on('message', listener),
    onFailure(listener) {
      worker.on('error', (error) => listener(`the worker failed: ${error.message}`));
      worker.on('exit', (code) => ended || listener(`the worker ended by itself (exit code ${code})`));
    },
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    async terminate() {
      ended = true;
      await worker.terminate();
    },
  };
}

/** How many threads are worth having. */
export const hardwareThreads = () => Math.min(availableParallelism(), 8);

const execArgv = /** @type {string[]} */ ([]); // flags of the caller's program (node -e ...) are not the workers'

/** The thread that computes. What it keeps is in Wasm; its JavaScript makes little that is young. */
export function startWorker() {
  const resourceLimits = { maxYoungGenerationSizeMb: 2 };
  return workerEndpoint(new Worker(new URL('./workers/compute_node.js', import.meta.url), { execArgv, resourceLimits }));
}

/** The thread that renders chat templates, with little memory: a template is a program from a file. */
export function startTemplateWorker() {
  const resourceLimits = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 32 };
  return workerEndpoint(new Worker(new URL('./workers/template_node.js', import.meta.url), { execArgv, resourceLimits }));
}

/**
 * Inside such a thread: the way back to who started it.
 * @returns {Endpoint}
 */
export function parentEndpoint() {
  const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
  return {
    post: (message, transfer = []) => port.postMessage(message, /** @type {any} */ (transfer)),
    onMessage: (listener) => void port.on('message', listener),
    onFailure() {},
    hold: (busy) => (busy ? port.ref() : port.unref()),
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    async terminate() {
      port.close();
    },
  };
}
