// parent_web.js: inside a worker of a page, the way back to who started it; endpoint_web.js starts them. Apart, because
// bundlers follow what a worker imports, and it must not start itself.

/** @typedef {import('./types.d.ts').Endpoint} Endpoint */

/** Let messages in: a timer would wait 4 ms. */
export function pause() {
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

/** @returns {Endpoint} */
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
