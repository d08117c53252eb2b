/* simd.h: a vocabulary of four lanes, the only file that mentions an intrinsic or an instruction set.
 *
 * Three bodies: scalar (portable C, four lanes written as a GCC/clang vector), SIMD128 (WebAssembly) and relaxed
 * (WebAssembly with relaxed SIMD). The first two agree bit for bit. The relaxed body differs in f4_madd, which may
 * round once instead of twice; its integer operations are exact.
 *
 * f4_* work on f32x4, four floats; i4_* on i32x4, four 32-bit integers. Comparisons give masks: all bits set or none.
 * Loads and stores need no alignment beyond that of the element. */
#ifndef CLLA_SIMD_H
#define CLLA_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>
typedef v128_t f32x4, i32x4, i16x8, i8x16;

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

#else

#define SIMD_NAME "scalar"
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t simd_u32x4 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));

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
static inline i32x4 i4_round(f32x4 a) {
    return i4_sub(i4_of_bits(f4_add(a, f4_splat(0x1.8p23f))), i4_splat(0x4b400000));
}

/* Four halves, exactly, as f32_of_f16 (f16.h) does one; f4_load_f16_finite is for numbers known to be finite. */
static inline f32x4 f4_load_f16_finite(const uint16_t *from) {
    i32x4 bits = i4_shl(i4_load_i16((const int16_t *)from), 13);
    return f4_mul(f4_of_bits(i4_and(bits, i4_splat((int32_t)0x8fffe000u))), f4_splat(0x1p112f));
}

static inline f32x4 f4_load_f16(const uint16_t *from) {
    i32x4 magnitude = i4_and(i4_load_u16(from), i4_splat(0x7fff));
    i32x4 special = i4_and(i4_less(i4_splat(0x7bff), magnitude), i4_splat(0x7f800000));
    return f4_of_bits(i4_or(i4_of_bits(f4_load_f16_finite(from)), special));
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
