#!/usr/bin/env bash
# build.sh: configure where needed, then build, the presets that are named (when none is: all that the package needs,
# which is the Wasm variants and the libraries in js/vendor/).
#
#   scripts/build.sh [PRESET...]
#   scripts/build.sh --stale      build what the package needs, where a source is newer
set -euo pipefail
cd "$(dirname "$0")/.."

variants=(wasm-simd wasm-simd-threads wasm-relaxed wasm-relaxed-threads)
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

stale() {
    local variant
    for variant in "${variants[@]#wasm-}"; do
        [ -e "js/wasm/clla-$variant.wasm" ] || return 0
        [ -z "$(find src cmake CMakeLists.txt CMakePresets.json -newer "js/wasm/clla-$variant.wasm" -type f -print -quit)" ] ||
            return 0
    done
    return 1
}

# The libraries that the package carries: quick, so all are made when one is missing or older than what it is made of.
vendor() {
    local types
    for types in js/vendor/*.d.ts; do
        [ -e "${types%.d.ts}.js" ] &&
            [ -z "$(find "$types" scripts/vendor.js package-lock.json -newer "${types%.d.ts}.js" -print -quit)" ] && continue
        node scripts/vendor.js
        return
    done
}

build() { # PRESET [TARGET]
    [ -e "build/$1/Makefile" ] || cmake --preset "$1" >/dev/null
    printf 'build: %s\n' "$*"
    cmake --build "build/$1" --parallel "$jobs" ${2:+--target "$2"} -- --no-print-directory -s -k >/dev/null
}

if [ $# = 0 ] || [ "$1" = --stale ]; then vendor; fi
trap 'node scripts/glue.js' EXIT # whatever was linked anew
if [ "${1:-}" = --stale ]; then
    stale || exit 0
    shift
fi
for preset in "${@:-${variants[@]}}"; do build "${preset%%:*}" "$([[ $preset == *:* ]] && echo "${preset#*:}")"; done
if [ $# = 0 ]; then (cd js/wasm && touch clla-*.wasm); fi # one that needed no new link is not stale either
