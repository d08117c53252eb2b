"""A `clla` model in double precision, as plain as it can be said, and the quantizer of its cache, bit for bit.

    from reference import Model, run
    logits, rows = run(Model('models/pairs.gguf'), ids)     # logits [n, vocabulary]; rows: what the cache keeps

Written from the format's description and the papers (MLA: arXiv 2405.04434; CLLA: arXiv 2410.15252), not from the engine.
Nothing is cached or absorbed: keys and values of every head are expanded from the rounded latent, for all tokens at once.
Only the rounding is in single precision, because it decides what is stored:

    sym 4    s = half(max |x| / 7)                     code = clamp(rint(x / s), -8, 7)       x^ = code s
    min 4    s = half((max - min) / 15), m = half(min)   code = clamp(rint((x - m) / s), 0, 15)   x^ = code s + m
    8        s = half(max |x| / 127)                   code = clamp(rint(x / s), -127, 127)   x^ = code s
    16       x^ = half(x)

"/ s" is a product with 1 / s, 0 where s is 0.
"""
import gguf
import numpy as np

BLOCK = 32  # channels that the file formats keep under one scale


class Model:
    """Header and weights. Keys without their "clla." prefix; tensors in the shape that numpy gives them. With `halves`
    the cache keeps 16 bits of everything, whatever the header says."""

    def __init__(self, path, halves=False):
        reader = gguf.GGUFReader(path)
        self.fields = {name.removeprefix('clla.'): field.contents() for name, field in reader.fields.items()}
        self.tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors}
        n = self.number
        self.layers, self.heads, self.rank, self.rope = n('block_count'), n('attention.head_count'), n('attention.kv_lora_rank'), n('rope.dimension_count', 0)
        self.key, self.value, self.epsilon = n('attention.key_length_mla'), n('attention.value_length_mla'), n('attention.layer_norm_rms_epsilon')
        self.plain = self.key - self.rope
        self.owner = n('attention.kv_owner', list(range(self.layers)))
        self.owners = [i for i in range(self.layers) if self.owner[i] == i]
        self.scale = n('attention.scale', self.key ** -0.5)
        self.group, self.symmetric = n('attention.kv_latent_group', 32), n('attention.kv_latent_symmetric', True)
        bits = n('attention.kv_latent_bits', 16)
        self.bits = bits if isinstance(bits, list) else [bits] * (self.rank // self.group)
        self.rope_bits, self.sinks = n('attention.rope_key_bits', 16), n('attention.kv_sink_tokens', 0)
        if halves:
            self.bits, self.rope_bits = [16] * len(self.bits), 16
        self.shared_up = n('attention.kv_shared_up', False)

    def number(self, key, default=None):
        return self.fields.get(key, default)

    def tensor(self, layer, name, default=None):
        return self.tensors.get(f'blk.{layer}.{name}.weight', default)


# ---- the quantizer: single precision -----------------------------------------------------------------------------------


def half(x):
    """To the nearest half, ties to even, the largest finite one at most."""
    return np.float16(np.clip(np.float32(x), np.float32(-65504), np.float32(65504)))


def to_tie(x):
    """How far x is from the middle between two halves, as a part of x."""
    x = abs(float(x))
    step = 2.0 ** max(np.floor(np.log2(x)) - 10, -24) if x else 1.0
    return abs(x / step - np.floor(x / step) - 0.5) * step / x if x else 1.0


def one_group(x, bits, symmetric):
    """Scale, minimum and codes of one group of channels of one token; and the least relative change of x that could make
    others of them."""
    x = np.float32(x)
    top = np.float32({4: 7, 8: 127}[bits])
    if bits == 4 and not symmetric:
        raw, least, low, high = (x.max() - x.min()) / np.float32(15), x.min(), 0, 15
    else:
        raw, least, low, high = np.abs(x).max() / top, np.float32(0), -8 if bits == 4 else -127, int(top)
    scale, minimum = half(raw), half(least)
    s = np.float32(scale)
    inverse = np.float32(1) / s if s > 0 else np.float32(0)
    exact = (x - np.float32(minimum)) * inverse
    tie = np.abs(exact - np.floor(exact) - 0.5).min() / (high - low)
    return scale, minimum, np.clip(np.rint(exact), low, high).astype(int), min(tie, to_tie(raw), to_tie(least))


def blocks(scale, minimum, codes, bits, symmetric):
    """A group as a file holds it: Q8_0, Q4_0 or Q4_1 blocks of 32 channels, each with the group's scale."""
    out = b''
    for start in range(0, len(codes), BLOCK):
        c = codes[start:start + BLOCK]
        c = np.concatenate([c, np.zeros(BLOCK - len(c), int)])
        head = scale.tobytes()
        if bits == 8:
            out += head + c.astype(np.int8).tobytes()
            continue
        if symmetric:
            c = c + 8
        else:
            head += minimum.tobytes()
        out += head + (c[:BLOCK // 2] | c[BLOCK // 2:] << 4).astype(np.uint8).tobytes()
    return out


def store(x, bits, group, symmetric=True):
    """Channels of one token: (what is read back, the bytes that are kept, the nearest tie of a code or scale)."""
    if bits == 16:
        return half(x).astype(np.float32), half(x).tobytes(), 1.0
    read, kept, nearest = [], b'', 1.0
    for start in range(0, len(x), group):
        scale, minimum, codes, tie = one_group(x[start:start + group], bits, symmetric)
        read.append(codes.astype(np.float32) * np.float32(scale) + np.float32(minimum))
        kept += blocks(scale, minimum, codes, bits, symmetric or bits == 8)
        nearest = min(nearest, tie)
    return np.concatenate(read), kept, nearest


def store_row(m, latent, key, position):
    """A row of the cache. A sink token is 16 bits altogether."""
    if position < m.sinks:
        return store(np.concatenate([latent, key]), 16, 0)
    read, kept, nearest = [], b'', 1.0
    for i, bits in enumerate(m.bits):
        r, k, t = store(latent[i * m.group:(i + 1) * m.group], bits, m.group, m.symmetric)
        read.append(r)
        kept, nearest = kept + k, min(nearest, t)
    r, k, t = store(key, m.rope_bits, BLOCK) if m.rope else (np.zeros(0, np.float32), b'', 1.0)
    return np.concatenate(read + [r]), kept + k, min(nearest, t)


# ---- the model: double precision ---------------------------------------------------------------------------------------


def rms_norm(x, gain, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * gain


def rotate(m, x, frequencies):
    """x: [n, heads, rope], pairs of neighbours turn."""
    angle = np.arange(len(x))[:, None, None] * frequencies
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def frequencies(m, owner):
    own = m.tensor(owner, 'rope_freqs')
    return own if own is not None else m.number('rope.freq_base', 10000.0) ** (-2.0 * np.arange(m.rope // 2) / max(m.rope, 1))


class Row:
    """What one owner keeps of all tokens."""

    def __init__(self, m, owner, h):
        made = h @ m.tensor(owner, 'attn_kv_a_mqa').T
        latent, key = made[:, :m.rank], made[:, m.rank:]
        gain = m.tensor(owner, 'attn_kv_a_norm')
        if gain is not None:
            latent = rms_norm(latent, gain, m.epsilon)
        if m.rope:
            key = rotate(m, key[:, None], frequencies(m, owner))[:, 0]
        self.given = np.hstack([latent, key])
        stored = [store_row(m, latent[t], key[t], t) for t in range(len(h))]
        self.read = np.array([s[0] for s in stored], np.float64)
        self.kept = [s[1] for s in stored]
        self.nearest = min(s[2] for s in stored)


def queries(m, layer, h):
    if m.tensor(layer, 'attn_q_a') is not None:
        low = rms_norm(h @ m.tensor(layer, 'attn_q_a').T, m.tensor(layer, 'attn_q_a_norm'), m.epsilon)
        q = low @ m.tensor(layer, 'attn_q_b').T
    else:
        q = h @ m.tensor(layer, 'attn_q').T
    q = q.reshape(len(h), m.heads, m.key)
    q_rope = rotate(m, q[..., m.plain:], frequencies(m, m.owner[layer])) if m.rope else q[..., m.plain:]
    return q[..., :m.plain], q_rope


def attention(m, layer, h, row):
    up = m.owner[layer] if m.shared_up else layer
    c, k_rope = row.read[:, :m.rank], row.read[:, m.rank:]
    q_plain, q_rope = queries(m, layer, h)
    k_plain = np.einsum('tr,hrd->thd', c, m.tensor(up, 'attn_k_b').reshape(m.heads, m.rank, m.plain))
    v = np.einsum('tr,hdr->thd', c, m.tensor(up, 'attn_v_b').reshape(m.heads, m.value, m.rank))
    scores = (np.einsum('ihd,thd->hit', q_plain, k_plain) + np.einsum('ihd,td->hit', q_rope, k_rope)) * m.scale
    scores = np.where(np.tri(len(h), dtype=bool), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum('hit,thd->ihd', p, v).reshape(len(h), -1) @ m.tensor(layer, 'attn_output').T


def feed_forward(m, layer, h):
    gate, up = h @ m.tensor(layer, 'ffn_gate').T, h @ m.tensor(layer, 'ffn_up').T
    return (gate / (1 + np.exp(-gate)) * up) @ m.tensor(layer, 'ffn_down').T


def run_hidden(m, ids):
    """final hidden states [n, width], after the output norm; {owner: Row}"""
    x, rows = m.tensors['token_embd.weight'][ids], {}
    for layer in range(m.layers):
        h = rms_norm(x, m.tensor(layer, 'attn_norm'), m.epsilon)
        if m.owner[layer] == layer:
            rows[layer] = Row(m, layer, h)
        x = x + attention(m, layer, h, rows[m.owner[layer]])
        x = x + feed_forward(m, layer, rms_norm(x, m.tensor(layer, 'ffn_norm'), m.epsilon))
    return rms_norm(x, m.tensors['output_norm.weight'], m.epsilon), rows


def run(m, ids):
    """logits [n, vocabulary], {owner: Row}"""
    x, rows = run_hidden(m, ids)
    return x @ m.tensors.get('output.weight', m.tensors['token_embd.weight']).T, rows
