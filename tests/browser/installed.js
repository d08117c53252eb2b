// installed.js: the package, packed and installed into a folder of its own, as a user's program finds it.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** @param {string[]} args @param {string} cwd */
export function npm(args, cwd) {
  const { status, stdout, stderr, error } = spawnSync('npm', args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error || status !== 0) throw error ?? new Error(`npm ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** It is packed as it stands: `npm test` has built it. */
export async function installPackage() {
  const folder = mkdtempSync(path.join(tmpdir(), 'clla-installed-'));
  const [packed] = JSON.parse(npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder], root));
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  npm(['install', '--silent', '--prefer-offline', '--no-audit', '--no-fund', path.join(folder, packed.filename)], folder);
  return {
    folder,
    size: /** @type {number} */ (packed.size),
    files: /** @type {{path: string, size: number}[]} */ (packed.files),
    /** A copy of an example, with the package installed for it. @param {string} name @returns {string} its folder */
    example(name) {
      const copy = path.join(folder, name);
      if (existsSync(copy)) return copy;
      cpSync(path.join(root, 'examples', name), copy, { recursive: true, filter: (file) => !/node_modules|dist$/.test(path.relative(root, file)) });
      cpSync(path.join(folder, 'node_modules'), path.join(copy, 'node_modules'), { recursive: true, verbatimSymlinks: true });
      return copy;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
