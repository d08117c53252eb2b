/* kernels_integer.c: the product of quantized weights and quantized activations, one template for all types.
 *
 * For each block of 32 columns the codes of four rows times four columns are unpacked to bytes, one vector, and meet
 * the four activations of each token of the tile (dot_add). Four integer sums come out, one for each row. They are
 * scaled and added to the token's four results, as is the minimum times the sum of the activations.
 *
 * Two groups of rows go side by side, so that an activation is fetched once for eight rows. The template is a function
 * whose format and width are constants in each instance: all choices are made by the compiler. Integer sums are exact;
 * float sums run over the blocks in order, whatever the width. */
#include "kernels_layout.h"
#include "kernels_multiply.h"

#define TEMPLATE static inline __attribute__((always_inline))

enum { ABREAST = 2 /* groups side by side */, HALF_STEPS = STEPS / 2, WIDEST = TILE + 1 };

/* Which bits of a code a product takes: all, or four of eight where the dot takes only seven. */
typedef enum code_bits { BITS_ALL, BITS_LOW, BITS_HIGH } code_bits;

/* Constants of a format, kept in registers (simd.h). */
typedef struct constants {
    u8x16 low, high;  /* masks of the plane of low bits and of the rest, where that lands in the code */
    u8x16 nibble, even; /* masks of half a byte, of each even byte */
    u8x16 table;
    half_constants half;
    f32x4 offset; /* minus the format's */
} constants;

TEMPLATE constants constants_keep(format f) {
    constants c = {.low = b16_keep(f.form == CODE_2 || f.form == CODE_3 ? 3 : 15),
                   .high = b16_keep(f.form == CODE_3 ? 4 : f.form == CODE_5 ? 16 : 48),
                   .nibble = b16_keep(15),
                   .even = dot_even_keep(),
                   .half = half_constants_keep(),
                   .offset = f4_keep((float)-f.offset)};
    return c;
}

/* ---- codes ------------------------------------------------------------------------------------------------- */

/* The planes that steps share, shifted on from step to step: two of two bits (steps 0 to 3, 4 to 7), one of one bit. */
typedef struct planes {
    u8x16 two[2], one;
} planes;

TEMPLATE planes planes_load(code_form form, const uint8_t *block) {
    planes p = {{b16_splat(0), b16_splat(0)}, b16_splat(0)};
    if (form == CODE_2 || form == CODE_3) p.two[0] = b16_load(block), p.two[1] = b16_load(block + 16);
    if (form == CODE_6) p.two[0] = b16_load(block + 64), p.two[1] = b16_load(block + 80);
    if (form == CODE_3) p.one = b16_load(block + 32);
    if (form == CODE_5) p.one = b16_load(block + 64);
    return p;
}

TEMPLATE void planes_shift(code_form form, planes *p) {
    if (form == CODE_2 || form == CODE_3 || form == CODE_6)
        p->two[0] = b16_shr(p->two[0], 2), p->two[1] = b16_shr(p->two[1], 2);
    if (form == CODE_3 || form == CODE_5) p->one = b16_shr(p->one, 1);
}

/* The codes of step j (half 0) or j + 4 (half 1), bytes row by row; at: the block's byte 16 j; p: shifted j times. */
TEMPLATE u8x16 code_step(code_form form, code_bits bits, const uint8_t *at, const planes *p, int half,
                         const constants *c) {
    u8x16 code;
    if (form == CODE_2 || form == CODE_3) {
        code = b16_and(p->two[half], c->low);
        if (form == CODE_2) return code;
        return b16_or(code, b16_and(half ? b16_shr(p->one, 2) : b16_shl(p->one, 2), c->high));
    }
    if (form == CODE_8) {
        code = b16_load(at + 64 * half);
        if (bits == BITS_ALL) return code;
        return b16_and(bits == BITS_HIGH ? b16_shr(code, 4) : code, c->nibble);
    }
    code = b16_load(at);
    code = b16_and(half ? b16_shr(code, 4) : code, c->low);
    if (form == CODE_TABLE) return b16_lookup(c->table, code);
    if (form == CODE_5) return b16_or(code, b16_and(half ? p->one : b16_shl(p->one, 4), c->high));
    if (form == CODE_6) return b16_or(code, b16_and(b16_shl(p->two[half], 4), c->high));
    return code;
}

TEMPLATE int bits_of(code_form form, code_bits bits) {
    if (bits != BITS_ALL) return 4;
    switch (form) {
    case CODE_2: return 2;
    case CODE_3: return 3;
    case CODE_4: return 4;
    case CODE_5: return 5;
    case CODE_6: return 6;
    default: return 8;
    }
}

/* ---- integer sums ------------------------------------------------------------------------------------------ */

/* One block of several groups against the same block of a tile, and of the tile of one behind it. */
typedef struct pair {
    const uint8_t *blocks[ABREAST], *x, *last;
} pair;

