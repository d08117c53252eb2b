#!/usr/bin/env python3
"""Tiny random models of architecture `clla`, one for each thing its header can say, and what reference.py makes of them.

    python3 make.py              (needs: pip install gguf==0.19.0 numpy)
    python3 make.py --check      make all anew elsewhere and compare with what is here
    python3 make.py --mistakes   how far typical mistakes of an engine move the logits

Same script, same seeds: the same models byte for byte, the same values but for the last digits that a processor's
libraries decide.

models/NAME.gguf   the model, float weights but for one
NAME.txt           "tokens owners vocabulary positions"; the ids; the positions; a line of logits for each
                   position, once more for a cache of halves whatever the header says; then for each owner its layer and a line for each token: the bytes of its row in the cache, as
                   Q4_0, Q4_1, Q8_0 blocks and halves in hexadecimal (a sink token: halves alone)
quantizer.txt      "bits group minimum channels"; the channels' floats, by their bits; the bytes that are kept

Weights are scaled so that every part matters: scores have a standard deviation of about 2, attention and feed-forward add
about as much as the embedding brings. A rounding whose ties float and double decide differently would show as another
code, and then as other logits: seeds are tried until no code and no scale of a case lies within MARGIN of a tie.
"""
import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

import reference

FOLDER = Path(__file__).parent
MARGIN = 2e-6    # relative: several times what single precision gathers in six layers
TOKENS = 72      # more than one strip of the engine's attention

BASE = dict(layers=4, width=24, heads=3, plain=12, rope=8, value=12, rank=32, ff=24, type=T.F16, owner=None, tied=True)
PAIRS = dict(owner=[0, 0, 2, 2], bits=4, rope_bits=8)

MODELS = {
    'mla': dict(layers=3, type=T.F32),
    'pairs': dict(PAIRS),
    'thirds-min': dict(layers=6, owner=[0, 0, 0, 3, 3, 3], bits=4, symmetric=False, rope_bits=4),
    'late': dict(layers=6, owner=[0, 1, 2, 2, 2, 2], bits=4, rope_bits=8),
    'interleaved': dict(owner=[0, 1, 0, 1], bits=4, rope_bits=4),
    'low-rank-query': dict(PAIRS, q_rank=20),
    'shared-up': dict(PAIRS, shared_up=True),
    'no-norm': dict(PAIRS, norm=False, symmetric=False),
    'own-frequencies': dict(PAIRS, own_frequencies=True),
    'no-rope': dict(PAIRS, rope=0, rope_bits=None, symmetric=False),
    'sinks': dict(PAIRS, sinks=3),
    'bits-by-group': dict(layers=2, owner=[0, 0], rank=128, bits=[8, 4, 4, 4], rope_bits=8),
    'group-64': dict(layers=2, owner=[0, 0], rank=128, bits=4, group=64, rope=40, rope_bits=8),
    'q8-scale': dict(PAIRS, bits=8, scale=0.35, tied=False, rope_base=500.0),
    'weights-q8_0': dict(PAIRS, layers=2, owner=[0, 0], width=64, heads=2, plain=32, value=32, rank=64, ff=64, type=T.Q8_0),
}


# ---- models ------------------------------------------------------------------------------------------------------------


