"""Twins: small models alike in all but their attention, trained on the same rows, and the table of what came out.

    python twins.py run --data FOLDER --work FOLDER [--table TABLE] [--only NAME...] [--seeds N...] [--stop-after SECONDS]
    python twins.py tune --data FOLDER --work FOLDER [--table TABLE] [--only NAME...]
    python twins.py print [--table TABLE]
    python twins.py plot OUT.svg [--table TABLE]

`run` goes through the list of its table in order, skips what is finished, resumes what was stopped, and writes one small
file a run into results/<table>/. `tune` tries learning rates and initial gains on the five kinds, a million tokens or two
each, and writes results/<table>/rates.json and gains.json. `print` makes the Markdown table of what is there. TABLE is one of TABLES: small, deep,
full and so on. All hold the same runs; they differ in the size of the model, the number of tokens and how it is trained.

Equal parameters: the FFN of each kind is made as wide, in steps of 8, as brings its count nearest to MHA's.
"""
import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from model import Config, adjacent_owners, cache_bytes, late_owners, load_config, match_ffn, parameters, preset

HERE = Path(__file__).resolve().parent
SMALL = Config(vocab=1024, width=128, layers=3, heads=2, kv_heads=2, ffn=256, context=128, rank=64, nope=48, rope=16)
FULL = replace(SMALL, vocab=2048, layers=6, ffn=352, context=256)


@dataclass(frozen=True)
class Table:
    shape: Config
    tokens: float
    training: tuple          # arguments of train.py
    gain: float              # initial gain of the latent kinds' W_UK and W_UV; plain kinds have 1
    trial: float             # tokens of a run that tries a learning rate or a gain
    tried: tuple             # (kind, gain): runs with another gain


BRIEF = ('--batch', '8', '--warm-up', '0.1e6', '--recall', '0.7', '--precision', 'f32')
LONG = ('--warm-up', '0.2e6', '--recall', '0.4')
TABLES = {
    'small': Table(SMALL, 5e6, BRIEF, 0.5, 1e6, (('mha', 0.5), ('clla-int4', 1.0))),
    'deep': Table(replace(SMALL, layers=6), 5e6, BRIEF, 0.5, 1e6, (('clla-int4', 1.0),)),
    'full-f32': Table(FULL, 20e6, LONG + ('--batch', '8', '--precision', 'f32'), 1.0, 2e6, ()),
    'full-bf16': Table(FULL, 20e6, LONG + ('--batch', '8'), 1.0, 2e6, ()),
    'full': Table(FULL, 20e6, LONG + ('--batch', '4', '--recall-early', '0.7', '8e6', '--shortest-block', '32'), 0.5, 2e6,
                  (('clla-int4', 1.0),)),
}
RATES = (2e-3, 4e-3, 8e-3)
GAINS = (0.25, 0.5, 1.0)
RATE = 4e-3                                              # the best of them (results/small/rates.json)
TRAINING = ('--optimizer', 'muon', '--decay', '0.3', '--held-rows', '32')
EVALUATIONS = 10
# sources.json -> that of texts alike but for a name in some of 254 of 40,000 templates (NOTES.md, "A name in a template")
ALIKE = {'f041eea0fe14bfb8302e900880d938c5c5f345c87813e11a776bce2697f64c16':
         'e0969eec02edbf5b8623d351c39d08244baea7bb57ae5089e2fa943f1e357c35'}
KINDS = ('mha', 'gqa', 'mla', 'clla', 'clla-int4')
PLAIN = ('mha', 'gqa', 'window-16')


def kinds(table):
    """name -> Config of every kind, control and ablation, all with about as many parameters as MHA."""
    base = table.shape
    mha = preset('mha', base)
    count = parameters(mha)
    int4, layers = preset('clla-int4', base), base.layers
    out = {k: preset(k, base) for k in KINDS}
    out['window-16'] = replace(mha, window=16)
    out['rank-8'] = replace(out['clla'], rank=8)
    out['share-1'] = replace(int4, owners=[])
    out['share-3'] = replace(int4, owners=adjacent_owners(layers, 3))
    out['rank-32'] = replace(int4, rank=32)
    out['int4-late'] = replace(int4, quantize_from=0.8)
    out['owners-first'] = replace(int4, owners=late_owners(layers, len(set(int4.owners))))
    out = {name: match_ffn(replace(c, kind=name, gain=1.0 if name in PLAIN else table.gain), count) for name, c in out.items()}
    for name, gain in table.tried:
        out[f'{name}-gain-{gain}'] = replace(out[name], kind=f'{name}-gain-{gain}', gain=gain)
    return out


