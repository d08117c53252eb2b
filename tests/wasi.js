// wasi.js: run a WASI program in Node: node tests/wasi.js FILE.wasm [ARGUMENT...]. It sees the working folder, and the
// folder of each argument that is an absolute path.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import v8 from 'node:v8';
import { WASI } from 'node:wasi';

// Node 20's WASI functions damage V8's heap when WebAssembly calls them by the fast way: a garbage collection during a
// later memory.grow crashes (seen with 20.20.2, not with 24).
if (Number.parseInt(process.versions.node, 10) < 22) v8.setFlagsFromString('--no-turbo-fast-api-calls');

const [file, ...args] = process.argv.slice(2);
const folders = args.filter((arg) => path.isAbsolute(arg)).map((arg) => path.dirname(arg));
const preopens = Object.fromEntries(['.', ...folders].map((folder) => [folder, folder]));
const wasi = new WASI({ version: 'preview1', args: [file, ...args], env: {}, preopens, returnOnExit: true });
const { instance } = await WebAssembly.instantiate(await readFile(file), { wasi_snapshot_preview1: wasi.wasiImport });
process.exitCode = wasi.start(instance);
