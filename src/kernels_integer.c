/* kernels_integer.c: the product of quantized weights and quantized activations, one template for all types.
 *
 * For each block of 32 columns the codes of four rows times four columns are unpacked to bytes, one vector, and meet
 * the four activations of each token of the tile (dot_add). Four integer sums come out, one for each row. They are
 * scaled and added to the token's four results, as is the minimum times the sum of the activations.
 *
 * The template is a function whose format and width are constants in each instance, so that all choices are made
 * by the compiler. Integer sums are exact; float sums run over the blocks in order, whatever the width. */
#include "kernels_layout.h"
#include "kernels_multiply.h"

#define TEMPLATE static inline __attribute__((always_inline))

/* The codes of step s of a block: bytes, row by row. */
TEMPLATE u8x16 code_step(code_form form, const uint8_t *block, int s) {
    u8x16 low;
    if (form == CODE_8) return b16_load(block + 16 * s);
    if (form == CODE_2 || form == CODE_3) low = b16_field(b16_load(block + s / 4 * 16), s % 4 * 2, 3);
    else low = b16_field(b16_load(block + s % 4 * 16), s / 4 * 4, 15);
    switch (form) {
    case CODE_3: return b16_or(low, b16_field(b16_load(block + 32), s - 2, 4));
    case CODE_5: return b16_or(low, b16_field(b16_load(block + 64), s - 4, 16));
    case CODE_6: return b16_or(low, b16_field(b16_load(block + 64 + s / 4 * 16), s % 4 * 2 - 4, 48));
    case CODE_TABLE: return b16_lookup(b16_load(kernels_iq4_table), low);
    default: return low;
    }
}

/* Bits of a code as code_step gives it. */
TEMPLATE int code_bits(code_form form) {
    static const int bits[] = {[CODE_2] = 2, [CODE_3] = 3, [CODE_4] = 4, [CODE_5] = 5, [CODE_6] = 6, [CODE_8] = 8,
                               [CODE_TABLE] = 8};
    return bits[form];
}

/* sums[i] += sum over steps [from, to) of codes times activations of token i; of each code the bits [shift, shift +
 * bits). */
TEMPLATE void sum_steps(code_form form, const uint8_t *block, const uint8_t *x, int from, int to, int width,
                        int shift, int bits, i32x4 *sums) {
    for (int room = dot_room(bits); from < to; from += room) {
        dot_sum partial[TILE];
        for (int i = 0; i < width; i++) partial[i] = i4_splat(0);
        for (int s = from; s < to && s < from + room; s++) {
            u8x16 codes = code_step(form, block, s);
            if (bits < code_bits(form)) codes = b16_field(codes, shift, (uint8_t)((1 << bits) - 1));
            dot_codes ready = dot_prepare(codes);
            const uint8_t *items = x + s * width * STEP_BYTES;
            for (int i = 0; i < width; i++, items += STEP_BYTES)
                partial[i] = dot_add(partial[i], ready, (const dot_item *)(const void *)items);
        }
        for (int i = 0; i < width; i++) sums[i] = i4_add(sums[i], i4_from_dot(partial[i]));
    }
}

/* The same for all bits of a code: eight are two times four where the dot takes only seven. */
TEMPLATE void sum_part(code_form form, const uint8_t *block, const uint8_t *x, int from, int to, int width,
                       i32x4 *sums) {
    for (int i = 0; i < width; i++) sums[i] = i4_splat(0);
    if (code_bits(form) <= DOT_BITS) {
        sum_steps(form, block, x, from, to, width, 0, code_bits(form), sums);
        return;
    }
    sum_steps(form, block, x, from, to, width, 4, 4, sums);
    for (int i = 0; i < width; i++) sums[i] = i4_shl(sums[i], 4);
    sum_steps(form, block, x, from, to, width, 0, 4, sums);
}

/* Scale and minimum of four rows in one part of a block, the offset folded into the minimum. */
typedef struct part_scale {
    f32x4 scale, minimum;
} part_scale;

