/* tiles.c: tiles of keys and values as f32 or f16. */
#include "tiles.h"

#include "../f16.h"
#include "../simd.h"
#include "../vector.h"

static size_t tile_bytes(kv_bits bits, uint32_t channels) { return (size_t)channels * KV_TILE * (size_t)bits / 8; }

size_t kv_key_tile_bytes(kv_bits bits, uint32_t dim) { return tile_bytes(bits, dim); }
size_t kv_value_tile_bytes(kv_bits bits, uint32_t dim) { return tile_bytes(bits, kv_padded(dim)); }

/* Channel c of the token stands at start + c * step. */
static void write_token(kv_bits bits, uint8_t *tile, uint32_t dim, size_t start, size_t step, const float *x) {
    uint16_t *halves = (uint16_t *)(void *)tile;
    float *floats = (float *)(void *)tile;
    for (uint32_t c = 0; c < dim; c++) {
        size_t at = start + c * step;
        if (bits == KV_F16) halves[half_place((uint32_t)at)] = f16_finite(x[c]);
        else floats[at] = x[c];
    }
}

void kv_write_key(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x) {
    write_token(bits, tile, dim, slot, KV_TILE, x);
}

void kv_write_value(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x) {
    write_token(bits, tile, dim, (size_t)slot * kv_padded(dim), 1, x);
}

static void read_numbers(kv_bits bits, const uint8_t *tile, size_t n, float *to) {
    const float *floats = (const float *)(const void *)tile;
    if (bits == KV_F16) vector_read_halves((const uint16_t *)(const void *)tile, n, to);
    else
        for (size_t i = 0; i < n; i += 4) f4_store(to + i, f4_load(floats + i));
}

void kv_read_keys(kv_bits bits, const uint8_t *tile, uint32_t dim, float *keys) {
    read_numbers(bits, tile, (size_t)dim * KV_TILE, keys);
}

void kv_read_values(kv_bits bits, const uint8_t *tile, uint32_t dim, float *values) {
    read_numbers(bits, tile, (size_t)kv_padded(dim) * KV_TILE, values);
}
