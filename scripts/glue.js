#!/usr/bin/env node
// glue.js: what bundlers need changed in the modules that Emscripten writes into js/wasm/. Safe to run again.
//
// Vite reads the options of a worker only where the worker is made. And a module that awaits at its top level cannot be
// put into a classic script, which is what Vite makes of workers unless it is told otherwise.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const OPTIONS_APART = /var workerOptions=(\{[^{}]*\});(worker=new Worker\(new URL\([^()]*\),)workerOptions\)/;
const AWAITED =
  /if \(isNode\) isPthread = \(await import\('worker_threads'\)\)\.workerData === 'em-pthread';\s*([^]*?)isPthread && clla\(\);/;
const CHANGES = /** @type {[RegExp, string][]} */ ([
  [OPTIONS_APART, '$2$1)'],
  [
    AWAITED,
    "if (isNode) import('worker_threads').then(({ workerData }) => workerData === 'em-pthread' && clla());\n\n$1" +
      '!isNode && isPthread && clla();',
  ],
]);

for (const variant of ['simd-threads', 'relaxed-threads']) {
  const file = fileURLToPath(new URL(`../js/wasm/clla-${variant}.js`, import.meta.url));
  if (!existsSync(file)) continue;
  const before = readFileSync(file, 'utf8');
  const after = CHANGES.reduce((text, [from, to]) => text.replace(from, to), before);
  if (after !== before) writeFileSync(file, after);
}
