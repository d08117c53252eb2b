#!/usr/bin/env bash
# start.sh: `npm start`. Install and build what is missing, then chat in the terminal.
#
#   npm start                      with the model that the repository carries
#   npm start -- MODEL [OPTION...] with another one; options are those of `clla chat`
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/scripts/setup.sh"
"$root/scripts/build.sh" --stale
cd "${INIT_CWD:-$PWD}" # npm moves to the repository; paths are meant from where the person is
exec node "$root/js/cli.js" chat --repeat-penalty 1.1 "$@" # small models repeat themselves; a later option wins
