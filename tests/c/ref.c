/* ref.c: see ref.h. Nothing here is fast, nothing is shared with src but the meaning of the tensor types. */
#include "ref.h"

#include <math.h>
#include <string.h>

uint32_t ref_next(ref_random *r) { /* Knuth's MMIX constants; the high half is the random one */
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 32);
}

float ref_uniform(ref_random *r, float low, float high) {
    return low + (high - low) * (float)(ref_next(r) >> 8) * 0x1p-24f;
}

/* ---- rows -------------------------------------------------------------------------------------------------- */

/* A half between 2^-8 and 2^-5 in size, one in 16 zero, one in 16 subnormal; positive where asked. */
static uint16_t random_half(ref_random *r, int extreme) {
    uint32_t bits = ref_next(r), kind = bits >> 28;
    if (extreme) return 0x2c00;
    uint32_t exponent = kind == 0 ? 0 : 7 + bits % 3, mantissa = kind == 1 ? 0 : bits >> 8 & 0x3ff;
    return (uint16_t)((bits >> 27 & 1) << 15 | exponent << 10 | mantissa);
}

/* Offsets of the halves in a block; -1: none. */
static void halves_of(tensor_type type, int *d, int *m) {
    *d = 0, *m = -1;
    switch (type) {
    case TENSOR_Q4_1:
    case TENSOR_Q5_1:
    case TENSOR_Q4_K:
    case TENSOR_Q5_K: *m = 2; break;
    case TENSOR_Q2_K: *d = 80, *m = 82; break;
    case TENSOR_Q3_K: *d = 108; break;
    case TENSOR_Q6_K: *d = 208; break;
    default: break;
    }
}

/* Extreme halves are large, or (next to large ones) subnormal: the two that a fast conversion may get wrong. */
static void float_item(tensor_type type, ref_random *r, int extreme, uint8_t *to) {
    float value = ref_uniform(r, -1.0f, 1.0f) * (extreme ? 1e30f : 1.0f);
    uint32_t bits, random = ref_next(r);
    memcpy(&bits, &value, 4);
    uint16_t brain = (uint16_t)(bits >> 16), half = (uint16_t)(random % 0x3c00 | (bits >> 31) << 15);
    if (extreme) half = (uint16_t)(random >> 31 ? 0x7000 + random % 0xc00 : random % 0x400);
    if (type == TENSOR_F32) memcpy(to, &value, 4);
    else memcpy(to, type == TENSOR_BF16 ? &brain : &half, 2);
}

void ref_row(tensor_type type, ref_random *r, int extreme, size_t n, uint8_t *row) {
    const tensor_type_info *info = tensor_type_find((uint32_t)type);
    int d, m;
    halves_of(type, &d, &m);
    for (size_t b = 0; b < n / info->block; b++, row += info->bytes) {
        if (info->block == 1) {
            float_item(type, r, extreme, row);
            continue;
        }
        for (uint32_t i = 0; i < info->bytes; i++) row[i] = extreme ? 0xff : (uint8_t)(ref_next(r) >> 24);
        uint16_t scale = random_half(r, extreme), minimum = random_half(r, extreme);
        memcpy(row + d, &scale, 2);
        if (m >= 0) memcpy(row + m, &minimum, 2);
    }
}

/* ---- products ---------------------------------------------------------------------------------------------- */

void ref_quantize(const float *x, size_t n, double *values) {
    for (size_t first = 0; first < n; first += 32) {
        size_t end = first + 32 < n ? first + 32 : n;
        float limit = 0.0f;
        for (size_t k = first; k < end; k++) limit = fmaxf(limit, fabsf(x[k]));
        float scale = limit / 127.0f, inverse = limit > 0x1p-120f ? 127.0f / limit : 0.0f;
        for (size_t k = first; k < end; k++) values[k] = (double)scale * (double)rintf(x[k] * inverse);
    }
}

void ref_dot(const float *w, const double *x, size_t n, double *sum, double *size) {
    *sum = *size = 0.0;
    for (size_t k = 0; k < n; k++) {
        double product = (double)w[k] * x[k];
        *sum += product;
        *size += fabs(product);
    }
}
