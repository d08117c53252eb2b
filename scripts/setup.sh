#!/usr/bin/env bash
# setup.sh: find or install what building and testing needs. Safe to run again: it does nothing when all is there.
#
#   scripts/setup.sh          what `npm start` needs: CMake, Emscripten, the JavaScript packages
#   scripts/setup.sh test     what `npm test` needs besides: WASI compiler, fuzzer, Node 24, wasmtime, browsers
#
# An emcc >= 3.1.69 on PATH and a WASI SDK named by WASI_SDK_PATH are used as they are. On Debian, as root, the rest
# comes from the distribution's own packages; elsewhere the script says what to install and stops.
# Node 24 and wasmtime live in a folder outside the repository: $CLLA_CACHE, else ~/.cache/clla.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${CLLA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clla}
emcc_wanted=3.1.69

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# at_least VERSION WANTED: compare dotted numbers.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# ---- the distribution's packages --------------------------------------------------------------------------------

# can_install: this is a system with apt, and we may use it. Sets as_root to the prefix that makes commands root.
as_root=()
can_install() {
    have apt-get || return 1
    [ "$(id -u)" = 0 ] && return 0
    have sudo && sudo -n true 2>/dev/null && as_root=(sudo -n)
}

# Quiet, unless it fails.
apt() {
    local output
    output=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@" 2>&1) && return
    printf '%s\n' "$output" | tail -n 20 >&2
    return 1
}

lists_fresh=
refresh_lists() {
    [ -n "$lists_fresh" ] && return
    say "apt-get update"
    apt update || fail "apt-get update failed: is the network reachable?"
    lists_fresh=yes
}

# install HINT PACKAGE...: HINT is what to do by hand where apt cannot be used.
install() {
    local hint=$1
    shift
    can_install || fail "$hint" "(no apt here, or not root: install it by hand, then run this again)"
    refresh_lists
    say "apt-get install $*"
    apt install -y --no-install-recommends "$@" || fail "apt-get install $* failed." "$hint"
}

# install_newer HINT PACKAGE...: the same, from Debian 13 once its list is there (below), so that compilers fit the C
# library that came with Emscripten.
trixie_list=/etc/apt/sources.list.d/clla-trixie.sources
install_newer() {
    local hint=$1
    shift
    [ ! -e "$trixie_list" ] || set -- -t trixie "$@"
    install "$hint" "$@"
}

# ---- Emscripten -------------------------------------------------------------------------------------------------

emcc_version() { # without starting emcc, which takes a third of a second
    local folder
    folder=$(dirname "$(readlink -f "$(command -v emcc)")")
    tr -d '"[:space:]' <"$folder/emscripten-version.txt" 2>/dev/null | sed 's/-git$//'
}

emcc_is_good() { have emcc && at_least "$(emcc_version)" "$emcc_wanted"; }

# Debian 12 has 3.1.6; Debian 13 has 3.1.69. Add the newer release's list at a priority so low (100) that nothing but
# what is asked for by name comes from it. The mirror is the one the machine already uses.
add_trixie() {
    local mirror
    mirror=$("${as_root[@]}" apt-get indextargets --format '$(RELEASE)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "bookworm" && $2 == "main" { print $3; exit }')
    [ -n "$mirror" ] || fail "no Debian mirror found in the machine's package lists." "$emcc_hint"
    say "adding Debian 13 (trixie) from $mirror, pinned at priority 100"
    "${as_root[@]}" tee "$trixie_list" >/dev/null <<LIST
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
LIST
    "${as_root[@]}" tee /etc/apt/preferences.d/clla-trixie >/dev/null <<PIN
Package: *
Pin: release n=trixie
Pin-Priority: 100
PIN
    lists_fresh=
    refresh_lists
}

emcc_hint="Emscripten $emcc_wanted or newer is needed: https://emscripten.org/docs/getting_started/downloads.html, then put emcc on PATH."

need_emscripten() {
    if ! emcc_is_good; then
        can_install || fail "$emcc_hint"
        [ -r /etc/os-release ] && . /etc/os-release
        [ "${ID:-}-${VERSION_ID:-}" != debian-12 ] || [ -e "$trixie_list" ] || add_trixie
        install_newer "$emcc_hint" emscripten binaryen
        hash -r
        emcc_is_good || fail "this system's Emscripten is too old ($(have emcc && emcc_version))." "$emcc_hint"
    fi
    link_acorn
}

