/* simd.h: a vocabulary of four lanes, the only file that mentions an intrinsic or an instruction set.
 *
 * Three bodies: scalar (portable C, four lanes written as a GCC/clang vector), SIMD128 (WebAssembly) and relaxed
 * (WebAssembly with relaxed SIMD). The first two agree bit for bit. The relaxed body differs in f4_madd, which may
 * round once instead of twice; its integer operations are exact.
 *
 * f4_* work on f32x4, four floats; i4_* on i32x4, four 32-bit integers. Comparisons give masks: all bits set or none.
 * b16_* work on u8x16, sixteen bytes. Loads and stores need no alignment beyond that of the element.
 *
 * dot_* is the product that matrices are made of: a vector of codes, four rows by four columns, against four
 * activations that all rows share, gives four row sums. Each body keeps activations in the form that it multiplies best
 * (dot_item) and sums in the form that it adds best (dot_sum: dot_room tells how many products it takes before
 * i4_from_dot must empty it), and tells how many bits a code may have (DOT_BITS). */
#ifndef CLLA_SIMD_H
#define CLLA_SIMD_H

#include <stdint.h>
#include <string.h>

/* In front of a loop: unrolled it must be, because its counter decides what are constants then; or must not. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#define KEEP_LOOP _Pragma("GCC unroll 1")
#endif

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>
typedef v128_t f32x4, i32x4, u8x16;

#if defined(__wasm_relaxed_simd__)
#define SIMD_NAME "relaxed"
static inline f32x4 f4_madd(f32x4 sum, f32x4 a, f32x4 b) { return wasm_f32x4_relaxed_madd(a, b, sum); }
#else
#define SIMD_NAME "simd128"
static inline f32x4 f4_madd(f32x4 sum, f32x4 a, f32x4 b) { return wasm_f32x4_add(sum, wasm_f32x4_mul(a, b)); }
#endif

static inline f32x4 f4_load(const float *from) { return wasm_v128_load(from); }
static inline void f4_store(float *to, f32x4 a) { wasm_v128_store(to, a); }
static inline f32x4 f4_splat(float a) { return wasm_f32x4_splat(a); }
static inline float f4_lane0(f32x4 a) { return wasm_f32x4_extract_lane(a, 0); }
static inline f32x4 f4_swap_pairs(f32x4 a) { return wasm_i32x4_shuffle(a, a, 2, 3, 0, 1); }  /* 2 3 0 1 */
static inline f32x4 f4_swap_lanes(f32x4 a) { return wasm_i32x4_shuffle(a, a, 1, 0, 3, 2); } /* 1 0 3 2 */
static inline f32x4 f4_add(f32x4 a, f32x4 b) { return wasm_f32x4_add(a, b); }
static inline f32x4 f4_sub(f32x4 a, f32x4 b) { return wasm_f32x4_sub(a, b); }
static inline f32x4 f4_mul(f32x4 a, f32x4 b) { return wasm_f32x4_mul(a, b); }
static inline f32x4 f4_div(f32x4 a, f32x4 b) { return wasm_f32x4_div(a, b); }
static inline f32x4 f4_max(f32x4 a, f32x4 b) { return wasm_f32x4_pmax(a, b); }
static inline f32x4 f4_min(f32x4 a, f32x4 b) { return wasm_f32x4_pmin(a, b); }
static inline f32x4 f4_from_i4(i32x4 a) { return wasm_f32x4_convert_i32x4(a); }
static inline f32x4 f4_of_bits(i32x4 a) { return a; }
static inline i32x4 i4_of_bits(f32x4 a) { return a; }
static inline i32x4 f4_less(f32x4 a, f32x4 b) { return wasm_f32x4_lt(a, b); }

