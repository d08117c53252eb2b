/* f16.h: IEEE half precision and bfloat16 to float and back, bit by bit, the same on every build. */
#ifndef CLLA_F16_H
#define CLLA_F16_H

#include <stdint.h>
#include <string.h>

static inline float f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Exact, subnormals, infinities and NaN included: shift the exponent into place, then multiply by 2^112. */
static inline float f32_of_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = (uint32_t)(h & 0x7fffu) << 13;
    if (magnitude >= 0x0f800000u) return f32_of_bits(sign | 0x70000000u | magnitude); /* infinity, NaN */
    return f32_of_bits(sign | bits_of_f32(f32_of_bits(magnitude) * 0x1p112f));
}

/* Round to nearest even; what is too large becomes infinity. */
static inline uint16_t f16_of_f32(float value) {
    uint32_t bits = bits_of_f32(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) return (uint16_t)(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: adding 0.5 aligns the last half-precision bit with the float's last */
        uint32_t rounded = bits_of_f32(f32_of_bits(magnitude) + 0.5f);
        return (uint16_t)(sign | (rounded - 0x3f000000u));
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | ((magnitude + 0xc8000fffu + odd) >> 13));
}

/* The same, but the largest finite half stands for what lies beyond: an infinity would turn weights of 0 into NaN. */
static inline uint16_t f16_finite(float value) {
    return f16_of_f32(value > 65504.0f ? 65504.0f : value < -65504.0f ? -65504.0f : value);
}

static inline float f32_of_bf16(uint16_t b) { return f32_of_bits((uint32_t)b << 16); }

#endif
