// index.js: everything that the package offers.

export { load } from './engine.js';
export { CllaError } from './errors.js';
