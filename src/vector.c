/* vector.c: norms, activations, rope and the attention panel, four lanes at a time. */
#include "vector.h"

#include <math.h>
#include <string.h>

#include "f16.h"
#include "simd.h"

/* exp(x) = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2; e^r = 1 + r + r^2 p(r). The argument is held in
 * [-87, 88], where the result is a normal number. ln 2 is split in two so that n * high is exact. Adding `shift` rounds:
 * n stands in the last bits of the sum then, and is added to the exponent of e^r. */
typedef struct exp_constants {
    f32x4 lowest, highest, inverse, shift, high, low, p[6], one;
} exp_constants;
#define EXP_CONSTANTS(make)                                                                                     \
    {make(-87.0f), make(88.0f), make(1.44269504f), make(ROUND_SHIFT), make(0.693359375f), make(-2.12194440e-4f), \
     {make(1.9875691500e-4f), make(1.3981999507e-3f), make(8.3334519073e-3f), make(4.1665795894e-2f),           \
      make(1.6666665459e-1f), make(5.0000001201e-1f)},                                                          \
     make(1.0f)}

static inline f32x4 f4_exp(f32x4 x, const exp_constants *k) {
    x = f4_min(f4_max(x, k->lowest), k->highest);
    f32x4 shifted = f4_add(f4_mul(x, k->inverse), k->shift), n = f4_sub(shifted, k->shift);
    f32x4 r = f4_sub(f4_sub(x, f4_mul(n, k->high)), f4_mul(n, k->low)), p = k->p[0];
    UNROLL for (int i = 1; i < 6; i++) p = f4_madd(k->p[i], p, r);
    p = f4_add(f4_madd(r, f4_mul(p, r), r), k->one);
    return f4_of_bits(i4_add(i4_of_bits(p), i4_shl(i4_of_bits(shifted), 23)));
}

float vector_exp(float x) {
    const exp_constants k = EXP_CONSTANTS(f4_splat);
    return f4_lane0(f4_exp(f4_splat(x), &k));
}

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

void vector_add_scaled(float *y, const float *x, float factor, uint32_t n) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) f4_store(y + i, f4_madd(f4_load(y + i), f4_load(x + i), f4_splat(factor)));
    for (; i < n; i++) y[i] += x[i] * factor;
}

void vector_scale(float *y, float factor, uint32_t n) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) f4_store(y + i, f4_mul(f4_load(y + i), f4_splat(factor)));
    for (; i < n; i++) y[i] *= factor;
}

/* x sigmoid(z) */
static inline f32x4 f4_gated(f32x4 x, f32x4 z, const exp_constants *k) {
    return f4_div(x, f4_add(k->one, f4_exp(f4_sub(f4_zero(), z), k)));
}

/* gelu(x) = x (1 + tanh u) / 2 = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
static inline f32x4 f4_gelu(f32x4 x, const exp_constants *k) {
    f32x4 cubic = f4_add(f4_mul(f4_mul(f4_mul(x, x), x), f4_splat(0.044715f)), x);
    return f4_gated(x, f4_mul(cubic, f4_splat(2 * 0.79788456f)), k);
}

static inline f32x4 f4_silu(f32x4 x, const exp_constants *k) { return f4_gated(x, x, k); }

/* The last n % 4 values go through the same lanes. */
#define GATE_LOOP(name, activation)                                                                           \
    void name(float *gate, const float *up, uint32_t n) {                                                     \
        const exp_constants k = EXP_CONSTANTS(f4_keep);                                                       \
        uint32_t i = 0;                                                                                       \
        for (; i + 4 <= n; i += 4)                                                                            \
            f4_store(gate + i, f4_mul(activation(f4_load(gate + i), &k), f4_load(up + i)));                   \
        for (; i < n; i++) gate[i] = f4_lane0(activation(f4_splat(gate[i]), &k)) * up[i];                     \
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

/* Four lanes of two halves each, sign and exponent and mantissa moved to where a float has them: the lower halves, the
 * upper ones. What is missing is the rebias of the exponent, a factor of 1 / HALF_UNIT. */
static inline f32x4 upper_halves(i32x4 pairs) { return f4_of_bits(i4_and(i4_shr(pairs, 3), i4_splat((int32_t)0x8fffe000))); }
static inline f32x4 lower_halves(i32x4 pairs) { return upper_halves(i4_shl(pairs, 16)); }

static inline i32x4 load_pairs(const uint16_t *from) { return i4_load((const int32_t *)(const void *)from); }

void vector_read_halves(const uint16_t *from, size_t n, float *to) {
    f32x4 rebias = f4_splat(1 / HALF_UNIT);
    for (size_t i = 0; i < n; i += 8) {
        i32x4 pairs = load_pairs(from + i);
        f4_store(to + i, f4_mul(lower_halves(pairs), rebias));
        f4_store(to + i + 4, f4_mul(upper_halves(pairs), rebias));
    }
}

float vector_dot_halves(const float *x, const uint16_t *halves, uint32_t n) {
    f32x4 sum = f4_zero();
    float rest = 0;
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) sum = f4_madd(sum, f4_load(x + i), f4_load_f16(halves + i));
    for (; i < n; i++) rest += x[i] * f32_of_f16(halves[i]);
    return f4_sum(sum) + rest;
}

