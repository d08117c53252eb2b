// compute_node.js: worker.js as a worker thread of Node.

import { parentEndpoint } from '../endpoint_node.js';
import { readParts } from '../source_node.js';
import { openChats, openStore } from '../store/store_node.js';
import { serveCompute } from '../worker.js';

serveCompute(parentEndpoint(), { readParts, openStore, openChats });
