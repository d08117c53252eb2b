# The WebAssembly module and its loader for JavaScript: js/wasm/clla-<variant>.{js,wasm}, an ES module whose default
# export makes an instance.
#
# What it exports is what src/wasm_api.c marks with CLLA_EXPORT, at the beginning of a line: that file is the only list.

set(api ${CMAKE_CURRENT_SOURCE_DIR}/src/wasm_api.c)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${api})
file(STRINGS ${api} declarations REGEX "^CLLA_EXPORT ")
set(exports "")
foreach(declaration ${declarations})
  string(REGEX REPLACE "^[^(]*[ *]([A-Za-z0-9_]+)\\(.*$" "_\\1" name "${declaration}")
  list(APPEND exports ${name})
endforeach()
list(JOIN exports "," exports)
if(NOT exports)
  message(FATAL_ERROR "src/wasm_api.c has no line that begins with CLLA_EXPORT")
endif()

add_executable(module ${api})
target_link_libraries(module PRIVATE clla_engine)
set_target_properties(module PROPERTIES
  OUTPUT_NAME clla-${CLLA_VARIANT}
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/js/wasm)

target_link_options(module PRIVATE
  --no-entry
  -sSTRICT -sMODULARIZE -sEXPORT_ES6 -sEXPORT_NAME=clla -sENVIRONMENT=web,worker,node
  -sFILESYSTEM=0 -sDYNAMIC_EXECUTION=0 -sSUPPORT_LONGJMP=0 -sWASM_BIGINT -sASSERTIONS=0
  # Memory starts small and grows by exactly what is asked for, while loading only; pointers reach 4 GiB.
  -sALLOW_MEMORY_GROWTH -sMAXIMUM_MEMORY=4GB -sINITIAL_MEMORY=2MB -sMEMORY_GROWTH_GEOMETRIC_STEP=0
  -sSTACK_SIZE=256KB
  -sEXPORTED_FUNCTIONS=${exports}
  -sEXPORTED_RUNTIME_METHODS=wasmMemory
  -sINCOMING_MODULE_JS_API=locateFile,wasmBinary,instantiateWasm,wasmMemory,print,printErr,onAbort)
if(CLLA_VARIANT MATCHES "threads$")
  # The caller says how many threads it will open besides its own: createModule({ poolSize: 1 }).
  target_link_options(module PRIVATE
    "-sPTHREAD_POOL_SIZE=Module[\"poolSize\"]" -sPTHREAD_POOL_SIZE_STRICT=2 -Wno-pthreads-mem-growth)
endif()
