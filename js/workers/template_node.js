// template_node.js: template_worker.js as a worker thread of Node.

import { parentEndpoint } from '../endpoint_node.js';
import { serveTemplates } from '../template_worker.js';

serveTemplates(parentEndpoint());
