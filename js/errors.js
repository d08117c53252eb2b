// errors.js: the one error class. `code` says what went wrong, the message what a person can do about it.
//
// The codes are the engine's (src/status.h) and a few that only JavaScript can meet:
//
//   OUT_OF_MEMORY             weights or context do not fit; the message tells the bytes
//   BAD_ARGUMENT              an option or argument is not valid; it is named
//   BAD_FILE                  the file is damaged, or is no GGUF or no saved chat
//   TRUNCATED_FILE            the file ends before its data does, or shrank while it was read
//   UNSUPPORTED_VERSION       of the file format
//   UNSUPPORTED_TYPE          of a tensor
//   UNSUPPORTED_ARCHITECTURE  of the model
//   UNSUPPORTED_TOKENIZER     of the model
//   CONTEXT_FULL              the prompt is longer than the context; both numbers are told
//   BAD_KV_SPEC               the cache specification is not valid
//   ABORTED                   the caller's signal stopped it
//   OTHER_MODEL               the file was saved with another model
//   NOT_READABLE              the source cannot be opened or read
//   NETWORK                   the server cannot be reached, or keeps failing; what came is kept
//   FILE_CHANGED              the file at that address is no longer the one that was begun, or that is stored
//   WRONG_FILE                size or SHA-256 are not those expected: what was fetched is thrown away
//   NO_SPACE                  storage is full; the message tells how much is missing; what came is kept
//   DAMAGED                   a stored file is damaged and cannot be fetched again
//   NOT_STORED                no model or chat of this name is stored here
//   IN_USE                    the stored model is loaded or being downloaded, here or elsewhere; another program has the chat
//   BAD_TEMPLATE              the model's chat template throws, never ends or grows without bound
//   BUSY                      this chat is still writing its last reply
//   CLOSED                    the model was closed
//   INTERNAL                  a mistake of ours, or the worker died, or this place lets none be started

/** @typedef {import('./types.d.ts').CllaErrorCode} CllaErrorCode */

export class CllaError extends Error {
  /**
   * @param {CllaErrorCode} code
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'CllaError';
    /** @type {CllaErrorCode} */
    this.code = code;
  }
}

/**
 * What crosses from a worker: an error as plain data.
 * @param {unknown} error
 * @returns {{code: CllaErrorCode, message: string}}
 */
export function packError(error) {
  if (error instanceof CllaError) return { code: error.code, message: error.message };
  return { code: 'INTERNAL', message: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
}

/**
 * @param {AbortSignal | undefined} signal
 * @returns {CllaError}
 */
export function abortError(signal) {
  return new CllaError('ABORTED', 'stopped on request', { cause: signal?.reason });
}
