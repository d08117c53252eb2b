// ours_run.js: one round of this repository's engine, in a process of its own:
//
//     node ours_run.js MODEL      work as JSON on stdin: {variant, threads, kv, prompts}; prints the figures as JSON
import { load } from '../../js/index.js';
import { measureReplies, reply } from './replies.js';

let stdin = '';
for await (const piece of process.stdin) stdin += piece;
const { variant, threads, kv, prompts } = JSON.parse(stdin);

const model = await load(process.argv[2], { variant, threads, kv, context: prompts.context });
const { ttftMs, loadMs } = await reply(model, prompts.prefills[0].ids.slice(0, 1), 1);
const speeds = await measureReplies(model, prompts);
process.stdout.write(JSON.stringify({ ...speeds, load: loadMs, first: loadMs + ttftMs }));
await model.close();
