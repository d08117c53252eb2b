// machine.js: on what a run was made.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root } from './workload.js';

const FLAGS = /^(avx|avx2|fma|f16c|avx512f|avx512_vnni|avx_vnni|asimddp|i8mm|amx_int8)$/;

export function machine() {
  const info = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  const field = (name) => info.match(new RegExp(`^${name}\\s*:\\s*(.*)$`, 'mi'))?.[1];
  const flags = (field('flags') ?? field('Features') ?? '').split(' ').filter((flag) => FLAGS.test(flag));
  return {
    cpu: field('model name') ?? os.cpus()[0]?.model ?? os.arch(),
    ids: ['cpu family', 'model', 'stepping'].map(field).filter(Boolean).join('/'),
    cores: os.cpus().length,
    flags: ['avx_vnni', 'asimddp'].some((flag) => flags.includes(flag)) || os.arch() !== 'x64' ? flags : [...flags, 'no avx_vnni'],
    memory: os.totalmem(),
    system: `${os.type()} ${os.release()}`,
  };
}

/** Programs that others run slow everything down: the load is told with the figures. */
export const load = () => os.loadavg().map((x) => Math.round(x * 10) / 10);

export function revision() {
  const git = (...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout?.trim();
  const commit = git('rev-parse', '--short', 'HEAD') || 'no git';
  return commit + (git('status', '--porcelain', '--', 'src', 'js') ? ' and changes' : '');
}

export const packageVersion = (name) =>
  JSON.parse(readFileSync(path.join(root, 'tests/bench/node_modules', name, 'package.json'), 'utf8')).version;

export const programVersion = (program) => spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout?.trim() ?? '?';
