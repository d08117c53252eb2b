/* kernels_float.c: the product of weights in F32, F16 and BF16 with activations in f32.
 *
 * Weights stay in memory as they came and become f32 on the way: for each column four values, one of each row, against
 * a splat of each token's activation. Four tokens, or four groups of rows for a single token, are computed at once so
 * that the additions of one do not wait for those of another. Each sum runs over the columns in order. */
#include "kernels_layout.h"
#include "kernels_multiply.h"

#define TEMPLATE static inline __attribute__((always_inline))
enum { AT_ONCE = 4 };

/* The four rows' weights of column k. */
TEMPLATE f32x4 weights_load(tensor_type type, const uint8_t *group, uint32_t k, const half_constants *c) {
    const uint16_t *halves = (const uint16_t *)(const void *)group + (size_t)k * 4;
    if (type == TENSOR_F32) return f4_load((const float *)(const void *)group + (size_t)k * 4);
    return type == TENSOR_F16 ? f4_load_f16_by(halves, *c) : f4_load_bf16(halves);
}

/* One group against `width` tokens, `stride` floats apart. */
TEMPLATE void sum_tokens(tensor_type type, const uint8_t *group, const float *x, size_t stride, uint32_t cols,
                         int width, f32x4 *sums) {
    half_constants c = half_constants_keep();
    for (int i = 0; i < width; i++) sums[i] = f4_zero();
    for (uint32_t k = 0; k < cols; k++) {
        f32x4 weights = weights_load(type, group, k, &c);
        for (int i = 0; i < width; i++)
            sums[i] = f4_madd(sums[i], weights, f4_splat(x[(size_t)i * stride + k]));
    }
}

/* `count` groups against one token. */
TEMPLATE void sum_groups(tensor_type type, const uint8_t *group, size_t group_bytes, const float *x, uint32_t cols,
                         int count, f32x4 *sums) {
    half_constants c = half_constants_keep();
    for (int i = 0; i < count; i++) sums[i] = f4_zero();
    for (uint32_t k = 0; k < cols; k++)
        for (int i = 0; i < count; i++)
            sums[i] = f4_madd(sums[i], weights_load(type, group + (size_t)i * group_bytes, k, &c), f4_splat(x[k]));
}

/* What a group's sums are to be multiplied by. */
TEMPLATE float unit_of(tensor_type type, const uint8_t *group, uint32_t cols) {
    return type == TENSOR_F16 ? *(const float *)(const void *)(group + (size_t)cols * MATRIX_GROUP * 2) : 1.0f;
}

static void store_rows(float *y, f32x4 result, float unit, uint32_t rows) {
    float four[4];
    f4_store(four, f4_mul(result, f4_splat(unit)));
    memcpy(y, four, (rows < MATRIX_GROUP ? rows : MATRIX_GROUP) * sizeof(float));
}

/* All groups of the job against one token. */
TEMPLATE void multiply_one(tensor_type type, const multiply_job *job, const float *x, uint32_t cols) {
    f32x4 sums[AT_ONCE];
    for (uint32_t g = 0; g < job->groups;) {
        const uint8_t *group = job->group + g * job->group_bytes;
        uint32_t count = job->groups - g >= AT_ONCE ? AT_ONCE : 1;
        if (count == AT_ONCE) sum_groups(type, group, job->group_bytes, x, cols, AT_ONCE, sums);
        else sum_groups(type, group, job->group_bytes, x, cols, 1, sums);
        for (uint32_t i = 0; i < count; i++, g++)
            store_rows(job->y + g * MATRIX_GROUP, sums[i], unit_of(type, job->group + g * job->group_bytes, cols),
                       job->rows - g * MATRIX_GROUP);
    }
}

/* All groups of the job against AT_ONCE tokens. */
TEMPLATE void multiply_tokens(tensor_type type, const multiply_job *job, const float *x, size_t stride, uint32_t cols) {
    f32x4 sums[AT_ONCE];
    for (uint32_t g = 0; g < job->groups; g++) {
        const uint8_t *group = job->group + g * job->group_bytes;
        float unit = unit_of(type, group, cols);
        sum_tokens(type, group, x, stride, cols, AT_ONCE, sums);
        for (uint32_t i = 0; i < AT_ONCE; i++)
            store_rows(job->y + i * job->stride + g * MATRIX_GROUP, sums[i], unit, job->rows - g * MATRIX_GROUP);
    }
}

#define FLOAT_KERNEL(name)                                                                                    \
    static void multiply_##name##_one(const multiply_job *job, const float *x, size_t stride, uint32_t cols) {  \
        (void)stride;                                                                                         \
        multiply_one(TENSOR_##name, job, x, cols);                                                            \
    }                                                                                                         \
    static void multiply_##name##_tokens(const multiply_job *job, const float *x, size_t stride, uint32_t cols) { \
        multiply_tokens(TENSOR_##name, job, x, stride, cols);                                                         \
    }
FLOAT_KERNEL(F32)
FLOAT_KERNEL(F16)
FLOAT_KERNEL(BF16)
#undef FLOAT_KERNEL

void multiply_float(const matrix *w, const columns *c, multiply_job job) {
    typedef void float_kernel(const multiply_job *, const float *, size_t, uint32_t);
    float_kernel *one = w->type == TENSOR_F32   ? multiply_F32_one
                        : w->type == TENSOR_F16 ? multiply_F16_one
                                                : multiply_BF16_one;
    float_kernel *tokens = w->type == TENSOR_F32   ? multiply_F32_tokens
                           : w->type == TENSOR_F16 ? multiply_F16_tokens
                                                   : multiply_BF16_tokens;
    for (uint32_t i = 0; i < c->n;) {
        uint32_t count = c->n - i >= AT_ONCE ? AT_ONCE : 1;
        (count == 1 ? one : tokens)(&job, column_of(c, i), c->stride ? c->stride : c->cols, w->cols);
        job.y += count * job.stride;
        i += count;
    }
}
