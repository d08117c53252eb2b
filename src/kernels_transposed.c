/* kernels_transposed.c: the product with the transpose, y += W^T x. In a cache rows are tokens: x are the weights that
 * attention gives them, y is the weighted sum of their rows.
 *
 * Quantized rows, a block of 32 columns at a time. The rows' scales go into x, which is then rounded to 16 bits, in
 * units of max |x| max |scale| / 32767 over STRIP rows. Codes are spread to 16 bits, those of two rows side by side for
 * four columns, so that one instruction multiplies and adds two rows and leaves four columns' sums in four lanes:
 *
 *     y[k] += unit * (sum_row x16[row] code[row, k] - offset * sum_row x16[row]) + sum_row x[row] minimum[row]
 *
 * Integer sums are exact: 64 * 32767 * 255 < 2^31. Where x is not finite y is anything: attention's sum of weights is no
 * number then either. */
#include "kernels_layout.h"

#define TEMPLATE static inline __attribute__((always_inline))

enum {
    STRIP = 64,  /* rows */
    ABREAST = 5, /* columns of x in one pass over the codes */
    AHEAD = 8,   /* blocks whose scales are read at once, since each waits for its largest */
};

/* Up to STRIP rows of a matrix, and columns of x that meet them. */
typedef struct strip {
    const matrix *w;
    const uint8_t *group; /* the first of `groups` */
    size_t group_bytes;
    uint32_t groups;
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
} strip;

static inline uint32_t rows_of(const strip *s) { return s->groups * MATRIX_GROUP; }

/* ---- x ------------------------------------------------------------------------------------------------------- */

/* Numbers in units of the largest among them, or of a part of it. It is 0 where all are next to nothing. Behind an odd number
 * of groups stands one of zeros. */
typedef struct relative {
    float number[STRIP + MATRIX_GROUP], largest;
} relative;

/* to->number = from * factor / the largest there is; they may be the same place. */
static void relative_make(relative *to, const float *from, uint32_t rows, float factor) {
    f32x4 most = f4_zero();
    for (uint32_t i = 0; i < rows; i += MATRIX_GROUP) most = f4_max(most, f4_abs(f4_load(from + i)));
    float largest = f4_largest(most);
    to->largest = largest > 0x1p-100f ? largest : 0.0f;
    f32x4 inverse = f4_splat(to->largest > 0 ? factor / largest : 0.0f);
    for (uint32_t i = 0; i < rows; i += MATRIX_GROUP) f4_store(to->number + i, f4_mul(f4_load(from + i), inverse));
    f4_store(to->number + rows, f4_zero());
}

/* One block's scales and minima. */
typedef struct scales {
    relative scale;
    float minimum[STRIP];
} scales;

/* Four halves of each group, the first at `from`. */
static void halves_read(const strip *s, const uint8_t *from, float *to /* [STRIP] */) {
    half_constants c = half_constants_keep();
    for (uint32_t g = 0; g < s->groups; g++, from += s->group_bytes)
        f4_store(to + MATRIX_GROUP * g, f4_load_f16_by((const uint16_t *)(const void *)from, c));
}

static void scales_read(const strip *s, const format *f, uint32_t block, scales *to) {
    const uint8_t *from = s->group + code_bytes(f->form, s->w->cols) + block * scale_bytes(*f);
    halves_read(s, from, to->scale.number);
    relative_make(&to->scale, to->scale.number, rows_of(s), 1.0f);
    if (f->minimum != MINIMUM_NONE) halves_read(s, from + 8, to->minimum);
}

/* One block's x: each column's 16-bit numbers with their unit, offset * sum and sum of x times the minimum. */
typedef struct weights {
    int16_t x[ABREAST][STRIP];
    float unit[ABREAST], minimum[ABREAST];
    int32_t offset[ABREAST];
} weights;

static float dot(const float *x, const float *y, uint32_t n) {
    f32x4 sum = f4_zero();
    for (uint32_t i = 0; i < n; i += MATRIX_GROUP) sum = f4_madd(sum, f4_load(x + i), f4_load(y + i));
    return f4_sum(sum);
}

