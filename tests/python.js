// python.js: Pythons that have what a test needs.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

const cache = process.env.CLLA_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'clla');

/**
 * A Python in which these modules can be imported, or undefined: of a virtual environment in the cache folder, or the system's.
 * @param {string} environment
 * @param {string} modules
 */
export function findPython(environment, modules) {
  const candidates = [path.join(cache, environment, 'bin/python'), 'python3'].filter((name) => !name.includes('/') || existsSync(name));
  return candidates.find((python) => spawnSync(python, ['-c', `import ${modules}`]).status === 0);
}
