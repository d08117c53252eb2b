/* kernels_unpack.c: the values of groups of four rows, fast: the rows of a cache are read back in this way for every
 * token. Results are those of matrix_row, bit for bit. */
#include "kernels_layout.h"

#define TEMPLATE static inline __attribute__((always_inline))

/* What stays in registers: where a row's bytes go (spread), masks, what makes codes signed. */
typedef struct unpacker {
    u8x16 spread[MATRIX_GROUP], low, sign;
} unpacker;

/* One block's scale and minimum of each row, for codes that count 2^24 times. */
typedef struct line {
    f32x4 scale[MATRIX_GROUP], minimum[MATRIX_GROUP];
} line;

TEMPLATE unpacker unpacker_keep(const format *f) {
    unpacker u = {.low = b16_keep(15), .sign = b16_keep((uint8_t)f->offset)};
    UNROLL for (int row = 0; row < MATRIX_GROUP; row++) u.spread[row] = spread_keep(row);
    return u;
}

/* A code times a half is exact, so that it makes no difference whether the minimum is added with one rounding or two. */
TEMPLATE line line_load(bool minimum, const uint8_t *scales, half_constants c) {
    const uint16_t *halves = (const uint16_t *)(const void *)scales;
    float four[2][MATRIX_GROUP];
    line l;
    f4_store(four[0], f4_mul(f4_load_f16_by(halves, c), f4_splat(SPREAD_UNIT)));
    if (minimum) f4_store(four[1], f4_load_f16_by(halves + 4, c));
    UNROLL for (int row = 0; row < MATRIX_GROUP; row++) {
        l.scale[row] = f4_splat(four[0][row]);
        l.minimum[row] = minimum ? f4_splat(four[1][row]) : f4_zero();
    }
    return l;
}

/* Four columns of each row, from the signed bytes of one step. */
TEMPLATE void put_step(u8x16 codes, bool minimum, const unpacker *u, const line *l, float *values, size_t stride) {
    UNROLL for (int row = 0; row < MATRIX_GROUP; row++) {
        f32x4 x = f4_from_i4(i4_of_bytes(b16_spread(codes, u->spread[row])));
        x = minimum ? f4_madd(l->minimum[row], x, l->scale[row]) : f4_mul(x, l->scale[row]);
        f4_store(values + (size_t)row * stride, x);
    }
}

/* `steps` of a block, four columns each: with nibbles the second half comes with the first. */
TEMPLATE void block_unpack(code_form form, bool minimum, const uint8_t *block, uint32_t steps, const unpacker *u, const line *l,
                           float *values, size_t stride) {
    for (uint32_t j = 0; j < (form == CODE_4 ? STEPS / 2 : steps); j++, values += 4) {
        u8x16 bytes = b16_load(block + 16 * j);
        if (form == CODE_8) {
            put_step(b16_sub(bytes, u->sign), minimum, u, l, values, stride);
            continue;
        }
        put_step(b16_sub(b16_and(bytes, u->low), u->sign), minimum, u, l, values, stride);
        put_step(b16_sub(b16_and(b16_shr(bytes, 4), u->low), u->sign), minimum, u, l, values + COLUMN_BLOCK / 2, stride);
    }
}

TEMPLATE void group_unpack(code_form form, bool minimum, const format *f, uint32_t cols, const uint8_t *group, const unpacker *u,
                           half_constants c, float *values, size_t stride) {
    const uint8_t *scales = group + code_bytes(form, cols);
    for (uint32_t k = 0; k < cols; k += COLUMN_BLOCK, values += COLUMN_BLOCK) {
        uint32_t steps = cols - k < COLUMN_BLOCK ? (cols - k + 3) / 4 : STEPS;
        line l = line_load(minimum, scales, c);
        block_unpack(form, minimum, group, steps, u, &l, values, stride);
        scales += scale_bytes(*f), group += code_block_bytes(form);
    }
}

/* Groups that lie one behind the other. */
typedef struct run {
    const uint8_t *group;
    size_t group_bytes;
    uint32_t count;
} run;

TEMPLATE void groups_unpack(code_form form, bool minimum, const format *f, uint32_t cols, run r, float *values, size_t stride) {
    half_constants c = half_constants_keep();
    unpacker u = unpacker_keep(f);
    for (uint32_t g = 0; g < r.count; g++)
        group_unpack(form, minimum, f, cols, r.group + g * r.group_bytes, &u, c, values + g * MATRIX_GROUP * stride, stride);
}

/* Four columns' values of four rows lie column by column: transposed by single numbers. */
static void group_float(const matrix *m, const uint8_t *group, float *values, size_t stride) {
    const uint16_t *halves = (const uint16_t *)(const void *)group;
    const float *floats = (const float *)(const void *)group;
    float unit = m->type == TENSOR_F16 ? *(const float *)(const void *)(group + (size_t)m->cols * MATRIX_GROUP * 2) : 1.0f;
    for (size_t k = 0; k < m->cols; k++) {
        float four[MATRIX_GROUP];
        f4_store(four, m->type == TENSOR_F16 ? f4_mul(f4_load_f16(halves + 4 * k), f4_splat(unit)) : f4_load(floats + 4 * k));
        for (size_t row = 0; row < MATRIX_GROUP; row++) values[row * stride + k] = four[row];
    }
}

void matrix_groups(const matrix *m, uint32_t group_begin, uint32_t group_end, float *values, size_t stride) {
    const format *f = format_find(m->type);
    size_t bytes = matrix_group_bytes(m->type, m->cols);
    run r = {m->data + group_begin * bytes, bytes, group_end - group_begin};
    if (f && f->form == CODE_8) groups_unpack(CODE_8, false, f, m->cols, r, values, stride);
    else if (f && f->minimum == MINIMUM_NONE) groups_unpack(CODE_4, false, f, m->cols, r, values, stride);
    else if (f) groups_unpack(CODE_4, true, f, m->cols, r, values, stride);
    else
        for (uint32_t g = 0; g < r.count; g++) group_float(m, r.group + g * bytes, values + g * MATRIX_GROUP * stride, stride);
}