static inline i32x4 i4_load(const int32_t *from) { return wasm_v128_load(from); }
static inline void i4_store(int32_t *to, i32x4 a) { wasm_v128_store(to, a); }
static inline i32x4 i4_load_i8(const int8_t *from) {
    return wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(from)));
}
static inline i32x4 i4_load_i16(const int16_t *from) { return wasm_i32x4_load16x4(from); }
static inline i32x4 i4_load_u16(const uint16_t *from) { return wasm_u32x4_load16x4(from); }
static inline void i4_store_u16(uint16_t *to, i32x4 a) { /* lanes 0 .. 65535 */
    wasm_v128_store64_lane(to, wasm_u16x8_narrow_i32x4(a, a), 0);
}
static inline void i4_store_i16(int16_t *to, i32x4 a, i32x4 b) { /* held in -32768 .. 32767 */
    wasm_v128_store(to, wasm_i16x8_narrow_i32x4(a, b));
}
static inline i32x4 i4_splat(int32_t a) { return wasm_i32x4_splat(a); }
static inline i32x4 i4_add(i32x4 a, i32x4 b) { return wasm_i32x4_add(a, b); }
static inline i32x4 i4_sub(i32x4 a, i32x4 b) { return wasm_i32x4_sub(a, b); }
static inline i32x4 i4_mul(i32x4 a, i32x4 b) { return wasm_i32x4_mul(a, b); }
static inline i32x4 i4_and(i32x4 a, i32x4 b) { return wasm_v128_and(a, b); }
static inline i32x4 i4_or(i32x4 a, i32x4 b) { return wasm_v128_or(a, b); }
static inline i32x4 i4_shl(i32x4 a, int by) { return wasm_i32x4_shl(a, (uint32_t)by); }
static inline i32x4 i4_shr(i32x4 a, int by) { return wasm_i32x4_shr(a, (uint32_t)by); }         /* copies the sign */
static inline i32x4 i4_shr_zero(i32x4 a, int by) { return wasm_u32x4_shr(a, (uint32_t)by); } /* brings zeros */
static inline i32x4 i4_less(i32x4 a, i32x4 b) { return wasm_i32x4_lt(a, b); }
static inline i32x4 i4_select(i32x4 mask, i32x4 yes, i32x4 no) { return wasm_v128_bitselect(yes, no, mask); }

static inline u8x16 b16_load(const uint8_t *from) { return wasm_v128_load(from); }
static inline u8x16 b16_of_bits(i32x4 a) { return a; }
static inline i32x4 i4_of_bytes(u8x16 a) { return a; }
static inline u8x16 b16_sub(u8x16 a, u8x16 b) { return wasm_i8x16_sub(a, b); }
static inline u8x16 b16_splat(uint8_t a) { return wasm_u8x16_splat(a); }
static inline u8x16 b16_and(u8x16 a, u8x16 b) { return wasm_v128_and(a, b); }
static inline u8x16 b16_or(u8x16 a, u8x16 b) { return wasm_v128_or(a, b); }
static inline u8x16 b16_shl(u8x16 a, int by) { return wasm_i16x8_shl(a, (uint32_t)by); } /* bits cross into the */
static inline u8x16 b16_shr(u8x16 a, int by) { return wasm_u16x8_shr(a, (uint32_t)by); } /* byte beside: mask them */

/* Bytes of a by their numbers; 0 for numbers from 128 on. */
#if defined(__wasm_relaxed_simd__)
static inline u8x16 b16_spread(u8x16 a, u8x16 at) { return wasm_i8x16_relaxed_swizzle(a, at); }
#else
static inline u8x16 b16_spread(u8x16 a, u8x16 at) { return wasm_i8x16_swizzle(a, at); }
#endif

/* sum + the products of two 16-bit numbers with the pairs of 16-bit lanes of a. */
static inline i32x4 i4_add_pairs(i32x4 sum, u8x16 a, const int16_t *two) {
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_v128_load32_splat(two), a));
}

#if defined(__wasm_relaxed_simd__)

