// rpc.js: calls over a pair of message ports. One side calls, the other serves.
//
// Messages, by integer id (protocol.js lists the methods):
//   caller -> server   { id, method, params }      a call
//                      { id, cancel: true }        please stop that call; it still answers
//   server -> caller   { id, event }               any number of them while the call runs
//                      { id, result } | { id, error: {code, message} }

import { CllaError, packError } from './errors.js';

/**
 * @typedef {import('./types.d.ts').Endpoint} Endpoint
 * @typedef {import('./types.d.ts').CallOptions} CallOptions
 * @typedef {import('./types.d.ts').CallContext} CallContext
 */

/**
 * The calling side.
 * @param {Endpoint} endpoint
 */
export function connect(endpoint) {
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, onEvent?: (event: any) => void}>} */
  const pending = new Map();
  /** @type {CllaError | undefined} */
  let broken;
  let lastId = 0;

  /** @param {CllaError} error */
  function fail(error) {
    if (broken) return;
    broken = error;
    for (const call of pending.values()) call.reject(error);
    pending.clear();
    endpoint.hold(false);
  }

  /** @param {number} id */
  function settle(id) {
    pending.delete(id);
    if (pending.size === 0) endpoint.hold(false);
  }

  /** A listener that throws ends its call. @param {number} id @param {any} event */
  function report(id, event) {
    const call = pending.get(id);
    try {
      call?.onEvent?.(event);
    } catch (error) {
      settle(id);
      endpoint.post({ id, cancel: true });
      call?.reject(/** @type {Error} */ (error));
    }
  }

  endpoint.onMessage((message) => {
    const call = pending.get(message.id);
    if (!call) return;
    if ('event' in message) return report(message.id, message.event);
    settle(message.id);
    if (message.error) call.reject(new CllaError(message.error.code, message.error.message));
    else call.resolve(message.result);
  });
  endpoint.onFailure((message) => fail(new CllaError('INTERNAL', message)));
  endpoint.hold(false);

  return {
    /**
     * @param {string} method
     * @param {object} [params]
     * @param {CallOptions} [options] a signal cancels the call, which then answers as its method says
     * @returns {Promise<any>}
     */
    call(method, params = {}, { signal, onEvent, transfer } = {}) {
      if (broken) return Promise.reject(broken);
      const id = ++lastId;
      const cancel = () => endpoint.post({ id, cancel: true });
      if (pending.size === 0) endpoint.hold(true);
      const answer = new Promise((resolve, reject) => pending.set(id, { resolve, reject, onEvent }));
      try {
        endpoint.post({ id, method, params, cancelled: signal?.aborted ?? false }, transfer);
      } catch (error) {
        settle(id); // it cannot be sent: nobody will answer
        return Promise.reject(error);
      }
      signal?.addEventListener('abort', cancel);
      return answer.finally(() => signal?.removeEventListener('abort', cancel));
    },

    /**
     * End the other side at once; calls under way fail with `error`.
     * @param {CllaError} error
     */
    async close(error) {
      fail(error);
      await endpoint.terminate();
    },
  };
}

/**
 * The serving side: every handler gets the parameters and a context with `cancelled()`, `signal`, `emit(event)` and `pause()`,
 * which lets messages in (a cancel, other calls) between two pieces of work.
 * @param {Endpoint} endpoint
 * @param {Record<string, (params: any, context: CallContext) => any>} handlers
 */
export function serve(endpoint, handlers) {
  /** @type {Map<number, AbortController>} */
  const running = new Map();

  /** @param {{id: number, method: string, params: object, cancelled: boolean}} call */
  async function run({ id, method, params, cancelled }) {
    const controller = new AbortController();
    if (cancelled) controller.abort();
    running.set(id, controller);
    /** @type {ArrayBuffer[]} */
    const transfer = [];
    try {
      const handler = handlers[method];
      if (!handler) throw new CllaError('INTERNAL', `the worker has no method ${method}`);
      const result = await handler(params, {
        cancelled: () => controller.signal.aborted,
        signal: controller.signal,
        emit: (event) => endpoint.post({ id, event }),
        pause: endpoint.pause,
        transfer,
      });
      endpoint.post({ id, result }, transfer);
    } catch (error) {
      endpoint.post({ id, error: packError(error) });
    } finally {
      running.delete(id);
    }
  }

  endpoint.onMessage((message) => {
    if (!message.cancel) return void run(message);
    running.get(message.id)?.abort();
  });
}
