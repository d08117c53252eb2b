# Toolchain: the emcc on PATH, through the CMake platform file that comes with it.
find_program(EMCC emcc REQUIRED)
get_filename_component(EMCC_REAL ${EMCC} REALPATH)
get_filename_component(EMSCRIPTEN_FOLDER ${EMCC_REAL} DIRECTORY)
include(${EMSCRIPTEN_FOLDER}/cmake/Modules/Platform/Emscripten.cmake)
