"""Is the exported model the trained one?

    python check.py RUN --data FOLDER --text FILE [--type f32] [--chunks 40] [--kv SPEC] [--model FILE] [--write OUT.json]

exports RUN, lets the engine (js/cli.js perplexity) score chunks of FILE, lets the framework score the same tokens, and prints
both perplexities. Exit code 1 where they differ by more than 0.5 %, or where the tokens are not the same. With --model the
engine reads that file and the framework computes with its weights, so that what is compared is the arithmetic; the perplexity
of the weights before they were quantized is printed beside it.
--write keeps what the framework found, for a test of the engine alone.
"""
import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

from export import export, state_of
from model import Model, load_config

CLI = Path(__file__).resolve().parents[2] / 'js' / 'cli.js'


def engine(model, text, context, chunks, kv):
    command = ['node', str(CLI), 'perplexity', model, '--file', text, '--ctx', str(context), '--chunks', str(chunks),
               '--threads', '1', '--logprobs', '--json'] + (['--kv', kv] if kv else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@torch.no_grad()
def framework(run, data, text, chunks, state):
    """Log-probabilities of tokens 1 .. context - 1 of each chunk, by the parameters of `state`."""
    c = load_config(f'{run}/config.json')
    model = Model(c).eval()
    model.load_state_dict(state)
    ids = Tokenizer.from_file(f'{data}/tokenizer.json').encode(Path(text).read_text(encoding='utf8')).ids
    count = min(chunks, len(ids) // c.context)
    rows = torch.tensor(ids[:count * c.context]).view(count, c.context)
    out = []
    for row in rows:
        loss, _ = model(row[None, :-1], row[None, 1:], True)
        out.append((-loss[0]).tolist())
    return out


def perplexity(logprobs):
    """Of the second half of each chunk, as the engine's command reckons it."""
    scored = [x for chunk in logprobs for x in chunk[(len(chunk) + 1) // 2 - 1:]]
    return math.exp(-sum(scored) / len(scored))


def main():
    p = argparse.ArgumentParser(description='engine and framework side by side')
    p.add_argument('run')
    p.add_argument('--data', required=True)
    p.add_argument('--text', required=True)
    p.add_argument('--type', choices=('f32', 'f16', 'q8_0'), default='f32')
    p.add_argument('--chunks', type=int, default=40)
    p.add_argument('--kv', default='')
    p.add_argument('--checkpoint', default='last.pt')
    p.add_argument('--model', help='the exported file')
    p.add_argument('--write')
    a = p.parse_args()
    trained = torch.load(f'{a.run}/{a.checkpoint}', map_location='cpu', weights_only=True)['model']
    ours = framework(a.run, a.data, a.text, a.chunks, trained)
    before = f', before quantizing {perplexity(ours):.4f}' if a.model else ''
    if a.model:
        ours = framework(a.run, a.data, a.text, a.chunks, state_of(a.model, load_config(f'{a.run}/config.json')))
    with tempfile.TemporaryDirectory() as folder:
        path = a.model or f'{folder}/model.gguf'
        if not a.model:
            export(a.run, a.data, path, a.type, checkpoint=a.checkpoint)
        theirs = engine(path, a.text, len(ours[0]) + 1, a.chunks, a.kv)
        sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if [len(chunk) for chunk in ours] != [len(chunk) for chunk in theirs['logprobs']]:
        sys.exit('the engine and the framework cut the text into different tokens')
    apart = max(abs(x - y) for a_chunk, b_chunk in zip(ours, theirs['logprobs']) for x, y in zip(a_chunk, b_chunk))
    want, got = perplexity(ours), theirs['ppl']
    print(f'{a.model or a.type} {a.kv or "default"}: framework {want:.4f}{before}, engine {got:.4f}, {100 * (got / want - 1):+.3f} %, '
          f'{theirs["tokens"]} tokens, largest difference of a log-probability {apart:.5f}')
    if a.write:
        kept = {'sha256': sha256, 'context': len(ours[0]) + 1, 'chunks': len(ours), 'tokens': theirs['tokens'], 'perplexity': round(want, 4)}
        Path(a.write).write_text(json.dumps(kept, indent=1) + '\n')
    if abs(got / want - 1) > 0.005:
        sys.exit(1)


if __name__ == '__main__':
    main()
