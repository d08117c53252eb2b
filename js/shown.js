// shown.js: how messages show what a caller gave or what is stored, however long it is.

const TEXT_MAX = 100;
const NAMES_MAX = 10;

/** @param {string} text */
export const shortened = (text) => (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text);

/** @param {string[]} names */
export function listed(names) {
  const shown = names.slice(0, NAMES_MAX).map(shortened).join(', ');
  return names.length > NAMES_MAX ? `${shown} and ${names.length - NAMES_MAX} more` : shown;
}

/** Not every object has a text. @param {unknown} value @returns {string} */
export function shown(value) {
  if (typeof value === 'function') return 'a function';
  try {
    const quoted = typeof value === 'string' || Array.isArray(value);
    return shortened(quoted ? JSON.stringify(value) : String(value) || 'an empty object');
  } catch {
    return 'an object';
  }
}
