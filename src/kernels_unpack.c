/* kernels_unpack.c: the values of a group of four rows, fast: the rows of a cache are read back in this way for every
 * token. Results are those of matrix_row, bit for bit but for the sign of zeros. */
#include "f16.h"
#include "kernels_layout.h"

#define TEMPLATE static inline __attribute__((always_inline))

/* What a row's codes of one block become values with: value = code * scale + base. */
typedef struct line {
    f32x4 scale[MATRIX_GROUP], base[MATRIX_GROUP];
} line;

/* Four columns of each row, from the bytes of one step. A code times a half is exact, so that one rounding or two make
 * no difference. */
TEMPLATE void put_step(u8x16 codes, const line *l, float *values, size_t stride) {
    UNROLL for (int row = 0; row < MATRIX_GROUP; row++)
        f4_store(values + (size_t)row * stride, f4_madd(l->base[row], f4_from_i4(i4_from_bytes(codes, row)), l->scale[row]));
}

TEMPLATE line line_load(const format *f, const uint8_t *scales) {
    const uint16_t *halves = (const uint16_t *)(const void *)scales;
    line l;
    UNROLL for (int row = 0; row < MATRIX_GROUP; row++) {
        float scale = f32_of_f16(halves[row]);
        l.scale[row] = f4_splat(scale);
        l.base[row] = f4_splat(f->minimum == MINIMUM_NONE ? -scale * (float)f->offset : f32_of_f16(halves[4 + row]));
    }
    return l;
}

static void block_nibbles(const uint8_t *block, const line *l, float *values, size_t stride) {
    u8x16 low = b16_keep(15);
    for (int j = 0; j < STEPS / 2; j++, values += 4) {
        u8x16 both = b16_load(block + 16 * j);
        put_step(b16_and(both, low), l, values, stride);
        put_step(b16_and(b16_shr(both, 4), low), l, values + COLUMN_BLOCK / 2, stride);
    }
}

static void block_bytes(const uint8_t *block, const line *l, float *values, size_t stride) {
    for (int j = 0; j < STEPS; j++) put_step(b16_load(block + 16 * j), l, values + 4 * j, stride);
}

static void group_integer(const matrix *m, const format *f, const uint8_t *group, float *values, size_t stride) {
    size_t blocks = m->cols / COLUMN_BLOCK, bytes = code_block_bytes(f->form);
    const uint8_t *scales = group + blocks * bytes;
    for (size_t b = 0; b < blocks; b++, values += COLUMN_BLOCK) {
        line l = line_load(f, scales + b * scale_bytes(*f));
        if (f->form == CODE_4) block_nibbles(group + b * bytes, &l, values, stride);
        else block_bytes(group + b * bytes, &l, values, stride);
    }
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

void matrix_group(const matrix *m, uint32_t group, float *values, size_t stride) {
    const format *f = format_find(m->type);
    const uint8_t *data = m->data + group * matrix_group_bytes(m->type, m->cols);
    if (f) group_integer(m, f, data, values, stride);
    else group_float(m, data, values, stride);
}