enum { DOT_BITS = 7 };
typedef int8_t dot_item;
typedef u8x16 dot_codes;
static inline u8x16 b16_lookup(u8x16 table, u8x16 at) { return wasm_i8x16_relaxed_swizzle(table, at); } /* at < 16 */
typedef v128_t dot_sum; /* eight 16-bit sums, two a row: cheaper than four of 32 bits unless the processor has it */
static inline dot_codes dot_prepare(u8x16 codes, u8x16 even) { return (void)even, codes; } /* all in one instruction */
static inline dot_sum dot_add(dot_sum sum, dot_codes codes, const dot_item *x) {
    return wasm_i16x8_add(sum, wasm_i16x8_relaxed_dot_i8x16_i7x16(wasm_v128_load32_splat(x), codes));
}
static inline i32x4 i4_from_dot(dot_sum sum) { return wasm_i32x4_extadd_pairwise_i16x8(sum); }
/* Codes below 2^bits: 2 * 127 * (2^bits - 1) a product, at most 32767 in all. */
static inline int dot_room(int bits) { return bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1; }
static inline void dot_store(dot_item *to, i32x4 a) {
    v128_t halves = wasm_i16x8_narrow_i32x4(a, a);
    wasm_v128_store32_lane(to, wasm_i8x16_narrow_i16x8(halves, halves), 0);
}

#else

enum { DOT_BITS = 8 };
typedef i32x4 dot_sum;
typedef int16_t dot_item; /* four activations as 0 2 1 3: even and odd bytes of the codes become 16-bit lanes */
typedef struct dot_codes {
    v128_t even, odd;
} dot_codes;
static inline i32x4 i4_from_dot(dot_sum sum) { return sum; }
static inline int dot_room(int bits) { return bits <= 8 ? 8 : 1; }
static inline u8x16 b16_lookup(u8x16 table, u8x16 at) { return wasm_i8x16_swizzle(table, at); }
static inline dot_codes dot_prepare(u8x16 codes, u8x16 even) {
    return (dot_codes){wasm_v128_and(codes, even), wasm_u16x8_shr(codes, 8)};
}
static inline dot_sum dot_add(dot_sum sum, dot_codes codes, const dot_item *x) {
    sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_v128_load32_splat(x), codes.even));
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_v128_load32_splat(x + 2), codes.odd));
}
static inline void dot_store(dot_item *to, i32x4 a) {
    a = wasm_i32x4_shuffle(a, a, 0, 2, 1, 3);
    wasm_v128_store64_lane(to, wasm_i16x8_narrow_i32x4(a, a), 0);
}

#endif

#else

#define SIMD_NAME "scalar"
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t simd_u32x4 __attribute__((vector_size(16)));
typedef uint16_t simd_u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

static inline f32x4 f4_load(const float *from) {
    f32x4 a;
    memcpy(&a, from, sizeof a);
    return a;
}
static inline void f4_store(float *to, f32x4 a) { memcpy(to, &a, sizeof a); }
static inline f32x4 f4_splat(float a) { return (f32x4){a, a, a, a}; }
static inline float f4_lane0(f32x4 a) { return a[0]; }
static inline f32x4 f4_swap_pairs(f32x4 a) { return (f32x4){a[2], a[3], a[0], a[1]}; }
static inline f32x4 f4_swap_lanes(f32x4 a) { return (f32x4){a[1], a[0], a[3], a[2]}; }
static inline f32x4 f4_add(f32x4 a, f32x4 b) { return a + b; }
static inline f32x4 f4_sub(f32x4 a, f32x4 b) { return a - b; }
static inline f32x4 f4_mul(f32x4 a, f32x4 b) { return a * b; }
static inline f32x4 f4_div(f32x4 a, f32x4 b) { return a / b; }
static inline f32x4 f4_madd(f32x4 sum, f32x4 a, f32x4 b) { return sum + a * b; } /* built with -ffp-contract=off */
static inline f32x4 f4_from_i4(i32x4 a) { return (f32x4){(float)a[0], (float)a[1], (float)a[2], (float)a[3]}; }
static inline f32x4 f4_of_bits(i32x4 a) { return (f32x4)a; }
static inline i32x4 i4_of_bits(f32x4 a) { return (i32x4)a; }
static inline i32x4 f4_less(f32x4 a, f32x4 b) { return (i32x4)(a < b); }