def order(table):
    """All runs of a table, (name, seed), the most wanted first."""
    return ([(n, 1) for n in ('mha', 'clla-int4', 'window-16', 'rank-8', 'gqa', 'mla', 'clla')]
            + [(n, s) for s in (2, 3) for n in ('mha', 'clla-int4')]
            + [(f'{n}-gain-{gain}', s) for s in (1, 2, 3) for n, gain in table.tried]
            + [(n, 1) for n in ('rank-32', 'int4-late', 'owners-first', 'share-1', 'share-3')])


def working_folder(a, config, folder):
    """It holds checkpoints and log of a run, and what it was asked for."""
    work = f'{a.work}/{a.table}/{folder}'
    os.makedirs(work, exist_ok=True)
    config.save(f'{work}/asked.json')
    return work


def train(a, work, *arguments):
    command = [sys.executable, str(HERE / 'train.py'), work, '--config', f'{work}/asked.json', '--data', a.data, '--resume',
               *TRAINING, *TABLES[a.table].training, *arguments]
    command += [] if a.compile else ['--no-compile']
    command += ['--precision', a.precision] if a.precision else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_one(a, name, seed, left):
    """Train (name, seed) for at most `left` seconds; True when it is finished."""
    table = TABLES[a.table]
    work = working_folder(a, kinds(table)[name], f'{name}-{seed}')
    check_texts(a)
    stop = ['--stop-after', str(max(left, 1))] if left < math.inf else []
    train(a, work, '--lr', str(RATE), '--tokens', str(table.tokens), '--seed', str(seed), '--evaluate', str(table.tokens / EVALUATIONS), *stop)
    return summarize(a, name, seed, work, table.tokens)


def texts_of(data):
    """Which texts rows are drawn from, and each one's share of them."""
    raw = Path(f'{data}/sources.json').read_bytes()
    shares = {name: source['share'] for name, source in json.loads(raw).items()}
    return {'sha256': hashlib.sha256(raw).hexdigest(), 'shares': shares}


def check_texts(a):
    """Runs of one table can be compared where they read the same texts."""
    here = texts_of(a.data)['sha256']
    for runs in results(a.table).values():
        for r in runs:
            if r['texts']['sha256'] not in (here, ALIKE.get(here)):
                sys.exit(f"{a.data} holds other texts than results/{a.table}/{r['name']}-{r['seed']}.json was made with")


