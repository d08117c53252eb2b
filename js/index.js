// index.js: everything that the package offers, in Node; index_web.js offers the same in a page.

import { createChats } from './chats.js';
import { createLoad } from './engine.js';
import { createModels } from './models.js';
import { node } from './platform_node.js';

export const load = createLoad(node);
export const models = createModels(node);
export const chats = createChats(node);
export { CllaError } from './errors.js';
