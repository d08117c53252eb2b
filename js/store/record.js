// record.js: whether what a store gives back as a record is one. A damaged record counts as not there, so that it does not keep
// the others from being read, and its file is stored anew.

/** @param {unknown} value */
const isText = (value) => typeof value === 'string';
/** @param {any} value */
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
/** @param {(value: any) => boolean} is */
const maybe = (is) => (/** @type {any} */ value) => value === undefined || is(value);
/** @param {Record<string, (value: any) => boolean>} shape @returns {(value: any) => boolean} */
const shaped = (shape) => (value) =>
  typeof value === 'object' && value !== null && Object.entries(shape).every(([key, is]) => is(value[key]));

/**
 * @param {any} value
 * @returns {value is import('./types.d.ts').FileRecord}
 */
export const isRecord = (value) => looksRight(value);

const looksRight = shaped({
  id: isText,
  name: isText,
  url: maybe(isText),
  writer: isText,
  size: maybe(isCount),
  chunkBytes: (value) => isCount(value) && value > 0,
  chunkHashes: (value) => Array.isArray(value) && value.every(isText),
  hashState: maybe((value) => value instanceof Uint8Array),
  expected: maybe(isText),
  sha256: maybe(isText),
  validator: maybe(isText),
  complete: (value) => typeof value === 'boolean',
  chat: maybe(shaped({ model: isText, messages: isCount, date: Number.isFinite, version: isCount })),
});