static inline i32x4 i4_load(const int32_t *from) {
    i32x4 a;
    memcpy(&a, from, sizeof a);
    return a;
}
static inline void i4_store(int32_t *to, i32x4 a) { memcpy(to, &a, sizeof a); }
static inline i32x4 i4_load_i8(const int8_t *from) { return (i32x4){from[0], from[1], from[2], from[3]}; }
static inline i32x4 i4_load_i16(const int16_t *from) { return (i32x4){from[0], from[1], from[2], from[3]}; }
static inline i32x4 i4_load_u16(const uint16_t *from) { return (i32x4){from[0], from[1], from[2], from[3]}; }
static inline void i4_store_u16(uint16_t *to, i32x4 a) {
    for (int i = 0; i < 4; i++) to[i] = (uint16_t)a[i];
}
static inline int16_t simd_hold_i16(int32_t a) { return (int16_t)(a > INT16_MAX ? INT16_MAX : a < INT16_MIN ? INT16_MIN : a); }
static inline void i4_store_i16(int16_t *to, i32x4 a, i32x4 b) {
    for (int i = 0; i < 4; i++) to[i] = simd_hold_i16(a[i]), to[i + 4] = simd_hold_i16(b[i]);
}
static inline i32x4 i4_splat(int32_t a) { return (i32x4){a, a, a, a}; }
static inline i32x4 i4_add(i32x4 a, i32x4 b) { return (i32x4)((simd_u32x4)a + (simd_u32x4)b); }
static inline i32x4 i4_sub(i32x4 a, i32x4 b) { return (i32x4)((simd_u32x4)a - (simd_u32x4)b); }
static inline i32x4 i4_mul(i32x4 a, i32x4 b) { return (i32x4)((simd_u32x4)a * (simd_u32x4)b); }
static inline i32x4 i4_and(i32x4 a, i32x4 b) { return a & b; }
static inline i32x4 i4_or(i32x4 a, i32x4 b) { return a | b; }
static inline i32x4 i4_shl(i32x4 a, int by) { return (i32x4)((simd_u32x4)a << by); }
static inline i32x4 i4_shr(i32x4 a, int by) { return a >> by; }
static inline i32x4 i4_shr_zero(i32x4 a, int by) { return (i32x4)((simd_u32x4)a >> by); }
static inline i32x4 i4_less(i32x4 a, i32x4 b) { return (i32x4)(a < b); }
static inline i32x4 i4_select(i32x4 mask, i32x4 yes, i32x4 no) { return (yes & mask) | (no & ~mask); }

static inline u8x16 b16_load(const uint8_t *from) {
    u8x16 a;
    memcpy(&a, from, sizeof a);
    return a;
}
static inline u8x16 b16_of_bits(i32x4 a) { return (u8x16)a; }
static inline i32x4 i4_of_bytes(u8x16 a) { return (i32x4)a; }
static inline u8x16 b16_sub(u8x16 a, u8x16 b) { return a - b; }
static inline u8x16 b16_splat(uint8_t a) { return (u8x16){a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a}; }
static inline u8x16 b16_and(u8x16 a, u8x16 b) { return a & b; }
static inline u8x16 b16_or(u8x16 a, u8x16 b) { return a | b; }
static inline u8x16 b16_shl(u8x16 a, int by) { return (u8x16)((simd_u16x8)a << by); }
static inline u8x16 b16_shr(u8x16 a, int by) { return (u8x16)((simd_u16x8)a >> by); }
static inline u8x16 b16_spread(u8x16 a, u8x16 at) {
    u8x16 found = a;
    for (int i = 0; i < 16; i++) found[i] = at[i] < 16 ? a[at[i]] : 0;
    return found;
}
static inline i32x4 i4_add_pairs(i32x4 sum, u8x16 a, const int16_t *two) {
    simd_u16x8 lanes = (simd_u16x8)a;
    i32x4 products = sum;
    for (int i = 0; i < 4; i++) products[i] = two[0] * (int16_t)lanes[2 * i] + two[1] * (int16_t)lanes[2 * i + 1];
    return i4_add(sum, products);
}
static inline u8x16 b16_lookup(u8x16 table, u8x16 at) {
    u8x16 found = table;
    for (int i = 0; i < 16; i++) found[i] = table[at[i]];
    return found;
}

