#!/usr/bin/env python3
"""A model of architecture `clla` with random weights and the shape of SmolLM2-135M, to measure speed and memory with.

    python3 random_clla.py SMOLLM2.gguf OUT.gguf [--share 2] [--type q4_1] [--rank 128] [--rope 32] [--bits 4] [--rope-bits 8]
                           [--group 32] [--minimum] [--context 32768] [--layers 30] [--seed 1]

(needs: pip install gguf==0.19.0 numpy). Vocabulary, tokenizer and chat template are those of the GGUF file given; its weights
are not used. 30 layers of 576, 9 heads of 64 plain channels and --rope turned ones; --share layers read one latent. The
embedding is Q8_0, as in published SmolLM2 files, matrices are --type: 101 MB in Q4_1.

What it says is noise, but its numbers are those of a sane model: hidden states of about unit scale, to which each layer adds a
little, and scores with a standard deviation of 3, so that a token of a long text looks at some tens of others, wherever they
are: with less it would look at everything alike, and so at nothing. Same arguments, same bytes.
"""
import argparse

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

WIDTH, HEADS, PLAIN, VALUE, FF = 576, 9, 64, 64, 1536
TYPES = {'f32': T.F32, 'f16': T.F16, 'q8_0': T.Q8_0, 'q5_1': T.Q5_1, 'q5_0': T.Q5_0, 'q4_1': T.Q4_1, 'q4_0': T.Q4_0}
COPIED = ('tokenizer.', 'general.languages')
CHUNK = 4096  # rows that are drawn and quantized together


def owners(a):
    return [layer // a.share * a.share for layer in range(a.layers)]


def gains(n, rng):
    return T.F32, rng.uniform(0.8, 1.2, n).astype(np.float32)


def draw(rng, *shape, gain=1.0):
    """Random numbers whose product with a vector of unit scale has the scale `gain`."""
    return rng.standard_normal(shape, np.float32) * np.float32(gain / np.sqrt(shape[-1]))


def packed(kind, values):
    return kind, gguf.quants.quantize(values, kind)


def layer_tensors(a, owner, rng):
    """Name, type and values of one layer."""
    kind, added = TYPES[a.type], 1 / np.sqrt(2 * a.layers)

    def matrix(*shape, gain=1.0):
        return packed(kind, draw(rng, *shape, gain=gain))

    yield ('attn_norm', *gains(WIDTH, rng))
    yield ('attn_q', *matrix(HEADS * (PLAIN + a.rope), WIDTH, gain=3.0))
    if owner:
        yield ('attn_kv_a_mqa', *matrix(a.rank + a.rope, WIDTH))
        yield ('attn_kv_a_norm', *gains(a.rank, rng))
    yield ('attn_k_b', *packed(kind, np.ascontiguousarray(draw(rng, HEADS, PLAIN, a.rank).swapaxes(1, 2))))
    yield ('attn_v_b', *matrix(HEADS, VALUE, a.rank))
    yield ('attn_output', *matrix(WIDTH, HEADS * VALUE, gain=0.25 * added))
    yield ('ffn_norm', *gains(WIDTH, rng))
    yield ('ffn_gate', *matrix(FF, WIDTH))
    yield ('ffn_up', *matrix(FF, WIDTH))
    yield ('ffn_down', *matrix(WIDTH, FF, gain=0.3 * added))


def embedding(a, rng):
    parts = range(0, a.vocabulary, CHUNK)
    return np.concatenate([packed(T.Q8_0, rng.standard_normal((min(CHUNK, a.vocabulary - i), WIDTH), np.float32))[1] for i in parts])


def tensors(a):
    rng = np.random.default_rng(a.seed)
    yield 'token_embd.weight', T.Q8_0, embedding(a, rng)
    for layer, owner in enumerate(owners(a)):
        for name, kind, values in layer_tensors(a, owner == layer, rng):
            yield f'blk.{layer}.{name}.weight', kind, values
    yield 'output_norm.weight', T.F32, np.full(WIDTH, 3 / np.sqrt(WIDTH), np.float32)  # logits spread by about 3


def add_sizes(w, a):
    w.add_context_length(a.context)
    w.add_embedding_length(WIDTH)
    w.add_block_count(a.layers)
    w.add_feed_forward_length(FF)
    w.add_head_count(HEADS)
    w.add_head_count_kv(1)
    w.add_key_length(a.rank + a.rope)
    w.add_value_length(a.rank)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(100000.0)
    if a.rope:
        w.add_rope_dimension_count(a.rope)
    w.add_vocab_size(a.vocabulary)
    for name, value in {'kv_lora_rank': a.rank, 'key_length_mla': PLAIN + a.rope, 'value_length_mla': VALUE, 'kv_latent_bits': a.bits,
                        'kv_latent_group': a.group, 'rope_key_bits': a.rope_bits}.items():
        w.add_uint32(f'clla.attention.{name}', value)
    w.add_array('clla.attention.kv_owner', owners(a))
    w.add_bool('clla.attention.kv_latent_symmetric', not a.minimum)


def copy_fields(w, source):
    """The vocabulary and all that belongs to it."""
    for name, field in source.fields.items():
        if not name.startswith(COPIED):
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            w.add_array(name, field.contents())
        else:
            w.add_key_value(name, field.contents(), field.types[0])


def arguments():
    p = argparse.ArgumentParser(description='a random model of architecture clla in the shape of SmolLM2-135M')
    p.add_argument('smollm2', help='GGUF file whose vocabulary is copied')
    p.add_argument('out')
    p.add_argument('--type', choices=TYPES, default='q4_1')
    for name, default in (('share', 2), ('rank', 128), ('rope', 32), ('bits', 4), ('rope-bits', 8), ('group', 32), ('context', 32768), ('layers', 30), ('seed', 1)):
        p.add_argument(f'--{name}', type=int, default=default)
    p.add_argument('--minimum', action='store_true', help='4-bit groups have a minimum, else they are symmetric')
    return p.parse_args()


def main():
    a = arguments()
    source = gguf.GGUFReader(a.smollm2)
    a.vocabulary = len(source.fields['tokenizer.ggml.tokens'].data)
    w = gguf.GGUFWriter(a.out, 'clla')
    w.add_name(f'random, {a.layers} layers, rank {a.rank}, {a.share} layers share {a.bits} bits')
    add_sizes(w, a)
    copy_fields(w, source)
    for name, kind, values in tensors(a):
        w.add_tensor(name, values, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == '__main__':
    main()