void vector_add_halves(float *y, const uint16_t *halves, float factor, uint32_t n) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) f4_store(y + i, f4_madd(f4_load(y + i), f4_load_f16(halves + i), f4_splat(factor)));
    for (; i < n; i++) y[i] += f32_of_f16(halves[i]) * factor;
}

static inline void load_floats(const float *b, int vectors, f32x4 *x) {
    for (int v = 0; v < vectors; v++) x[v] = f4_load(b + 4 * v);
}

static inline void load_halves(const uint16_t *b, int vectors, f32x4 *x) {
    for (int v = 0; v < vectors; v += 2) {
        i32x4 pairs = load_pairs(b + 4 * v);
        x[v] = lower_halves(pairs), x[v + 1] = upper_halves(pairs);
    }
}

/* R rows against V vectors of the panel, from lane `lane` on. R * V accumulators, with what they are multiplied with,
 * fit the sixteen registers of a narrow machine for (1, 4), (2, 4), (3, 2) and (4, 2). */
#define PANEL_ROWS(name, kind, source, load, R, V)                                                            \
    static void name(const panel *p, uint32_t row, uint32_t lane) {                                           \
        const float *a = p->a + row * p->a_stride;                                                            \
        const kind *b = p->source + lane;                                                                     \
        float *y = p->y + row * p->y_stride + lane;                                                           \
        f32x4 sum[R][V], x[V];                                                                                \
        for (int r = 0; r < R; r++)                                                                           \
            for (int v = 0; v < V; v++)                                                                       \
                sum[r][v] = p->add ? f4_load(y + (size_t)r * p->y_stride + 4 * v) : f4_zero();                \
        for (uint32_t i = 0; i < p->n; i++, b += p->b_stride) {                                               \
            load(b, V, x);                                                                                    \
            for (int r = 0; r < R; r++) {                                                                     \
                f32x4 c = f4_splat(a[(size_t)r * p->a_stride + i]);                                           \
                for (int v = 0; v < V; v++) sum[r][v] = f4_madd(sum[r][v], c, x[v]);                          \
            }                                                                                                 \
        }                                                                                                     \
        for (int r = 0; r < R; r++)                                                                           \
            for (int v = 0; v < V; v++) f4_store(y + (size_t)r * p->y_stride + 4 * v, sum[r][v]);             \
    }

PANEL_ROWS(floats_1, float, b, load_floats, 1, 4)
PANEL_ROWS(floats_2, float, b, load_floats, 2, 4)
PANEL_ROWS(floats_3, float, b, load_floats, 3, 2)
PANEL_ROWS(floats_4, float, b, load_floats, 4, 2)
PANEL_ROWS(halves_1, uint16_t, halves, load_halves, 1, 4)
PANEL_ROWS(halves_2, uint16_t, halves, load_halves, 2, 4)
PANEL_ROWS(halves_3, uint16_t, halves, load_halves, 3, 2)
PANEL_ROWS(halves_4, uint16_t, halves, load_halves, 4, 2)

/* By rows in work: the function, and how many lanes it takes. */
typedef struct panel_step {
    void (*run)(const panel *p, uint32_t row, uint32_t lane);
    uint32_t lanes;
} panel_step;
static const panel_step float_steps[] = {{floats_1, 16}, {floats_2, 16}, {floats_3, 8}, {floats_4, 8}};
static const panel_step half_steps[] = {{halves_1, 16}, {halves_2, 16}, {halves_3, 8}, {halves_4, 8}};

void vector_panel(const panel *p) {
    const panel_step *steps = p->halves ? half_steps : float_steps;
    for (uint32_t row = 0; row < p->rows; row += 4) {
        const panel_step *step = &steps[p->rows - row < 4 ? p->rows - row - 1 : 3];
        for (uint32_t lane = 0; lane < PANEL; lane += step->lanes) step->run(p, row, lane);
    }
}

float vector_exp_sum(float *s, uint32_t n, float max, uint32_t first, uint32_t end) {
    const exp_constants k = EXP_CONSTANTS(f4_keep);
    f32x4 sum = f4_zero(), highest = f4_keep(max);
    for (uint32_t j = 0; j < n; j += 4) {
        f32x4 e = f4_exp(f4_sub(f4_load(s + j), highest), &k);
        f4_store(s + j, e);
        sum = f4_add(sum, e);
    }
    if (first == 0 && end == n) return f4_sum(sum);
    memset(s, 0, first * sizeof *s);
    memset(s + end, 0, (n - end) * sizeof *s);
    sum = f4_zero();
    for (uint32_t j = 0; j < n; j += 4) sum = f4_add(sum, f4_load(s + j));
    return f4_sum(sum);
}

float vector_max(const float *s, uint32_t first, uint32_t end) {
    float max = -INFINITY;
    f32x4 four = f4_splat(max);
    for (; first + 4 <= end; first += 4) four = f4_max(four, f4_load(s + first));
    for (; first < end; first++) max = s[first] > max ? s[first] : max;
    return f4_largest(f4_max(four, f4_splat(max)));
}