enum { DOT_BITS = 8 };
typedef i32x4 dot_sum;
typedef int8_t dot_item;
typedef u8x16 dot_codes;
static inline dot_codes dot_prepare(u8x16 codes, u8x16 even) { return (void)even, codes; }
static inline i32x4 i4_from_dot(dot_sum sum) { return sum; }
static inline int dot_room(int bits) { return bits <= 8 ? 8 : 1; }
static inline dot_sum dot_add(dot_sum sum, dot_codes codes, const dot_item *x) {
    for (int row = 0; row < 4; row++)
        for (int k = 0; k < 4; k++) sum[row] += codes[4 * row + k] * x[k];
    return sum;
}
static inline void dot_store(dot_item *to, i32x4 a) {
    for (int k = 0; k < 4; k++) to[k] = (dot_item)a[k];
}

/* b where it is larger, else a: also when one of them is NaN. */
static inline f32x4 f4_max(f32x4 a, f32x4 b) { return f4_of_bits(i4_select(f4_less(a, b), (i32x4)b, (i32x4)a)); }
static inline f32x4 f4_min(f32x4 a, f32x4 b) { return f4_of_bits(i4_select(f4_less(b, a), (i32x4)b, (i32x4)a)); }

#endif

/* ---- what is the same in every body ------------------------------------------------------------------------ */

static inline f32x4 f4_zero(void) { return f4_splat(0.0f); }
static inline f32x4 f4_abs(f32x4 a) { return f4_of_bits(i4_and(i4_of_bits(a), i4_splat(0x7fffffff))); }
static inline f32x4 f4_select(i32x4 mask, f32x4 yes, f32x4 no) {
    return f4_of_bits(i4_select(mask, i4_of_bits(yes), i4_of_bits(no)));
}

/* (a0 + a2) + (a1 + a3), always in this order. */
static inline float f4_sum(f32x4 a) {
    a = f4_add(a, f4_swap_pairs(a));
    return f4_lane0(f4_add(a, f4_swap_lanes(a)));
}

static inline float f4_largest(f32x4 a) {
    a = f4_max(a, f4_swap_pairs(a));
    return f4_lane0(f4_max(a, f4_swap_lanes(a)));
}

static inline f32x4 f4_load_i8(const int8_t *from) { return f4_from_i4(i4_load_i8(from)); }

/* To the nearest integer, ties to even, for |a| < 2^22: at 1.5 * 2^23 the last bit of a float is worth one. */
#define ROUND_SHIFT 0x1.8p23f
#define ROUND_BIAS 0x4b400000 /* its bits */
static inline i32x4 i4_round(f32x4 a) {
    return i4_sub(i4_of_bits(f4_add(a, f4_splat(ROUND_SHIFT))), i4_splat(ROUND_BIAS));
}

/* Modulo 2^32, as all sums here. */
static inline int32_t i4_sum(i32x4 a) {
    int32_t lanes[4];
    i4_store(lanes, a);
    return (int32_t)((uint32_t)lanes[0] + (uint32_t)lanes[1] + (uint32_t)lanes[2] + (uint32_t)lanes[3]);
}

/* Constants that stay in registers. V8 makes a vector constant anew, with three instructions, wherever it is used; what
 * comes out of memory it keeps. Make these before a loop. */
