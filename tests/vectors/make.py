#!/usr/bin/env python3
"""Tiny random models, one for each architecture and each tensor type, as GGUF files in models/.

    python3 make.py            (needs: pip install gguf==0.19.0 numpy)

Same script, same seeds, same bytes. The expected values are computed from these files by golden.mjs (llama.cpp) and
checked against reference.py (numpy, double precision), see README.md.

Weights are scaled so that every part matters: attention scores have a standard deviation of about 2, attention and
feed-forward add about as much to the residual as the embedding brings, logits spread by about 3.
Widths, heads and vocabularies are chosen not to divide by the kernels' groups (4 rows, 32 columns) wherever the tensor
type allows it.
"""
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

FOLDER = Path(__file__).parent / "models"


# ---- tensor types the gguf package cannot make: random blocks with sane scales ------------------------------------------


def f16_bytes(values):
    return np.asarray(values, dtype=np.float16).reshape(-1, 1).view(np.uint8)


def random_blocks(kind, blocks, std, rng):
    """`blocks` blocks of 256 (IQ4_NL: 32) values with mean 0 and about the standard deviation `std`."""

    def codes(n):
        return rng.integers(0, 256, (blocks, n), dtype=np.uint8)

    def scales(mean):  # positive and negative, within a factor of two of each other
        return mean * rng.uniform(0.7, 1.4, blocks) * rng.choice([-1, 1], blocks)

    if kind == T.Q2_K:  # 16 x (4-bit scale, 4-bit min), 2-bit codes: d*s*q - dmin*m; q = 1.5 +- 1.12, s and m = 7.5 +- 4.6
        d = np.abs(scales(std / 11.5))
        return np.hstack([codes(16), codes(64), f16_bytes(d), f16_bytes(d * 1.5)])
    if kind == T.Q3_K:  # high bits, low bits, 16 x 6-bit scale - 32 (+-18.5), codes -4..3 (+-2.3)
        return np.hstack([codes(32), codes(64), codes(12), f16_bytes(scales(std / 42))])
    if kind in (T.Q4_K, T.Q5_K):  # 8 x (6-bit scale, 6-bit min)
        levels = 15 if kind == T.Q4_K else 31
        d = np.abs(scales(std / (11.5 * levels)))
        head = np.hstack([f16_bytes(d), f16_bytes(d * levels / 2), codes(12)])
        return np.hstack([head, codes(128)] if kind == T.Q4_K else [head, codes(32), codes(128)])
    if kind == T.Q6_K:  # low bits, high bits, 16 x int8 scale, d
        sub = rng.integers(-100, 101, (blocks, 16)).astype(np.int8).view(np.uint8)
        return np.hstack([codes(128), codes(64), sub, f16_bytes(scales(std / (58 * 18.5)))])
    if kind == T.IQ4_NL:  # d, codes into a table of 16 values with standard deviation 73
        return np.hstack([f16_bytes(scales(std / 73)), codes(16)])
    if kind == T.IQ4_XS:  # d, 8 x 6-bit scale - 32 in two places
        return np.hstack([f16_bytes(scales(std / (73 * 18.5))), codes(2), codes(4), codes(128)])
    raise ValueError(kind)


RANDOM_ONLY = {T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS}


