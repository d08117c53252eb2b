// index_web.js: everything that the package offers, in a page; index.js offers the same in Node.

import { createChats } from './chats.js';
import { createLoad } from './engine.js';
import { createModels } from './models.js';
import { web } from './platform_web.js';

export const load = createLoad(web);
export const models = createModels(web);
export const chats = createChats(web);
export { CllaError } from './errors.js';
