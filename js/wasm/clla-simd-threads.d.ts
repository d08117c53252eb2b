import type { WasmModule } from '../types.js';
export default function create(options: { poolSize: number }): Promise<WasmModule>;
