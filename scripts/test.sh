#!/usr/bin/env bash
# test.sh: `npm test`. Install what is missing, fetch published models (outside the repository), then tests/run.js.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
node scripts/fetch-models.js || echo "setup: not all published models could be fetched: the tests that need one will be skipped"
exec node tests/run.js "$@"
