/* bits.c: tiles of keys and values as f32, f16 or int8 with scales. */
#include "bits.h"

#include <math.h>
#include <string.h>

#include "../f16.h"
#include "../simd.h"

static uint32_t groups_of(uint32_t dim) { return (dim + KV_GROUP - 1) / KV_GROUP; }

static size_t code_bytes(kv_bits bits, uint32_t dim) { return (size_t)dim * KV_TILE * (size_t)bits / 8; }

size_t kv_tile_bytes(kv_bits bits, uint32_t dim) {
    size_t scales = bits == KV_Q8 ? (size_t)groups_of(dim) * KV_TILE * sizeof(uint16_t) : 0;
    return code_bytes(bits, dim) + scales;
}

/* Channel c of token `slot` stands at c * 16 + slot in keys and at slot * dim + c in values: a start and a step. */
typedef struct place {
    size_t start, step;
} place;

static place key_place(uint32_t slot) { return (place){slot, KV_TILE}; }
static place value_place(uint32_t slot, uint32_t dim) { return (place){(size_t)slot * dim, 1}; }

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

static void write_token(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, place at, const float *x) {
    if (bits == KV_Q8) {
        uint16_t *scales = (uint16_t *)(void *)(tile + code_bytes(bits, dim));
        for (uint32_t g = 0; g < groups_of(dim); g++) {
            uint32_t end = (g + 1) * KV_GROUP < dim ? (g + 1) * KV_GROUP : dim;
            write_group((int8_t *)tile, at, scales + g * KV_TILE + slot, x, g * KV_GROUP, end);
        }
    } else if (bits == KV_F16) {
        uint16_t *halves = (uint16_t *)(void *)tile;
        for (uint32_t c = 0; c < dim; c++) halves[at.start + c * at.step] = f16_of_f32(clamp_f16(x[c]));
    } else {
        float *floats = (float *)(void *)tile;
        for (uint32_t c = 0; c < dim; c++) floats[at.start + c * at.step] = x[c];
    }
}

void kv_write_key(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x) {
    write_token(bits, tile, dim, slot, key_place(slot), x);
}

void kv_write_value(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x) {
    write_token(bits, tile, dim, slot, value_place(slot, dim), x);
}

/* Codes of keys stand in rows of 16 tokens: each row times the 16 scales of its group. */
static void read_keys_q8(const uint8_t *tile, uint32_t dim, float *keys) {
    const uint16_t *scales = (const uint16_t *)(const void *)(tile + code_bytes(KV_Q8, dim));
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

/* n f16 numbers, n a multiple of 4. */
static void read_f16(const uint16_t *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i += 4) f4_store(to + i, f4_load_f16_finite(from + i));
}

void kv_read_keys(kv_bits bits, const uint8_t *tile, uint32_t dim, float *keys) {
    if (bits == KV_Q8) read_keys_q8(tile, dim, keys);
    else if (bits == KV_F16) read_f16((const uint16_t *)(const void *)tile, (size_t)dim * KV_TILE, keys);
    else memcpy(keys, tile, (size_t)dim * KV_TILE * sizeof(float));
}

static void read_value_q8(const uint8_t *tile, uint32_t dim, uint32_t slot, float *value) {
    const uint16_t *scales = (const uint16_t *)(const void *)(tile + code_bytes(KV_Q8, dim));
    const int8_t *codes = (const int8_t *)tile + (size_t)slot * dim;
    for (uint32_t c = 0; c < dim; c += 4) {
        float scale = f32_of_f16(scales[c / KV_GROUP * KV_TILE + slot]);
        for (uint32_t i = c; i < c + 4 && i < dim; i++) value[i] = (float)codes[i] * scale;
    }
}

static void read_value_f16(const uint16_t *from, uint32_t dim, float *value) {
    uint32_t c = 0;
    for (; c + 4 <= dim; c += 4) f4_store(value + c, f4_load_f16_finite(from + c));
    for (; c < dim; c++) value[c] = f32_of_f16(from[c]);
}

void kv_read_values(kv_bits bits, const uint8_t *tile, uint32_t dim, float *values) {
    uint32_t padded = kv_padded(dim);
    for (uint32_t slot = 0; slot < KV_TILE; slot++, values += padded) {
        if (bits == KV_Q8) read_value_q8(tile, dim, slot, values);
        else if (bits == KV_F16) read_value_f16((const uint16_t *)(const void *)tile + (size_t)slot * dim, dim, values);
        else memcpy(values, tile + (size_t)slot * dim * sizeof(float), dim * sizeof(float));
        for (uint32_t c = dim; c < padded; c++) values[c] = 0;
    }
}