def matrix(kind, rows, cols, std, rng):
    """The bytes of a random matrix of a type: uint8 [rows, bytes], or the floats themselves."""
    if kind in RANDOM_ONLY:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        return random_blocks(kind, rows * cols // block, std, rng).reshape(rows, cols // block * size)
    values = rng.normal(0, std, (rows, cols)).astype(np.float32)
    if kind == T.F32:
        return values
    return gguf.quants.quantize(values, kind)


# ---- models -----------------------------------------------------------------------------------------------------------------

BASE = dict(arch="llama", seed=1, layers=2, width=40, heads=3, kv_heads=1, head_dim=24, ff=52, vocabulary=61, context=1024,
            rope_base=10000.0, type=T.F32, tied=True)

ROWS_OF_32 = dict(layers=1, width=96, head_dim=32, ff=160)
ROWS_OF_256 = dict(layers=1, width=256, head_dim=32, ff=64, narrow_type=T.Q8_0)

MODELS = {
    # architectures, in F32, so that differences are the engine's and not a quantizer's
    "llama-tied-factors": dict(seed=11, rope_base=500000.0, rope_freqs=True),
    "llama-untied-linear": dict(seed=12, tied=False, linear=2.0, vocabulary=62),
    "qwen2": dict(arch="qwen2", seed=13, heads=6, kv_heads=2, head_dim=10, width=60, ff=44, bias=True, rope_base=1e6),
    "qwen3": dict(arch="qwen3", seed=14, heads=4, kv_heads=2, qk_norm=True, rope_base=1e6, tied=False),
    "gemma3": dict(arch="gemma3", seed=15, layers=7, width=32, heads=3, kv_heads=1, head_dim=16, ff=24, qk_norm=True,
                   post_norms=True, window=7, rope_base=1e6, linear=4.0),
    "phi3": dict(arch="phi3", seed=16, heads=2, kv_heads=1, width=48, fused=True, longrope=True, window=300, tied=False,
                 original_context=256),
    # tensor types
    "type-f16": dict(seed=21, type=T.F16),
    "type-bf16": dict(seed=22, type=T.BF16),
    "type-q4_0": dict(seed=23, type=T.Q4_0, **ROWS_OF_32),
    "type-q4_1": dict(seed=24, type=T.Q4_1, **ROWS_OF_32),
    "type-q5_0": dict(seed=25, type=T.Q5_0, **ROWS_OF_32),
    "type-q5_1": dict(seed=26, type=T.Q5_1, **ROWS_OF_32),
    "type-q8_0": dict(seed=27, type=T.Q8_0, **ROWS_OF_32),
    "type-iq4_nl": dict(seed=28, type=T.IQ4_NL, **ROWS_OF_32),
    "type-q2_k": dict(seed=31, type=T.Q2_K, **ROWS_OF_256),
    "type-q3_k": dict(seed=32, type=T.Q3_K, **ROWS_OF_256),
    "type-q4_k": dict(seed=33, type=T.Q4_K, **ROWS_OF_256),
    "type-q5_k": dict(seed=34, type=T.Q5_K, **ROWS_OF_256),
    "type-q6_k": dict(seed=35, type=T.Q6_K, **ROWS_OF_256),
    "type-iq4_xs": dict(seed=36, type=T.IQ4_XS, **ROWS_OF_256),
    # as published files mix them: a Q8_0 tied embedding over Q4_1, three parts
    "mixed": dict(seed=41, type=T.Q4_1, embedding_type=T.Q8_0, width=96, head_dim=32, ff=160),
    "split": dict(seed=42, type=T.Q8_0, width=64, heads=2, head_dim=32, ff=96, parts=3),
}


def vector(n, rng):
    return rng.uniform(0.5, 1.5, n).astype(np.float32)


def layer_tensors(m, rng):
    """Name, type and values of the tensors of one layer. A row as long as no block of the type takes narrow_type."""
    width, ff, q, kv = m["width"], m["ff"], m["heads"] * m["head_dim"], m["kv_heads"] * m["head_dim"]
    wide = m["type"]
    narrow = m.get("narrow_type", wide)

    def weight(kind, rows, cols, gain):
        return kind, matrix(kind, rows, cols, gain / np.sqrt(cols), rng)

    yield "attn_norm.weight", T.F32, vector(width, rng)
    if m.get("fused"):
        yield ("attn_qkv.weight", *weight(wide, q + 2 * kv, width, 1.4))
    else:
        for name, rows, gain in (("q", q, 1.5), ("k", kv, 1.5), ("v", kv, 1.0)):
            yield (f"attn_{name}.weight", *weight(wide, rows, width, gain))
            if m.get("bias"):
                yield f"attn_{name}.bias", T.F32, rng.normal(0, 1, rows).astype(np.float32)
    if m.get("qk_norm"):
        yield "attn_q_norm.weight", T.F32, vector(m["head_dim"], rng) * 1.5
        yield "attn_k_norm.weight", T.F32, vector(m["head_dim"], rng)
    yield ("attn_output.weight", *weight(narrow, width, q, 1.0))
    if m.get("post_norms"):
        yield "post_attention_norm.weight", T.F32, vector(width, rng) * 2
    yield "ffn_norm.weight", T.F32, vector(width, rng)
    if m.get("fused"):
        yield ("ffn_up.weight", *weight(wide, 2 * ff, width, 1.0))
    else:
        yield ("ffn_gate.weight", *weight(wide, ff, width, 1.0))
        yield ("ffn_up.weight", *weight(wide, ff, width, 1.0))
    yield ("ffn_down.weight", *weight(narrow, width, ff, 1.5))
    if m.get("post_norms"):
        yield "post_ffw_norm.weight", T.F32, vector(width, rng) * 2


def tensors(m):
    rng = np.random.default_rng(m["seed"])
    width, half = m["width"], m["head_dim"] // 2
    kind = m.get("embedding_type", m["type"])
    std = 3 / np.sqrt(width)
    yield "token_embd.weight", kind, matrix(kind, m["vocabulary"], width, std, rng)
    if m.get("rope_freqs"):
        yield "rope_freqs.weight", T.F32, np.linspace(1, 4, half).astype(np.float32)
    if m.get("longrope"):
        yield "rope_factors_long.weight", T.F32, np.linspace(2, 9, half).astype(np.float32)
        yield "rope_factors_short.weight", T.F32, np.linspace(1, 2, half).astype(np.float32)
    for layer in range(m["layers"]):
        for name, kind, values in layer_tensors(m, rng):
            yield f"blk.{layer}.{name}", kind, values
    yield "output_norm.weight", T.F32, vector(width, rng)
    if not m["tied"]:
        yield "output.weight", m["type"], matrix(m["type"], m["vocabulary"], width, std, rng)


def add_sizes(writer, m):
    writer.add_context_length(m["context"])
    writer.add_embedding_length(m["width"])
    writer.add_block_count(m["layers"])
    writer.add_feed_forward_length(m["ff"])
    writer.add_head_count(m["heads"])
    writer.add_head_count_kv(m["kv_heads"])
    writer.add_key_length(m["head_dim"])
    writer.add_value_length(m["head_dim"])
    writer.add_rope_dimension_count(m["head_dim"])
    writer.add_rope_freq_base(m["rope_base"])
    writer.add_layer_norm_rms_eps(0.01)
    writer.add_vocab_size(m["vocabulary"])
    if "linear" in m:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(m["linear"])
    if "window" in m:
        writer.add_sliding_window(m["window"])
    if "original_context" in m:
        writer.add_rope_scaling_orig_ctx_len(m["original_context"])
        writer.add_rope_scaling_attn_factors(1.19)


def add_tokenizer(writer, vocabulary):
    """SentencePiece with single letters, then pairs of letters; no byte tokens."""
    letters = "\n\u2581abcdefghijklmnopqrstuvwxyz.,!?"
    pairs = [a + b for a in "teasion" for b in "hernatlo"]
    tokens = (["<unk>", "<s>", "</s>"] + list(letters) + list(dict.fromkeys(pairs)))[:vocabulary]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(vocabulary)])
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (vocabulary - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def write(name, m):
    items = list(tensors(m))
    parts = m.get("parts", 1)
    split = {"split_max_tensors": -(-len(items) // parts)} if parts > 1 else {}
    writer = gguf.GGUFWriter(FOLDER / f"{name}.gguf", m["arch"], **split)
    writer.add_name("random weights")  # llama.cpp takes some names ("phi3") for a promise about the vocabulary
    add_sizes(writer, m)
    add_tokenizer(writer, m["vocabulary"])
    for tensor_name, kind, values in items:
        writer.add_tensor(tensor_name, np.ascontiguousarray(values), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or MODELS:
        write(name, {**BASE, **MODELS[name]})
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.stat().st_size:8,}  {path.name}")
    print(f"{sum(p.stat().st_size for p in FOLDER.iterdir()):8,}  bytes together")


if __name__ == "__main__":
    main()