static inline u8x16 b16_keep(uint8_t a) {
    volatile uint8_t kept = a;
    return b16_splat(kept);
}
static inline i32x4 i4_keep(int32_t a) {
    volatile int32_t kept = a;
    return i4_splat(kept);
}
static inline f32x4 f4_keep(float a) {
    volatile float kept = a;
    return f4_splat(kept);
}

/* For b16_spread: of sixteen codes, four rows by four columns, those of rows 2 * half and 2 * half + 1, column by column
 * side by side, each the low byte of sixteen bits. */
static inline u8x16 pair_keep(int half) {
    volatile uint32_t first = 0x80048000u | (uint32_t)half * 0x00080008u;
    int32_t lanes[4];
    for (uint32_t k = 0; k < 4; k++) lanes[k] = (int32_t)(first + 0x00010001u * k);
    return b16_of_bits(i4_load(lanes));
}

/* What dot_prepare takes second. */
static inline u8x16 dot_even_keep(void) { return b16_of_bits(i4_keep(0x00ff00ff)); }

/* Four halves that are finite. Processors are slow where a half is subnormal (below 6.1e-5), and right. */
typedef struct half_constants {
    i32x4 mask;
    f32x4 unit;
} half_constants;
static inline half_constants half_constants_keep(void) {
    return (half_constants){i4_keep((int32_t)0x8fffe000u), f4_keep(0x1p112f)};
}
static inline f32x4 f4_load_f16_by(const uint16_t *from, half_constants c) {
    return f4_mul(f4_of_bits(i4_and(i4_shl(i4_load_i16((const int16_t *)from), 13), c.mask)), c.unit);
}
static inline f32x4 f4_load_f16_finite(const uint16_t *from) {
    return f4_load_f16_by(from, (half_constants){i4_splat((int32_t)0x8fffe000u), f4_splat(0x1p112f)});
}

/* Four halves, exactly, as f32_of_f16 (f16.h) does one; no step of it meets a subnormal float. */
static inline f32x4 f4_load_f16(const uint16_t *from) {
    i32x4 half = i4_load_u16(from), magnitude = i4_and(half, i4_splat(0x7fff));
    i32x4 bits = i4_add(i4_shl(magnitude, 13), i4_splat(0x38000000)); /* exponents: 15 becomes 127 */
    i32x4 small = i4_of_bits(f4_mul(f4_from_i4(magnitude), f4_splat(0x1p-24f)));
    bits = i4_select(i4_less(magnitude, i4_splat(0x400)), small, bits);
    bits = i4_or(bits, i4_and(i4_less(i4_splat(0x7bff), magnitude), i4_splat(0x7f800000)));
    return f4_of_bits(i4_or(bits, i4_shl(i4_and(half, i4_splat(0x8000)), 16)));
}

/* Round to nearest even, as f16_of_f32 (f16.h) does one. */
static inline void f4_store_f16(uint16_t *to, f32x4 a) {
    i32x4 bits = i4_of_bits(a), magnitude = i4_and(bits, i4_splat(0x7fffffff));
    i32x4 odd = i4_and(i4_shr(magnitude, 13), i4_splat(1));
    i32x4 half = i4_shr_zero(i4_add(i4_add(magnitude, odd), i4_splat((int32_t)0xc8000fffu)), 13);
    i32x4 small = i4_sub(i4_of_bits(f4_add(f4_of_bits(magnitude), f4_splat(0.5f))), i4_splat(0x3f000000));
    half = i4_select(i4_less(magnitude, i4_splat(0x38800000)), small, half);
    half = i4_select(i4_less(i4_splat(0x477fefff), magnitude), i4_splat(0x7c00), half);
    half = i4_select(i4_less(i4_splat(0x7f800000), magnitude), i4_splat(0x7e00), half);
    i4_store_u16(to, i4_or(half, i4_and(i4_shr_zero(bits, 16), i4_splat(0x8000))));
}

static inline f32x4 f4_load_bf16(const uint16_t *from) { return f4_of_bits(i4_shl(i4_load_u16(from), 16)); }

#endif
