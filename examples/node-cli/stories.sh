#!/bin/sh
# stories.sh: each line of the input becomes the beginning of a story; one JSON object a line goes on to the next program.

while IFS= read -r beginning; do
  printf '%s' "$beginning" |
    npx clla complete tinystories-656k --max-tokens 40 --temp 0.7 --top-p 0.9 --seed 1 --json
done | node -e '
  const lines = require("node:readline").createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const { text, finish_reason } = JSON.parse(line);
    console.log(`${text.trim()}\n  (${text.length} characters, ${finish_reason})`);
  });
'
