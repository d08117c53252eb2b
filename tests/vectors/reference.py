"""The forward pass of every architecture, in double precision and as plain as it can be said: what is right, whoever computes it.

    python3 reference.py MODEL.gguf ID ID ...      prints the log-probability of every id after those before it
    python3 reference.py --check                   compares golden.json (llama.cpp) with this file, adds this file's values
    python3 reference.py --mistakes                how far typical mistakes of an engine move the values

No cache, no blocks, no quantized activations: weights are unpacked by the gguf package and everything is numpy.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np

FOLDER = Path(__file__).parent


class Model:
    def __init__(self, path):
        path = Path(path)
        parts = [path]
        if "-00001-of-" in path.name:
            count = int(path.stem[-5:])
            parts = [path.with_name(path.name.replace("-00001-of-", f"-{i:05d}-of-")) for i in range(1, count + 1)]
        readers = [gguf.GGUFReader(p) for p in parts]
        self.fields, self.changed = readers[0].fields, {}
        self.arch = self.value("general.architecture")
        self.tensors = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for r in readers for t in r.tensors
        }

    def value(self, key, default=None):
        field = self.fields.get(key)
        return default if field is None else field.contents()

    def number(self, key, default=None):
        return self.changed.get(key, self.value(f"{self.arch}.{key}", default))

    def tensor(self, name, default=None):
        return self.tensors.get(name, default)

    # To make mistakes on purpose:

    def put(self, key, value):
        self.changed[key] = value

    def scale(self, key, factor):
        self.changed[key] = self.number(key) * factor

    def drop(self, part):
        self.tensors = {name: values for name, values in self.tensors.items() if part not in name}

    def swap_halves(self, part):
        for name in self.tensors:
            if part in name:
                self.tensors[name] = np.roll(self.tensors[name], len(self.tensors[name]) // 2, axis=0)


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def head_norm(x, weight, epsilon):
    return x if weight is None else rms_norm(x, weight, epsilon)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rotate(x, angles, magnitude, adjacent):
    """x: [n, heads, d], angles: [n, d/2]"""
    cos, sin = np.cos(angles)[:, None] * magnitude, np.sin(angles)[:, None] * magnitude
    half = angles.shape[-1]
    first, second = (slice(0, None, 2), slice(1, None, 2)) if adjacent else (slice(0, half), slice(half, None))
    y = np.empty_like(x)
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., first] * sin + x[..., second] * cos
    return y


def head_width(m):
    return m.number("attention.key_length", m.number("embedding_length") // m.number("attention.head_count"))


def rope_angles(m, n, layer, context):
    d = head_width(m)
    base, scale, factors, magnitude = m.number("rope.freq_base", 10000.0), 1.0, 1.0, 1.0
    if m.number("rope.scaling.type") == "linear":
        scale = 1 / m.number("rope.scaling.factor")
    if is_local(m, layer):
        base, scale = m.number("rope.freq_base_swa", 10000.0), 1.0
    if m.tensor("rope_freqs.weight") is not None:
        factors = m.tensor("rope_freqs.weight")
    if m.tensor("rope_factors_long.weight") is not None:
        is_long = context > m.number("rope.scaling.original_context_length")
        factors = m.tensor("rope_factors_long.weight" if is_long else "rope_factors_short.weight")
        magnitude = m.number("rope.scaling.attn_factor", 1.0)
    return np.arange(n)[:, None] * scale * base ** (-2.0 * np.arange(d // 2) / d) / factors, magnitude


def is_local(m, layer):
    return m.arch == "gemma3" and layer % 6 != 5


def attention(m, x, layer, context):
    n, d, heads = len(x), head_width(m), m.number("attention.head_count")
    kv_heads, epsilon = m.number("attention.head_count_kv"), m.number("attention.layer_norm_rms_epsilon")
    name = f"blk.{layer}.attn_"
    if m.tensor(name + "qkv.weight") is not None:
        q, k, v = np.split(x @ m.tensor(name + "qkv.weight").T, [heads * d, (heads + kv_heads) * d], axis=1)
    else:
        q, k, v = (x @ m.tensor(f"{name}{p}.weight").T + m.tensor(f"{name}{p}.bias", 0) for p in "qkv")
    q, k, v = (a.reshape(n, -1, d) for a in (q, k, v))
    q, k = (head_norm(a, m.tensor(f"{name}{p}_norm.weight"), epsilon) for a, p in ((q, "q"), (k, "k")))
    angles, magnitude = rope_angles(m, n, layer, context)
    q, k = (rotate(a, angles, magnitude, not m.number("neox", m.arch != "llama")) for a in (q, k))
    k, v = (np.repeat(a, heads // kv_heads, axis=1) for a in (k, v))
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    hidden = distance < 0
    if is_local(m, layer):
        hidden |= distance >= m.number("attention.sliding_window")
    scores = np.where(hidden, -np.inf, scores)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", p, v).reshape(n, -1) @ m.tensor(name + "output.weight").T


def feed_forward(m, x, layer):
    name = f"blk.{layer}.ffn_"
    up = x @ m.tensor(name + "up.weight").T
    if m.tensor(name + "gate.weight") is None:
        gate, up = np.split(up, 2, axis=1)
    else:
        gate = x @ m.tensor(name + "gate.weight").T
    return ((gelu if m.arch == "gemma3" and not m.number("silu") else silu)(gate) * up) @ m.tensor(name + "down.weight").T


def hidden_states(m, ids, context=1024):
    """[n, width], after the output norm."""
    epsilon = m.number("attention.layer_norm_rms_epsilon")
    x = m.tensor("token_embd.weight")[ids]
    if m.arch == "gemma3":
        x = x * np.sqrt(m.number("embedding_length"))
    for layer in range(m.number("block_count")):
        for part, before, after in (
            (lambda h: attention(m, h, layer, context), "attn_norm", "post_attention_norm"),
            (lambda h: feed_forward(m, h, layer), "ffn_norm", "post_ffw_norm"),
        ):
            y = part(rms_norm(x, m.tensor(f"blk.{layer}.{before}.weight"), epsilon))
            post = m.tensor(f"blk.{layer}.{after}.weight")
            x = x + (y if post is None else rms_norm(y, post, epsilon))
    return rms_norm(x, m.tensor("output_norm.weight"), epsilon)


def log_probabilities(m, ids, context=1024):
    """[n, vocabulary]: row i is the distribution of what follows ids[i]."""
    x = hidden_states(m, ids, context)
    logits = x @ m.tensor("output.weight", m.tensor("token_embd.weight")).T
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def forced(m, ids, context=1024):
    rows = log_probabilities(m, ids, context)
    return rows[np.arange(len(ids) - 1), ids[1:]]


def check():
    """Mean and largest difference of llama.cpp's log-probabilities from this file's, which are added as "exact"."""
    path, worst = FOLDER / "golden.json", 0
    golden = json.loads(path.read_text())
    for case in golden["cases"]:
        m = Model(FOLDER / "models" / case["file"])
        rows = log_probabilities(m, case["ids"], case["context"])
        exact = rows[np.arange(len(case["ids"]) - 1), case["ids"][1:]]
        difference = np.abs(exact - np.array(case["logprobs"]))
        print(f"{case['name']:22} mean {difference.mean():.5f}  max {difference.max():.5f}  "
              f"spread of a row {np.std(rows, axis=1).mean():.2f}")
        worst = max(worst, difference.mean())
        case["exact"] = [round(float(x), 5) for x in exact]
    lines = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in golden["cases"])
    path.write_text(f'{{\n "source": {json.dumps(golden["source"])},\n "cases": [\n{lines}\n ]\n}}\n')
    (FOLDER / "golden.txt").write_text("".join(plain(case) for case in golden["cases"]))
    return worst


def plain(case):
    """A case for the C tests: file, context, number of prompt and of all ids; the ids; the log-probabilities."""
    head = f"{case['file']} {case['context']} {len(case['prompt_ids'])} {len(case['ids'])}"
    return f"{head}\n{' '.join(map(str, case['ids']))}\n{' '.join(map(str, case['exact']))}\n"


MISTAKES = {  # what an engine might get wrong, and the models that must notice
    "rope base 10 % off": (lambda m: m.scale("rope.freq_base", 1.1), "llama qwen2 qwen3 gemma3 phi3"),
    "rope base of windowed layers 10 % off": (lambda m: m.put("rope.freq_base_swa", 11000.0), "gemma3"),
    "rope pairs not adjacent": (lambda m: m.put("neox", True), "llama"),
    "rope pairs adjacent": (lambda m: m.put("neox", False), "qwen2 qwen3 gemma3 phi3"),
    "no linear rope scaling": (lambda m: m.put("rope.scaling.factor", 1.0), "llama-untied-linear gemma3"),
    "no rope_freqs": (lambda m: m.drop("rope_freqs"), "llama-tied-factors"),
    "window one token longer": (lambda m: m.scale("attention.sliding_window", 8 / 7), "gemma3"),
    "no query bias": (lambda m: m.drop("attn_q.bias"), "qwen2"),
    "no key bias": (lambda m: m.drop("attn_k.bias"), "qwen2"),
    "no value bias": (lambda m: m.drop("attn_v.bias"), "qwen2"),
    "no norm of queries": (lambda m: m.drop("attn_q_norm"), "qwen3 gemma3"),
    "no norm of keys": (lambda m: m.drop("attn_k_norm"), "qwen3 gemma3"),
    "no norm after attention": (lambda m: m.drop("post_attention_norm"), "gemma3"),
    "no norm after feed-forward": (lambda m: m.drop("post_ffw_norm"), "gemma3"),
    "SiLU for GELU": (lambda m: m.put("silu", True), "gemma3"),
    "embedding not scaled": (lambda m: m.put("embedding_length", 1), "gemma3"),
    "long rope factors for short": (lambda m: m.put("rope.scaling.original_context_length", 10), "phi3"),
    "no longrope magnitude": (lambda m: m.put("rope.scaling.attn_factor", 1.0), "phi3"),
    "gate and up exchanged": (lambda m: m.swap_halves("ffn_up"), "phi3"),
    "epsilon 1e-5": (lambda m: m.put("attention.layer_norm_rms_epsilon", 1e-5), "llama qwen2 qwen3 gemma3 phi3"),
}


def mistakes():
    """How far every mistake moves the log-probabilities: what the tests' tolerances must stay below."""
    for what, (make, models) in MISTAKES.items():
        for case in json.loads((FOLDER / "golden.json").read_text())["cases"]:
            if not any(case["name"].startswith(name) for name in models.split()) or case["name"] == "phi3-long":
                continue
            m = Model(FOLDER / "models" / case["file"])
            make(m)
            difference = np.abs(forced(m, case["ids"], case["context"]) - np.array(case["logprobs"]))
            print(f"{what:40} {case['name']:22} mean {difference.mean():.5f}")


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        sys.exit(check() > 0.1)
    if sys.argv[1] == "--mistakes":
        sys.exit(mistakes())
    print(json.dumps([round(float(x), 5) for x in forced(Model(sys.argv[1]), [int(i) for i in sys.argv[2:]])]))
