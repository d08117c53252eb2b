"""The twins once more, by the engine: loss, recall, decode speed and cache bytes.

    python engine_eval.py --data FOLDER --work FOLDER [--table TABLE] [--variant auto] [--only NAME...]
    python engine_eval.py --data FOLDER --speeds [--table TABLE] [--only NAME...]
    python engine_eval.py --data FOLDER --model FILE.gguf --context TOKENS

exports the first seed of every finished twin (f32, so that only the cache differs from the framework), lets the engine
evaluate the rows that the framework was evaluated on, and adds what it found to the run's file in results/. --speeds
measures decoding of all five kinds in turn, as they are before training, which speed does not depend on: medians of three
rounds go into results/<table>/speeds.json. --model prints loss by source and recall of that file instead.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import torch

from data import Rows
from export import export
from model import Model
from twins import HERE, KINDS, TABLES, kinds, results

ROOT = HERE.parents[1]
ROUNDS = 3


def node(script, *arguments):
    command = ['node', str(ROOT / script), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows_file(path, rows, count):
    sets = {}
    for name, (tokens, asked) in [*rows.held_rows(count), *rows.recall_rows(count)]:
        sets.setdefault(name, []).append([tokens.tolist(), asked.tolist()])
    Path(path).write_text(json.dumps(sets))


def held_out(model, rows_path, rows, variant):
    """Loss by source in nats a token, its mean by the sources' shares, and accuracy and loss of the recall tasks."""
    found = node('models/train/engine_eval.js', model, rows_path, variant)
    return {'loss': sum(found[n]['loss'] * s for n, s in zip(rows.names, rows.shares)),
            'sources': {n: found[n]['loss'] for n in rows.names}, 'recall': {n: v for n, v in found.items() if 'accuracy' in v}}


def evaluate(model, rows_path, rows, variant):
    held = held_out(model, rows_path, rows, variant)
    size = node('js/cli.js', 'inspect', model, '--variant', variant, '--json')
    return {'loss': held['loss'], 'recall': held['recall'], 'decode': decode(model, variant),
            'bytes_per_token': size['bytes_per_token'], 'cache_bytes': size['cache_bytes']}


def decode(model, variant):
    """Tokens a second of one thread, by the tokens in the cache."""
    return node('js/cli.js', 'bench', model, '--variant', variant, '--threads', 1, '--ctx', 8448, '--prefill', 512,
                '--decode', '0,2048,8192', '--json')['decode']


def untrained(config, data, folder):
    config.save(f'{folder}/config.json')
    torch.save({'model': Model(config).state_dict()}, f'{folder}/last.pt')
    export(folder, data, f'{folder}/{config.kind}.gguf', 'f32')
    return f'{folder}/{config.kind}.gguf'


def speeds(a, folder):
    files = {name: untrained(kinds(TABLES[a.table])[name], a.data, folder) for name in KINDS if not a.only or name in a.only}
    rounds = [{name: decode(file, a.variant) for name, file in files.items()} for _ in range(ROUNDS)]
    found = {name: {at: statistics.median(r[name][at] for r in rounds) for at in rounds[0][name]} for name in files}
    (HERE / 'results' / a.table / 'speeds.json').write_text(json.dumps(found, indent=1) + '\n')
    print(json.dumps(found, indent=1))


def main():
    p = argparse.ArgumentParser(description='evaluate the twins in the engine')
    p.add_argument('--data', required=True)
    p.add_argument('--work')
    p.add_argument('--speeds', action='store_true', help='of the five kinds, untrained')
    p.add_argument('--model', help='a GGUF file; without it the twins of --work')
    p.add_argument('--context', type=int, default=512, help='tokens of a row, with --model')
    p.add_argument('--table', choices=tuple(TABLES), default='small')
    p.add_argument('--variant', default='auto')
    p.add_argument('--count', type=int, default=32, help='rows a source and task, as --held-rows was')
    p.add_argument('--only', nargs='*')
    a = p.parse_args()
    if not (a.work or a.model or a.speeds):
        p.error('want --work, --speeds or --model')
    rows = Rows(a.data, a.context if a.model else TABLES[a.table].shape.context, 1, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        if a.speeds:
            speeds(a, folder)
            return
        rows_file(f'{folder}/rows.json', rows, a.count)
        if a.model:
            print(json.dumps(held_out(Path(a.model).resolve(), f'{folder}/rows.json', rows, a.variant), indent=1))
            return
        for name, runs in results(a.table).items():
            if (a.only and name not in a.only) or name.startswith('window'):
                continue
            run = f"{name}-{runs[0]['seed']}"
            export(f'{a.work}/{a.table}/{run}', a.data, f'{folder}/model.gguf', 'f32')
            runs[0]['engine'] = evaluate(f'{folder}/model.gguf', f'{folder}/rows.json', rows, a.variant)
            (HERE / 'results' / a.table / f'{run}.json').write_text(json.dumps(runs[0], indent=1) + '\n')
            print(name, runs[0]['loss'], json.dumps(runs[0]['engine']), flush=True)


if __name__ == '__main__':
    main()
