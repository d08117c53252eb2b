// compute_web.js: worker.js as a worker of a page.

import { CllaError } from '../errors.js';
import { parentEndpoint } from '../parent_web.js';
import { openChats, openStore } from '../store/store_web.js';
import { serveCompute } from '../worker.js';

const readParts = async () => {
  throw new CllaError('INTERNAL', 'a page has no files with paths');
};

serveCompute(parentEndpoint(), { readParts, openStore, openChats });
