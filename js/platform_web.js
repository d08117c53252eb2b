// platform_web.js: what the package needs of a page; platform_node.js is the same for Node.

import { hardwareThreads, startTemplateWorker, startWorker } from './endpoint_web.js';
import { openChats, openStore } from './store/store_web.js';

/** @typedef {import('./types.d.ts').Platform} Platform */

/** Its address; bundlers take the file along. */
const catalogueUrl = () => new URL('../models/catalogue.json', import.meta.url).href;

/** @type {Platform['catalogue']} */
async function catalogue() {
  const response = await fetch(catalogueUrl()).catch(() => undefined); // offline, or left out of a site
  const found = response?.ok ? await response.json().catch(() => undefined) : undefined; // a page that says 404 with 200
  const models = Array.isArray(found?.models) ? found.models : [];
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

/** That of a worker that was made from a Blob leads nowhere. @param {string | undefined} address */
const placeOf = (address) => (address?.startsWith('blob:') ? globalThis.origin : address);

/** @type {Platform} */
export const web = {
  startWorker,
  startTemplateWorker,
  hardwareThreads,
  openStore,
  openChats,
  catalogue,
  files: undefined,
  get baseUrl() {
    return globalThis.document?.baseURI ?? placeOf(globalThis.location?.href);
  },
  askToKeep: () => void askToKeep().catch(() => {}),
};
