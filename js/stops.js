// stops.js: stop strings in a stream of text. They may span pieces, so text that may be the beginning of one is held
// back until it is clear what it is.

/**
 * The longest end of `text` that some stop string begins with, as a length.
 * @param {string} text
 * @param {string[]} stops
 */
function openEnd(text, stops) {
  for (let start = 0; start < text.length; start++) {
    const end = text.slice(start);
    if (stops.some((stop) => stop.startsWith(end))) return end.length;
  }
  return 0;
}

/**
 * @param {string[]} stops none of them empty
 */
export function stopWatch(stops) {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = '';

  return {
    /**
     * @param {string} piece
     * @returns {{text: string, stopped: boolean}} what may be shown now, and whether a stop string was met behind it
     */
    push(piece) {
      held += piece;
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
      if (found.length > 0) {
        const text = held.slice(0, Math.min(...found));
        held = '';
        return { text, stopped: true };
      }
      const tail = held.slice(Math.max(0, held.length - longest + 1));
      const text = held.slice(0, held.length - openEnd(tail, stops));
      held = held.slice(text.length);
      return { text, stopped: false };
    },

    /** The end of the stream: what was held back belongs to the text after all. */
    finish() {
      const text = held;
      held = '';
      return text;
    },
  };
}
