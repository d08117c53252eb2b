// kinds.js: what kind of object something is, also one of another frame, whose classes are not ours.

/** @param {unknown} value @param {...string} names of classes that come with the platform */
function isKind(value, ...names) {
  const tag = Object.prototype.toString.call(value).slice('[object '.length, -1);
  return names.some((name) => tag === name || value instanceof /** @type {any} */ (globalThis)[name]);
}

/** @param {unknown} value @returns {value is AbortSignal} */
export const isSignal = (value) => isKind(value, 'AbortSignal');
/** @param {unknown} value @returns {value is URL} */
export const isUrl = (value) => isKind(value, 'URL');
/** @param {unknown} value @returns {value is Map<any, any>} */
export const isMap = (value) => isKind(value, 'Map');
/** @param {unknown} value @returns {value is Blob} */
export const isBlob = (value) => isKind(value, 'Blob', 'File');
/** @param {unknown} value @returns {value is ArrayBuffer} */
export const isBuffer = (value) => isKind(value, 'ArrayBuffer');
/** @param {unknown} value @returns {value is ReadableStream<Uint8Array>} */
export const isStream = (value) => isKind(value, 'ReadableStream');