def tensors(m, rng):
    """Name, type and values, in the order of the file."""
    width, heads, key = m['width'], m['heads'], m['plain'] + m['rope']
    owner = m['owner'] or list(range(m['layers']))

    def weight(*shape, gain=1.0):
        return m['type'], (rng.normal(0, 1, shape) * gain / np.sqrt(shape[-1])).astype(np.float32)

    def gains(n):
        return T.F32, rng.uniform(0.5, 1.5, n).astype(np.float32)

    yield 'token_embd.weight', m['type'], rng.normal(0, 1, (259, width)).astype(np.float32)
    for i in range(m['layers']):
        blk = f'blk.{i}.'
        yield (blk + 'attn_norm.weight', *gains(width))
        if 'q_rank' in m:
            yield (blk + 'attn_q_a.weight', *weight(m['q_rank'], width))
            yield (blk + 'attn_q_a_norm.weight', *gains(m['q_rank']))
            yield (blk + 'attn_q_b.weight', *weight(heads * key, m['q_rank'], gain=1.5))
        else:
            yield (blk + 'attn_q.weight', *weight(heads * key, width, gain=1.5))
        if owner[i] == i:
            yield (blk + 'attn_kv_a_mqa.weight', *weight(m['rank'] + m['rope'], width, gain=1.5))
            if m.get('norm', True):
                yield (blk + 'attn_kv_a_norm.weight', *gains(m['rank']))
            if m.get('own_frequencies'):
                yield blk + 'rope_freqs.weight', T.F32, np.sort(rng.uniform(0.01, 1.5, m['rope'] // 2))[::-1].astype(np.float32)
        if owner[i] == i or not m.get('shared_up'):
            yield (blk + 'attn_k_b.weight', m['type'], (rng.normal(0, 1.5, (heads, m['rank'], m['plain'])) / np.sqrt(m['rank'])).astype(np.float32))
            yield (blk + 'attn_v_b.weight', *weight(heads, m['value'], m['rank']))
        yield (blk + 'attn_output.weight', *weight(width, heads * m['value'], gain=2.0))
        yield (blk + 'ffn_norm.weight', *gains(width))
        yield (blk + 'ffn_gate.weight', *weight(m['ff'], width))
        yield (blk + 'ffn_up.weight', *weight(m['ff'], width))
        yield (blk + 'ffn_down.weight', *weight(width, m['ff'], gain=1.5))
    yield ('output_norm.weight', *gains(width))
    if not m['tied']:
        yield ('output.weight', *weight(259, width, gain=3.0))


def add_latents(w, m):
    key = m['plain'] + m['rope']
    for name, value in {'kv_lora_rank': m['rank'], 'key_length_mla': key, 'value_length_mla': m['value'], 'head_count_kv': 1,
                        'key_length': m['rank'] + m['rope'], 'value_length': m['rank'], 'kv_latent_group': m.get('group'),
                        'rope_key_bits': m.get('rope_bits'), 'kv_sink_tokens': m.get('sinks'), 'q_lora_rank': m.get('q_rank')}.items():
        if value is not None:
            w.add_uint32(f'clla.attention.{name}', value)
    if m['owner']:
        w.add_array('clla.attention.kv_owner', m['owner'])
    if isinstance(m.get('bits'), list):
        w.add_array('clla.attention.kv_latent_bits', m['bits'])
    elif 'bits' in m:
        w.add_uint32('clla.attention.kv_latent_bits', m['bits'])
    for name, value in {'attention.kv_latent_symmetric': m.get('symmetric'), 'attention.kv_latent_norm': m.get('norm'),
                        'attention.kv_shared_up': m.get('shared_up'), 'rope.own_frequencies': m.get('own_frequencies')}.items():
        if value is not None:
            w.add_bool(f'clla.{name}', value)
    if 'scale' in m:
        w.add_float32('clla.attention.scale', m['scale'])


def add_sizes(w, m):
    w.add_context_length(4096)
    w.add_embedding_length(m['width'])
    w.add_block_count(m['layers'])
    w.add_feed_forward_length(m['ff'])
    w.add_head_count(m['heads'])
    w.add_layer_norm_rms_eps(1e-5)
    if m['rope']:
        w.add_rope_dimension_count(m['rope'])
    if 'rope_base' in m:
        w.add_rope_freq_base(m['rope_base'])
    w.add_vocab_size(259)


def add_tokenizer(w):
    """Bytes: SentencePiece without a single word."""
    kinds = gguf.TokenType
    w.add_tokenizer_model('llama')
    w.add_token_list(['<unk>', '<s>', '</s>'] + [f'<0x{i:02X}>' for i in range(256)])
    w.add_token_scores([0.0] * 259)
    w.add_token_types([kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_space_prefix(False)


def write_model(path, m, seed):
    w = gguf.GGUFWriter(path, 'clla')
    w.add_name('random weights')
    add_sizes(w, m)
    add_latents(w, m)
    add_tokenizer(w)
    for name, kind, values in tensors(m, np.random.default_rng(seed)):
        w.add_tensor(name, values if kind == T.F32 else gguf.quants.quantize(values, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- values ------------------------------------------------------------------------------------------------------------


def ids_of(seed):
    return [1] + [int(i) for i in np.random.default_rng(seed + 1000).integers(3, 259, TOKENS - 1)]


def write_case(path, ids, logits, halves, rows):
    positions = [0, 16, 63, TOKENS - 1]
    lines = [f'{TOKENS} {len(rows)} {logits.shape[1]} {len(positions)}', ' '.join(map(str, ids)), ' '.join(map(str, positions))]
    lines += [' '.join(f'{x:.6g}' for x in values[p]) for values in (logits, halves) for p in positions]
    for layer, row in rows.items():
        lines += [str(layer)] + [kept.hex() for kept in row.kept]
    path.write_text('\n'.join(lines) + '\n')


def make_case(folder, name, options, first):
    """Try seeds from `first` on until no rounding is near a tie. Weights of 8 bits round activations too: any seed will do."""
    path = folder / 'models' / f'{name}.gguf'
    for seed in range(first, first + 1000):
        write_model(path, options, seed)
        m, ids = reference.Model(path), ids_of(seed)
        logits, rows = reference.run(m, ids)
        nearest = min(row.nearest for row in rows.values())
        if nearest > MARGIN or options['type'] == T.Q8_0:
            write_case(folder / f'{name}.txt', ids, logits, reference.run(reference.Model(path, halves=True), ids)[0], rows)
            return seed, nearest, logits
    raise SystemExit(f'{name}: no seed keeps clear of ties')


def quantizer_inputs(rng):
    """bits, group, minimum, channels: what rounding can meet."""
    step = np.float32(2.0 ** -3)
    yield 4, 32, False, np.zeros(32)
    yield 4, 32, True, np.zeros(32)
    yield 8, 32, False, np.zeros(32)
    yield 4, 32, True, np.full(32, 3.25)
    yield 4, 32, True, np.full(32, -1 / 3)
    yield 4, 32, False, np.r_[7 * step, (np.arange(31) / 2 - 7.75) * step]      # half codes: ties go to even ones
    yield 4, 32, True, np.r_[0, 15 * step, np.arange(30) / 2 * step] - 1
    yield 8, 32, False, np.r_[127 * step, (np.arange(31) + 0.5) * step]
    yield 4, 32, False, np.r_[-8 * step, 7.4 * step, rng.normal(0, 1, 30)]      # the lowest code is -8, the scale is of 7
    yield 4, 32, True, np.abs(rng.normal(0, 1, 32)) + 5                          # all of one sign: a minimum far from 0
    yield 4, 32, False, rng.normal(0, 1, 32) * 1e-7                              # scales below the normal halves
    yield 4, 32, True, rng.normal(0, 1, 32) * 1e-9                               # a scale that is no half at all
    yield 8, 32, False, rng.normal(0, 1, 32) * 1e-38
    yield 4, 32, False, rng.normal(0, 1, 32) * 1e6                               # scales beyond the halves
    yield 4, 32, True, rng.normal(0, 1, 32) * 1e6
    yield 8, 32, False, rng.normal(0, 1, 32) * 1e8
    yield 16, 32, False, np.r_[65504, 65519, 65520, 1e6, -1e6, 1e-8, 6e-8, 1 / 3, 2049, 2051, rng.normal(0, 1, 22)]
    for channels, group in ((32, 32), (128, 32), (128, 64), (256, 128), (512, 512)):
        for bits, minimum in ((4, False), (4, True), (8, False)):
            yield bits, group, minimum, rng.normal(0, 1, channels) * np.exp(rng.normal(0, 1))
    for channels in (2, 8, 20, 40, 96):                                            # rope keys
        for bits in (4, 8):
            yield bits, 32, False, rng.normal(0, 2, channels)


def write_quantizer(path):
    lines = []
    for bits, group, minimum, x in quantizer_inputs(np.random.default_rng(7)):
        x = np.asarray(x, np.float32)
        _, kept, _ = reference.store(x, bits, group, not minimum)
        lines += [f'{bits} {group} {int(minimum)} {len(x)}', ' '.join(f'{i:08x}' for i in x.view(np.uint32)), kept.hex()]
    path.write_text('\n'.join(lines) + '\n')


# Where the search begins: what it found, so that it is short.
SEEDS = {'pairs': 2017, 'thirds-min': 3004, 'late': 4161, 'low-rank-query': 6003, 'shared-up': 7025, 'no-norm': 8043, 'own-frequencies': 9010,
         'no-rope': 10004, 'sinks': 11023, 'bits-by-group': 12046, 'group-64': 13320, 'q8-scale': 14019}


def make_all(folder, names):
    (folder / 'models').mkdir(exist_ok=True)
    for i, name in enumerate(names):
        seed, nearest, logits = make_case(folder, name, {**BASE, **MODELS[name]}, SEEDS.get(name, 1000 * (1 + list(MODELS).index(name))))
        print(f'{name:16} seed {seed:6} nearest tie {nearest:.1e}  logits {logits.std():.2f}  {(folder / "models" / f"{name}.gguf").stat().st_size:8,} bytes', flush=True)
    write_quantizer(folder / 'quantizer.txt')


# ---- checks ------------------------------------------------------------------------------------------------------------


def same_values(a, b):
    """Lines of text that are equal, numbers up to 1e-5 of the largest in the line."""
    for x, y in zip(a.split('\n'), b.split('\n'), strict=True):
        if x == y:
            continue
        x, y = np.array(x.split(), float), np.array(y.split(), float)
        if x.shape != y.shape or np.abs(x - y).max() > 1e-5 * np.abs(x).max():
            return False
    return True


def check():
    with tempfile.TemporaryDirectory() as made:
        made = Path(made)
        make_all(made, MODELS)
        wrong = [str(p.relative_to(made)) for p in sorted(made.rglob('*.gguf')) if not filecmp.cmp(p, FOLDER / p.relative_to(made), shallow=False)]
        wrong += [p.name for p in sorted(made.glob('*.txt')) if not same_values(p.read_text(), (FOLDER / p.name).read_text())]
        count = len(list(made.rglob('*.*')))
    print(f'{count} files, {len(wrong)} differ {" ".join(wrong)}')
    return not wrong and count == 2 * len(MODELS) + 1


# ---- mistakes ----------------------------------------------------------------------------------------------------------


def with_values(**values):
    """A change of a model: fields set."""
    return lambda m: vars(m).update({name: value(m) for name, value in values.items()})


def turn_halves(m, x, table):
    """rotate() with the first half of the channels against the second."""
    angle = np.arange(len(x))[:, None, None] * table
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * np.cos(angle) - second * np.sin(angle), first * np.sin(angle) + second * np.cos(angle)], -1)


MISTAKES = {
    'latent not rounded': ('pairs', with_values(bits=lambda m: [16]), {}),
    'rope key not rounded': ('interleaved', with_values(rope_bits=lambda m: 16), {}),
    'symmetric for minimum': ('thirds-min', with_values(symmetric=lambda m: True), {}),
    'groups of 32 for 64': ('group-64', with_values(group=lambda m: 32, bits=lambda m: [4] * 4), {}),
    'bits of groups in reverse': ('bits-by-group', with_values(bits=lambda m: m.bits[::-1]), {}),
    'two sinks for three': ('sinks', with_values(sinks=lambda m: 2), {}),
    'sinks rounded': ('sinks', with_values(sinks=lambda m: 0), {}),
    'readers use up-projections of their owner': ('pairs', with_values(shared_up=lambda m: True), {}),
    'readers read the layer before': ('interleaved', with_values(owner=lambda m: [0, 1, 1, 1]), {}),
    'scale of the plain channels alone': ('pairs', with_values(scale=lambda m: m.plain ** -0.5), {}),
    'scale not read': ('q8-scale', with_values(scale=lambda m: m.key ** -0.5), {}),
    'rope base not read': ('q8-scale', lambda m: m.fields.pop('rope.freq_base'), {}),
    'own frequencies not read': ('own-frequencies', lambda m: [m.tensors.pop(n) for n in list(m.tensors) if 'rope_freqs' in n], {}),
    'rope turns halves, not neighbours': ('pairs', lambda m: None, {'rotate': turn_halves}),
    'no norm of the latent': ('pairs', lambda m: [m.tensors.pop(n) for n in list(m.tensors) if 'kv_a_norm' in n], {}),
    'query without its norm': ('low-rank-query', lambda m: [m.tensors.update({n: v * 0 + 1}) for n, v in m.tensors.items() if 'q_a_norm' in n], {}),
}


def mistakes():
    """How far each one moves the logits, as a part of them: what a test must be able to see."""
    for what, (name, change, functions) in MISTAKES.items():
        path = FOLDER / 'models' / f'{name}.gguf'
        ids = [int(i) for i in (FOLDER / f'{name}.txt').read_text().split('\n')[1].split()]
        right = reference.run(reference.Model(path), ids)[0]
        m = reference.Model(path)
        change(m)
        kept = {f: getattr(reference, f) for f in functions}
        vars(reference).update(functions)
        wrong = reference.run(m, ids)[0]
        vars(reference).update(kept)
        print(f'{what:42} {name:16} {np.linalg.norm(wrong - right) / np.linalg.norm(right):.3f}')


def main():
    p = argparse.ArgumentParser(description='tiny random models of architecture clla and their values')
    p.add_argument('names', nargs='*')
    p.add_argument('--check', action='store_true')
    p.add_argument('--mistakes', action='store_true')
    a = p.parse_args()
    if a.check:
        sys.exit(0 if check() else 1)
    if a.mistakes:
        return mistakes()
    make_all(FOLDER, a.names or MODELS)


if __name__ == '__main__':
    main()