/* Token number i of `width`: its four activations of a step, and the block's floats (kernels_layout.h). */
TEMPLATE const dot_item *items_at(pair p, int step, int i, int width) {
    const uint8_t *at = i == TILE ? p.last + step * STEP_BYTES : p.x + (step * (width > TILE ? TILE : width) + i) * STEP_BYTES;
    return (const dot_item *)(const void *)at;
}
TEMPLATE float float_at(pair p, int number, int i, int width) {
    int tile = i == TILE ? 1 : width > TILE ? TILE : width;
    const float *floats = (const float *)(const void *)((i == TILE ? p.last : p.x) + STEPS * STEP_BYTES * tile);
    return floats[tile * number + i % TILE % tile];
}

/* Add steps j and j + 4 (both, or the half `first` = `last`) to partial [ABREAST][TILE]. */
TEMPLATE void add_step(code_form form, code_bits bits, pair p, int j, int first, int last, int width,
                       const constants *c, const planes *shared, dot_sum (*partial)[WIDEST]) {
    UNROLL for (int half = first; half <= last; half++) {
        dot_codes codes[ABREAST];
        UNROLL for (int g = 0; g < ABREAST; g++)
            codes[g] = dot_prepare(code_step(form, bits, p.blocks[g] + 16 * j, &shared[g], half, c), c->even);
        UNROLL for (int i = 0; i < width; i++) {
            const dot_item *x = items_at(p, j + HALF_STEPS * half, i, width);
            UNROLL for (int g = 0; g < ABREAST; g++) partial[g][i] = dot_add(partial[g][i], codes[g], x);
        }
    }
}

/* sums [ABREAST][TILE] += the product of all steps of the halves `first` to `last`. */
TEMPLATE void add_steps(code_form form, code_bits bits, pair p, int first, int last, int width, const constants *c,
                        i32x4 (*sums)[WIDEST]) {
    int room = dot_room(bits_of(form, bits)) / (last - first + 1), rounds = room < HALF_STEPS ? room : HALF_STEPS;
    planes shared[ABREAST];
    UNROLL for (int g = 0; g < ABREAST; g++) shared[g] = planes_load(form, p.blocks[g]);
    KEEP_LOOP for (int from = 0; from < HALF_STEPS; from += rounds) {
        dot_sum partial[ABREAST][WIDEST];
        UNROLL for (int g = 0; g < ABREAST; g++)
            UNROLL for (int i = 0; i < width; i++) partial[g][i] = i4_splat(0);
        KEEP_LOOP for (int j = from; j < from + rounds; j++) {
            add_step(form, bits, p, j, first, last, width, c, shared, partial);
            UNROLL for (int g = 0; g < ABREAST; g++) planes_shift(form, &shared[g]);
        }
        UNROLL for (int g = 0; g < ABREAST; g++)
            UNROLL for (int i = 0; i < width; i++) sums[g][i] = i4_add(sums[g][i], i4_from_dot(partial[g][i]));
    }
}

/* The same for all bits of the codes. */
TEMPLATE void add_part(code_form form, pair p, int first, int last, int width, const constants *c,
                       i32x4 (*sums)[WIDEST]) {
    constants own = *c;
    if (form == CODE_TABLE) own.table = b16_load(kernels_iq4_table[BITS_ALL]);
    if (bits_of(form, BITS_ALL) <= DOT_BITS) {
        add_steps(form, BITS_ALL, p, first, last, width, &own, sums);
        return;
    }
    if (form == CODE_TABLE) own.table = b16_load(kernels_iq4_table[BITS_HIGH]);
    add_steps(form, BITS_HIGH, p, first, last, width, &own, sums);
    UNROLL for (int g = 0; g < ABREAST; g++)
        UNROLL for (int i = 0; i < width; i++) sums[g][i] = i4_shl(sums[g][i], 4);
    if (form == CODE_TABLE) own.table = b16_load(kernels_iq4_table[BITS_LOW]);
    add_steps(form, BITS_LOW, p, first, last, width, &own, sums);
}

/* ---- scales ------------------------------------------------------------------------------------------------ */

/* Scale and minimum of four rows: of a super-block, or of a part with the offset folded into the minimum. */
typedef struct scale {
    f32x4 d, m;
} scale;

/* The halves. Those of large super-blocks are often subnormal, and seldom read. */
TEMPLATE scale scale_head(format f, const uint8_t *scales, const constants *c) {
    const uint16_t *halves = (const uint16_t *)(const void *)scales;
    scale s = {f.super == 1 ? f4_load_f16_by(halves, c->half) : f4_load_f16(halves), f4_zero()};
    if (f.minimum == MINIMUM_NONE) return s;
    if (f.super == 1) s.m = f4_load_f16_by(halves + 4, c->half);
    else s.m = f4_sub(f4_zero(), f4_load_f16(halves + 4));
    return s;
}

