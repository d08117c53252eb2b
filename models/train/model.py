"""One small Llama-like decoder in which the kind of attention is configuration.

Plain heads (rank == 0): queries, and kv_heads heads of keys and values; rope on the whole head.
Latents (rank > 0), with h the normed input of a layer and o = owners[l] the layer whose latents layer l reads:

    owner layers:  c   = round(RMSNorm(W_a h))               [rank]   one row a token, for keys and values of all heads
                   kR  = round(rope(W_R h))                  [rope]   one rope key for all heads
    every layer:   [qn | qR] = W_q h a head                  [nope + rope]
                   score = (qn . W_k c_t + rope(qR) . kR_t) / sqrt(nope + rope)
                   out   = W_o concat_heads( W_v sum_t softmax(score)_t c_t )

"round" is what the engine's cache stores: see rounded(). Its gradient is that of the identity (straight through).
rope turns adjacent pairs (x[2i], x[2i+1]). Attention is written as plain matrix products: on CPU they train faster than
a fused kernel, and they are the mathematics.
"""
import json
import math
from dataclasses import asdict, dataclass, field, replace

import torch
import torch.nn as nn
import torch.nn.functional as F

HEAD = 64                                # channels of a value head, and of a plain head
QUERY_BLOCK = 128                        # queries that attend together


@dataclass
class Config:
    kind: str = 'mha'                    # a name for people; the fields below say what it is
    vocab: int = 4096
    width: int = 192
    layers: int = 8
    heads: int = 3
    kv_heads: int = 3                    # plain heads only
    ffn: int = 512
    context: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-5
    window: int = 0                      # a token sees this many tokens, itself included; 0: all
    gain: float = 1.0                    # initial gain of the key and value projections (with latents: of W_k and W_v)
    rank: int = 0                        # channels of a latent; 0: plain heads
    nope: int = 0                        # channels of a query head without rope (latents)
    rope: int = HEAD                     # channels of a query head with rope
    owners: list = field(default_factory=list)   # owners[l]: whose latents layer l reads; empty: every layer its own
    latent_bits: int = 16                # 16, 8 or 4
    latent_group: int = 32               # channels that share a scale
    latent_symmetric: bool = True        # 4 bits: a scale only, or a scale and a minimum
    rope_bits: int = 16                  # 16, 8 or 4
    quantize_from: float = 0.0           # share of the training tokens after which fewer than 16 bits are used

    def owner(self, layer):
        return self.owners[layer] if self.owners else layer

    def save(self, path):
        with open(path, 'w') as f:
            json.dump(asdict(self), f, indent=1)


def load_config(path):
    with open(path) as f:
        return Config(**json.load(f))


def adjacent_owners(layers, share):
    """Every `share` neighbouring layers read the first of them."""
    return [layer - layer % share for layer in range(layers)]


def late_owners(layers, owners):
    """The first `owners` layers own latents; all later layers read the last of these."""
    return [min(layer, owners - 1) for layer in range(layers)]


def preset(kind, base):
    """The kind of attention `kind` on the shape of `base`, whose rank, nope, rope and owners serve the latent kinds."""
    latents = dict(kind=kind, rank=base.rank or 64, nope=base.nope or HEAD - 16, rope=base.rope if base.rank else 16)
    if kind == 'mha':
        return replace(base, kind=kind, rank=0, rope=HEAD, owners=[], kv_heads=base.heads)
    if kind == 'gqa':
        return replace(base, kind=kind, rank=0, rope=HEAD, owners=[], kv_heads=1)
    if kind == 'mla':
        return replace(base, **latents, owners=[], latent_bits=16, rope_bits=16)
    if kind == 'clla':
        return replace(base, **latents, owners=base.owners or adjacent_owners(base.layers, 2), latent_bits=16, rope_bits=16)
    if kind == 'clla-int4':
        return replace(base, **latents, owners=base.owners or adjacent_owners(base.layers, 2), latent_bits=4,
                       rope_bits=8 if base.rope_bits == 16 else base.rope_bits)
    raise ValueError(f'no kind of attention is called {kind!r}: mha, gqa, mla, clla, clla-int4')


def to_half(x):
    """x rounded to the nearest 16-bit float and back, by its bits: a compiler may drop a pair of conversions."""
    bits = x.view(torch.int32)
    rounded = ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)
    step = 2.0 ** -24                                            # spacing below the smallest normal half
    small = torch.round(x / step) * step
    return torch.where(x.abs() < 2.0 ** -14, small, rounded).clamp(-65504, 65504)


