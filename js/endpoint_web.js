// endpoint_web.js: workers of a page as endpoints for rpc.js. endpoint_node.js has the same names.

/** @typedef {import('./types.d.ts').Endpoint} Endpoint */

/** Let messages in: a timer would wait 4 ms. */
function pause() {
  return /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(0);
    })
  );
}

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

/**
 * Inside such a thread: the way back to who started it.
 * @returns {Endpoint}
 */
export function parentEndpoint() {
  const scope = /** @type {Worker} */ (/** @type {unknown} */ (globalThis));
  return {
    post: (message, transfer = []) => scope.postMessage(message, transfer),
    onMessage: (listener) => scope.addEventListener('message', ({ data }) => listener(data)),
    onFailure() {},
    hold() {},
    pause,
    async terminate() {
      globalThis.close();
    },
  };
}
