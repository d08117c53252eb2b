"""Train one model.

    python train.py OUT --config CONFIG.json --data FOLDER --tokens 20e6 [--resume] [--stop-after SECONDS]

OUT gets config.json, log.jsonl (one JSON object a line) and last.pt (model, optimizers, step). With --resume the run goes
on from last.pt. Batches depend on the seed and the step alone, so a resumed run is the uninterrupted one, and two kinds of
attention see the same rows. The schedule counts tokens: warm-up, then either constant and linear to nothing over the last
part (wsd), or a cosine. A finished run goes on with a larger --tokens: the rate rises again at once and falls at the new
end, so each end is a model to use and no token is lost (WSD-S; Wen et al., arXiv 2410.05192).
"""
import argparse
import json
import math
import os
import time

import torch

from data import Rows, to_tensors
from export import state_of
from model import Model, load_config, parameters
from muon import Muon

PRECISIONS = {'bf16': torch.bfloat16, 'f32': torch.float32}


def arguments(argv=None):
    p = argparse.ArgumentParser(description='train one model')
    p.add_argument('out')
    p.add_argument('--config', required=True, help='JSON file of model.Config')
    p.add_argument('--data', required=True, help='folder made by data.py')
    p.add_argument('--tokens', type=float, default=20e6)
    p.add_argument('--batch', type=int, default=8, help='rows a step')
    p.add_argument('--lr', type=float, default=4e-3)
    p.add_argument('--optimizer', choices=('adamw', 'muon'), default='adamw')
    p.add_argument('--weight-decay', type=float, default=0.1)
    p.add_argument('--schedule', choices=('wsd', 'cosine'), default='wsd')
    p.add_argument('--warm-up', type=float, default=0.4e6, help='tokens')
    p.add_argument('--decay', type=float, default=0.25, help='last part of the tokens, for wsd')
    p.add_argument('--recall', type=float, default=0.1, help='share of the rows that are recall tasks')
    p.add_argument('--recall-early', type=float, nargs=2, default=(0.0, 0.0), metavar=('SHARE', 'TOKENS'),
                   help='another share for so many tokens at first')
    p.add_argument('--shortest-block', type=int, default=128, help='tokens of the shortest recall task; a row may hold several')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--evaluate', type=float, default=1e6, help='tokens between evaluations')
    p.add_argument('--held-rows', type=int, default=16, help='rows a source and recall task in an evaluation')
    p.add_argument('--save-every', type=float, default=300, help='seconds')
    p.add_argument('--start', help='a GGUF file of this configuration to go on from (export.py wrote it)')
    p.add_argument('--seen', type=float, default=0.0, help='tokens that it was trained on; --tokens counts them too')
    p.add_argument('--resume', action='store_true')
    p.add_argument('--stop-after', type=float, default=math.inf, help='seconds; the state is saved')
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--precision', choices=('bf16', 'f32'), default='bf16', help='of the matrix products; weights are f32')
    p.add_argument('--no-compile', dest='compile', action='store_false')
    return p.parse_args(argv)


def learning_rate(a, seen):
    """The factor of the learning rate after `seen` tokens."""
    warm = a.seen + a.warm_up
    if seen < warm:
        return (seen - a.seen) / a.warm_up
    if a.schedule == 'wsd':
        return min(1.0, (a.tokens - seen) / (a.decay * a.tokens))
    done = (seen - warm) / (a.tokens - warm)
    return 0.05 + 0.475 * (1 + math.cos(math.pi * done))


def optimizers(model, a):
    """Matrices inside the blocks by the optimizer asked for; the embedding and the gains by AdamW."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    rest = [{'params': [model.embedding.weight], 'weight_decay': 0.0}, {'params': gains, 'weight_decay': 0.0}]
    adam = dict(lr=a.lr, betas=(0.9, 0.95), fused=True)
    if a.optimizer == 'muon':
        return [Muon(matrices, a.lr, weight_decay=a.weight_decay, precision=PRECISIONS[a.precision]), torch.optim.AdamW(rest, **adam)]
    return [torch.optim.AdamW(rest + [{'params': matrices, 'weight_decay': a.weight_decay}], **adam)]


def autocast(a):
    return torch.autocast(a.device.split(':')[0], torch.bfloat16, enabled=a.precision == 'bf16')


@torch.no_grad()
def evaluate(run, a, rows, quantize):
    """Loss by source in nats a token, its mean by the sources' shares, and accuracy and loss of the recall tasks."""
    run.eval()
    by_name = {}
    for name, row in [*rows.held_rows(a.held_rows), *rows.recall_rows(a.held_rows)]:
        by_name.setdefault(name, []).append(row)
    out = {}
    for name, all_rows in by_name.items():
        loss, right, asked = 0.0, 0, 0
        for i in range(0, len(all_rows), a.batch):
            part = all_rows[i:i + a.batch]
            tokens, targets = to_tensors(part + [part[0]] * (a.batch - len(part)), a.device)
            targets[len(part):] = -1                             # a short last batch keeps the compiled shape
            with autocast(a):
                losses, hits = run(tokens, targets, quantize)
            loss, right, asked = loss + losses.sum().item(), right + hits.sum().item(), asked + (targets >= 0).sum().item()
        out[name] = {'loss': round(loss / asked, 5)}
        if name not in rows.names:
            out[name]['accuracy'] = round(right / asked, 5)
    out['mean'] = round(sum(out[n]['loss'] * s for n, s in zip(rows.names, rows.shares)), 5)
    run.train()
    return out


