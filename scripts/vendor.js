#!/usr/bin/env node
// vendor.js: make js/vendor/*.js: what the package uses of two libraries, as modules beside its own.
//
// A page without a bundler cannot resolve bare names, least of all under a strict Content-Security-Policy, which forbids
// import maps. Each NAME.d.ts there is one line that says what is used; it is the module to bundle as well as its types.
// The licence of a library stands in full at the top of its bundle.

import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = path.join(root, 'js/vendor');

/** The folder of an installed library. @param {string} name */
const home = (name) => path.join(root, 'node_modules', name);

/** @param {string} contents the line that says what is used */
function banner(contents) {
  const name = contents.match(/from '(.+)'/)?.[1] ?? '';
  const { version } = createRequire(import.meta.url)(path.join(home(name), 'package.json'));
  return `/*! ${name} ${version}\n\n${readFileSync(path.join(home(name), 'LICENSE'), 'utf8').trim()}\n*/`;
}

for (const types of readdirSync(folder).filter((file) => file.endsWith('.d.ts'))) {
  const contents = readFileSync(path.join(folder, types), 'utf8');
  await build({
    stdin: { contents, resolveDir: root },
    outfile: path.join(folder, types.replace('.d.ts', '.js')),
    banner: { js: banner(contents) },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    logLevel: 'warning',
  });
}
