/* bits.c: tiles of keys and values as f32, f16 or int8 with scales. */
#include "bits.h"

#include <math.h>

#include "../f16.h"
#include "../simd.h"
#include "../vector.h"

static uint32_t groups_of(uint32_t dim) { return (dim + KV_GROUP - 1) / KV_GROUP; }

static size_t code_bytes(kv_bits bits, uint32_t channels) { return (size_t)channels * KV_TILE * (size_t)bits / 8; }

static size_t scale_bytes(kv_bits bits, uint32_t dim) {
    return bits == KV_Q8 ? (size_t)groups_of(dim) * KV_TILE * sizeof(uint16_t) : 0;
}

size_t kv_key_tile_bytes(kv_bits bits, uint32_t dim) { return code_bytes(bits, dim) + scale_bytes(bits, dim); }

size_t kv_value_tile_bytes(kv_bits bits, uint32_t dim) {
    return code_bytes(bits, kv_padded(dim)) + scale_bytes(bits, dim);
}

/* Channel c of token `slot` stands at c * 16 + slot in keys and at slot * padded + c in values: a start and a step. */
typedef struct place {
    size_t start, step;
    uint16_t *scales; /* of the token's first group; the next group's are KV_TILE further on */
} place;

static uint16_t *scales_of(const uint8_t *tile, uint32_t channels) {
    return (uint16_t *)(uintptr_t)(tile + code_bytes(KV_Q8, channels));
}

static place key_place(uint8_t *tile, uint32_t dim, uint32_t slot) {
    return (place){slot, KV_TILE, scales_of(tile, dim) + slot};
}

static place value_place(uint8_t *tile, uint32_t dim, uint32_t slot) {
    return (place){(size_t)slot * kv_padded(dim), 1, scales_of(tile, kv_padded(dim)) + slot};
}

/* The largest finite half stands for what lies beyond: an infinity would turn weights of 0 into NaN. */
static float clamp_f16(float x) { return x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x; }

/* One group of int8: scale = largest / 127, rounded to f16 first, so that the codes fit the scale that is stored. */
static void write_group(int8_t *codes, place at, uint16_t *scale, const float *x, uint32_t first, uint32_t end) {
    float largest = 0;
    for (uint32_t c = first; c < end; c++) largest = fabsf(x[c]) > largest ? fabsf(x[c]) : largest;
    *scale = f16_of_f32(clamp_f16(largest / 127.0f));
    float s = f32_of_f16(*scale), inverse = s > 0 ? 1.0f / s : 0.0f;
    for (uint32_t c = first; c < end; c++) {
        float code = rintf(x[c] * inverse);
        codes[at.start + c * at.step] = (int8_t)(code > 127 ? 127 : code < -127 ? -127 : code);
    }
}

static void write_q8(uint8_t *tile, uint32_t dim, place at, const float *x) {
    for (uint32_t g = 0; g < groups_of(dim); g++) {
        uint32_t end = (g + 1) * KV_GROUP < dim ? (g + 1) * KV_GROUP : dim;
        write_group((int8_t *)tile, at, at.scales + g * KV_TILE, x, g * KV_GROUP, end);
    }
}

static void write_token(kv_bits bits, uint8_t *tile, uint32_t dim, place at, const float *x) {
    uint16_t *halves = (uint16_t *)(void *)tile;
    float *floats = (float *)(void *)tile;
    for (uint32_t c = 0; c < dim && bits == KV_F16; c++)
        halves[half_place((uint32_t)(at.start + c * at.step))] = f16_of_f32(clamp_f16(x[c]));
    for (uint32_t c = 0; c < dim && bits == KV_F32; c++) floats[at.start + c * at.step] = x[c];
    if (bits == KV_Q8) write_q8(tile, dim, at, x);
}

void kv_write_key(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x) {
    write_token(bits, tile, dim, key_place(tile, dim, slot), x);
}

void kv_write_value(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x) {
    write_token(bits, tile, dim, value_place(tile, dim, slot), x);
}

/* n floats, a multiple of 4. */
static void copy_floats(const uint8_t *from, size_t n, float *to) {
    const float *floats = (const float *)(const void *)from;
    for (size_t i = 0; i < n; i += 4) f4_store(to + i, f4_load(floats + i));
}

/* Codes of keys stand in rows of 16 tokens: each row times the 16 scales of its group. */
static void read_keys_q8(const uint8_t *tile, uint32_t dim, float *keys) {
    const uint16_t *scales = scales_of(tile, dim);
    const int8_t *codes = (const int8_t *)tile;
    for (uint32_t g = 0; g < groups_of(dim); g++, scales += KV_TILE) {
        f32x4 s[4];
        for (int i = 0; i < 4; i++) s[i] = f4_load_f16_finite(scales + 4 * i);
        uint32_t end = (g + 1) * KV_GROUP < dim ? (g + 1) * KV_GROUP : dim;
        for (uint32_t c = g * KV_GROUP; c < end; c++)
            for (uint32_t i = 0; i < 4; i++)
                f4_store(keys + c * KV_TILE + 4 * i, f4_mul(f4_load_i8(codes + c * KV_TILE + 4 * i), s[i]));
    }
}

void kv_read_keys(kv_bits bits, const uint8_t *tile, uint32_t dim, float *keys) {
    size_t n = (size_t)dim * KV_TILE;
    if (bits == KV_Q8) read_keys_q8(tile, dim, keys);
    else if (bits == KV_F16) vector_read_halves((const uint16_t *)(const void *)tile, n, keys);
    else copy_floats(tile, n, keys);
}

/* Codes of values stand in rows of channels: 16 at a time, which share a scale. */
static void read_values_q8(const uint8_t *tile, uint32_t dim, float *values) {
    uint32_t padded = kv_padded(dim);
    const uint16_t *scales = scales_of(tile, padded);
    const int8_t *codes = (const int8_t *)tile;
    for (uint32_t slot = 0; slot < KV_TILE; slot++, codes += padded, values += padded)
        for (uint32_t c = 0; c < padded; c += KV_TILE) {
            f32x4 scale = f4_splat(f32_of_f16(scales[c / KV_GROUP * KV_TILE + slot]));
            for (uint32_t i = c; i < c + KV_TILE; i += 4) f4_store(values + i, f4_mul(f4_load_i8(codes + i), scale));
        }
}

void kv_read_values(kv_bits bits, const uint8_t *tile, uint32_t dim, float *values) {
    size_t n = (size_t)kv_padded(dim) * KV_TILE;
    if (bits == KV_Q8) read_values_q8(tile, dim, values);
    else if (bits == KV_F16) vector_read_halves((const uint16_t *)(const void *)tile, n, values);
    else copy_floats(tile, n, values);
}