def save(path, model, opts, step, seen, a):
    state = {'model': model.state_dict(), 'optimizers': [o.state_dict() for o in opts], 'step': step, 'tokens': seen,
             'arguments': vars(a), 'rng': torch.get_rng_state()}
    torch.save(state, path + '.new')
    os.replace(path + '.new', path)


def restore(a, model, opts):
    """Tokens seen: of last.pt, or where nothing is to be resumed, of the file to start from."""
    path = f'{a.out}/last.pt'
    if not (a.resume and os.path.exists(path)):
        if a.start:
            model.load_state_dict(state_of(a.start, model.c))
        return int(a.seen)
    state = torch.load(path, map_location=a.device, weights_only=True)
    model.load_state_dict(state['model'])
    for o, s in zip(opts, state['optimizers']):
        o.load_state_dict(s)
    torch.set_rng_state(state['rng'].cpu())
    return state['tokens']


def train_step(run, model, opts, a, rows, step, quantize):
    tokens, targets = rows.batch(step, a.batch, a.device)
    with autocast(a):
        losses = run(tokens, targets, quantize)
    loss = losses.sum() / (targets >= 0).sum()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for o in opts:
        o.step()
        o.zero_grad(set_to_none=True)
    return loss, norm


class Notes:
    """log.jsonl and standard output: one JSON object a line."""

    def __init__(self, path):
        self.path, self.time, self.step = path, time.time(), 0

    def write(self, **entry):
        print(json.dumps(entry), flush=True)
        with open(self.path, 'a') as log:
            log.write(json.dumps(entry) + '\n')

    def start(self, step):
        """The rate counts from here."""
        self.time, self.step = time.time(), step

    def progress(self, step, per_step, loss, norm, lr):
        rate = (step - self.step) * per_step / (time.time() - self.time)
        self.write(step=step, tokens=step * per_step, loss=round(loss.item(), 4), norm=round(norm.item(), 3), lr=round(lr, 6), rate=round(rate))
        self.start(step)


def set_rate(opts, lr):
    for o in opts:
        for group in o.param_groups:
            group['lr'] = lr


def train(a, run, model, opts, rows, notes):
    per_step = a.batch * model.c.context
    steps, step = round(a.tokens / per_step), restore(a, model, opts) // per_step
    eval_every = max(1, round(a.evaluate / per_step))
    notes.write(begin=step, steps=steps, parameters=parameters(model.c), arguments=vars(a) | {'stop_after': str(a.stop_after)})
    notes.start(step)
    started = saved = time.time()
    while step < steps:
        seen = step * per_step
        quantize = seen >= model.c.quantize_from * a.tokens
        lr = a.lr * learning_rate(a, seen + per_step / 2)
        set_rate(opts, lr)
        loss, norm = train_step(run, model, opts, a, rows, step, quantize)
        step += 1
        if step % 20 == 0:
            notes.progress(step, per_step, loss, norm, lr)
        if step % eval_every == 0 or step == steps:
            held = evaluate(run, a, rows, quantize)
            notes.write(step=step, tokens=step * per_step, held=held, seconds=round(time.time() - started))
            notes.start(step)
        enough = time.time() - started > a.stop_after
        if enough or step == steps or time.time() - saved > a.save_every:
            save(f'{a.out}/last.pt', model, opts, step, step * per_step, a)
            saved = time.time()
        if enough:
            break


def main(argv=None):
    a = arguments(argv)
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision('high')
    torch.manual_seed(a.seed)
    c = load_config(a.config)
    os.makedirs(a.out, exist_ok=True)
    c.save(f'{a.out}/config.json')
    model = Model(c).to(a.device)
    run = torch.compile(model, dynamic=False) if a.compile else model
    rows = Rows(a.data, c.context, a.seed, a.recall, a.recall_early, a.shortest_block)
    train(a, run, model, optimizers(model, a), rows, Notes(f'{a.out}/log.jsonl'))


if __name__ == '__main__':
    main()