/* The scale of part number `part` of the super-block. */
TEMPLATE scale scale_part(format f, scale head, const uint8_t *scales, uint32_t part, const constants *c) {
    const int8_t *bytes = (const int8_t *)scales;
    if (f.super > 1 && f.minimum == MINIMUM_BYTE) {
        bytes += 16 + 8 * part;
        return (scale){f4_mul(head.d, f4_load_i8(bytes)), f4_mul(head.m, f4_load_i8(bytes + 4))};
    }
    if (f.super > 1 && f.minimum == MINIMUM_NIBBLE) {
        i32x4 both = i4_load_i8(bytes + 16 + 4 * part);
        i32x4 high = i4_and(i4_shr(both, 4), i4_splat(15)), low = i4_and(both, i4_splat(15));
        return (scale){f4_mul(head.d, f4_from_i4(low)), f4_mul(head.m, f4_from_i4(high))};
    }
    if (f.super > 1) head.d = f4_mul(head.d, f4_load_i8(bytes + 8 + 4 * part));
    if (f.minimum == MINIMUM_NONE) head.m = f4_mul(head.d, c->offset);
    return head;
}

/* ---- the product ------------------------------------------------------------------------------------------- */

/* results += one block of all groups times the tile's. */
TEMPLATE void multiply_block(format f, pair p, const uint8_t *const *scales, const scale *heads, uint32_t at, int width,
                             const constants *c, f32x4 (*results)[WIDEST]) {
    UNROLL for (int part = 0; part < (int)f.parts; part++) {
        const int x_sum = f.parts == 1 ? 1 : 2 + part;
        i32x4 sums[ABREAST][WIDEST];
        UNROLL for (int g = 0; g < ABREAST; g++)
            UNROLL for (int i = 0; i < width; i++) sums[g][i] = i4_splat(0);
        add_part(f.form, p, part, f.parts == 1 ? 1 : part, width, c, sums);
        UNROLL for (int g = 0; g < ABREAST; g++) {
            scale s = scale_part(f, heads[g], scales[g], at * f.parts + (uint32_t)part, c);
            UNROLL for (int i = 0; i < width; i++) {
                results[g][i] = f4_madd(results[g][i], f4_from_i4(sums[g][i]), f4_mul(s.d, f4_splat(float_at(p, 0, i, width))));
                results[g][i] = f4_madd(results[g][i], s.m, f4_splat(float_at(p, x_sum, i, width)));
            }
        }
    }
}

/* results = whole rows of all groups times the tile. */
TEMPLATE void multiply_rows(format f, const uint8_t *const *groups, const multiply_job *job, int width,
                            const constants *c, f32x4 (*results)[WIDEST]) {
    pair p = {.x = job->tile, .last = job->last};
    const uint8_t *scales[ABREAST];
    UNROLL for (int g = 0; g < ABREAST; g++) {
        p.blocks[g] = groups[g];
        scales[g] = groups[g] + job->code_bytes;
        UNROLL for (int i = 0; i < width; i++) results[g][i] = f4_zero();
    }
    for (uint32_t b = 0; b < job->blocks; b += f.super) {
        scale heads[ABREAST];
        UNROLL for (int g = 0; g < ABREAST; g++) heads[g] = scale_head(f, scales[g], c);
        KEEP_LOOP for (uint32_t at = 0; at < f.super; at++) {
            multiply_block(f, p, scales, heads, at, width, c, results);
            UNROLL for (int g = 0; g < ABREAST; g++) p.blocks[g] += code_block_bytes(f.form);
            p.x += tile_block_bytes(width > TILE ? TILE : (uint32_t)width);
            if (width > TILE) p.last += tile_block_bytes(1);
        }
        UNROLL for (int g = 0; g < ABREAST; g++) scales[g] += scale_bytes(f);
    }
}

static void store_rows(float *y, f32x4 result, uint32_t rows) {
    float four[4];
    f4_store(four, result);
    for (uint32_t r = 0; r < rows; r++) y[r] = four[r];
}

TEMPLATE void multiply(format f, const multiply_job *job, int width) {
    constants c = constants_keep(f);
    float *y = job->y;
    for (uint32_t first = 0; first < job->groups; first += ABREAST, y += ABREAST * MATRIX_GROUP) {
        const uint8_t *groups[ABREAST]; /* a group that is missing at the end is computed as the first one again */
        f32x4 results[ABREAST][WIDEST];
        for (uint32_t g = 0; g < ABREAST; g++)
            groups[g] = job->group + (first + g < job->groups ? first + g : first) * job->group_bytes;
        multiply_rows(f, groups, job, width, &c, results);
        UNROLL for (uint32_t g = 0; g < ABREAST; g++) {
            if (first + g >= job->groups) break;
            uint32_t rows = job->rows - (first + g) * MATRIX_GROUP;
            float *to = y + g * MATRIX_GROUP;
            UNROLL for (uint32_t i = 0; i < (uint32_t)width; i++) {
                if (i >= job->columns) break;
                if (rows >= MATRIX_GROUP) f4_store(to + i * job->stride, results[g][i]);
                else store_rows(to + i * job->stride, results[g][i], rows);
            }
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

/* Types of caches: a tile and a single token behind it. */
#define KERNEL(name, form, parts, super, minimum, offset)
#define CACHED(name, form, parts, super, minimum, offset)                                                     \
    void multiply_##name##_five(const multiply_job *job) {                                                    \
        multiply((format){form, parts, super, minimum, offset}, job, TILE + 1);                               \
    }
#include "kernels.inc"
#undef KERNEL
