// table.js: the figures that issue after issue is held to, and how a report reads.
import { median } from './replies.js';

/** Rounds become {median, min, max}. */
export function speeds(results) {
  return Object.values(results).map(({ name, threads, rounds }) => ({
    name,
    threads,
    ...Object.fromEntries(
      Object.entries(rounds).map(([figure, list]) => [figure, { median: median(list), min: Math.min(...list), max: Math.max(...list), rounds: list }]),
    ),
  }));
}

/** What must be and what is aimed at. `less`: a figure that should be small. */
export function figures({ speeds: all, threads, memory, download }) {
  const find = (start) => all.find((entry) => entry.name.startsWith(start) && entry.threads === threads && !entry.name.includes('KV'));
  const relaxed = find('clla, relaxed');
  const simd = find('clla, simd');
  const wllama = find('wllama');
  const native = find('node-llama-cpp');
  /** Ratio of medians, with the least and the greatest ratio of one round. */
  const ratio = (a, b) => {
    if (!a || !b) return undefined;
    const each = a.rounds.map((value, i) => value / (b.rounds[i] ?? b.median));
    return { value: a.median / b.median, min: Math.min(...each), max: Math.max(...each), of: [a.median, b.median] };
  };
  const seconds = (a) => a && { value: a.median / 1000, min: a.min / 1000, max: a.max / 1000 };
  const kB = (bytes) => bytes && { value: bytes / 1000 };
  const rows = [
    ['decode, relaxed / wllama', 3, 5, ratio(relaxed?.decode, wllama?.decode)],
    ['decode, relaxed / native', 0.5, 0.9, ratio(relaxed?.decode, native?.decode)],
    ['prefill, relaxed / wllama', 8, 25, ratio(relaxed?.prefill, wllama?.prefill)],
    ['prefill, relaxed / native', 0.25, 0.8, ratio(relaxed?.prefill, native?.prefill)],
    ['decode, plain SIMD / wllama', 2, 3, ratio(simd?.decode, wllama?.decode)],
    ['prefill, plain SIMD / wllama', 5, 12, ratio(simd?.prefill, wllama?.prefill)],
    ['decode at depth / decode at 0, relaxed', 0.6, 0.8, ratio(relaxed?.deep, relaxed?.decode)],
    ['Wasm memory without KV / model file', 1.15, 1.05, memory && { value: (memory.peak - memory.cache) / memory.file }, 'less'],
    ['file to first token, relaxed, s', 1.5, 0.6, seconds(relaxed?.first), 'less'],
    ['Wasm + JS of one variant, gzip, kB', 200, 120, kB(download[0]?.total), 'less'],
  ];
  return rows.map(([name, must, aim, measured, less]) => {
    const met = (limit) => measured && (less ? measured.value <= limit : measured.value >= limit);
    return { name, must, aim, ...measured, met: measured ? (met(aim) ? 'aim' : met(must) ? 'must' : 'no') : 'not measured' };
  });
}

const digits = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const shown = (s) => (s ? `${digits(s.median)} (${digits(s.min)} .. ${digits(s.max)})` : '');

/** Rows as a Markdown table, columns as wide as they need. */
function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(rows[0]), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.slice(1).map(line)].join('\n');
}

export function print(report) {
  const { machine: m, versions: v, sizes, download } = report;
  const measured = (f) => {
    if (f.value === undefined) return '';
    const range = f.min !== undefined ? ` (${digits(f.min)} .. ${digits(f.max)})` : '';
    return digits(f.value) + range + (f.of ? `, ${digits(f.of[0])} / ${digits(f.of[1])}` : '');
  };
  const figureRows = report.figures.map((f) => [f.name, String(f.must), String(f.aim), measured(f), f.met]);
  const speedRows = report.speeds.map((s) => [
    s.name, String(s.threads), shown(s.prefill), shown(s.decode), shown(s.deep), s.load ? digits(s.load.median / 1000) : '', s.first ? digits(s.first.median / 1000) : '',
  ]);
  return `${[
    `${report.model}; ${report.date.slice(0, 16).replace('T', ' ')} UTC, ${report.minutes.toFixed(1)} minutes, load average ${report.load.map((l) => l.join(' ')).join(' at the beginning, ')} at the end`,
    `machine: ${m.cpu} (${m.ids}), ${m.cores} cores, ${m.flags.join(' ')}, ${(m.memory / 2 ** 30).toFixed(0)} GiB, ${m.system}`,
    `versions: clla ${v.clla}; Node ${v.node.join(', ')}; node-llama-cpp ${v['node-llama-cpp']}; wllama ${v.wllama}; ${v.chromium}`,
    '',
    `${report.threads} threads, medians of ${report.speeds[0]?.prefill?.rounds.length ?? 0} rounds (least .. greatest), prompt of ${sizes.prefill}, depth ${sizes.depth}, ${sizes.decoded - 1} steps`,
    '',
    table([['figure', 'must', 'aim', 'measured', 'met'], ...figureRows]),
    '',
    table([['tokens/s', 'threads', 'prefill', 'decode', 'decode at depth', 'load s', 'first token s'], ...speedRows]),
    '',
    ...download.map((d) => `download, gzip: ${d.variant}: ${d.wasm} Wasm + ${d.js} JavaScript + ${d.templates} chat templates = ${d.total} bytes`),
    ...(report.memory ? [`memory: ${report.memory.peak} peak, ${report.memory.cache} of it KV, file ${report.memory.file} bytes`] : []),
  ].join('\n')}\n`;
}
