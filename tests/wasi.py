"""Run a WASI program in wasmtime: python tests/wasi.py FILE.wasm [ARGUMENT...].

It sees the working folder, and the folder of each argument that is an absolute path."""

import os
import sys

import wasmtime

engine = wasmtime.Engine()
store = wasmtime.Store(engine)
wasi = wasmtime.WasiConfig()
wasi.argv = sys.argv[1:]
wasi.inherit_stdin()
wasi.inherit_stdout()
wasi.inherit_stderr()
for folder in {".", *(os.path.dirname(arg) for arg in sys.argv[2:] if os.path.isabs(arg))}:
    wasi.preopen_dir(folder, folder)
store.set_wasi(wasi)
linker = wasmtime.Linker(engine)
linker.define_wasi()
instance = linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1]))
try:
    instance.exports(store)["_start"](store)
except wasmtime.ExitTrap as trap:
    sys.exit(trap.code)
