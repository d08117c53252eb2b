import type { WasmModule, WasmOptions } from '../types.js';
export default function create(options: WasmOptions): Promise<WasmModule>;