# Debian's package keeps the JavaScript optimizer's parser (acorn) in share/nodejs, where emcc does not look.
link_acorn() {
    local folder
    folder=$(dirname "$(readlink -f "$(command -v emcc)")")
    if [ "$folder" = /usr/share/emscripten ] && [ ! -e "$folder/node_modules/acorn" ]; then
        can_install || fail "as root: ln -sfn ../nodejs $folder/node_modules"
        say "linking $folder/node_modules to ../nodejs"
        "${as_root[@]}" ln -sfn ../nodejs "$folder/node_modules"
    fi
}

# ---- what the tests need besides --------------------------------------------------------------------------------

need_wasi() {
    if [ -n "${WASI_SDK_PATH:-}" ]; then
        [ -x "$WASI_SDK_PATH/bin/clang" ] || fail "WASI_SDK_PATH is $WASI_SDK_PATH, but there is no bin/clang in it."
    elif ! { have clang-19 && have wasm-ld-19 && [ -e /usr/include/wasm32-wasi/stdio.h ] &&
        [ -e "$(clang_runtime)/wasi/libclang_rt.builtins-wasm32.a" ]; }; then
        install_newer "A WASI compiler is needed: set WASI_SDK_PATH to a WASI SDK, https://github.com/WebAssembly/wasi-sdk/releases" \
            clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc
    fi
}

clang_runtime() { printf '%s/lib' "$(clang-19 -print-resource-dir 2>/dev/null)"; }

need_fuzzer() {
    have clang-19 && [ -n "$(ls "$(clang_runtime)"/linux/libclang_rt.fuzzer-*.a 2>/dev/null)" ] && return
    install_newer "clang 19 with its sanitizer and fuzzer run-time is needed for the fuzz tests." clang-19 libclang-rt-19-dev
}

need_node24() {
    [ -x "$cache/node24/node_modules/.bin/node" ] && return
    say "installing Node 24 into $cache/node24 (for relaxed SIMD)"
    mkdir -p "$cache/node24"
    npm install --silent --no-save --prefix "$cache/node24" node@24 || fail "npm install node@24 failed."
}

need_wasmtime() {
    [ -e "$cache/wasmtime/ready" ] && return
    say "installing wasmtime into $cache/wasmtime"
    python3 -c 'import ensurepip, venv' 2>/dev/null || install "Python 3 with venv is needed." python3 python3-venv
    python3 -m venv "$cache/wasmtime" || fail "python3 -m venv failed."
    "$cache/wasmtime/bin/python" -m pip install --quiet 'wasmtime>=30' || fail "pip install wasmtime failed."
    touch "$cache/wasmtime/ready"
}

# Chromium, Firefox and WebKitGTK. Tests of a browser that cannot be had are skipped and say so.
need_browsers() {
    local missing=()
    have chromium || have chromium-browser || have google-chrome || [ -n "${CHROMIUM:-}" ] || missing+=(chromium)
    have firefox-esr || have firefox || [ -n "${FIREFOX:-}" ] || missing+=(firefox-esr)
    have WebKitWebDriver || missing+=(webkit2gtk-driver)
    have Xvfb || missing+=(xvfb)
    [ ${#missing[@]} = 0 ] && return
    if ! can_install; then
        say "not here: ${missing[*]} (no apt here, or not root): the tests in these browsers will be skipped"
        return
    fi
    refresh_lists
    for package in "${missing[@]}"; do
        say "apt-get install $package"
        apt install -y --no-install-recommends "$package" || say "no $package: the tests that need it will be skipped"
    done
}

# ---- what everything needs --------------------------------------------------------------------------------------

need_node() {
    have node && have npm || fail "Node 20 or newer, with npm, is needed: https://nodejs.org"
    [ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ] || fail "Node 20 or newer is needed; this is $(node --version)."
}

need_native() {
    have cmake && at_least "$(cmake --version | awk 'NR == 1 { print $3 }')" 3.20 && have cc && have make ||
        install "CMake 3.20 or newer, make and a C compiler are needed." cmake make gcc libc6-dev
}

need_packages() {
    [ "$root/node_modules/.package-lock.json" -nt "$root/package-lock.json" ] && return
    say "npm ci"
    (cd "$root" && npm ci --silent) || fail "npm ci failed."
    touch "$root/node_modules/.package-lock.json"
}

case "${1:-}" in
'' | test) ;;
*) fail "usage: scripts/setup.sh [test]" ;;
esac

need_node
need_native
need_emscripten
need_packages
if [ "${1:-}" = test ]; then
    need_wasi
    need_fuzzer
    need_node24
    need_wasmtime
    need_browsers
fi
