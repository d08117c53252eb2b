// index_web.js: everything that the package offers, in a page; index.js offers the same in Node.

import { createLoad } from './engine.js';
import { createModels } from './models.js';
import { web } from './platform_web.js';

export const load = createLoad(web);
export const models = createModels(web);
export { CllaError } from './errors.js';
