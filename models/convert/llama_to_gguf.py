#!/usr/bin/env python3
"""Convert a small Llama model in Hugging Face form to GGUF: how models/tinystories-656k.gguf was made.

    python3 -m venv VENV && VENV/bin/pip install gguf==0.19.0 safetensors numpy
    VENV/bin/python models/convert/llama_to_gguf.py FOLDER models/tinystories-656k.gguf

FOLDER holds config.json, model.safetensors and tokenizer.json (models/README.md says where they come from).

What the conversion does:
- names: model.layers.N.self_attn.q_proj.weight -> blk.N.attn_q.weight, and so on;
- rope: Hugging Face rotates channel i with channel i + d/2 of a head, GGUF's "llama" rotates 2i with 2i + 1, so the rows
  of each head of q and k are interleaved: row (half, i) becomes row (i, half);
- precision: matrices as F16 (checked to be exact: this model was published in 16 bits), norms as F32;
- tokenizer: the model's byte-pair merges have no pre-tokenizer and work on text whose spaces are U+2581. That is what
  GGUF's SentencePiece kind ("llama") does with scores = -rank of the merge: it joins the best-scored neighbours whose
  union is a token. The two agree on all of the TinyStories sample that was compared (models/README.md).
"""
import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OTHER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

# A story model knows no dialogue: every message begins a new story (a system text stands in front of it), and only the
# last one is read, so the 512 tokens of context never fill up with older stories.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- if messages[0].role == 'system' -%}{{ messages[0].content + ' ' }}{%- endif -%}"
    "{%- set ns = namespace(first=0) -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{%- set ns.first = loop.index0 -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- for message in messages[ns.first:] -%}"
    "{%- if message.role != 'system' -%}{{ message.content }}{%- endif -%}"
    "{%- endfor -%}"
)


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem in OTHER_NAMES:
        return OTHER_NAMES[stem] + ".weight"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.weight"


def interleave(rows, heads):
    """[heads, 2, d/2, width] -> [heads, d/2, 2, width]"""
    d = rows.shape[0] // heads
    return rows.reshape(heads, 2, d // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def exact_f16(values, name):
    half = values.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), values):
        raise SystemExit(f"{name}: F16 would not be exact")
    return half


def add_tensors(writer, weights, config):
    tied = config["tie_word_embeddings"]
    for name, values in sorted(weights.items(), key=lambda item: gguf_name(item[0])):
        if name == "lm_head.weight" and tied and "model.embed_tokens.weight" in weights:
            continue
        if name.endswith("q_proj.weight"):
            values = interleave(values, config["num_attention_heads"])
        if name.endswith("k_proj.weight"):
            values = interleave(values, config["num_key_value_heads"])
        # Tied weights may be stored under either name; GGUF wants them as the embedding.
        target = "token_embd.weight" if name == "lm_head.weight" and tied else gguf_name(name)
        values = np.ascontiguousarray(values, dtype=np.float32)
        writer.add_tensor(target, exact_f16(values, name) if values.ndim == 2 else values)


def add_sizes(writer, config):
    width, heads = config["hidden_size"], config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_tokenizer(writer, tokenizer, config):
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    score = {}
    for rank, pair in enumerate(merges):
        score.setdefault(pair.replace(" ", "") if isinstance(pair, str) else "".join(pair), -float(rank))
    control = {t["content"] for t in tokenizer["added_tokens"] if t["special"]}
    kinds = [gguf.TokenType.CONTROL if t in control else gguf.TokenType.NORMAL for t in tokens]
    kinds[vocabulary["<unk>"]] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    # Single characters are never the result of a merge: their score is below all others.
    writer.add_token_scores([score.get(t, -float(len(merges))) for t in tokens])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_unk_token_id(vocabulary["<unk>"])
    # The model spells the end of a story as text: "<|", "end", "_story", "|>". "<|" occurs nowhere else in its stories,
    # so it ends the turn.
    writer.add_eot_token_id(vocabulary["<|"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    config = json.loads((arguments.folder / "config.json").read_text())
    tokenizer = json.loads((arguments.folder / "tokenizer.json").read_text())
    weights = load_file(arguments.folder / "model.safetensors")
    writer = gguf.GGUFWriter(arguments.output, "llama")
    writer.add_name("TinyStories 656K")
    writer.add_license("apache-2.0")
    writer.add_source_url("https://huggingface.co/raincandy-u/TinyStories-656K")
    writer.add_description("Continues very short children's stories; a base model without dialogue.")
    add_sizes(writer, config)
    add_tokenizer(writer, tokenizer, config)
    add_tensors(writer, weights, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
