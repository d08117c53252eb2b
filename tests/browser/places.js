// places.js: where programs lie.

import { existsSync } from 'node:fs';
import path from 'node:path';

/** @param {(string | undefined)[]} files @returns {string | undefined} the first that is there */
export const firstOf = (files) => files.find((file) => file && existsSync(file));

/** @param {string} name @returns {string | undefined} */
export const onPath = (name) => firstOf((process.env.PATH ?? '').split(path.delimiter).map((folder) => path.join(folder, name)));