def quantized(x, bits, group, symmetric=True):
    """What the cache gives back for x: the codes of `bits` bits of each `group` channels, times their scale."""
    if bits == 16:
        return to_half(x)
    equal = x.shape[-1] % group == 0                             # then all groups go in one go
    parts = [x.unflatten(-1, (-1, group))] if equal else x.split(group, -1)
    out = []
    for g in parts:
        if bits == 4 and not symmetric:
            low = to_half(g.amin(-1, keepdim=True))
            scale = to_half((g.amax(-1, keepdim=True) - g.amin(-1, keepdim=True)) / 15)
            codes = torch.round((g - low) * inverse(scale)).clamp(0, 15)
            out.append(codes * scale + low)
        else:
            top, bottom = (7, -8) if bits == 4 else (127, -127)
            scale = to_half(g.abs().amax(-1, keepdim=True) / top)
            out.append(torch.round(g * inverse(scale)).clamp(bottom, top) * scale)
    return out[0].flatten(-2) if equal else torch.cat(out, -1)


def inverse(scale):
    return torch.where(scale > 0, 1 / scale.clamp_min(2.0 ** -24), torch.zeros_like(scale))


def rounded(x, bits, group, symmetric=True):
    """quantized(x) with the gradient of x. x - x.detach() is exactly 0, so the values are those of the cache."""
    return quantized(x.detach().float(), bits, group, symmetric).to(x.dtype) + (x - x.detach())


def rope(x, cos, sin):
    """Turn the pairs (x[2i], x[2i+1]) of the last axis; cos and sin are [tokens, pairs]."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class RMSNorm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.epsilon)
        return (y * self.weight).to(x.dtype)


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class PlainAttention(nn.Module):
    """Heads of keys and values of their own, or shared by groups of query heads."""

    def __init__(self, c, layer):
        super().__init__()
        self.c = c
        self.q, self.k, self.v = (linear(c.width, n * HEAD) for n in (c.heads, c.kv_heads, c.kv_heads))
        self.out = linear(c.heads * HEAD, c.width)

    def forward(self, h, shared, tables, mask, quantize):
        cos, sin = tables
        q, k, v = (split_heads(w(h), HEAD) for w in (self.q, self.k, self.v))
        q, k = rope(q, cos, sin).to(v.dtype), rope(k, cos, sin).to(v.dtype)
        if self.c.kv_heads < self.c.heads:
            k, v = (x.repeat_interleave(self.c.heads // self.c.kv_heads, 1) for x in (k, v))
        return self.out(attend(q, k, v, mask)), shared


class LatentAttention(nn.Module):
    """Keys and values of all heads are projections of one latent row a token, made by the owner layer."""

    def __init__(self, c, layer):
        super().__init__()
        self.c = c
        self.owns = c.owner(layer) == layer
        self.q = linear(c.width, c.heads * (c.nope + c.rope))
        self.up_k, self.up_v = linear(c.rank, c.heads * c.nope), linear(c.rank, c.heads * HEAD)
        self.out = linear(c.heads * HEAD, c.width)
        if self.owns:
            self.down = linear(c.width, c.rank + c.rope)
            self.norm = RMSNorm(c.rank, c.epsilon)

    def rows(self, h, tables, quantize):
        """The rows of the cache: latents [B, T, rank], rope keys [B, 1, T, rope], both as the cache gives them back."""
        c = self.c
        latent, key = self.down(h).float().split((c.rank, c.rope), -1)
        latent, key = self.norm(latent), key[:, None]
        latent_bits, rope_bits = (c.latent_bits, c.rope_bits) if quantize else (16, 16)
        latent = rounded(latent, latent_bits, c.latent_group, c.latent_symmetric)
        if c.rope:
            key = rounded(rope(key, *tables), rope_bits, 32)
        return latent, key

    def forward(self, h, shared, tables, mask, quantize):
        c = self.c
        if self.owns:
            shared = self.rows(h, tables, quantize)
        latent, key = (x.to(h.dtype) for x in shared)
        qn, qr = split_heads(self.q(h), c.nope + c.rope).split((c.nope, c.rope), -1)
        k, v = split_heads(self.up_k(latent), c.nope), split_heads(self.up_v(latent), HEAD)
        if c.rope:
            qr = rope(qr, *tables).to(v.dtype)
            qn, k = torch.cat((qn, qr), -1), torch.cat((k, key.to(v.dtype).expand(-1, c.heads, -1, -1)), -1)
        return self.out(attend(qn, k, v, mask)), shared


def split_heads(x, size):
    """[B, T, heads * size] -> [B, heads, T, size]"""
    return x.unflatten(-1, (-1, size)).transpose(1, 2)


def attend(q, k, v, mask):
    """Queries in blocks, each against the keys up to its own end: the later ones are hidden in any case."""
    out, length = [], q.shape[-2]
    for start in range(0, length, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, length)
        scores = (q[:, :, start:end] @ k[:, :, :end].transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + mask[start:end, :end]
        out.append(scores.softmax(-1).to(v.dtype) @ v[:, :, :end])
    return torch.cat(out, 2).transpose(1, 2).flatten(2)


class Block(nn.Module):
    def __init__(self, c, layer):
        super().__init__()
        self.attention_norm, self.ffn_norm = RMSNorm(c.width, c.epsilon), RMSNorm(c.width, c.epsilon)
        self.attention = (LatentAttention if c.rank else PlainAttention)(c, layer)
        self.gate, self.up, self.down = linear(c.width, c.ffn), linear(c.width, c.ffn), linear(c.ffn, c.width)

    def forward(self, x, shared, tables, mask, quantize):
        y, shared = self.attention(self.attention_norm(x), shared, tables, mask, quantize)
        x = x + y
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h)), shared


class Model(nn.Module):
    """Tokens [B, T] and targets [B, T] (-1: no loss here) -> loss of each token in nats, and whether the likeliest
    token is the target. quantize: round the cache's rows to the configuration's bits, not to 16."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embedding = nn.Embedding(c.vocab, c.width)
        self.blocks = nn.ModuleList(Block(c, layer) for layer in range(c.layers))
        self.norm = RMSNorm(c.width, c.epsilon)
        self.initialize()
        pairs = c.rope // 2
        angles = torch.outer(torch.arange(c.context).float(), c.rope_base ** (-torch.arange(pairs).float() / max(pairs, 1)))
        self.register_buffer('cos', angles.cos(), persistent=False)
        self.register_buffer('sin', angles.sin(), persistent=False)
        distance = torch.arange(c.context)[:, None] - torch.arange(c.context)
        hidden = (distance < 0) | (distance >= (c.window or c.context))
        self.register_buffer('mask', torch.zeros(hidden.shape).masked_fill(hidden, -1e30), persistent=False)

    def initialize(self):
        nn.init.normal_(self.embedding.weight, std=0.02)
        for name, p in self.blocks.named_parameters():
            if p.dim() == 2:
                std = p.shape[1] ** -0.5
                if name.endswith(('out.weight', '.down.weight')) and 'attention.down' not in name:
                    std /= math.sqrt(2 * self.c.layers)
                if is_key_or_value(name):
                    std *= self.c.gain
                nn.init.normal_(p, std=std)

    def logits(self, tokens, quantize=True):
        length = tokens.shape[1]
        x, shared, mask = self.embedding(tokens), None, self.mask[:length, :length]
        tables = self.cos[:length], self.sin[:length]
        kept = {}
        for layer, block in enumerate(self.blocks):
            x, shared = block(x, kept.get(self.c.owner(layer)), tables, mask, quantize)
            kept[self.c.owner(layer)] = shared
        return F.linear(self.norm(x), self.embedding.weight)

    def forward(self, tokens, targets, quantize: bool = True):
        logits = self.logits(tokens, quantize).float().flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten(), reduction='none', ignore_index=-1).view(targets.shape)
        if self.training:
            return loss
        return loss, logits.argmax(-1).view(targets.shape) == targets


