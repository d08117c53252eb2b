#!/usr/bin/env python3
"""Blocks of every quantized tensor type and the values they stand for, for tests/c/test_quant.c.

    python3 make.py            (needs: pip install gguf==0.19.0 numpy)

Writes blocks.bin next to this script: for each type its number, the number of values n and the bytes of the blocks
(three u32), the blocks, then the n values as `gguf.quants.dequantize` gives them (f32), all little endian. Same script,
same seed, same bytes. For each type: 5 random blocks, then edge cases: all bits 0 and 1, scales that are subnormal,
the largest, negative, negative zero.
"""
import struct
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

SEED = 20261122
# where the halves of a block stand: scales that must be finite
HALVES = {
    T.F16: [0], T.BF16: [], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
    T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0],
}
EDGES = [0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x8000]  # least and largest subnormal, largest, least, negative zero


def block(kind, fill, scales):
    """One block: its bytes from `fill`, its halves from `scales` (bits)."""
    data = np.array(fill, dtype=np.uint8)
    for at, bits in zip(HALVES[kind], scales):
        data[at:at + 2] = np.frombuffer(struct.pack("<H", bits), np.uint8)
    return data


def blocks(kind, rng):
    size = gguf.GGML_QUANT_SIZES[kind][1]

    def random_fill():
        return rng.integers(0, 256, size)

    def random_scales():
        halves = rng.uniform(0.001, 0.2, 2) * rng.choice([-1, 1], 2)
        return [int(h) for h in halves.astype(np.float16).view(np.uint16)]

    made = [block(kind, random_fill(), random_scales()) for _ in range(5)]
    made += [block(kind, [fill] * size, random_scales()) for fill in (0x00, 0xFF)]
    made += [block(kind, random_fill(), [bits, EDGES[(i + 1) % 5]]) for i, bits in enumerate(EDGES)]
    return np.concatenate(made)


def plain_values(kind, rng):
    """F32, F16, BF16: random finite patterns."""
    if kind == T.F32:
        return rng.standard_normal(64).astype(np.float32).view(np.uint8)
    exponent = 0x7C00 if kind == T.F16 else 0x7F80
    bits = rng.integers(0, 65536, 96).astype(np.uint16)
    bits[:8] = [0, 1, 0x8000, 0x8001, exponent - 1, 0x8000 | (exponent - 1), 0x0080, 0x3C00]
    return bits[(bits & exponent) != exponent].view(np.uint8)


def main():
    out = bytearray()
    for kind in [T.F32, *HALVES]:
        rng = np.random.default_rng([SEED, int(kind)])
        data = plain_values(kind, rng) if kind in (T.F32, T.F16, T.BF16) else blocks(kind, rng)
        with np.errstate(over="ignore"):
            values = gguf.quants.dequantize(data, kind).astype("<f4").ravel()
        out += struct.pack("<III", int(kind), values.size, data.size) + data.tobytes() + values.tobytes()
    path = Path(__file__).parent / "blocks.bin"
    path.write_bytes(out)
    print(f"{path.name}: {len(out)} bytes")


if __name__ == "__main__":
    main()
