#!/usr/bin/env bash
# test.sh: `npm test`. Install what is missing, then tests/run.js.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
exec node tests/run.js "$@"
