export { createSHA256, sha256 } from 'hash-wasm';