/* x: in units of the largest / 32767. */
TEMPLATE void weights_make(const strip *s, const format *f, const relative *x, const scales *block, int width, weights *w) {
    i32x4 bias = i4_keep(ROUND_BIAS), sum[ABREAST];
    f32x4 shift = f4_keep(ROUND_SHIFT);
    UNROLL for (int c = 0; c < width; c++) sum[c] = i4_splat(0);
    for (uint32_t i = 0; i < rows_of(s); i += 2 * MATRIX_GROUP) {
        f32x4 scale = f4_load(block->scale.number + i), next = f4_load(block->scale.number + i + MATRIX_GROUP);
        UNROLL for (int c = 0; c < width; c++) {
            i32x4 low = i4_sub(i4_of_bits(f4_madd(shift, f4_load(x[c].number + i), scale)), bias);
            i32x4 high = i4_sub(i4_of_bits(f4_madd(shift, f4_load(x[c].number + i + MATRIX_GROUP), next)), bias);
            i4_store_i16(w->x[c] + i, low, high);
            sum[c] = i4_add(sum[c], i4_add(low, high));
        }
    }
    UNROLL for (int c = 0; c < width; c++) {
        w->unit[c] = x[c].largest * block->scale.largest / 32767.0f;
        w->offset[c] = (int32_t)((uint32_t)f->offset * (uint32_t)i4_sum(sum[c]));
        w->minimum[c] = f->minimum == MINIMUM_NONE ? 0.0f : dot(s->x + (size_t)c * s->x_stride, block->minimum, rows_of(s));
    }
}

/* ---- codes ----------------------------------------------------------------------------------------------------- */

typedef struct constants {
    u8x16 rows[2], nibble; /* b16_spread: rows 0 and 1, rows 2 and 3; the low four of sixteen bits */
} constants;

/* Four columns of all rows, and with nibbles the four that lie 16 columns further on: y += what weights say. */
TEMPLATE void add_step(const strip *s, code_form form, const uint8_t *codes, const weights *w, int width,
                       const constants *c, float *y) {
    enum { HALVES = 2 };
    const int halves = form == CODE_4 ? HALVES : 1;
    i32x4 sums[ABREAST][HALVES];
    UNROLL for (int i = 0; i < width; i++) sums[i][0] = sums[i][1] = i4_sub(i4_splat(0), i4_splat(w->offset[i]));
    const int16_t *x = w->x[0];
    KEEP_LOOP for (uint32_t g = 0; g < s->groups; g++, codes += s->group_bytes, x += MATRIX_GROUP) {
        u8x16 bytes = b16_load(codes);
        UNROLL for (int pair = 0; pair < 2; pair++) {
            u8x16 both = b16_spread(bytes, c->rows[pair]), half[HALVES];
            half[0] = form == CODE_4 ? b16_and(both, c->nibble) : both;
            half[1] = b16_shr(both, 4);
            UNROLL for (int i = 0; i < width; i++)
                UNROLL for (int h = 0; h < halves; h++) sums[i][h] = i4_add_pairs(sums[i][h], half[h], x + i * STRIP + 2 * pair);
        }
    }
    UNROLL for (int i = 0; i < width; i++)
        UNROLL for (int h = 0; h < halves; h++) {
            float *to = y + (size_t)i * s->y_stride + COLUMN_BLOCK / 2 * h;
            f32x4 all = f4_madd(f4_splat(w->minimum[i]), f4_from_i4(sums[i][h]), f4_splat(w->unit[i]));
            f4_store(to, f4_add(f4_load(to), all));
        }
}

/* One block of W against `width` columns of x. */
TEMPLATE void add_block(const strip *s, const format *f, code_form form, uint32_t block, const relative *x,
                        const scales *of_block, int width) {
    weights w;
    weights_make(s, f, x, of_block, width, &w);
    constants c = {{pair_keep(0), pair_keep(1)}, b16_of_bits(i4_keep(0x000f000f))};
    uint32_t left = s->w->cols - block * COLUMN_BLOCK;
    uint32_t steps = form == CODE_4 ? STEPS / 2 : left < COLUMN_BLOCK ? (left + 3) / 4 : STEPS;
    const uint8_t *codes = s->group + block * code_block_bytes(form);
    for (uint32_t j = 0; j < steps; j++)
        add_step(s, form, codes + 16 * j, &w, width, &c, s->y + block * COLUMN_BLOCK + 4 * j);
}

#define BLOCK_KERNEL(form, width)                                                                              \
    static void add_##form##_##width(const strip *s, const format *f, uint32_t block, const relative *x,       \
                                     const scales *of_block) {                                                 \
        add_block(s, f, form, block, x, of_block, width);                                                      \
    }