def summarize(a, name, seed, work, tokens):
    held = {}
    rates = []
    for line in open(f'{work}/log.jsonl'):
        entry = json.loads(line)
        if 'held' in entry:
            held[entry['tokens']] = entry['held']
        if 'rate' in entry:
            rates.append(entry['rate'])
        if 'begin' in entry:
            precision = entry['arguments']['precision']
    c = load_config(f'{work}/config.json')
    if max(held, default=0) < tokens - 4 * c.context:
        return False
    last = held[max(held)]
    result = {'name': name, 'seed': seed, 'parameters': parameters(c), 'ffn': c.ffn, 'tokens': max(held), 'texts': texts_of(a.data),
              'gain': c.gain, 'precision': precision, 'loss': last['mean'],
              'sources': {n: v['loss'] for n, v in last.items() if n != 'mean' and 'accuracy' not in v},
              'recall': {n: v for n, v in last.items() if n != 'mean' and 'accuracy' in v},
              'curve': [[t, h['mean'], h['copy']['accuracy'], h['look-up']['accuracy']] for t, h in sorted(held.items())],
              'tokens_a_second': sorted(rates)[len(rates) // 2]}
    folder = HERE / 'results' / a.table
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}-{seed}.json').write_text(json.dumps(result, indent=1) + '\n')
    return True


def run(a):
    started = time.time()
    for name, seed in order(TABLES[a.table]):
        wanted = (not a.only or name in a.only) and (not a.seeds or seed in a.seeds)
        if not wanted or (HERE / 'results' / a.table / f'{name}-{seed}.json').exists():
            continue
        left = a.stop_after - (time.time() - started)
        if left <= 0:
            break
        done = run_one(a, name, seed, left)
        print(f'{name} seed {seed}: {"finished" if done else "stopped"}', flush=True)


def tune(a):
    """Loss on held-out text after a trial: each of the five kinds with each learning rate and each gain."""
    table = TABLES[a.table]
    for name in a.only or KINDS:
        kind = kinds(table)[name]
        for rate in RATES:
            trial(a, 'rates', name, rate, kind, rate)
        for gain in GAINS:
            if gain != kind.gain:                        # that is among the rates
                trial(a, 'gains', name, gain, replace(kind, gain=gain), RATE)


def trial(a, what, name, value, kind, rate):
    path = HERE / 'results' / a.table / f'{what}.json'

    def known():
        return json.loads(path.read_text()) if path.exists() else {}

    if str(value) in known().get(name, {}):
        return
    tokens = TABLES[a.table].trial
    work = working_folder(a, kind, f'{what}/{name}-{value}')
    train(a, work, '--lr', str(rate), '--tokens', str(tokens), '--evaluate', str(tokens / 2))
    *_, last = (line for line in open(f'{work}/log.jsonl') if '"held"' in line)
    found = known()                                      # with what another program has tried meanwhile
    found.setdefault(name, {})[str(value)] = json.loads(last)['held']['mean']
    path.write_text(json.dumps(found, indent=1) + '\n')
    print(what, name, value, found[name][str(value)], flush=True)


def results(table):
    """name -> results of its seeds, in the order of the list."""
    found = {}
    for name, seed in order(TABLES[table]):
        path = HERE / 'results' / table / f'{name}-{seed}.json'
        if path.exists():
            found.setdefault(name, []).append(json.loads(path.read_text()))
    return found


def interval(values, digits=3):
    """The one value there is; of two the mean and both; of more the mean and its 95 % interval by Student's t."""
    mean, n = sum(values) / len(values), len(values)
    if n == 1:
        return f'{mean:.{digits}f}'
    if n == 2:
        return f'{mean:.{digits}f} ({min(values):.{digits}f}, {max(values):.{digits}f})'
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    t = {3: 4.30, 4: 3.18, 5: 2.78}[n]
    return f'{mean:.{digits}f} ± {t * deviation / math.sqrt(n):.{digits}f}'


def without_templates(r):
    """The loss on the other texts: what is held out of the templates is made of phrases that were read, in another order."""
    shares = {name: share for name, share in r['texts']['shares'].items() if name != 'templates'}
    return sum(share * r['sources'][name] for name, share in shares.items()) / sum(shares.values())


def each(values):
    """All of them; one where they are the same."""
    texts = [f'{v:.1f}' for v in values]
    return texts[0] if len(set(texts)) == 1 else ', '.join(texts)


def print_table(a):
    found = results(a.table)
    cache = {name: cache_bytes(c) for name, c in kinds(TABLES[a.table]).items()}
    mha = {r['seed']: r for r in found.get('mha', [])}
    print('| kind | seeds | parameters | FFN | cache B/token | % of MHA fp16 | loss | / MHA | / MHA, no templates | copy, % | look-up, % |')
    print('|---|---|---|---|---|---|---|---|---|---|---|')
    for name, runs in found.items():
        pairs = [(r, mha[r['seed']]) for r in runs if r['seed'] in mha and name != 'mha']   # the same seeds: the same rows
        ratios = [interval([of(x) / of(y) for x, y in pairs]) if pairs else '1' for of in (lambda r: r['loss'], without_templates)]
        recall = [each([100 * r['recall'][t]['accuracy'] for r in runs]) for t in ('copy', 'look-up')]
        r = runs[0]
        print(f"| {name} | {len(runs)} | {r['parameters']:,} | {r['ffn']} | {cache[name]} | {100 * cache[name] / cache['mha']:.2f} | "
              f"{interval([r['loss'] for r in runs])} | {' | '.join(ratios)} | {' | '.join(recall)} |")


def plot(a):
    """Learning curves of the first seed of every run: loss, and accuracy of the two recall tasks."""
    import matplotlib
    matplotlib.use('svg')
    matplotlib.rcParams['svg.hashsalt'] = 'clla'
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout='constrained')
    for name, runs in results(a.table).items():
        tokens, loss, copy, look_up = zip(*runs[0]['curve'])
        for axis, values in zip(axes, (loss, copy, look_up)):
            axis.plot([t / 1e6 for t in tokens], values, marker='.', label=name)
    for axis, title in zip(axes, ('loss on held-out text, nats a token', 'copying, accuracy', 'look-up, accuracy')):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel('million tokens')
    axes[2].legend(fontsize=7)
    figure.savefig(a.out, metadata={'Date': None})


def main():
    p = argparse.ArgumentParser(description='twins: the same model with other attention')
    p.add_argument('do', choices=('run', 'tune', 'print', 'plot'))
    p.add_argument('out', nargs='?', help='picture of the learning curves')
    p.add_argument('--table', choices=tuple(TABLES), default='small')
    p.add_argument('--data', help='folder made by data.py, with the vocabulary of the table')
    p.add_argument('--work', help='folder for checkpoints')
    p.add_argument('--only', nargs='*')
    p.add_argument('--seeds', nargs='*', type=int)
    p.add_argument('--stop-after', type=float, default=math.inf, help='seconds, all runs together')
    p.add_argument('--precision', choices=('bf16', 'f32'), help="another than the table's, for a processor that has no bf16")
    p.add_argument('--compile', action='store_true')
    a = p.parse_args()
    if a.do in ('run', 'tune') and not (a.data and a.work):
        p.error(f'{a.do} wants --data and --work')
    if a.do == 'plot' and not a.out:
        p.error('plot wants the name of the picture: OUT.svg')
    {'run': run, 'tune': tune, 'print': print_table, 'plot': plot}[a.do](a)


if __name__ == '__main__':
    main()
