// wasi.js: run a WASI program in Node: node tests/wasi.js FILE.wasm [ARGUMENT...]. It sees the working folder, and the
// folder of each argument that is an absolute path.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { WASI } from 'node:wasi';

const [file, ...args] = process.argv.slice(2);
const folders = args.filter((arg) => path.isAbsolute(arg)).map((arg) => path.dirname(arg));
const preopens = Object.fromEntries(['.', ...folders].map((folder) => [folder, folder]));
const wasi = new WASI({ version: 'preview1', args: [file, ...args], env: {}, preopens, returnOnExit: true });
// V8's fast calls into node:wasi use the memory as it was before it grew, and crash (nodejs/node issue 53087, Node 20).
// A call through a JavaScript function is not a fast call.
const slow = Object.entries(wasi.wasiImport).map(([name, call]) => [name, (/** @type {any[]} */ ...values) => call(...values)]);
const imports = { wasi_snapshot_preview1: Object.fromEntries(slow) };
const { instance } = await WebAssembly.instantiate(await readFile(file), imports);
process.exitCode = wasi.start(instance);