#define BLOCK_KERNELS(form)                                                                                   \
    BLOCK_KERNEL(form, 1) BLOCK_KERNEL(form, 2) BLOCK_KERNEL(form, 3) BLOCK_KERNEL(form, 4) BLOCK_KERNEL(form, 5)
BLOCK_KERNELS(CODE_4)
BLOCK_KERNELS(CODE_8)

typedef void block_kernel(const strip *s, const format *f, uint32_t block, const relative *x, const scales *of_block);
static block_kernel *const nibble_kernels[ABREAST] = {add_CODE_4_1, add_CODE_4_2, add_CODE_4_3, add_CODE_4_4, add_CODE_4_5};
static block_kernel *const byte_kernels[ABREAST] = {add_CODE_8_1, add_CODE_8_2, add_CODE_8_3, add_CODE_8_4, add_CODE_8_5};

/* n columns in as few passes as there can be, as even as there can be: nine are five and four. */
static uint32_t pass_width(uint32_t n) {
    uint32_t passes = (n + ABREAST - 1) / ABREAST;
    return (n + passes - 1) / passes;
}

static void add_blocks(const strip *whole, const format *f, uint32_t n, uint32_t first, uint32_t count) {
    block_kernel *const *kernels = f->form == CODE_8 ? byte_kernels : nibble_kernels;
    strip s = *whole;
    scales of_block[AHEAD];
    relative x[ABREAST];
    for (uint32_t b = 0; b < count; b++) scales_read(&s, f, first + b, &of_block[b]);
    for (uint32_t i = 0, width; i < n; i += width, s.x += width * s.x_stride, s.y += width * s.y_stride) {
        width = pass_width(n - i);
        for (uint32_t c = 0; c < width; c++) relative_make(&x[c], s.x + c * s.x_stride, rows_of(&s), 32767.0f);
        for (uint32_t b = 0; b < count; b++) kernels[width - 1](&s, f, first + b, x, &of_block[b]);
    }
}

static void add_codes(const strip *s, const format *f, uint32_t n) {
    uint32_t blocks = blocks_of(s->w->cols);
    for (uint32_t b = 0; b < blocks; b += AHEAD) add_blocks(s, f, n, b, blocks - b < AHEAD ? blocks - b : AHEAD);
}

/* ---- floats ---------------------------------------------------------------------------------------------------- */

/* For each column the four rows' values lie side by side, as x does. */
TEMPLATE void add_floats(const strip *s, tensor_type type, uint32_t n) {
    half_constants c = half_constants_keep();
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < s->w->cols; k++) {
            const uint8_t *group = s->group;
            f32x4 sum = f4_zero();
            for (uint32_t g = 0; g < s->groups; g++, group += s->group_bytes) {
                const uint16_t *halves = (const uint16_t *)(const void *)group;
                const float *floats = (const float *)(const void *)group, *x = s->x + i * s->x_stride + MATRIX_GROUP * g;
                if (type == TENSOR_F32) {
                    sum = f4_madd(sum, f4_load(floats + MATRIX_GROUP * k), f4_load(x));
                    continue;
                }
                float unit = *(const float *)(const void *)(halves + MATRIX_GROUP * s->w->cols);
                sum = f4_madd(sum, f4_mul(f4_load_f16_by(halves + MATRIX_GROUP * k, c), f4_splat(unit)), f4_load(x));
            }
            s->y[i * s->y_stride + k] += f4_sum(sum);
        }
}

/* ---- the product ------------------------------------------------------------------------------------------------ */

static void strip_multiply(const strip *s, uint32_t n) {
    const format *f = format_find(s->w->type);
    if (f) add_codes(s, f, n);
    else if (s->w->type == TENSOR_F16) add_floats(s, TENSOR_F16, n);
    else add_floats(s, TENSOR_F32, n);
}

void matrix_multiply_transposed(const matrix *w, uint32_t group_begin, uint32_t group_end, const float *x,
                                size_t x_stride, uint32_t n, float *y, size_t y_stride) {
    strip s = {.w = w, .group_bytes = matrix_group_bytes(w->type, w->cols), .x_stride = x_stride, .y_stride = y_stride};
    for (uint32_t g = group_begin; g < group_end; g += s.groups) {
        s.groups = group_end - g < STRIP / MATRIX_GROUP ? group_end - g : STRIP / MATRIX_GROUP;
        s.group = w->data + g * s.group_bytes;
        s.x = x + (size_t)(g - group_begin) * MATRIX_GROUP;
        s.y = y;
        strip_multiply(&s, n);
    }
}
