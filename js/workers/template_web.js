// template_web.js: template_worker.js as a worker of a page.

import { parentEndpoint } from '../parent_web.js';
import { serveTemplates } from '../template_worker.js';

serveTemplates(parentEndpoint());
