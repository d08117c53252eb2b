/* sampler_math.h: exp and log in plain arithmetic, which has one result on every IEEE machine, Wasm's too. */
#ifndef CLLA_SAMPLER_MATH_H
#define CLLA_SAMPLER_MATH_H

#include <stdint.h>
#include <string.h>

#include "f16.h"

static inline double double_of_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t bits_of_double(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* exp of x <= 0: x = n log 2 + r with |r| <= log(2)/2, the series of exp(r) to r^10/10! (2e-13), times 2^n. */
static inline double exp_negative(double x) {
    static const double inverse_factorials[] = {1. / 3628800, 1. / 362880, 1. / 40320, 1. / 5040,
                                                1. / 720,     1. / 120,    1. / 24,    1. / 6,
                                                1. / 2,       1.,          1.};
    if (!(x > -700)) return 0; /* below 1e-304; -infinity, and NaN */
    int n = (int)(x * 1.4426950408889634 - 0.5);
    double r = x - n * 0.6931471805599453, sum = 0;
    for (int k = 0; k <= 10; k++) sum = sum * r + inverse_factorials[k];
    return sum * double_of_bits((uint64_t)(1023 + n) << 52);
}

/* The same for weights, in single precision (to 2e-7) and without branches: rounding to an integer by adding 1.5 * 2^23
 * leaves it in the low bits, from where it goes to the exponent. Below -87, and for NaN, the result is 0. */
static inline float exp_weight(float x) {
    float clamped = x > -87.0f ? x : -87.0f;
    float shifted = clamped * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    float r =
        (clamped - n * 0.693145752f) - n * 1.42860677e-6f; /* log 2 in two parts, the first of 16 bits */
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = (sum * r + 1) * r + 1;
    float weight = f32_of_bits(bits_of_f32(sum) + (bits_of_f32(shifted) << 23));
    return x > -87.0f ? weight : 0;
}

/* log of a normal positive x = m 2^n with m in [0.75, 1.5): 2 atanh((m - 1)/(m + 1)) + n log 2. */
static inline double log_positive(double x) {
    uint64_t bits = bits_of_double(x);
    int n = (int)(bits >> 52) - 1023;
    double m = double_of_bits((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
    if (m >= 1.5) m *= 0.5, n++;
    static const double inverse_odds[] = {1. / 23, 1. / 21, 1. / 19, 1. / 17, 1. / 15, 1. / 13,
                                          1. / 11, 1. / 9,  1. / 7,  1. / 5,  1. / 3,  1.};
    double s = (m - 1) / (m + 1), square = s * s, sum = 0; /* |s| <= 0.2: the next term is below 1e-18 */
    for (int k = 0; k < 12; k++) sum = sum * square + inverse_odds[k];
    return 2 * s * sum + n * 0.6931471805599453;
}

#endif
