// platform_web.js: what the package needs of a page; platform_node.js is the same for Node.

import { hardwareThreads, startTemplateWorker, startWorker } from './endpoint_web.js';
import { openChats, openStore } from './store/store_web.js';

/** @typedef {import('./types.d.ts').Platform} Platform */

/** Its address; bundlers take the file along. */
const catalogueUrl = () => new URL('../models/catalogue.json', import.meta.url).href;

/** @type {Platform['catalogue']} */
async function catalogue() {
  const response = await fetch(catalogueUrl()).catch(() => undefined); // offline, or left out of a site
  if (!response?.ok) return [];
  const { models } = await response.json();
  const urlOf = (/** @type {string} */ file) => new URL(file, catalogueUrl()).href;
  return models.map((/** @type {any} */ m) => (m.path ? { ...m, path: undefined, url: urlOf(m.path) } : m));
}

const ASKED = 'clla asked to keep';

/** That the browser does not clear the store by itself. Firefox asks the person, and answers when they do: so it is asked
 *  once, and that is remembered. */
async function askToKeep() {
  const storage = globalThis.navigator?.storage;
  if (!storage?.persist || localStorage.getItem(ASKED)) return;
  localStorage.setItem(ASKED, new Date().toISOString());
  if (!(await storage.persisted())) await storage.persist();
}

/** @type {Platform} */
export const web = {
  startWorker,
  startTemplateWorker,
  hardwareThreads,
  openStore,
  openChats,
  catalogue,
  files: undefined,
  baseUrl: globalThis.location?.href,
  askToKeep: () => void askToKeep().catch(() => {}),
};
