#!/usr/bin/env python3
"""Convert a llama2.c version-0 checkpoint and its tokenizer to GGUF: how stories260K.gguf was made.

    python3 convert.py stories260K.bin tok512.bin stories260K.gguf        (needs: pip install gguf==0.19.0 numpy)

Both files are Andrej Karpathy's, from https://huggingface.co/karpathy/tinyllamas, folder stories260K (MIT, see LICENSE).
The checkpoint is seven int32 (width, ff width, layers, heads, kv heads, vocabulary, context), then f32 tensors, each for
all layers at once. It rotates adjacent channels, as GGUF's "llama" does, so nothing is permuted. F32 stays F32.
"""
import struct
import sys

import gguf
import numpy as np


def read_weights(path):
    data = open(path, "rb").read()
    width, ff, layers, heads, kv_heads, vocabulary, context = struct.unpack("<7i", data[:28])
    kv_width = width // heads * kv_heads
    shapes = [
        ("token_embd", (vocabulary, width)),
        ("attn_norm", (layers, width)),
        ("attn_q", (layers, width, width)),
        ("attn_k", (layers, kv_width, width)),
        ("attn_v", (layers, kv_width, width)),
        ("attn_output", (layers, width, width)),
        ("ffn_norm", (layers, width)),
        ("ffn_gate", (layers, ff, width)),
        ("ffn_down", (layers, width, ff)),
        ("ffn_up", (layers, ff, width)),
        ("output_norm", (width,)),
    ]
    values, cursor, weights = np.frombuffer(data, np.float32, offset=28), 0, {}
    for name, shape in shapes:
        size = int(np.prod(shape))
        weights[name] = values[cursor : cursor + size].reshape(shape)
        cursor += size
    sizes = dict(width=width, ff=ff, layers=layers, heads=heads, kv_heads=kv_heads, vocabulary=vocabulary, context=context)
    return sizes, weights


def read_tokens(path, vocabulary):
    data = open(path, "rb").read()
    cursor, tokens, scores = 4, [], []  # the first int32 is the longest token's length
    for _ in range(vocabulary):
        score, size = struct.unpack_from("<fi", data, cursor)
        cursor += 8
        tokens.append(data[cursor : cursor + size].decode())
        scores.append(score)
        cursor += size
    return tokens, scores


def add_tokenizer(writer, tokens, scores):
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + [t.replace(" ", "\u2581") for t in tokens[259:]]
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - 259)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def main():
    checkpoint, vocabulary, output = sys.argv[1:]
    sizes, weights = read_weights(checkpoint)
    writer = gguf.GGUFWriter(output, "llama")
    writer.add_name("stories260K")
    writer.add_license("mit")
    writer.add_source_url("https://huggingface.co/karpathy/tinyllamas")
    writer.add_context_length(sizes["context"])
    writer.add_embedding_length(sizes["width"])
    writer.add_block_count(sizes["layers"])
    writer.add_feed_forward_length(sizes["ff"])
    writer.add_head_count(sizes["heads"])
    writer.add_head_count_kv(sizes["kv_heads"])
    writer.add_rope_dimension_count(sizes["width"] // sizes["heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    add_tokenizer(writer, *read_tokens(vocabulary, sizes["vocabulary"]))
    for name in ("token_embd", "output_norm"):
        writer.add_tensor(name + ".weight", weights[name])
    for layer in range(sizes["layers"]):
        for name in sorted(weights.keys() - {"token_embd", "output_norm"}):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights[name][layer])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
