/* kernels.c: sizes, the activations' side of a product, and the choice of the kernel.
 *
 * Activations are quantized to 8 bits in blocks of 32: scale = max |x| / 127, code = round(x / scale). A product with
 * weights scale_w * code_w + min_w is then, for each block,
 *
 *     sum_k w x  =  scale_w * scale_x * sum(code_w * code_x)  +  min_w * scale_x * sum(code_x)
 *
 * where the first sum is an integer dot product and the last factors are prepared here, once for all matrices. */
#include "kernels.h"

#include "kernels_layout.h"
#include "kernels_multiply.h"

static const struct {
    tensor_type type;
    format format;
    multiply_kernel *one, *tile, *five; /* five: NULL but for the types of caches */
} integer_kernels[] = {
#define ROW(name, form, parts, super, minimum, offset, five)                                                  \
    {TENSOR_##name, {form, parts, super, minimum, offset}, multiply_##name##_one, multiply_##name##_tile, five},
#define KERNEL(name, ...) ROW(name, __VA_ARGS__, NULL)
#define CACHED(name, ...) ROW(name, __VA_ARGS__, multiply_##name##_five)
#include "kernels.inc"
#undef KERNEL
#undef ROW
};
enum { INTEGER_KERNELS = sizeof integer_kernels / sizeof integer_kernels[0] };

static int integer_kernel(tensor_type type) {
    int i = INTEGER_KERNELS - 1;
    while (i >= 0 && integer_kernels[i].type != type) i--;
    return i;
}

const format *format_find(tensor_type type) {
    int i = integer_kernel(type);
    return i < 0 ? NULL : &integer_kernels[i].format;
}

/* ---- sizes ------------------------------------------------------------------------------------------------- */

size_t matrix_group_bytes(tensor_type type, uint32_t cols) {
    const format *f = format_find(type);
    size_t end = type == TENSOR_F16 ? sizeof(float) : 0;
    if (!f) return (MATRIX_GROUP * tensor_row_bytes(type, cols) + end + 7) / 8 * 8;
    return (code_bytes(f->form, cols) + blocks_of(cols) / f->super * scale_bytes(*f) + 7) / 8 * 8;
}

size_t matrix_bytes(tensor_type type, uint32_t rows, uint32_t cols) {
    return ((size_t)rows + MATRIX_GROUP - 1) / MATRIX_GROUP * matrix_group_bytes(type, cols);
}

uint64_t columns_bytes(uint32_t n, uint32_t cols) {
    uint64_t width = (uint64_t)n / TILE * TILE + (n % TILE == 0 ? 0 : tile_width(n, n / TILE * TILE));
    return width * blocks_of(cols) * tile_block_bytes(1);
}

/* ---- activations ------------------------------------------------------------------------------------------- */

static uint8_t *tile_at(const columns *c, uint32_t first) {
    return c->packed + (size_t)first * blocks_of(c->cols) * tile_block_bytes(1);
}

/* Quantize one block of 32 of one token into its place in a tile's block. */
static void block_pack(const float *x /* [32] */, uint8_t *block, uint32_t width, uint32_t lane) {
    f32x4 v[STEPS], largest = f4_zero();
    for (int s = 0; s < STEPS; s++) {
        v[s] = f4_load(x + 4 * s);
        largest = f4_max(largest, f4_abs(v[s]));
    }
    float limit = f4_largest(largest), scale = limit / 127.0f;
    f32x4 inverse = f4_splat(limit > 0x1p-120f ? 127.0f / limit : 0.0f);
    i32x4 sums[2] = {i4_splat(0), i4_splat(0)};
    for (int s = 0; s < STEPS; s++) {
        i32x4 code = i4_round(f4_mul(v[s], inverse));
        sums[s / 4] = i4_add(sums[s / 4], code);
        dot_store((dot_item *)(void *)(block + ((uint32_t)s * width + lane) * STEP_BYTES), code);
    }
    float first = f4_sum(f4_from_i4(sums[0])), last = f4_sum(f4_from_i4(sums[1]));
    float *floats = (float *)(void *)(block + (size_t)STEPS * width * STEP_BYTES) + lane;
    floats[0] = scale;
    floats[width] = scale * (first + last);
    floats[2 * width] = scale * first;
    floats[3 * width] = scale * last;
}

/* One token into its lane; x is NULL for a lane that pads a tile. */
static void column_pack(const float *x, uint32_t cols, uint8_t *tile, uint32_t width, uint32_t lane) {
    for (uint32_t k = 0; k < cols; k += COLUMN_BLOCK, tile += tile_block_bytes(width)) {
        uint32_t left = cols - k;
        float padded[COLUMN_BLOCK] = {0};
        if (x && left < COLUMN_BLOCK) memcpy(padded, x + k, left * sizeof(float));
        block_pack(x && left >= COLUMN_BLOCK ? x + k : padded, tile, width, lane);
    }
}

void columns_pack(const columns *c, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; i++) {
        uint32_t first = i / TILE * TILE, width = tile_width(c->n, first);
        column_pack(column_of(c, i), c->cols, tile_at(c, first), width, i - first);
        if (i + 1 < c->n) continue;
        for (uint32_t lane = c->n - first; lane < width; lane++)
            column_pack(NULL, c->cols, tile_at(c, first), width, lane);
    }
}

/* ---- the product ------------------------------------------------------------------------------------------- */

/* Tiles outside, groups inside: a tile's activations stay in the nearest cache while the groups pass by. */
static void multiply_integer(const matrix *w, const columns *c, multiply_job job, int kernel) {
    multiply_kernel *five = integer_kernels[kernel].five;
    job.blocks = blocks_of(w->cols);
    job.code_bytes = code_bytes(integer_kernels[kernel].format.form, w->cols);
    for (uint32_t first = 0; first < c->n; first += job.columns, job.y += job.columns * job.stride) {
        uint32_t left = c->n - first;
        job.columns = left < TILE ? left : left == TILE + 1 && five ? left : TILE;
        job.tile = tile_at(c, first);
        job.last = job.columns > TILE ? tile_at(c, first + TILE) : NULL;
        if (job.columns > TILE) five(&job);
        else if (left == 1) integer_kernels[kernel].one(&job);
        else integer_kernels[kernel].tile(&job);
    }
}

void matrix_multiply(const matrix *w, const columns *c, uint32_t group_begin, uint32_t group_end, float *y,
                     size_t stride) {
    if (group_begin >= group_end) return;
    size_t group_bytes = matrix_group_bytes(w->type, w->cols);
    multiply_job job = {.group = w->data + group_begin * group_bytes, .group_bytes = group_bytes,
                        .groups = group_end - group_begin, .rows = w->rows - group_begin * MATRIX_GROUP,
                        .y = y + (size_t)group_begin * MATRIX_GROUP, .stride = stride};
    int kernel = integer_kernel(w->type);
    if (kernel >= 0) multiply_integer(w, c, job, kernel);
    else multiply_float(w, c, job);
}
