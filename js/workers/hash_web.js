// hash_web.js: hash_worker.js as a worker of a page.

import { parentEndpoint } from '../parent_web.js';
import { serveHasher } from '../hash_worker.js';

serveHasher(parentEndpoint());
