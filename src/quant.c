/* quant.c: the blocks of GGUF's tensor types, unpacked one value at a time, as plainly as they can be told.
 *
 * A value is scale * code, or scale * code - minimum. Scales are halves; the K types hold 256 values in a
 * block and keep small whole-number scales for its parts of 16 or 32 values, which the halves multiply.
 * Layouts: ggml's ggml-common.h and ggml-quants.c (https://github.com/ggml-org/ggml); tests/c/test_quant.c
 * holds every type against vectors made with the `gguf` package of Python, bit by bit. */
#include "quant.h"

#include "f16.h"

static const tensor_type_info types[] = {
#define CLLA_TENSOR_TYPE_ROW(name, number, block, bytes) [number] = {#name, block, bytes},
    CLLA_TENSOR_TYPE_LIST(CLLA_TENSOR_TYPE_ROW)
#undef CLLA_TENSOR_TYPE_ROW
};

const tensor_type_info *tensor_type_find(uint32_t number) {
    bool known = number < sizeof types / sizeof types[0] && types[number].name;
    return known ? &types[number] : NULL;
}

const char *tensor_type_label(uint32_t number) {
    static const char *const others[] = {
        /* numbers that ggml gave away and this build does not read */
        [4] = "Q4_2",    [5] = "Q4_3",        [9] = "Q8_1",        [15] = "Q8_K",       [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS",    [19] = "IQ1_S",      [21] = "IQ3_S",      [22] = "IQ2_S",
        [24] = "I8",     [25] = "I16",        [26] = "I32",        [27] = "I64",        [28] = "F64",
        [29] = "IQ1_M",  [31] = "Q4_0_4_4",   [32] = "Q4_0_4_8",   [33] = "Q4_0_8_8",   [34] = "TQ1_0",
        [35] = "TQ2_0",  [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8", [39] = "MXFP4",
        [40] = "NVFP4",  [41] = "Q1_0"};
    const tensor_type_info *info = tensor_type_find(number);
    if (info) return info->name;
    return number < sizeof others / sizeof others[0] ? others[number] : NULL;
}

size_t tensor_row_bytes(tensor_type type, size_t n) {
    const tensor_type_info *info = tensor_type_find((uint32_t)type);
    return n / info->block * info->bytes;
}

/* ---- reading a block --------------------------------------------------------------------------------- */

static uint32_t u16_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | u16_at(p + 2) << 16; }
static float half_at(const uint8_t *p) { return f32_of_f16((uint16_t)u16_at(p)); }

/* Code i of a run of 32: the low nibbles of 16 bytes come first, then the high ones. */
static int nibble(const uint8_t *q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }

/* The 16 values that the codes of IQ4_NL and IQ4_XS stand for. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* ---- blocks of 32 ------------------------------------------------------------------------------------ */

/* Q4_0: half d; 16 bytes of nibbles. y = d (q - 8) */
static void unpack_Q4_0(const uint8_t *b, float *y) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) y[i] = d * (float)(nibble(b + 2, i) - 8);
}

/* Q4_1: half d, half m; 16 bytes of nibbles. y = d q + m */
static void unpack_Q4_1(const uint8_t *b, float *y) {
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++) y[i] = d * (float)nibble(b + 4, i) + m;
}

/* Q5_0: half d; 32 fifth bits; 16 bytes of nibbles. y = d (q - 16) */
static void unpack_Q5_0(const uint8_t *b, float *y) {
    float d = half_at(b);
    uint32_t fifth = u32_at(b + 2);
    for (int i = 0; i < 32; i++) y[i] = d * (float)((nibble(b + 6, i) | (int)(fifth >> i & 1) << 4) - 16);
}

/* Q5_1: half d, half m; 32 fifth bits; 16 bytes of nibbles. y = d q + m */
static void unpack_Q5_1(const uint8_t *b, float *y) {
    float d = half_at(b), m = half_at(b + 2);
    uint32_t fifth = u32_at(b + 4);
    for (int i = 0; i < 32; i++) y[i] = d * (float)(nibble(b + 8, i) | (int)(fifth >> i & 1) << 4) + m;
}

/* Q8_0: half d; 32 signed bytes. y = d q */
static void unpack_Q8_0(const uint8_t *b, float *y) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)b[2 + i];
}

