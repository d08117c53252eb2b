// platform_node.js: what the package needs of Node; platform_web.js is the same for pages.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { hardwareThreads, startTemplateWorker, startWorker } from './endpoint_node.js';
import { fileBytes, fileStream } from './source_node.js';
import { openChats, openStore } from './store/store_node.js';

/** @typedef {import('./types.d.ts').Platform} Platform */

const CATALOGUE = new URL('../models/catalogue.json', import.meta.url);

/** @type {Platform['catalogue']} */
async function catalogue() {
  if (!existsSync(CATALOGUE)) return [];
  const { models } = JSON.parse(await readFile(CATALOGUE, 'utf8'));
  return models.map((/** @type {any} */ m) => (m.path ? { ...m, path: fileURLToPath(new URL(m.path, CATALOGUE)) } : m));
}

/** @type {Platform} */
export const node = {
  startWorker,
  startTemplateWorker,
  hardwareThreads,
  openStore,
  openChats,
  catalogue,
  files: {
    exists: existsSync,
    fromUrl: (url) => fileURLToPath(url),
    bytes: fileBytes,
    stream: fileStream,
  },
  baseUrl: undefined,
  askToKeep() {},
};