/* scales: of the super-block; at: the part's number in it. */
TEMPLATE part_scale part_scale_load(format f, const uint8_t *scales, uint32_t at) {
    const uint16_t *halves = (const uint16_t *)(const void *)scales;
    part_scale p;
    if (f.super == 1) {
        p.scale = f4_load_f16_finite(halves);
        p.minimum = f.minimum == MINIMUM_HALF ? f4_load_f16_finite(halves + 4)
                                              : f4_mul(p.scale, f4_splat((float)-f.offset));
        return p;
    }
    f32x4 d = f4_load_f16(halves);
    if (f.minimum == MINIMUM_NONE) {
        p.scale = f4_mul(d, f4_load_i8((const int8_t *)(scales + 8 + 4 * at)));
        p.minimum = f4_mul(p.scale, f4_splat((float)-f.offset));
        return p;
    }
    f32x4 m = f4_sub(f4_zero(), f4_load_f16(halves + 4));
    const int8_t *bytes = (const int8_t *)(scales + 16 + (f.minimum == MINIMUM_BYTE ? 8 : 4) * at);
    i32x4 scale = i4_load_i8(bytes), minimum;
    if (f.minimum == MINIMUM_BYTE) {
        minimum = i4_load_i8(bytes + 4);
    } else {
        minimum = i4_and(i4_shr(scale, 4), i4_splat(15));
        scale = i4_and(scale, i4_splat(15));
    }
    p.scale = f4_mul(d, f4_from_i4(scale));
    p.minimum = f4_mul(m, f4_from_i4(minimum));
    return p;
}

/* results[i] += block of four rows times block of token i. */
TEMPLATE void multiply_block(format f, const uint8_t *block, const uint8_t *scales, uint32_t at, const uint8_t *x,
                             int width, f32x4 *results) {
    const float *floats = (const float *)(const void *)(x + STEPS * STEP_BYTES * width);
    for (uint32_t part = 0; part < f.parts; part++) {
        int steps = STEPS / (int)f.parts, from = steps * (int)part;
        const float *x_sums = floats + width * (f.parts == 1 ? 1 : 2 + (int)part);
        i32x4 sums[TILE];
        sum_part(f.form, block, x, from, from + steps, width, sums);
        part_scale p = part_scale_load(f, scales, at * f.parts + part);
        for (int i = 0; i < width; i++) {
            results[i] = f4_madd(results[i], f4_from_i4(sums[i]), f4_mul(p.scale, f4_splat(floats[i])));
            results[i] = f4_madd(results[i], p.minimum, f4_splat(x_sums[i]));
        }
    }
}

static void store_rows(float *y, f32x4 result, uint32_t rows) {
    float four[4];
    f4_store(four, result);
    memcpy(y, four, rows * sizeof(float));
}

TEMPLATE void multiply(format f, const multiply_job *job, int width) {
    const uint8_t *group = job->group;
    float *y = job->y;
    for (uint32_t g = 0; g < job->groups; g++, group += job->group_bytes, y += MATRIX_GROUP) {
        const uint8_t *block = group, *x = job->tile;
        const uint8_t *scales = group + job->blocks * code_block_bytes(f.form);
        f32x4 results[TILE];
        for (int i = 0; i < width; i++) results[i] = f4_zero();
        for (uint32_t b = 0; b < job->blocks; b += f.super, scales += scale_bytes(f)) {
            for (uint32_t at = 0; at < f.super; at++) {
                multiply_block(f, block, scales, at, x, width, results);
                block += code_block_bytes(f.form);
                x += tile_block_bytes((uint32_t)width);
            }
        }
        uint32_t rows = job->rows - g * MATRIX_GROUP;
        for (uint32_t i = 0; i < (uint32_t)width && i < job->columns; i++) {
            if (rows >= MATRIX_GROUP) f4_store(y + i * job->stride, results[i]);
            else store_rows(y + i * job->stride, results[i], rows);
        }
    }
}

#define KERNEL(name, form, parts, super, minimum, offset)                                                     \
    void multiply_##name##_one(const multiply_job *job) {                                                     \
        multiply((format){form, parts, super, minimum, offset}, job, 1);                                      \
    }                                                                                                         \
    void multiply_##name##_tile(const multiply_job *job) {                                                    \
        multiply((format){form, parts, super, minimum, offset}, job, TILE);                                   \
    }
#include "kernels.inc"
#undef KERNEL