/* IQ4_NL: half d; 16 bytes of nibbles. y = d value[q] */
static void unpack_IQ4_NL(const uint8_t *b, float *y) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) y[i] = d * (float)iq4_values[nibble(b + 2, i)];
}

/* ---- blocks of 256 ----------------------------------------------------------------------------------- */

/* Q2_K: 16 bytes (low nibble: scale, high: minimum of 16 values); 64 bytes of codes; half d, half dmin.
 * Values 128 h + 32 s + i are bits 2 s of byte 32 h + i. y = (d scale) q - dmin minimum */
static void unpack_Q2_K(const uint8_t *b, float *y) {
    const uint8_t *scales = b, *q = b + 16;
    float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int k = 0; k < 256; k++) {
        int code = q[k / 128 * 32 + k % 32] >> (k / 32 % 4 * 2) & 3, scale = scales[k / 16];
        y[k] = d * (float)(scale & 15) * (float)code - dmin * (float)(scale >> 4);
    }
}

/* Scale j of 16 in the 12 bytes of Q3_K: four low bits in a nibble of the first eight bytes, two high ones in
 * the last four. */
static int q3_scale(const uint8_t *s, int j) {
    int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4, high = s[8 + j % 4] >> (j / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

/* Q3_K: 32 bytes of third bits (value k is bit k / 32 of byte k % 32); 64 bytes of two low bits as in Q2_K;
 * 12 bytes of scales; half d. y = (d scale) (q - 4) */
static void unpack_Q3_K(const uint8_t *b, float *y) {
    const uint8_t *third = b, *q = b + 32, *scales = b + 96;
    float d = half_at(b + 108);
    for (int k = 0; k < 256; k++) {
        int code = q[k / 128 * 32 + k % 32] >> (k / 32 % 4 * 2) & 3;
        code |= (third[k % 32] >> (k / 32) & 1) << 2;
        y[k] = d * (float)q3_scale(scales, k / 16) * (float)(code - 4);
    }
}

/* Scale and minimum j of 8, six bits each, in the 12 bytes of Q4_K and Q5_K: the first four of each have a
 * byte's low bits for themselves; the others share bytes 8 to 11 and the top bits of the first eight. */
static void k4_scale(const uint8_t *s, int j, int *scale, int *minimum) {
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *minimum = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

/* Q4_K: half d, half dmin; 12 bytes of scales; 128 bytes of codes, in runs of 32 bytes: low nibbles, then
 * high. y = (d scale) q - dmin minimum */
static void unpack_Q4_K(const uint8_t *b, float *y) {
    const uint8_t *q = b + 16;
    float d = half_at(b), dmin = half_at(b + 2);
    for (int k = 0; k < 256; k++) {
        int scale, minimum, code = q[k / 64 * 32 + k % 32] >> (k / 32 % 2 * 4) & 15;
        k4_scale(b + 4, k / 32, &scale, &minimum);
        y[k] = d * (float)scale * (float)code - dmin * (float)minimum;
    }
}

/* Q5_K: as Q4_K, with 32 bytes of fifth bits between scales and codes: value k is bit k / 32 of byte k % 32.
 */
static void unpack_Q5_K(const uint8_t *b, float *y) {
    const uint8_t *fifth = b + 16, *q = b + 48;
    float d = half_at(b), dmin = half_at(b + 2);
    for (int k = 0; k < 256; k++) {
        int scale, minimum, code = q[k / 64 * 32 + k % 32] >> (k / 32 % 2 * 4) & 15;
        code |= (fifth[k % 32] >> (k / 32) & 1) << 4;
        k4_scale(b + 4, k / 32, &scale, &minimum);
        y[k] = d * (float)scale * (float)code - dmin * (float)minimum;
    }
}

/* Q6_K: 128 bytes of four low bits (of 128 values: 64 bytes, low nibbles, then high); 64 bytes of two high
 * bits (of 128 values: 32 bytes, as in Q2_K); 16 signed scales; half d. y = (d scale) (q - 32) */
static void unpack_Q6_K(const uint8_t *b, float *y) {
    const uint8_t *low = b, *high = b + 128, *scales = b + 192;
    float d = half_at(b + 208);
    for (int k = 0; k < 256; k++) {
        int code = low[k / 128 * 64 + k % 64] >> (k / 64 % 2 * 4) & 15;
        code |= (high[k / 128 * 32 + k % 32] >> (k / 32 % 4 * 2) & 3) << 4;
        y[k] = d * (float)(int8_t)scales[k / 16] * (float)(code - 32);
    }
}

/* IQ4_XS: half d; 16 bits with two high bits of each of 8 scales; 4 bytes with their low nibbles; 8 runs of
 * 16 bytes of nibbles. y = d (scale - 32) value[q] */
static void unpack_IQ4_XS(const uint8_t *b, float *y) {
    float d = half_at(b);
    uint32_t high = u16_at(b + 2);
    for (int k = 0; k < 256; k++) {
        int part = k / 32, scale = (b[4 + part / 2] >> (part % 2 * 4) & 15) | (int)(high >> (2 * part) & 3)
                                                                                  << 4;
        y[k] = d * (float)(scale - 32) * (float)iq4_values[nibble(b + 8 + 16 * part, k % 32)];
    }
}

/* ---- rows -------------------------------------------------------------------------------------------- */

static void unpack_F32(const uint8_t *b, float *y) { *y = f32_of_bits(u32_at(b)); }
static void unpack_F16(const uint8_t *b, float *y) { *y = half_at(b); }
static void unpack_BF16(const uint8_t *b, float *y) { *y = f32_of_bf16((uint16_t)u16_at(b)); }

void tensor_unpack(tensor_type type, const uint8_t *row, size_t n, float *values) {
    switch (type) {
#define CLLA_TENSOR_UNPACK(name, number, block, bytes)                                                       \
    case TENSOR_##name:                                                                                      \
        for (size_t i = 0; i < n / (block); i++) unpack_##name(row + i * (bytes), values + i * (block));     \
        break;
        CLLA_TENSOR_TYPE_LIST(CLLA_TENSOR_UNPACK)
#undef CLLA_TENSOR_UNPACK
    }
}

/* Infinities and NaN have all exponent bits set. `mask` holds those bits; a block's halves stand at `first`
 * and, where there are two, right behind it. */
static bool halves_are_finite(const uint8_t *row, size_t blocks, size_t bytes, size_t first, int count) {
    bool finite = true;
    for (size_t i = 0; i < blocks; i++)
        for (int k = 0; k < count; k++) finite &= (row[i * bytes + first + 2 * (size_t)k + 1] & 0x7c) != 0x7c;
    return finite;
}

static bool floats_are_finite(const uint8_t *row, size_t n, size_t bytes, uint32_t mask) {
    bool finite = true;
    for (size_t i = 0; i < n; i++) finite &= (u16_at(row + i * bytes + bytes - 2) & mask) != mask;
    return finite;
}

bool tensor_row_is_finite(tensor_type type, const uint8_t *row, size_t n) {
    switch (type) {
    case TENSOR_F32: return floats_are_finite(row, n, 4, 0x7f80);
    case TENSOR_BF16: return floats_are_finite(row, n, 2, 0x7f80);
    case TENSOR_F16: return floats_are_finite(row, n, 2, 0x7c00);
    case TENSOR_Q4_0: return halves_are_finite(row, n / 32, 18, 0, 1);
    case TENSOR_Q4_1: return halves_are_finite(row, n / 32, 20, 0, 2);
    case TENSOR_Q5_0: return halves_are_finite(row, n / 32, 22, 0, 1);
    case TENSOR_Q5_1: return halves_are_finite(row, n / 32, 24, 0, 2);
    case TENSOR_Q8_0: return halves_are_finite(row, n / 32, 34, 0, 1);
    case TENSOR_Q2_K: return halves_are_finite(row, n / 256, 84, 80, 2);
    case TENSOR_Q3_K: return halves_are_finite(row, n / 256, 110, 108, 1);
    case TENSOR_Q4_K: return halves_are_finite(row, n / 256, 144, 0, 2);
    case TENSOR_Q5_K: return halves_are_finite(row, n / 256, 176, 0, 2);
    case TENSOR_Q6_K: return halves_are_finite(row, n / 256, 210, 208, 1);
    case TENSOR_IQ4_NL: return halves_are_finite(row, n / 32, 18, 0, 1);
    case TENSOR_IQ4_XS: return halves_are_finite(row, n / 256, 136, 0, 1);
    }
    return false;
}