def is_key_or_value(name):
    """The projections whose initial gain the configuration sets."""
    return name.endswith(('attention.k.weight', 'attention.v.weight', 'up_k.weight', 'up_v.weight'))


def parameters(c):
    with torch.device('meta'):
        return sum(p.numel() for p in Model(c).parameters())


def match_ffn(c, count, step=8):
    """c with the FFN width, a multiple of `step`, that brings its number of parameters nearest to `count`."""
    each = 3 * c.width * c.layers
    return replace(c, ffn=step * round((c.ffn + (count - parameters(c)) / each) / step))


def cache_bytes(c):
    """Bytes of cache a token, all layers, scales and rope key counted, as the engine counts them; plain heads in fp16."""
    if not c.rank:
        return 2 * 2 * c.kv_heads * HEAD * c.layers
    latent = stored_bytes(c.rank, c.latent_bits, c.latent_symmetric)
    return (latent + stored_bytes(c.rope, c.rope_bits)) * len({c.owner(layer) for layer in range(c.layers)})


def stored_bytes(channels, bits, symmetric=True):
    """Of a run of channels of one token (src/kv/bits.h): four tokens share eight bytes beside 16-bit numbers; codes lie in
    blocks of 32, of which 8-bit ones leave out what they do not need, each with an fp16 scale, and perhaps a minimum."""
    if channels == 0:
        return 0
    if bits == 16:
        return 2 * channels + 2
    blocks, fields = -(-channels // 32), 2 if bits == 4 and not symmetric else 1
    return (-(-channels // 4) * 4 if bits == 8 else 16 * blocks) + 2 * fields * blocks
