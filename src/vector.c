/* vector.c: norms, activations, rope and the attention panel, four lanes at a time. */
#include "vector.h"

#include <math.h>

#include "simd.h"

/* exp(x) = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2; e^r = 1 + r + r^2 p(r). The argument is held in
 * [-87, 88], where the result is a normal number. ln 2 is split in two so that n * high is exact. */
static inline f32x4 f4_exp(f32x4 x) {
    x = f4_min(f4_max(x, f4_splat(-87.0f)), f4_splat(88.0f));
    i32x4 n = i4_round(f4_mul(x, f4_splat(1.44269504f)));
    f32x4 whole = f4_from_i4(n);
    f32x4 r = f4_sub(x, f4_mul(whole, f4_splat(0.693359375f)));
    r = f4_sub(r, f4_mul(whole, f4_splat(-2.12194440e-4f)));
    f32x4 p = f4_splat(1.9875691500e-4f);
    p = f4_add(f4_mul(p, r), f4_splat(1.3981999507e-3f));
    p = f4_add(f4_mul(p, r), f4_splat(8.3334519073e-3f));
    p = f4_add(f4_mul(p, r), f4_splat(4.1665795894e-2f));
    p = f4_add(f4_mul(p, r), f4_splat(1.6666665459e-1f));
    p = f4_add(f4_mul(p, r), f4_splat(5.0000001201e-1f));
    p = f4_add(f4_add(f4_mul(f4_mul(p, r), r), r), f4_splat(1.0f));
    return f4_mul(p, f4_of_bits(i4_shl(i4_add(n, i4_splat(127)), 23)));
}

float vector_exp(float x) { return f4_lane0(f4_exp(f4_splat(x))); }

void vector_norm(const float *x, const float *weight, uint32_t n, float epsilon, float *y) {
    f32x4 squares = f4_zero();
    float rest = 0;
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        f32x4 a = f4_load(x + i);
        squares = f4_madd(squares, a, a);
    }
    for (; i < n; i++) rest += x[i] * x[i];
    float scale = 1.0f / sqrtf((f4_sum(squares) + rest) / (float)n + epsilon);
    for (i = 0; i + 4 <= n; i += 4)
        f4_store(y + i, f4_mul(f4_mul(f4_load(x + i), f4_splat(scale)), f4_load(weight + i)));
    for (; i < n; i++) y[i] = x[i] * scale * weight[i];
}

void vector_add(float *y, const float *x, uint32_t n) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) f4_store(y + i, f4_add(f4_load(y + i), f4_load(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

void vector_scale(float *y, float factor, uint32_t n) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) f4_store(y + i, f4_mul(f4_load(y + i), f4_splat(factor)));
    for (; i < n; i++) y[i] *= factor;
}

/* x sigmoid(z) */
static inline f32x4 f4_gated(f32x4 x, f32x4 z) {
    f32x4 one = f4_splat(1.0f);
    return f4_div(x, f4_add(one, f4_exp(f4_sub(f4_zero(), z))));
}

/* gelu(x) = x (1 + tanh u) / 2 = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
static inline f32x4 f4_gelu(f32x4 x) {
    f32x4 cubic = f4_add(f4_mul(f4_mul(f4_mul(x, x), x), f4_splat(0.044715f)), x);
    return f4_gated(x, f4_mul(cubic, f4_splat(2 * 0.79788456f)));
}

static inline f32x4 f4_silu(f32x4 x) { return f4_gated(x, x); }

/* The last n % 4 values go through the same lanes. */
#define GATE_LOOP(name, activation)                                                                           \
    void name(float *gate, const float *up, uint32_t n) {                                                     \
        uint32_t i = 0;                                                                                       \
        for (; i + 4 <= n; i += 4) f4_store(gate + i, f4_mul(activation(f4_load(gate + i)), f4_load(up + i))); \
        for (; i < n; i++) gate[i] = f4_lane0(activation(f4_splat(gate[i]))) * up[i];                         \
    }

GATE_LOOP(vector_silu_gate, f4_silu)
GATE_LOOP(vector_gelu_gate, f4_gelu)

void vector_rope(float *x, uint32_t half, const float *cosine, const float *sine, bool adjacent) {
    uint32_t step = adjacent ? 2 : 1, apart = adjacent ? 1 : half;
    for (uint32_t i = 0; i < half; i++) {
        float *a = x + i * step, *b = a + apart;
        float rotated = *a * cosine[i] - *b * sine[i];
        *b = *a * sine[i] + *b * cosine[i];
        *a = rotated;
    }
}

void vector_panel(const float *a0, const float *a1, uint32_t n, const float *b, uint32_t stride, bool add, float *y0,
                  float *y1) {
    f32x4 p0 = f4_zero(), p1 = p0, p2 = p0, p3 = p0, q0 = p0, q1 = p0, q2 = p0, q3 = p0;
    if (add) {
        p0 = f4_load(y0), p1 = f4_load(y0 + 4), p2 = f4_load(y0 + 8), p3 = f4_load(y0 + 12);
        q0 = f4_load(y1), q1 = f4_load(y1 + 4), q2 = f4_load(y1 + 8), q3 = f4_load(y1 + 12);
    }
    for (uint32_t i = 0; i < n; i++, b += stride) {
        f32x4 b0 = f4_load(b), b1 = f4_load(b + 4), b2 = f4_load(b + 8), b3 = f4_load(b + 12);
        f32x4 p = f4_splat(a0[i]), q = f4_splat(a1[i]);
        p0 = f4_madd(p0, p, b0), p1 = f4_madd(p1, p, b1), p2 = f4_madd(p2, p, b2), p3 = f4_madd(p3, p, b3);
        q0 = f4_madd(q0, q, b0), q1 = f4_madd(q1, q, b1), q2 = f4_madd(q2, q, b2), q3 = f4_madd(q3, q, b3);
    }
    f4_store(y0, p0), f4_store(y0 + 4, p1), f4_store(y0 + 8, p2), f4_store(y0 + 12, p3);
    f4_store(y1, q0), f4_store(y1 + 4, q1), f4_store(y1 + 8, q2), f4_store(y1 + 12, q3);
}

float vector_exp_panel(float *s, float max, uint32_t first, uint32_t end) {
    for (uint32_t j = 0; j < PANEL; j += 4) f4_store(s + j, f4_exp(f4_sub(f4_load(s + j), f4_splat(max))));
    for (uint32_t j = 0; j < first; j++) s[j] = 0;
    for (uint32_t j = end; j < PANEL; j++) s[j] = 0;
    f32x4 low = f4_add(f4_load(s), f4_load(s + 4)), high = f4_add(f4_load(s + 8), f4_load(s + 12));
    return f4_sum(f4_add(low, high));
}

float vector_max(const float *s, uint32_t first, uint32_t end) {
    float max = -INFINITY;
    for (uint32_t j = first; j < end; j++) max = s[j] > max ? s[j] : max;
    return max;
}
