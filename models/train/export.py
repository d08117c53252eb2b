"""A trained model as GGUF.

    python export.py RUN OUT.gguf --data FOLDER --type q8_0 [--name NAME] [--licence SPDX] [--checkpoint last.pt]

RUN is a folder of train.py, FOLDER one of data.py (for tokenizer.json). Models with latents become architecture "clla",
plain heads "llama"; the rope of both turns adjacent pairs, as this trainer does, so no rows change places. Matrices take
the type asked for; those whose rows are no multiple of 32 become F16 where that is q8_0. Gains stay F32.
"""
import argparse
import json

import gguf
import numpy as np
import torch

from model import HEAD, Model, load_config

CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
                 "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
TYPES = {'f32': gguf.GGMLQuantizationType.F32, 'f16': gguf.GGMLQuantizationType.F16, 'q8_0': gguf.GGMLQuantizationType.Q8_0}
FILE_TYPES = {'f32': gguf.LlamaFileType.ALL_F32, 'f16': gguf.LlamaFileType.MOSTLY_F16, 'q8_0': gguf.LlamaFileType.MOSTLY_Q8_0}
NAMES = {'attention_norm': 'attn_norm', 'attention.q': 'attn_q', 'attention.k': 'attn_k', 'attention.v': 'attn_v',
         'attention.out': 'attn_output', 'attention.down': 'attn_kv_a_mqa', 'attention.norm': 'attn_kv_a_norm',
         'attention.up_k': 'attn_k_b', 'attention.up_v': 'attn_v_b', 'ffn_norm': 'ffn_norm', 'gate': 'ffn_gate', 'up': 'ffn_up',
         'down': 'ffn_down'}


def tensors(state, c):
    """(GGUF name, float32 array) of every parameter."""
    for name, value in state.items():
        value, stem = value.float().cpu().numpy(), name.removesuffix('.weight')
        if stem == 'embedding':
            yield 'token_embd.weight', value
        elif stem == 'norm':
            yield 'output_norm.weight', value
        else:
            _, layer, part = stem.split('.', 2)
            if part == 'attention.up_k':                 # [H d_n, r] -> [H, r, d_n]
                value = value.reshape(c.heads, c.nope, c.rank).swapaxes(1, 2)
            if part == 'attention.up_v':                 # [H d_v, r] -> [H, d_v, r]
                value = value.reshape(c.heads, HEAD, c.rank)
            yield f'blk.{layer}.{NAMES[part]}.weight', np.ascontiguousarray(value)


def state_of(path, c):
    """What tensors() took apart: the parameters of a GGUF file of configuration c, in the precision that the file has."""
    found = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    with torch.device('meta'):
        wanted = {name: p.shape for name, p in Model(c).state_dict().items()}
    state = {}
    for (name, shape), (tensor, like) in zip(wanted.items(), tensors({n: torch.zeros(s) for n, s in wanted.items()}, c)):
        value = found[tensor].reshape(like.shape).astype(np.float32)
        if name.endswith('up_k.weight'):
            value = value.swapaxes(1, 2)
        state[name] = torch.from_numpy(value.reshape(shape).copy())
    return state


def add_tensor(writer, name, value, kind):
    if value.ndim == 1:
        kind = 'f32'
    elif kind == 'q8_0' and value.shape[-1] % 32:
        kind = 'f16'
    if kind == 'q8_0':
        writer.add_tensor(name, gguf.quants.quantize(value, TYPES[kind]), raw_dtype=TYPES[kind])
    else:
        writer.add_tensor(name, value.astype(np.float16 if kind == 'f16' else np.float32))


def add_sizes(w, c):
    w.add_context_length(c.context)
    w.add_embedding_length(c.width)
    w.add_block_count(c.layers)
    w.add_feed_forward_length(c.ffn)
    w.add_head_count(c.heads)
    w.add_layer_norm_rms_eps(c.epsilon)
    w.add_rope_freq_base(c.rope_base)
    w.add_rope_dimension_count(c.rope)
    w.add_vocab_size(c.vocab)
    if c.rank:
        add_latents(w, c)
    else:
        w.add_head_count_kv(c.kv_heads)
        w.add_key_length(HEAD)
        w.add_value_length(HEAD)


def add_latents(w, c):
    """The keys of architecture clla: one row of c.rank latent channels and c.rope rope channels serves all heads."""
    w.add_head_count_kv(1)
    w.add_key_length(c.rank + c.rope)
    w.add_value_length(c.rank)
    w.add_uint32('clla.attention.kv_lora_rank', c.rank)
    w.add_uint32('clla.attention.key_length_mla', c.nope + c.rope)
    w.add_uint32('clla.attention.value_length_mla', HEAD)
    w.add_array('clla.attention.kv_owner', [c.owner(layer) for layer in range(c.layers)])
    w.add_uint32('clla.attention.kv_latent_bits', c.latent_bits)
    w.add_uint32('clla.attention.kv_latent_group', c.latent_group)
    w.add_bool('clla.attention.kv_latent_symmetric', c.latent_symmetric)
    w.add_uint32('clla.attention.rope_key_bits', c.rope_bits)


def add_tokenizer(w, path):
    with open(path, encoding='utf8') as f:
        tokenizer = json.load(f)
    vocabulary, merges = tokenizer['model']['vocab'], tokenizer['model']['merges']
    control = {t['content'] for t in tokenizer['added_tokens']}
    tokens = sorted(vocabulary, key=vocabulary.get)
    w.add_tokenizer_model('gpt2')
    w.add_tokenizer_pre('gpt-2')
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in control else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges([m if isinstance(m, str) else ' '.join(m) for m in merges])
    w.add_bos_token_id(vocabulary['<|endoftext|>'])
    w.add_eos_token_id(vocabulary['<|im_end|>'])
    w.add_add_bos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)


def export(run, data, out, kind='q8_0', name=None, licence=None, checkpoint='last.pt'):
    c = load_config(f'{run}/config.json')
    if c.window:
        raise SystemExit(f'{run}: a model with a window of {c.window} is a control of the twins and has no GGUF form')
    state = torch.load(f'{run}/{checkpoint}', map_location='cpu', weights_only=True)['model']
    w = gguf.GGUFWriter(out, 'clla' if c.rank else 'llama')
    w.add_name(name or c.kind)
    if licence:
        w.add_license(licence)
    w.add_file_type(FILE_TYPES[kind])
    add_sizes(w, c)
    add_tokenizer(w, f'{data}/tokenizer.json')
    for tensor, value in tensors(state, c):
        add_tensor(w, tensor, value, kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description='a trained model as GGUF')
    p.add_argument('run')
    p.add_argument('out')
    p.add_argument('--data', required=True, help='folder made by data.py')
    p.add_argument('--type', choices=tuple(TYPES), default='q8_0')
    p.add_argument('--name')
    p.add_argument('--licence', help='SPDX identifier, written into the file')
    p.add_argument('--checkpoint', default='last.pt')
    a = p.parse_args()
    export(a.run, a.data, a.out, a.type, a.name, a.licence, a.checkpoint)


if __name__ == '__main__':
    main()
